import { useState } from "react";
import { ask } from "./ask.js";
import { Checks } from "./blob.jsx";
import { useLive } from "./live.js";
import { bytes, Problem, Screen } from "./parts.jsx";
import { bytesOf, checkProof } from "./proof.js";

const NEWEST = `query Newest { blobs(first: 1, filter: { state: CERTIFIED }) { nodes { blobId } } }`;

const QUERY = `query Provable($blobId: BlobID!) {
  blob(blobId: $blobId) {
    blobId state unencodedSize encodingType
    certificate { message signature signers epoch weight quorumThreshold verified }
  }
  committee { nShards }
}`;

const WAKES = [`subscription BlobChanges($blobId: BlobID!) { blob(blobId: $blobId) { id } }`];

const CERTIFICATE = `query Certificate($message: Base64!, $signature: Base64!, $signers: [Int!]!, $epoch: Int!) {
  verifyCertificate(message: $message, signature: $signature, signers: $signers, epoch: $epoch) { valid checks { name passed detail } }
}`;

const SLIVER = `query SliverProof($blobId: BlobID!, $pair: Int!, $axis: Axis!) {
  blob(blobId: $blobId) {
    proof(pair: $pair, axis: $axis) {
      blobId pair axis sliverHash primaryHash secondaryHash merklePath metadataRoot encodingCode unencodedSize nShards
    }
  }
}`;

const RANGE = `query RangeProof($blobId: BlobID!, $start: BigInt!, $length: BigInt!) {
  blob(blobId: $blobId) {
    rangeProof(start: $start, length: $length) {
      start length rowBytes
      slivers {
        blobId pair axis sliverHash primaryHash secondaryHash merklePath metadataRoot encodingCode unencodedSize nShards sliver
      }
    }
  }
}`;

const SHOWN_BYTES = 256;
const UNPRINTABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

export function NewestProofs() {
  const answer = useLive(NEWEST);
  return (
    <Screen title="Proofs" answer={answer}>
      {({ blobs }) =>
        blobs.nodes.length ? (
          <p>
            Proofs are about one blob. <a href={`#/proofs/${blobs.nodes[0].blobId}`}>Those of the newest</a>, or choose <a href="#/blobs">another</a>.
          </p>
        ) : (
          <p>
            Nothing is certified yet, so there is nothing to prove. <a href="#/upload">Store a file</a>.
          </p>
        )
      }
    </Screen>
  );
}

export function Proofs({ blobId }) {
  const answer = useLive(QUERY, { blobId }, WAKES);
  const title = (
    <>
      Proofs of <code>{blobId}</code>
    </>
  );
  return (
    <Screen title={title} answer={answer}>
      {({ blob, committee }) =>
        blob?.certificate ? (
          <>
            <p className="links">
              <a href={`#/blobs/${blobId}`}>the blob</a>
              <span className="note">
                {blob.state.toLowerCase()}, {bytes(blob.unencodedSize)}, {blob.encodingType}
              </span>
            </p>
            <Certificate certificate={blob.certificate} blobId={blobId} />
            <OneSliver blobId={blobId} nShards={committee.nShards} />
            {blob.encodingType === "RS2" && Number(blob.unencodedSize) > 0 && <Range blobId={blobId} size={Number(blob.unencodedSize)} />}
          </>
        ) : (
          <p>{blob ? "It is not certified: there is nothing to prove yet." : "Nobody has registered a blob with this id here."}</p>
        )
      }
    </Screen>
  );
}

/** What was asked for last, and the way to ask: `run` shows the answer of a promise, or why there is none. */
function useResult() {
  const [result, setResult] = useState(null);
  const run = async (promise) => {
    setResult({ isAsked: true });
    try {
      setResult(await promise);
    } catch (error) {
      setResult({ error });
    }
  };
  return [result, run];
}

function Certificate({ certificate, blobId }) {
  const [result, run] = useResult();
  const { message, signature, signers, epoch, weight, quorumThreshold } = certificate;
  const verify = async () => {
    const { data } = await ask(CERTIFICATE, { message, signature, signers, epoch });
    return { ...data.verifyCertificate, document: certificate };
  };
  return (
    <section>
      <h2>Certificate</h2>
      <p className="note">
        Signed in epoch {epoch} by members with {weight} shards; {quorumThreshold} are a quorum. The API checks the aggregate signature
        with the keys of that committee.
      </p>
      <button type="button" onClick={() => run(verify())}>
        Check it
      </button>
      <Outcome result={result} name={`certificate-${blobId}`} />
    </section>
  );
}

function OneSliver({ blobId, nShards }) {
  const [result, run] = useResult();
  const prove = async (pair, axis) => {
    const { data } = await ask(SLIVER, { blobId, pair, axis });
    const { proof } = data.blob;
    return { checks: checkProof(proof, blobId), document: proof };
  };
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    run(prove(Number(form.get("pair")), form.get("axis")));
  };
  return (
    <section>
      <h2>One sliver</h2>
      <p className="note">That a sliver belongs to this blob id, checked here in the browser with BLAKE2b-256.</p>
      <form onSubmit={submit}>
        <label>
          Sliver pair, 0 to {nShards - 1}
          <input name="pair" type="number" min="0" max={nShards - 1} required defaultValue="0" />
        </label>
        <label>
          Sliver
          <select name="axis">
            <option value="PRIMARY">primary: a row</option>
            <option value="SECONDARY">secondary: a column</option>
          </select>
        </label>
        <button type="submit">Get and check it</button>
      </form>
      <Outcome result={result} name={`sliver-proof-${blobId}`} />
    </section>
  );
}

function Range({ blobId, size }) {
  const [result, run] = useResult();
  const prove = async (start, length) => {
    const { data } = await ask(RANGE, { blobId, start, length });
    const { rangeProof } = data.blob;
    return {
      checks: rangeProof.slivers.flatMap((proof) => checkProof(proof, blobId)),
      document: rangeProof,
      content: bytesOf(rangeProof),
    };
  };
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    run(prove(form.get("start"), form.get("length")));
  };
  return (
    <section>
      <h2>Some of its bytes</h2>
      <p className="note">
        The slivers that the bytes stand in, with a proof of each, checked here. That a sliver has its hash takes the code; the API has
        seen to that when it fetched the sliver from its node.
      </p>
      <form onSubmit={submit}>
        <label>
          First byte
          <input name="start" type="number" min="0" max={size - 1} required defaultValue="0" />
        </label>
        <label>
          How many
          <input name="length" type="number" min="1" max={size} required defaultValue={Math.min(size, 100)} />
        </label>
        <button type="submit">Get and check them</button>
      </form>
      <Outcome result={result} name={`range-proof-${blobId}`} />
    </section>
  );
}

function Outcome({ result, name }) {
  return (
    <div aria-live="polite">
      {result?.isAsked && <p className="note">asking …</p>}
      {result?.error && <Problem error={result.error} scope="READ" />}
      {result?.checks && (
        <>
          <Checks checks={result.checks} />
          {result.content && <pre className="content">{readable(result.content)}</pre>}
          <p className="links">
            <button type="button" onClick={() => download(`${name}.json`, JSON.stringify(result.document, null, 2), "application/json")}>
              Download the proof
            </button>
            {result.content && (
              <button type="button" onClick={() => download(`${name}.bin`, result.content, "application/octet-stream")}>
                Download the bytes
              </button>
            )}
          </p>
        </>
      )}
    </div>
  );
}

/** The first bytes as text, or in hexadecimal where they are none. */
function readable(content) {
  const shown = content.slice(0, SHOWN_BYTES);
  const rest = content.length > shown.length ? ` … ${content.length - shown.length} more` : "";
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(shown, { stream: true });
    if (!UNPRINTABLE.test(text)) return text + rest;
  } catch {
    // no text: shown below
  }
  return [...shown].map((byte) => byte.toString(16).padStart(2, "0")).join(" ") + rest;
}

function download(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  URL.revokeObjectURL(url);
}
