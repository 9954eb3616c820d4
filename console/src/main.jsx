import { lazy, StrictMode, Suspense, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { BlobPage } from "./blob.jsx";
import { Blobs } from "./blobs.jsx";
import { Epoch } from "./epoch.jsx";
import { Home } from "./home.jsx";
import { Nodes } from "./nodes.jsx";
import { NewestProofs, Proofs } from "./proofs.jsx";
import { Stake } from "./stake.jsx";
import { Upload } from "./upload.jsx";
import "./style.css";

const Playground = lazy(() => import("./playground.jsx"));
const PAGES = { "": Home, upload: Upload, blobs: Blobs, nodes: Nodes, epoch: Epoch, stake: Stake, proofs: NewestProofs };
const PAGES_OF_BLOBS = { blobs: BlobPage, proofs: Proofs };
const LINKS = [
  ["", "Network"],
  ["upload", "Upload"],
  ["blobs", "Blobs"],
  ["nodes", "Nodes"],
  ["epoch", "Epoch"],
  ["stake", "Stake"],
  ["proofs", "Proofs"],
];

/** The page that the address names, and the blob that it is about. */
function usePlace() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash.replace(/^#\/?/, "").split("/");
}

function Console({ place: [page, blobId] }) {
  if (blobId && page in PAGES_OF_BLOBS) {
    const Page = PAGES_OF_BLOBS[page];
    return <Page key={blobId} blobId={blobId} />;
  }
  const Page = PAGES[page];
  return Page ? <Page /> : <p>There is no such page here.</p>;
}

function App() {
  const isPlayground = location.pathname.startsWith("/graphql");
  const place = usePlace();
  useEffect(() => {
    const title = isPlayground ? "Playground" : (LINKS.find(([page]) => page === place[0])?.[1] ?? "");
    document.title = title ? `${title} · Haulout` : "Haulout";
  }, [isPlayground, place[0]]);
  return (
    <>
      <header>
        <strong>Haulout</strong>
        <nav aria-label="Pages">
          {LINKS.map(([page, title]) => (
            <a key={page} href={`/console/#/${page}`} aria-current={!isPlayground && place[0] === page ? "page" : undefined}>
              {title}
            </a>
          ))}
          <a href="/graphql" aria-current={isPlayground ? "page" : undefined}>
            Playground
          </a>
        </nav>
      </header>
      <main>
        {isPlayground ? (
          <Suspense fallback={<p className="note">loading the playground …</p>}>
            <Playground />
          </Suspense>
        ) : (
          <Console place={place} />
        )}
      </main>
    </>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
