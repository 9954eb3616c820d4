import { useAnswer } from "./ask.js";
import { Asked, byName, bytes, Tile, until } from "./parts.jsx";

const QUERY = `query Epoch {
  epoch {
    number phase endsAt forced storageUsed storageCapacity
    transition { startedAt finishedAt forced doneWeight quorumWeight plannedMoves finishedMoves }
    shardMoves(first: 100) { nodes { shard state fromNode { name } toNode { name } } }
  }
  committee { nShards quorumThreshold members(first: 100) { nodes { weight node { name } } } }
}`;

export function Epoch() {
  const answer = useAnswer(QUERY, {}, 1000);
  return (
    <Asked answer={answer}>
      {({ epoch, committee }) => {
        const { transition, shardMoves } = epoch;
        return (
          <>
            <h1>Epoch {epoch.number}</h1>
            <div className="tiles">
              <Tile title="Phase" value={epoch.phase} about={until(epoch.endsAt)} tone={epoch.phase === "SYNC" ? "warn" : "good"} />
              <Tile title="Sold" value={bytes(epoch.storageUsed)} about={`of ${bytes(epoch.storageCapacity)}`} />
              <Tile
                title="Shards arrived"
                value={`${transition.finishedMoves} of ${transition.plannedMoves}`}
                about={`members with ${transition.doneWeight} shards are complete, ${transition.quorumWeight} are a quorum`}
              />
            </div>
            <progress max={Math.max(1, transition.plannedMoves)} value={transition.plannedMoves ? transition.finishedMoves : 1}>
              {transition.finishedMoves} of {transition.plannedMoves}
            </progress>
            <h2>Committee</h2>
            <ul className="bars">
              {[...committee.members.nodes].sort((one, other) => byName(one.node, other.node)).map(({ node, weight }) => (
                <li key={node.name}>
                  <span>{node.name}</span>
                  <meter min="0" max={committee.nShards} value={weight} />
                  <span>{weight}</span>
                </li>
              ))}
            </ul>
            {shardMoves.nodes.length > 0 && (
              <>
                <h2>Moves</h2>
                <ul>
                  {shardMoves.nodes.map((move) => (
                    <li key={move.shard}>
                      shard {move.shard}: {move.fromNode?.name} → {move.toNode?.name}, {move.state === "DONE" ? "arrived" : "on its way"}
                    </li>
                  ))}
                </ul>
              </>
            )}
          </>
        );
      }}
    </Asked>
  );
}
