import { useState } from "react";
import { ask, useAnswer } from "./ask.js";
import { Asked, byName, bytes } from "./parts.jsx";

const NODES = `query Members { storageNodes(first: 100) { nodes { id name weight } } }`;

const PLAN = `query Plan($changes: [StakeChangeInput!]!, $leaving: [ID!]) {
  simulateAssignment(stakeChanges: $changes, leaving: $leaving) {
    possible bytesToMove warnings moves { shard fromNode { name } toNode { name } }
  }
}`;

const FROST_PER_WAL = 1_000_000_000n;

export function Stake() {
  const answer = useAnswer(NODES, {}, 0);
  const [plan, setPlan] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const node = form.get("node");
    const isLeaving = form.get("leaving") === "on";
    const delta = (BigInt(form.get("delta") || 0) * FROST_PER_WAL).toString();
    try {
      const variables = { changes: isLeaving ? [] : [{ node, delta }], leaving: isLeaving ? [node] : [] };
      setPlan((await ask(PLAN, variables)).data.simulateAssignment);
    } catch (error) {
      setPlan(error.message);
    }
  };
  return (
    <>
      <h1>Stake</h1>
      <p>What voting end would decide, by the very function that decides. Nothing is changed.</p>
      <Asked answer={answer}>
        {({ storageNodes }) => (
          <form onSubmit={submit}>
            <label>
              Node
              <select name="node">
                {[...storageNodes.nodes].sort(byName).map((node) => (
                  <option key={node.id} value={node.id}>
                    {node.name} ({node.weight} shards)
                  </option>
                ))}
              </select>
            </label>
            <label>
              More stake, in WAL
              <input name="delta" type="number" step="1" defaultValue="1000" />
            </label>
            <label className="inline">
              <input name="leaving" type="checkbox" /> it leaves
            </label>
            <button type="submit">What if?</button>
          </form>
        )}
      </Asked>
      <div aria-live="polite">{plan && <Plan plan={plan} />}</div>
    </>
  );
}

function Plan({ plan }) {
  if (typeof plan === "string") return <p className="problem">{plan}</p>;
  return (
    <>
      <h2>{plan.possible ? "Possible" : "Not possible"}</h2>
      <p>
        {plan.moves.length} shards would move, {bytes(plan.bytesToMove)}.
      </p>
      {plan.warnings.map((warning) => (
        <p key={warning} className="problem">
          {warning}
        </p>
      ))}
      <ul>
        {plan.moves.map((move) => (
          <li key={move.shard}>
            shard {move.shard}: {move.fromNode?.name ?? "nobody"} → {move.toNode?.name ?? "nobody"}
          </li>
        ))}
      </ul>
    </>
  );
}
