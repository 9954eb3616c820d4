import { useAnswer } from "./ask.js";
import { Asked, byName, bytes } from "./parts.jsx";

const QUERY = `query Nodes {
  storageNodes(first: 100) {
    nodes {
      id name phase weight eventLag endpoint
      health { nodeStatus height storedSlivers storedBytes incompleteBlobs corruptSlivers }
      diagnosis { severity summary remedy }
    }
  }
}`;

export function Nodes() {
  const answer = useAnswer(QUERY);
  return (
    <>
      <h1>Nodes</h1>
      <Asked answer={answer}>
        {({ storageNodes }) => (
          <div className="scroll" tabIndex={0} role="region" aria-label="Nodes">
            <table>
              <thead>
                <tr>
                  <th>Node</th>
                  <th>Phase</th>
                  <th className="number">Shards</th>
                  <th>Status</th>
                  <th className="number">Block</th>
                  <th className="number">Behind</th>
                  <th className="number">Stored</th>
                  <th className="number">Lacks</th>
                  <th>Diagnosis</th>
                </tr>
              </thead>
              <tbody>
                {[...storageNodes.nodes].sort(byName).map((node) => (
                  <tr key={node.id}>
                    <td>{node.name}</td>
                    <td>{node.phase}</td>
                    <td className="number">{node.weight}</td>
                    <td className={node.health ? "" : "bad-text"}>{node.health?.nodeStatus ?? "does not answer"}</td>
                    <td className="number">{node.health?.height}</td>
                    <td className="number">{node.eventLag}</td>
                    <td className="number">{node.health && bytes(node.health.storedBytes)}</td>
                    <td className="number">{node.health?.incompleteBlobs}</td>
                    <td>
                      {node.diagnosis.map((found) => (
                        <div key={found.summary}>
                          {found.summary} <em>{found.remedy}</em>
                        </div>
                      ))}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Asked>
    </>
  );
}
