import { useState } from "react";
import { ask, useAnswer } from "./ask.js";
import { Asked, bytes, Tile, toneOfMargin } from "./parts.jsx";

const LIST = `query Blobs { blobs(first: 50) { totalCount nodes { blobId state unencodedSize endEpoch } } }`;

const ONE = `query Blob($blobId: BlobID!) {
  blob(blobId: $blobId) {
    blobId state unencodedSize encodedSize encodingType endEpoch contentUrl
    durability { liveShards requiredShards marginShards toleratedNodeLosses }
    certificate { epoch weight quorumThreshold verified signers }
    slivers(first: 100, axis: PRIMARY) { totalCount nodes { pair shard stored node { name } } }
  }
}`;

const VERIFY = `query Verify($blobId: BlobID!) { verifyBlob(blobId: $blobId, strict: true) { valid checks { name passed detail } } }`;

export function Blobs() {
  const answer = useAnswer(LIST);
  return (
    <>
      <h1>Blobs</h1>
      <Asked answer={answer}>
        {({ blobs }) => (
          <>
            <p className="note">{blobs.totalCount} in all</p>
            <div className="scroll" tabIndex={0} role="region" aria-label="Blobs">
              <table>
                <thead>
                  <tr>
                    <th>Blob</th>
                    <th>State</th>
                    <th className="number">Size</th>
                    <th className="number">Until epoch</th>
                  </tr>
                </thead>
                <tbody>
                  {blobs.nodes.map((blob) => (
                    <tr key={blob.blobId}>
                      <td>
                        <a href={`#/blobs/${blob.blobId}`}>
                          <code>{blob.blobId}</code>
                        </a>
                      </td>
                      <td>{blob.state}</td>
                      <td className="number">{bytes(blob.unencodedSize)}</td>
                      <td className="number">{blob.endEpoch}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </>
        )}
      </Asked>
    </>
  );
}

export function BlobPage({ blobId }) {
  const answer = useAnswer(ONE, { blobId });
  return (
    <>
      <h1>
        Blob <code>{blobId}</code>
      </h1>
      <Asked answer={answer}>
        {({ blob }) => (blob ? <Known blob={blob} /> : <p className="problem">There is no such blob.</p>)}
      </Asked>
    </>
  );
}

function Known({ blob }) {
  const { durability, certificate, slivers } = blob;
  return (
    <>
      <div className="tiles">
        <Tile title="State" value={blob.state} about={blob.endEpoch && `until the start of epoch ${blob.endEpoch}`} />
        <Tile title="Size" value={bytes(blob.unencodedSize)} about={`${bytes(blob.encodedSize)} over all shards, ${blob.encodingType}`} />
        {durability && (
          <Tile
            title="Margin"
            value={`${durability.marginShards} shards to lose`}
            about={`${durability.liveShards} live, ${durability.requiredShards} needed · ${durability.toleratedNodeLosses} more nodes may go`}
            tone={toneOfMargin(durability)}
          />
        )}
        {certificate && (
          <Tile
            title="Certificate"
            value={certificate.verified ? "verified" : "NOT VALID"}
            about={`epoch ${certificate.epoch}: ${certificate.weight} shards signed, ${certificate.quorumThreshold} are a quorum`}
            tone={certificate.verified ? "good" : "bad"}
          />
        )}
      </div>
      {slivers.nodes.length > 0 && (
        <>
          <h2>Shards</h2>
          <Grid slivers={slivers.nodes} />
          {Number(slivers.totalCount) > slivers.nodes.length && (
            <p className="note">the first {slivers.nodes.length} of {slivers.totalCount}</p>
          )}
        </>
      )}
      <h2>Proof</h2>
      <Proof blobId={blob.blobId} />
      <p>
        <a href={blob.contentUrl}>its content</a> · <a href={`/graphql?tour=blob`}>ask more about it</a>
      </p>
    </>
  );
}

const SAYS = { true: "held", false: "lacking", null: "no answer" };

function Grid({ slivers }) {
  return (
    <ol className="grid">
      {slivers.map(({ pair, shard, stored, node }) => {
        const text = `shard ${shard}, pair ${pair}: ${SAYS[stored]}${node ? ` at ${node.name}` : ""}`;
        const tone = stored === true ? "good" : stored === false ? "bad" : "warn";
        return (
          <li key={pair} className={tone} title={text} aria-label={text}>
            {shard}
          </li>
        );
      })}
    </ol>
  );
}

function Proof({ blobId }) {
  const [state, setState] = useState(null);
  const verify = async () => {
    setState("reading the blob and encoding it again …");
    try {
      setState((await ask(VERIFY, { blobId })).data.verifyBlob);
    } catch (error) {
      setState(error.message);
    }
  };
  return (
    <>
      <button type="button" onClick={verify}>
        Read it and encode it again
      </button>
      <div aria-live="polite">
        {typeof state === "string" && <p className="note">{state}</p>}
        {state?.checks && (
          <ul>
            {state.checks.map((check) => (
              <li key={check.name} className={check.passed ? "good-text" : "bad-text"}>
                {check.passed ? "✓" : "✗"} {check.name}
              </li>
            ))}
          </ul>
        )}
      </div>
    </>
  );
}
