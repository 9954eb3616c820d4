import { useEffect, useState } from "react";
import { ask } from "./ask.js";
import { useLive } from "./live.js";
import { Bar, byName, bytes, count, Problem, Screen, Table, wal } from "./parts.jsx";
import { TokenForm } from "./token_form.jsx";
import { cancel, forget, start, stateOf, useRun } from "./upload.js";

const QUERY = `query UploadRules {
  viewer { scopes }
  epoch { number parameters { maxBlobSize maxEpochsAhead } }
  committee { nShards quorumThreshold }
}`;

const WAKES = [`subscription EpochChanges { epochTransition { id } }`];

const STORED = `query Stored($id: ID!) { operation(id: $id) { blob { blobId } } }`;
const CERTIFIED = [`subscription BlobsCertified { events(filter: { types: ["BlobCertified"] }) { sequence } }`];

const COST = `query Cost($size: BigInt!, $epochs: Int!) {
  estimateCost(sizes: [$size], epochs: $epochs) { encodedSize encodingTypes total }
}`;

const PHASES = ["RECEIVING", "ENCODING", "REGISTERING", "UPLOADING", "CERTIFYING"];

export function Upload() {
  const answer = useLive(QUERY, {}, WAKES);
  const run = useRun();
  return (
    <Screen title="Upload" answer={answer}>
      {(rules) => (run ? <Run run={run} rules={rules} /> : <Choice rules={rules} />)}
    </Screen>
  );
}

function Choice({ rules: { viewer, epoch } }) {
  const { maxBlobSize, maxEpochsAhead } = epoch.parameters;
  const [file, setFile] = useState(null);
  const [isOver, setIsOver] = useState(false);
  const [epochs, setEpochs] = useState("5");
  const [encoding, setEncoding] = useState("");
  const mayStore = viewer.scopes.some((scope) => scope === "WRITE_BLOB" || scope === "ADMIN");
  const isTooLarge = file !== null && file.size > Number(maxBlobSize);
  const choose = (files) => files.length && setFile(files[0]);
  const submit = (event) => {
    event.preventDefault();
    const persistence = new FormData(event.currentTarget).get("persistence");
    start(file, { epochs: Number(epochs), persistence, ...(encoding && { encoding }) });
  };
  const drop = (event) => {
    event.preventDefault();
    setIsOver(false);
    choose(event.dataTransfer.files);
  };
  if (!mayStore) {
    return (
      <div className="panel">
        <p>Storing needs a token with the scope WRITE_BLOB here.</p>
        <TokenForm scope="WRITE_BLOB" />
      </div>
    );
  }
  return (
    <form className="upload" onSubmit={submit}>
      <label
        className={`drop ${isOver ? "over" : ""}`}
        onDragOver={(event) => {
          event.preventDefault();
          setIsOver(true);
        }}
        onDragLeave={() => setIsOver(false)}
        onDrop={drop}
      >
        <span className="value">{file ? file.name : "Choose a file, or drop one here"}</span>
        <span>{file ? bytes(file.size) : `up to ${bytes(maxBlobSize)}`}</span>
        <input type="file" name="file" className="unseen" onChange={(event) => choose(event.target.files)} />
      </label>
      <div className="options">
        <label>
          Epochs to keep it
          <input name="epochs" type="number" min="1" max={maxEpochsAhead} step="1" required value={epochs} onChange={(event) => setEpochs(event.target.value)} />
        </label>
        <label>
          Its owner may delete it
          <select name="persistence">
            <option value="DELETABLE">at any time</option>
            <option value="PERMANENT">not before its end</option>
          </select>
        </label>
        <label>
          Encoding
          <select name="encoding" value={encoding} onChange={(event) => setEncoding(event.target.value)}>
            <option value="">by its size</option>
            <option value="RS2">RS2: byte for byte Walrus's</option>
            <option value="RS8">RS8: in stripes</option>
          </select>
        </label>
        <button type="submit" className="primary" disabled={!file || isTooLarge}>
          Store it
        </button>
      </div>
      {isTooLarge && (
        <p className="bad-text" role="alert">
          This file has {bytes(file.size)}; this network stores up to {bytes(maxBlobSize)} in one blob. Cut it into parts.
        </p>
      )}
      {file && !isTooLarge && !encoding && <Cost size={file.size} epochs={Number(epochs)} epoch={epoch.number} />}
    </form>
  );
}

/** What the ledger would take for it now. */
function Cost({ size, epochs, epoch }) {
  const [cost, setCost] = useState(null);
  useEffect(() => {
    let isShown = true;
    setCost(null);
    if (Number.isInteger(epochs) && epochs > 0) {
      ask(COST, { size: String(size), epochs }).then(
        ({ data }) => isShown && setCost(data.estimateCost),
        () => isShown && setCost(null), // an estimate is a courtesy: the store itself says what is wrong
      );
    }
    return () => {
      isShown = false;
    };
  }, [size, epochs]);
  return (
    <p className="note" role="status">
      {cost
        ? `${bytes(cost.encodedSize)} over all shards as ${cost.encodingTypes[0]}, for about ${wal(cost.total)}, until the start of epoch ${epoch + epochs}`
        : "asking what it costs …"}
    </p>
  );
}

function Run({ run, rules: { committee } }) {
  const { name, size, sent, operation, error, blobId, wasThere } = run;
  const state = stateOf(run);
  const reason = operation?.error ?? error;
  const nodes = (operation?.perNode ?? []).filter(({ node }) => node).map((outcome) => ({ ...outcome, name: outcome.node.name }));
  const confirmed = nodes.filter((outcome) => outcome.hasConfirmed).reduce((sum, { weight }) => sum + weight, 0);
  return (
    <>
      <p>
        <strong>{name}</strong>, {bytes(size)}
      </p>
      {state === "done" && (
        <div className="panel good" role="status">
          <p>{wasThere ? "These bytes were kept for long enough already: nothing was paid." : "Stored: a quorum holds it, and the ledger says so."}</p>
          {blobId ? <Place blobId={blobId} /> : <Search operationId={run.operationId} />}
        </div>
      )}
      {state === "cancelled" && <p role="status">Cancelled before the gateway had it all: nothing was paid, nothing is stored.</p>}
      {state === "failed" && (
        <Problem error={reason} scope="WRITE_BLOB">
          {reason.retry === "AFTER_DELAY" && <p>What the nodes have already is not sent twice.</p>}
        </Problem>
      )}
      <Steps run={run} state={state} confirmed={confirmed} committee={committee} />
      {nodes.length > 0 && <PerNode nodes={nodes} isOver={state === "done"} />}
      <p className="links">
        {state === "running" && sent < size && (
          <button type="button" onClick={cancel}>
            Cancel
          </button>
        )}
        {state !== "running" && (
          <button type="button" onClick={forget}>
            {state === "done" ? "Store another file" : "Back"}
          </button>
        )}
      </p>
      {state === "running" && sent === size && <p className="note">The gateway has all of it: it goes on by itself, even if this page is closed.</p>}
    </>
  );
}

function Place({ blobId }) {
  return (
    <p className="links">
      <a href={`#/blobs/${blobId}`}>See where it is</a>
      <code>{blobId}</code>
    </p>
  );
}

/** A blob that is certified, and whose id got lost with the connection that brought the file. */
function Search({ operationId }) {
  const blobId = useLive(STORED, { id: operationId }, CERTIFIED).data?.operation?.blob?.blobId;
  return blobId ? <Place blobId={blobId} /> : <p className="note">looking for it on the ledger …</p>;
}

function Steps({ run, state, confirmed, committee }) {
  const { size, sent, lastPhase, operation, wasThere } = run;
  const current = state === "done" ? PHASES.length : Math.max(0, PHASES.indexOf(lastPhase));
  const { doneBytes = 0, totalBytes = 0 } = operation ?? {};
  const details = {
    RECEIVING: ["Sent to the gateway", sent, size, `${bytes(sent)} of ${bytes(size)}`],
    ENCODING: ["Encoded into slivers", Number(doneBytes), Number(totalBytes), `${bytes(doneBytes)} of ${bytes(totalBytes)}`],
    REGISTERING: ["Registered on the ledger, and paid"],
    UPLOADING: [
      "Confirmed by a quorum of shards",
      confirmed,
      committee.quorumThreshold,
      `${confirmed} of ${committee.nShards} shards, ${committee.quorumThreshold} are a quorum · ${bytes(doneBytes)} of ${bytes(totalBytes)} sent`,
    ],
    CERTIFYING: ["Certified on the ledger"],
  };
  return (
    <ol className="steps" aria-label="Phases">
      {PHASES.map((phase, place) => {
        const [title, value, max, text] = details[phase];
        const isNow = place === current;
        const isSkipped = wasThere && place > 1;
        const mood = place < current ? "done" : !isNow ? "todo" : state === "running" ? "now" : "failed";
        return (
          <li key={phase} className={isSkipped ? "todo" : mood} aria-current={mood === "now" ? "step" : undefined}>
            <strong>{title}</strong>
            {isSkipped && <span className="note"> not needed</span>}
            {phase === "UPLOADING" && mood === "done" && confirmed > 0 && (
              <div className="note">
                {confirmed} of {committee.nShards} shards; {committee.quorumThreshold} are a quorum
              </div>
            )}
            {isNow && max > 0 && (
              <>
                <Bar value={value} max={max} label={title} />
                <span className="note">{text}</span>
              </>
            )}
          </li>
        );
      })}
    </ol>
  );
}

function PerNode({ nodes, isOver }) {
  const unsaid = isOver ? "was not waited for; it fetches what it lacks by itself" : "slivers are on their way …";
  return (
    <>
      <h2>Nodes</h2>
      <Table label="What each node answers" heads={[["Node"], ["Shards", true], ["Answer"]]}>
        {[...nodes].sort(byName).map(({ name, weight, hasConfirmed, problem }) => (
          <tr key={name}>
            <td>{name}</td>
            <td className="number" aria-label={count(weight, "shard")}>
              {weight}
            </td>
            <td className={hasConfirmed ? "good-text" : problem ? "bad-text" : ""}>
              {hasConfirmed ? "✓ has signed that it holds all of its slivers" : (problem ?? unsaid)}
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}
