import { useChange } from "./changing.js";
import { useLive, useNow } from "./live.js";
import { Bar, byName, bytes, count, Problem, Screen, Table, Tile, until } from "./parts.jsx";

const QUERY = `query Epoch {
  epoch {
    number phase endsAt storageUsed storageCapacity
    transition { startedAt finishedAt forced doneWeight quorumWeight plannedMoves finishedMoves }
    shardMoves(first: 100) { nodes { shard state fromNode { name } toNode { name } } }
  }
  committee { nShards quorumThreshold members(first: 100) { nodes { weight node { name phase } } } }
  epochs(first: 6) { nodes { number transition { startedAt finishedAt forced plannedMoves finishedMoves } } }
}`;

const WAKES = [
  `subscription EpochChanges { epochTransition { id } }`,
  `subscription MovesChange { shardMoves { shard state } }`,
  `subscription NodesChange { storageNodes { id } }`,
];

const ADVANCE = `mutation Advance($input: AdvanceEpochInput!) {
  advanceEpoch(input: $input) { epoch { number } userErrors { code message retry } }
}`;

// In the order in which an epoch goes through them.
const PHASES = [
  ["SYNC", "The committee has changed; shards are being handed over."],
  ["DONE", "The committee has its shards."],
  ["VOTED", "The next committee and parameters are chosen."],
];

export function Epoch() {
  const answer = useLive(QUERY, {}, WAKES);
  const now = useNow();
  return (
    <Screen title={answer.data ? `Epoch ${answer.data.epoch.number}` : "Epoch"} answer={answer}>
      {({ epoch, committee, epochs }) => {
        const { transition } = epoch;
        const took = transition.finishedAt ?? now;
        return (
          <>
            <ol className="steps" aria-label="Phases">
              {PHASES.map(([phase, about], place) => {
                const current = PHASES.findIndex(([name]) => name === epoch.phase);
                const state = place === current ? "now" : place < current ? "done" : "todo";
                return (
                  <li key={phase} className={state} aria-current={state === "now" ? "step" : undefined}>
                    <strong>{phase}</strong> {about}
                  </li>
                );
              })}
            </ol>
            <div className="tiles">
              <Tile title="Clock" value={epoch.phase} about={until(epoch.endsAt, now)} />
              <Tile
                title="Shards arrived"
                value={transition.plannedMoves ? `${transition.finishedMoves} of ${transition.plannedMoves}` : "none had to move"}
                about={`${transition.finishedAt ? "the epoch was done after" : "under way for"} ${lasted(transition.startedAt, took)}${transition.forced ? ", by its deadline" : ""}`}
                tone={transition.finishedMoves < transition.plannedMoves ? "warn" : "good"}
              />
              <Tile title="Sold" value={bytes(epoch.storageUsed)} about={`of ${bytes(epoch.storageCapacity)} for this epoch`} />
            </div>
            {epoch.phase === "SYNC" && (
              <p className="note">
                Members with {transition.doneWeight} of {committee.nShards} shards have all they gained; {transition.quorumWeight} make
                the epoch done.
              </p>
            )}
            <Arrivals moves={epoch.shardMoves.nodes} planned={transition.plannedMoves} members={committee.members.nodes} />
            <h2>Committee</h2>
            <ul className="bars">
              {[...committee.members.nodes]
                .sort((one, other) => byName(one.node, other.node))
                .map(({ node, weight }) => (
                  <li key={node.name}>
                    <span>{node.name}</span>
                    <Bar value={weight} max={committee.nShards} label={`Shards of ${node.name}`} />
                    <span>
                      {count(weight, "shard")}
                      {node.phase !== "ACTIVE" && <Phase phase={node.phase} />}
                    </span>
                  </li>
                ))}
            </ul>
            <h2>The last changes</h2>
            <Table label="Epochs" heads={[["Epoch", true], ["Began"], ["Took"], ["Shards moved", true]]}>
              {epochs.nodes.map(({ number, transition: past }) => (
                <tr key={number}>
                  <td className="number">{number}</td>
                  <td>{new Date(past.startedAt).toLocaleString()}</td>
                  <td>
                    {past.finishedAt ? lasted(past.startedAt, past.finishedAt) : "under way"}
                    {past.forced && ", by its deadline"}
                  </td>
                  <td className="number">
                    {past.finishedMoves} of {past.plannedMoves}
                  </td>
                </tr>
              ))}
            </Table>
            {!epoch.endsAt && <Advance number={epoch.number} />}
          </>
        );
      }}
    </Screen>
  );
}

function lasted(from, to) {
  const ms = Math.max(0, new Date(to) - new Date(from));
  return ms < 60_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round(ms / 1_000) % 60} s`;
}

/** What a member is doing that keeps shards from coming, as in "unreachable". */
function Phase({ phase }) {
  return <span className={phase === "UNREACHABLE" || phase === "FAILED" ? "bad-text" : "warn-text"}> · {phase.toLowerCase().replace("_", " ")}</span>;
}

/** Who takes shards over, and how many of them have come. */
function Arrivals({ moves, planned, members }) {
  if (!moves.length) return null;
  const phases = new Map(members.map(({ node }) => [node.name, node.phase]));
  const takers = new Map();
  for (const move of moves) {
    const name = move.toNode?.name ?? "nobody";
    takers.set(name, [...(takers.get(name) ?? []), move]);
  }
  const rows = [...takers].map(([name, taken]) => ({ name, taken })).sort(byName);
  return (
    <>
      <h2>Who takes over</h2>
      <ul className="bars">
        {rows.map(({ name, taken }) => {
          const arrived = taken.filter((move) => move.state === "DONE").length;
          return (
            <li key={name}>
              <span>{name}</span>
              <Bar value={arrived} max={taken.length} label={`Shards that have come to ${name}`} />
              <span>
                {arrived} of {taken.length}
                {arrived < taken.length && <Phase phase={phases.get(name) ?? "UNREACHABLE"} />}
              </span>
            </li>
          );
        })}
      </ul>
      <details>
        <summary>{planned > moves.length ? `The first ${moves.length} of ${planned} moves` : planned === 1 ? "The move" : `All ${planned} moves`}</summary>
        <ul className="moves">
          {moves.map((move) => (
            <li key={move.shard}>
              shard {move.shard}: {move.fromNode?.name ?? "nobody"} → {move.toNode?.name ?? "nobody"},{" "}
              {move.state === "DONE" ? "arrived" : "on its way"}
            </li>
          ))}
        </ul>
      </details>
    </>
  );
}

/** On a network whose epochs end by hand. */
function Advance({ number }) {
  const { run, isAsked, error } = useChange(ADVANCE, "advanceEpoch");
  return (
    <>
      <h2>Go on</h2>
      <p className="note">
        Epochs of this network end by hand: here, or by <code>haulout epoch advance</code>.
      </p>
      <button type="button" onClick={() => run({ expectedEpoch: number })} disabled={isAsked}>
        Begin epoch {number + 1}
      </button>
      {error && <Problem error={error} scope="OPERATE" />}
    </>
  );
}
