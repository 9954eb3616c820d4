import "graphiql/setup-workers/vite";
import { GraphiQL } from "graphiql";
import { useEffect, useState } from "react";
import "graphiql/style.css";
import { ask } from "./ask.js";
import { IDS, TOUR, variablesOf } from "./tour.js";

async function fetcher({ query, variables, operationName }) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json" },
    body: JSON.stringify({ query, variables, operationName }),
  });
  return response.json();
}

async function findIds() {
  try {
    const { data } = await ask(IDS);
    return { blobId: data.blobs.nodes[0]?.blobId, nodeId: data.storageNodes.nodes[0]?.id };
  } catch {
    return {}; // the playground is of use without them; a query then says what it lacks
  }
}

/** What the tabs keep is thrown away with the page: ids of a network that is gone help nobody. */
class Forgetful {
  #kept = new Map();
  get length() {
    return this.#kept.size;
  }
  getItem(key) {
    return this.#kept.get(key) ?? null;
  }
  setItem(key, value) {
    this.#kept.set(key, value);
  }
  removeItem(key) {
    this.#kept.delete(key);
  }
  clear() {
    this.#kept.clear();
  }
}
const storage = new Forgetful();

export default function Playground() {
  const [ids, setIds] = useState(null);
  useEffect(() => {
    findIds().then(setIds);
  }, []);
  if (ids === null) return <p className="note">looking for ids of this network …</p>;
  const asked = new URLSearchParams(location.search).get("tour");
  const steps = asked ? TOUR.filter((step) => step.name === asked) : TOUR;
  const tabs = (steps.length ? steps : TOUR).map((step) => ({ query: step.query, variables: variablesOf(step, ids) }));
  return (
    <div className="playground">
      <nav className="tour" aria-label="Tour">
        <a href="/graphql">whole tour</a>
        {TOUR.map((step) => (
          <a key={step.name} href={`/graphql?tour=${step.name}`} aria-current={step.name === asked ? "page" : undefined}>
            {step.title}
          </a>
        ))}
      </nav>
      <div className="graphiql">
        <GraphiQL fetcher={fetcher} storage={storage} defaultTabs={tabs} defaultEditorToolsVisibility="variables">
          <GraphiQL.Logo>Haulout</GraphiQL.Logo>
        </GraphiQL>
      </div>
    </div>
  );
}
