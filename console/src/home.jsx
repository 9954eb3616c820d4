import { useLive, useNow } from "./live.js";
import { bytes, byName, count, Margin, Screen, Tile, until } from "./parts.jsx";

const QUERY = `query Home {
  system {
    epoch { number phase endsAt }
    certifiedBlobCount certifiedBytes encodedBytes capacityBytes nodesActive nodesTotal
    worstDurability { liveShards requiredShards marginShards toleratedNodeLosses }
  }
  storageNodes(first: 50) { nodes { name weight diagnosis { code severity summary remedy } } }
}`;

const WAKES = [
  `subscription NodesChange { storageNodes { id } }`,
  `subscription EpochChanges { epochTransition { id } }`,
  `subscription BlobsChange { events(filter: { types: ["BlobCertified", "BlobDeleted"] }) { sequence } }`,
];

export function Home() {
  const answer = useLive(QUERY, {}, WAKES);
  const now = useNow();
  return (
    <Screen title="The network" answer={answer}>
      {({ system, storageNodes }) => {
        if (!system) return <p className="note">The API reads the ledger's first blocks …</p>;
        const worst = system.worstDurability;
        const ill = [...storageNodes.nodes].sort(byName).flatMap((node) => node.diagnosis.map((found) => ({ ...found, name: node.name })));
        return (
          <>
            <div className="tiles">
              {worst ? (
                <Margin title="Worst blob" durability={worst} />
              ) : (
                <Tile title="Worst blob" value="none yet" about={<a href="#/upload">store the first one</a>} />
              )}
              <Tile title={`Epoch ${system.epoch.number}`} value={system.epoch.phase} about={until(system.epoch.endsAt, now)} />
              <Tile
                title="Blobs"
                value={system.certifiedBlobCount}
                about={`${bytes(system.certifiedBytes)}, ${bytes(system.encodedBytes)} over all shards`}
              />
              <Tile title="Capacity" value={bytes(system.capacityBytes)} about="over all shards, for sale in this epoch" />
              <Tile title="Nodes" value={`${system.nodesActive} of ${system.nodesTotal}`} about="in the committee" />
            </div>
            <h2>What is wrong</h2>
            {ill.length === 0 ? (
              <p className="good-text">Nothing: every node is well.</p>
            ) : (
              <>
                <p className="note">{count(ill.length, "finding")}</p>
                <ul className="findings">
                  {ill.map((found) => (
                    <li key={found.name + found.code} className={found.severity.toLowerCase()}>
                      <strong>{found.name}</strong> {found.summary} <em>{found.remedy}</em>
                    </li>
                  ))}
                </ul>
              </>
            )}
          </>
        );
      }}
    </Screen>
  );
}
