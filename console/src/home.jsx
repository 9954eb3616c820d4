import { useAnswer } from "./ask.js";
import { Asked, bytes, Tile, toneOfMargin, until } from "./parts.jsx";

const QUERY = `query Home {
  system {
    epoch { number phase endsAt }
    certifiedBlobCount certifiedBytes encodedBytes capacityBytes nodesActive nodesTotal
    worstDurability { liveShards requiredShards marginShards toleratedNodeLosses }
  }
  storageNodes(first: 100) { nodes { name weight diagnosis { severity summary remedy } } }
}`;

export function Home() {
  const answer = useAnswer(QUERY);
  return (
    <>
      <h1>The network</h1>
      <Asked answer={answer}>
        {({ system, storageNodes }) => {
          const worst = system.worstDurability;
          const ill = storageNodes.nodes.flatMap((node) => node.diagnosis.map((found) => ({ ...found, name: node.name })));
          return (
            <>
              <div className="tiles">
                <Tile
                  title="Worst blob"
                  value={worst ? `${worst.marginShards} shards to lose` : "nothing stored"}
                  about={worst && `${worst.liveShards} live, ${worst.requiredShards} needed · ${worst.toleratedNodeLosses} more nodes may go`}
                  tone={toneOfMargin(worst)}
                />
                <Tile title={`Epoch ${system.epoch.number}`} value={system.epoch.phase} about={until(system.epoch.endsAt)} />
                <Tile title="Blobs" value={system.certifiedBlobCount} about={`${bytes(system.certifiedBytes)}, encoded ${bytes(system.encodedBytes)}`} />
                <Tile title="Capacity" value={bytes(system.capacityBytes)} about="encoded bytes for this epoch" />
                <Tile title="Nodes" value={`${system.nodesActive} of ${system.nodesTotal}`} about="in the committee" />
              </div>
              <h2>What is wrong</h2>
              {ill.length === 0 ? (
                <p className="good-text">Nothing: every node is well.</p>
              ) : (
                <ul>
                  {ill.map((found) => (
                    <li key={found.name + found.summary}>
                      <strong>{found.name}</strong>: {found.summary} <em>{found.remedy}</em>
                    </li>
                  ))}
                </ul>
              )}
            </>
          );
        }}
      </Asked>
    </>
  );
}
