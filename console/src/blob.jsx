import { useEffect, useState } from "react";
import { ask } from "./ask.js";
import { useLive } from "./live.js";
import { Kept } from "./kept.jsx";
import { byName, bytes, count, Margin, Problem, Screen, Tile } from "./parts.jsx";

const QUERY = `query Blob($blobId: BlobID!) {
  blob(blobId: $blobId) {
    blobId state unencodedSize encodedSize encodingType endEpoch contentUrl
    durability { liveShards requiredShards marginShards toleratedNodeLosses }
    certificate { epoch weight quorumThreshold verified }
    slivers(first: 100, axis: PRIMARY) { totalCount nodes { pair shard stored node { name } } }
    objects(first: 10) {
      totalCount
      nodes {
        objectId persistence certifiedEpoch endEpoch owner { address } shared { funds }
        retention { keepEpochs nextActionEpoch error { code message retry } }
      }
    }
  }
  viewer { account { address } }
  epoch { number parameters { maxEpochsAhead } }
}`;

const WAKES = [
  `subscription BlobChanges($blobId: BlobID!) { blob(blobId: $blobId) { id } }`,
  `subscription NodesChange { storageNodes { id } }`,
];

const VERIFY = `query Verify($blobId: BlobID!) { verifyBlob(blobId: $blobId, strict: true) { valid checks { name passed detail } } }`;

const STRICT_MAX_BYTES = 4 << 20; // what verifyBlob reads and encodes again
const KEPT_CHANGES = 8;

export function BlobPage({ blobId }) {
  const answer = useLive(QUERY, { blobId }, WAKES);
  const title = (
    <>
      Blob <code>{blobId}</code>
    </>
  );
  return (
    <Screen title={title} answer={answer}>
      {({ blob, viewer, epoch }) => (blob ? <Known blob={blob} account={viewer.account} epoch={epoch} onChange={answer.renew} /> : <p className="problem">Nobody has registered a blob with this id here.</p>)}
    </Screen>
  );
}

function Known({ blob, account, epoch, onChange }) {
  const { durability, certificate, slivers } = blob;
  const isSmall = Number(blob.unencodedSize) <= STRICT_MAX_BYTES;
  return (
    <>
      <div className="tiles">
        {durability && <Margin title="Margin" durability={durability} />}
        <Tile title="State" value={blob.state.toLowerCase()} about={blob.endEpoch && `until the start of epoch ${blob.endEpoch}`} />
        <Tile title="Size" value={bytes(blob.unencodedSize)} about={`${bytes(blob.encodedSize)} over all shards, ${blob.encodingType}`} />
        {certificate && (
          <Tile
            title="Certificate"
            value={certificate.verified ? "verified" : "NOT VALID"}
            about={`epoch ${certificate.epoch}: ${certificate.weight} shards signed, ${certificate.quorumThreshold} are a quorum`}
            tone={certificate.verified ? "good" : "bad"}
          />
        )}
      </div>
      <p className="links">
        <a href={blob.contentUrl}>its content</a>
        <a href={`#/proofs/${blob.blobId}`}>proofs</a>
        <a href="/graphql?tour=blob">ask more about it</a>
      </p>
      {durability && <Changes margin={durability.marginShards} />}
      {slivers.nodes.length > 0 && <Shards slivers={slivers} />}
      <Kept objects={blob.objects} account={account} epoch={epoch} onChange={onChange} />
      {certificate && isSmall && <Verification blobId={blob.blobId} />}
    </>
  );
}

/** How the margin went since the page was opened. */
function Changes({ margin }) {
  const [changes, setChanges] = useState([]);
  useEffect(() => {
    setChanges((before) => {
      if (before.at(-1)?.margin === margin) return before;
      return [...before, { margin, at: new Date().toLocaleTimeString() }].slice(-KEPT_CHANGES);
    });
  }, [margin]);
  if (changes.length < 2) return null;
  return (
    <p className="note" role="status">
      margin: {changes.map(({ margin: shards, at }) => `${shards} at ${at}`).join(" → ")}
    </p>
  );
}

const SAYS = { true: "held", false: "lacking", null: "no answer" };
const TONES = { true: "good", false: "bad", null: "warn" };
const MARKS = { true: "", false: "✗", null: "?" };

/** Who holds it: a row of shards for each node. */
function Shards({ slivers }) {
  const holders = new Map();
  for (const sliver of slivers.nodes) {
    const name = sliver.node?.name ?? "nobody";
    holders.set(name, [...(holders.get(name) ?? []), sliver]);
  }
  const rows = [...holders].map(([name, held]) => ({ name, held: held.sort((one, other) => one.shard - other.shard) })).sort(byName);
  return (
    <>
      <h2>Shards</h2>
      <p className="note legend">
        {Object.keys(SAYS).map((state) => (
          <span key={state}>
            <i className={`cell ${TONES[state]}`}>{MARKS[state]}</i> {SAYS[state]}
          </span>
        ))}
      </p>
      <ul className="holders">
        {rows.map(({ name, held }) => (
          <li key={name}>
            <span>{name}</span>
            <ol className="grid" aria-label={`Shards of ${name}`}>
              {held.map((sliver) => (
                <Shard key={sliver.pair} sliver={sliver} />
              ))}
            </ol>
          </li>
        ))}
      </ul>
      {Number(slivers.totalCount) > slivers.nodes.length && (
        <p className="note">
          the first {slivers.nodes.length} of {count(Number(slivers.totalCount), "shard")}
        </p>
      )}
    </>
  );
}

function Shard({ sliver: { shard, pair, stored } }) {
  const text = `shard ${shard}, sliver pair ${pair}: ${SAYS[stored]}`;
  return (
    <li className={`cell ${TONES[stored]}`} title={text}>
      <span aria-hidden="true">
        {shard}
        {MARKS[stored]}
      </span>
      <span className="unseen">{text}</span>
    </li>
  );
}

function Verification({ blobId }) {
  const [state, setState] = useState(null);
  const verify = async () => {
    setState("asked");
    try {
      setState((await ask(VERIFY, { blobId })).data.verifyBlob);
    } catch (error) {
      setState({ error });
    }
  };
  return (
    <>
      <h2>Is it all there?</h2>
      <button type="button" onClick={verify} disabled={state === "asked"}>
        Read it and encode it again
      </button>
      <div aria-live="polite">
        {state === "asked" && <p className="note">reading …</p>}
        {state?.error && <Problem error={state.error} scope="READ" />}
        {state?.checks && <Checks checks={state.checks} />}
      </div>
    </>
  );
}

/** What was checked, one line each. */
export function Checks({ checks }) {
  return (
    <ul className="checks">
      {checks.map((check) => (
        <li key={check.name} className={check.passed ? "good-text" : "bad-text"}>
          {check.passed ? "✓" : "✗"} {check.name}
          {check.detail && <span className="note"> {check.detail}</span>}
        </li>
      ))}
    </ul>
  );
}
