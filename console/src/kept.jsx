/** Who keeps a blob, for how long, and how it is kept longer: each of its objects has an owner, an end, and maybe a policy. */

import { useChange } from "./changing.js";
import { count, Problem, wal } from "./parts.jsx";

const SET = `mutation Keep($input: RetentionInput!) {
  setRetention(input: $input) { userErrors { code message retry } }
}`;
const SHARE = `mutation Share($input: ShareBlobInput!) {
  shareBlob(input: $input) { userErrors { code message retry } }
}`;
const FUND = `mutation Fund($input: FundSharedBlobInput!) {
  fundSharedBlob(input: $input) { userErrors { code message retry } }
}`;

const FROST_PER_WAL = 1_000_000_000n;
const EPOCHS_MIN = 2; // with fewer it would be looked at when its last epoch is over
const EPOCHS_FIRST = 5;

export function Kept({ objects, account, epoch, onChange }) {
  if (!objects.nodes.length) return null;
  return (
    <>
      <h2>How long it is kept</h2>
      {objects.nodes.map((object) => (
        <ObjectOf key={object.objectId} object={object} account={account} epoch={epoch} onChange={onChange} />
      ))}
      {Number(objects.totalCount) > objects.nodes.length && (
        <p className="note">
          the first {objects.nodes.length} of {count(Number(objects.totalCount), "object")} with this content
        </p>
      )}
    </>
  );
}

/** One of them; what may be done with it depends on whose it is. */
function ObjectOf({ object, account, epoch, onChange }) {
  const { objectId, persistence, certifiedEpoch, endEpoch, owner, shared, retention } = object;
  const isOver = endEpoch <= epoch.number;
  const isOurs = owner !== null && owner.address === account?.address;
  const canKeep = account !== null && (isOurs || shared !== null) && certifiedEpoch !== null && !isOver;
  return (
    <div className={`panel ${retention?.error || isOver ? "warn" : retention ? "good" : ""}`}>
      <p>
        <strong>{isOver ? `ended with epoch ${endEpoch - 1}` : `until the start of epoch ${endEpoch}`}</strong>,{" "}
        {persistence === "PERMANENT" ? "nobody can delete it before" : "its owner may delete it before"}
      </p>
      <p className="note">
        object <code>{objectId}</code> · {shared ? `of nobody, ${wal(shared.funds)} left for extensions` : isOurs ? "of this server's account" : <>of <code>{owner.address}</code></>}
      </p>
      {canKeep && <Policy object={object} max={epoch.parameters.maxEpochsAhead} onChange={onChange} />}
      {!canKeep && !isOver && (
        <p className="note">{certifiedEpoch === null ? "It can be kept longer once it is certified." : "Only its owner can keep it longer."}</p>
      )}
      {canKeep && shared && <Fund objectId={objectId} onChange={onChange} />}
      {canKeep && isOurs && persistence === "PERMANENT" && <Share objectId={objectId} onChange={onChange} />}
    </div>
  );
}

/** Whether the server keeps it paid for, and how many epochs of it. */
function Policy({ object: { objectId, endEpoch, retention }, max, onChange }) {
  const { run, isAsked, error } = useChange(SET, "setRetention", onChange);
  const submit = (event) => {
    event.preventDefault();
    run({ objectId, keepEpochs: Number(new FormData(event.currentTarget).get("epochs")) });
  };
  return (
    <>
      <p role="status">{sentenceOf(retention, endEpoch)}</p>
      {retention?.error && <Problem error={retention.error} />}
      <form onSubmit={submit}>
        <label>
          Epochs to keep paid for
          <input name="epochs" type="number" min={EPOCHS_MIN} max={max} step="1" required defaultValue={Math.min(max, retention?.keepEpochs ?? EPOCHS_FIRST)} />
        </label>
        <button type="submit" disabled={isAsked}>
          Keep it
        </button>
        {retention && (
          <button type="button" disabled={isAsked} onClick={() => run({ objectId, keepEpochs: 0 })}>
            Let it end
          </button>
        )}
      </form>
      {error && <Problem error={error} scope="WRITE_BLOB" />}
    </>
  );
}

function sentenceOf(retention, endEpoch) {
  if (!retention) return `Nobody extends it: it ends when epoch ${endEpoch} starts.`;
  const { keepEpochs, nextActionEpoch } = retention;
  if (nextActionEpoch === null) return `It was to be kept ${count(keepEpochs, "epoch")} ahead, and is not extended any more.`;
  return `It is kept: the server extends it in epoch ${nextActionEpoch}, so that ${count(keepEpochs, "epoch")} are paid for.`;
}

/** Anybody may put tokens in. */
function Fund({ objectId, onChange }) {
  const { run, isAsked, error } = useChange(FUND, "fundSharedBlob", onChange);
  const submit = (event) => {
    event.preventDefault();
    run({ objectId, amount: frostOf(event.currentTarget) });
  };
  return (
    <>
      <form onSubmit={submit}>
        <Amount label="More for extensions, in WAL" min={1} />
        <button type="submit" disabled={isAsked}>
          Put it in
        </button>
      </form>
      <p className="note">Nobody gets it back: it pays for extensions, whoever asks for them.</p>
      {error && <Problem error={error} scope="WRITE_BLOB" />}
    </>
  );
}

/** Give an object up to everybody; nothing undoes it, so it takes two steps. */
function Share({ objectId, onChange }) {
  const { run, isAsked, error } = useChange(SHARE, "shareBlob", onChange);
  const submit = (event) => {
    event.preventDefault();
    run({ objectId, amount: frostOf(event.currentTarget) });
  };
  return (
    <details>
      <summary>Give it to everybody</summary>
      <p className="note">
        Nobody owns it from then on, and nothing undoes that: anybody may extend it from what it holds, and put more in; nobody can
        change or transfer it.
      </p>
      <form onSubmit={submit}>
        <Amount label="What it holds at first, in WAL" min={0} />
        <button type="submit" disabled={isAsked}>
          Share it for good
        </button>
      </form>
      {error && <Problem error={error} scope="WRITE_BLOB" />}
    </details>
  );
}

function Amount({ label, min }) {
  return (
    <label>
      {label}
      <input name="amount" type="number" min={min} step="1" required defaultValue="1" />
    </label>
  );
}

const frostOf = (form) => (BigInt(new FormData(form).get("amount")) * FROST_PER_WAL).toString();
