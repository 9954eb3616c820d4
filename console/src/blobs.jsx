import { useState } from "react";
import { ask } from "./ask.js";
import { useLive } from "./live.js";
import { bytes, Problem, Screen, Table } from "./parts.jsx";

const QUERY = `query Blobs {
  blobs(first: 50) { totalCount nodes { blobId state unencodedSize encodingType endEpoch durability { marginShards toleratedNodeLosses } } }
}`;

const WAKES = [
  `subscription BlobsChange { events(filter: { types: ["BlobRegistered", "BlobCertified", "BlobDeleted"] }) { sequence } }`,
  `subscription EpochChanges { epochTransition { id } }`,
];

const SEARCH = `query Search($text: String!) { search(text: $text) { ... on Blob { blobId } } }`;

const HEADS = [["Blob"], ["State"], ["Margin", true], ["Size", true], ["Encoding"], ["Until epoch", true]];

export function Blobs() {
  const answer = useLive(QUERY, {}, WAKES);
  return (
    <Screen title="Blobs" answer={answer}>
      {({ blobs }) => (
        <>
          <Find />
          {blobs.nodes.length === 0 ? (
            <p>
              Nothing is stored yet. <a href="#/upload">Store a file</a>.
            </p>
          ) : (
            <>
              <p className="note">
                {blobs.nodes.length < blobs.totalCount ? `the newest ${blobs.nodes.length} of ${blobs.totalCount}` : `${blobs.totalCount} in all, newest first`}
              </p>
              <Table label="Blobs" heads={HEADS}>
                {blobs.nodes.map((blob) => (
                  <tr key={blob.blobId}>
                    <td>
                      <a href={`#/blobs/${blob.blobId}`}>
                        <code>{blob.blobId}</code>
                      </a>
                    </td>
                    <td>{blob.state.toLowerCase()}</td>
                    <td className="number">{blob.durability?.marginShards ?? "–"}</td>
                    <td className="number">{bytes(blob.unencodedSize)}</td>
                    <td>{blob.encodingType}</td>
                    <td className="number">{blob.endEpoch ?? "–"}</td>
                  </tr>
                ))}
              </Table>
            </>
          )}
        </>
      )}
    </Screen>
  );
}

/** A blob by its id, as text or as the number that other explorers show. */
function Find() {
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const text = new FormData(event.currentTarget).get("text").trim();
    setProblem(null);
    try {
      const { data } = await ask(SEARCH, { text });
      const found = data.search.find((hit) => hit.blobId);
      if (found) location.hash = `#/blobs/${found.blobId}`;
      else setProblem({ code: "NOT_FOUND", message: "No blob of this network has that id." });
    } catch (error) {
      setProblem(error);
    }
  };
  return (
    <>
      <form onSubmit={submit} role="search">
        <label>
          Blob id, as text or as a number
          <input name="text" required maxLength="128" size="46" spellCheck="false" autoComplete="off" />
        </label>
        <button type="submit">Find</button>
      </form>
      {problem && <Problem error={problem} scope="READ" />}
    </>
  );
}
