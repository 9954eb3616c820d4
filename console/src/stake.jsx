import { useState } from "react";
import { ask } from "./ask.js";
import { useLive } from "./live.js";
import { byName, bytes, count, Problem, Screen, Table, Tile, wal } from "./parts.jsx";

const QUERY = `query Pools {
  storageNodes(first: 100) { nodes { id name weight stakingPool { stake nextEpochStake commissionBps } } }
}`;

const WAKES = [
  `subscription StakesChange { events(filter: { types: ["StakeChanged", "NodeRegistered", "NodeChanged"] }) { sequence } }`,
  `subscription EpochChanges { epochTransition { id } }`,
];

const PLAN = `query Plan($changes: [StakeChangeInput!]!, $leaving: [ID!]) {
  simulateAssignment(stakeChanges: $changes, leaving: $leaving) {
    epoch possible bytesToMove extraMoves warnings
    members { node { name } weightBefore weightAfter stake }
    moves { shard fromNode { name } toNode { name } }
  }
}`;

const FROST_PER_WAL = 1_000_000_000n;
const POOLS = [["Node"], ["Shards", true], ["Stake", true], ["From the next epoch", true], ["Commission", true]];
const MEMBERS = [["Node"], ["Stake", true], ["Shards before", true], ["Shards after", true], ["Change", true]];

export function Stake() {
  const answer = useLive(QUERY, {}, WAKES);
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
      setPlan({ error });
    }
  };
  return (
    <Screen title="Stake" answer={answer}>
      {({ storageNodes }) => {
        const nodes = [...storageNodes.nodes].sort(byName);
        return (
          <>
            <Table label="Pools" heads={POOLS}>
              {nodes.map(({ id, name, weight, stakingPool: pool }) => (
                <tr key={id}>
                  <td>{name}</td>
                  <td className="number">{weight}</td>
                  <td className="number">{wal(pool.stake)}</td>
                  <td className="number">{wal(pool.nextEpochStake)}</td>
                  <td className="number">{pool.commissionBps / 100} %</td>
                </tr>
              ))}
            </Table>
            <h2>What if?</h2>
            <p className="note">What voting end would decide, by the very function that decides. Nothing is changed.</p>
            <form onSubmit={submit}>
              <label>
                Node
                <select name="node">
                  {nodes.map((node) => (
                    <option key={node.id} value={node.id}>
                      {node.name} ({count(node.weight, "shard")})
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
            <div aria-live="polite">{plan && (plan.error ? <Problem error={plan.error} scope="READ" /> : <Plan plan={plan} />)}</div>
          </>
        );
      }}
    </Screen>
  );
}

function Plan({ plan }) {
  const members = plan.members.filter(({ node }) => node).map((member) => ({ ...member, name: member.node.name }));
  return (
    <>
      <h3>{plan.possible ? `Epoch ${plan.epoch} would be` : "Not possible"}</h3>
      {plan.warnings.map((warning) => (
        <p key={warning} className="problem">
          {warning}
        </p>
      ))}
      <div className="tiles">
        <Tile title="Shards that move" value={plan.moves.length} about={`${plan.extraMoves} more than without it`} tone={plan.possible ? "good" : "bad"} />
        <Tile title="Bytes that move" value={bytes(plan.bytesToMove)} about="at most: if all that is sold were filled" />
      </div>
      <Table label="Members" heads={MEMBERS}>
        {members.sort(byName).map(({ name, stake, weightBefore, weightAfter }) => (
          <tr key={name}>
            <td>{name}</td>
            <td className="number">{wal(stake)}</td>
            <td className="number">{weightBefore}</td>
            <td className="number">{weightAfter}</td>
            <td className="number">{weightAfter > weightBefore ? `+${weightAfter - weightBefore}` : weightAfter - weightBefore}</td>
          </tr>
        ))}
      </Table>
      {plan.moves.length > 0 && (
        <details>
          <summary>{count(plan.moves.length, "move")}</summary>
          <ul className="moves">
            {plan.moves.map((move) => (
              <li key={move.shard}>
                shard {move.shard}: {move.fromNode?.name ?? "nobody"} → {move.toNode?.name ?? "nobody"}
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}
