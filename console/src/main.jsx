import { lazy, StrictMode, Suspense, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { BlobPage, Blobs } from "./blobs.jsx";
import { Epoch } from "./epoch.jsx";
import { Home } from "./home.jsx";
import { Nodes } from "./nodes.jsx";
import { Stake } from "./stake.jsx";
import "./style.css";

const Playground = lazy(() => import("./playground.jsx"));
const PAGES = { "": Home, blobs: Blobs, nodes: Nodes, epoch: Epoch, stake: Stake };
const LINKS = [
  ["#/", "Network"],
  ["#/blobs", "Blobs"],
  ["#/nodes", "Nodes"],
  ["#/epoch", "Epoch"],
  ["#/stake", "Stake"],
];

function useHash() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash;
}

function Console() {
  const hash = useHash();
  const [page, id] = hash.replace(/^#\/?/, "").split("/");
  if (page === "blobs" && id) return <BlobPage blobId={id} />;
  const Page = PAGES[page] ?? Home;
  return <Page />;
}

function App() {
  const isPlayground = location.pathname.startsWith("/graphql");
  const hash = useHash() || "#/";
  return (
    <>
      <header>
        <strong>Haulout</strong>
        <nav aria-label="Pages">
          {LINKS.map(([target, title]) => (
            <a key={target} href={`/console/${target}`} aria-current={!isPlayground && hash === target ? "page" : undefined}>
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
          <Console />
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
