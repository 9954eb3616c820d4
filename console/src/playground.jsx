import "graphiql/setup-workers/vite";
import { GraphiQL } from "graphiql";
import { Kind, OperationTypeNode, parse } from "graphql";
import { useEffect, useState } from "react";
import "graphiql/style.css";
import { ask, request } from "./ask.js";
import { listen } from "./socket.js";
import { IDS, TOUR, variablesOf } from "./tour.js";

/**
 * Subscriptions go over the tab's socket, everything else by POST.
 *
 * The editor looks at a document a moment after it has changed; until then it names the operation of the one before. So
 * only a document with several operations is sent with a name.
 */
function fetcher({ query, variables, operationName: named }) {
  const operations = operationsIn(query);
  const operationName = operations.length > 1 ? named : undefined;
  const asked = operations.length > 1 ? operations.find(({ name }) => name?.value === named) : operations[0];
  if (asked?.operation !== OperationTypeNode.SUBSCRIPTION) return request({ query, variables, operationName });
  return { subscribe: (observer) => ({ unsubscribe: listen(query, variables, observer, operationName) }) };
}

function operationsIn(query) {
  try {
    return parse(query).definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION);
  } catch {
    return []; // the API says what is wrong with it
  }
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
        <GraphiQL
          fetcher={fetcher}
          storage={storage}
          defaultTabs={tabs}
          initialVariables={tabs[0].variables}
          defaultEditorToolsVisibility="variables"
        >
          <GraphiQL.Logo>Haulout</GraphiQL.Logo>
        </GraphiQL>
      </div>
    </div>
  );
}
