import { useLive } from "./live.js";
import { byName, bytes, count, Screen, Table } from "./parts.jsx";

const QUERY = `query Nodes {
  storageNodes(first: 50) {
    totalCount
    nodes {
      id name phase weight eventLag endpoint capacityBytes
      health { nodeStatus height storedSlivers storedBytes incompleteBlobs corruptSlivers }
      diagnosis { code severity summary remedy }
    }
  }
}`;

const WAKES = [`subscription NodesChange { storageNodes { id } }`];

const HEADS = [
  ["Node"],
  ["Phase"],
  ["Shards", true],
  ["Slivers", true],
  ["Stored", true],
  ["Lacks", true],
  ["Block", true],
  ["Behind", true],
  ["Address"],
];
const TONES = { ACTIVE: "good-text", STANDBY: "", PENDING: "", CATCHING_UP: "warn-text", RECOVERING: "warn-text", FAILED: "bad-text", UNREACHABLE: "bad-text" };

export function Nodes() {
  const answer = useLive(QUERY, {}, WAKES);
  return (
    <Screen title="Nodes" answer={answer}>
      {({ storageNodes }) => (
        <>
          <Table label="Nodes" heads={HEADS}>
            {[...storageNodes.nodes].sort(byName).map((node) => (
              <Row key={node.id} node={node} />
            ))}
          </Table>
          {storageNodes.totalCount > storageNodes.nodes.length && (
            <p className="note">
              the {storageNodes.nodes.length} with the most stake, of {storageNodes.totalCount}
            </p>
          )}
        </>
      )}
    </Screen>
  );
}

function Row({ node }) {
  const { health, diagnosis } = node;
  return (
    <>
      <tr className={diagnosis.length ? "open" : undefined}>
        <td>{node.name}</td>
        <td className={TONES[node.phase]}>{node.phase.toLowerCase().replace("_", " ")}</td>
        <td className="number">{node.weight}</td>
        <td className="number">{health?.storedSlivers ?? "–"}</td>
        <td className="number">{health ? bytes(health.storedBytes) : "–"}</td>
        <td className="number">{health ? count(health.incompleteBlobs, "blob") : "–"}</td>
        <td className="number">{health?.height ?? "–"}</td>
        <td className="number">{node.eventLag ?? "–"}</td>
        <td>
          <code>{node.endpoint}</code>
        </td>
      </tr>
      {diagnosis.length > 0 && (
        <tr>
          <td />
          <td colSpan={HEADS.length - 1}>
            <ul className="findings">
              {diagnosis.map((found) => (
                <li key={found.code} className={found.severity.toLowerCase()}>
                  {found.summary} <em>{found.remedy}</em>
                </li>
              ))}
            </ul>
          </td>
        </tr>
      )}
    </>
  );
}
