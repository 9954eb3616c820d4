/** What several pages show things with. */

import { useNow } from "./live.js";
import { useConnected } from "./socket.js";
import { TokenForm } from "./token_form.jsx";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const FROST_DIGITS = 9;
const SILENT_MS = 5_000;
const NEEDS_TOKEN = ["UNAUTHENTICATED", "PERMISSION_DENIED"];

export const byName = (one, other) => one.name.localeCompare(other.name, "en", { numeric: true });

export function bytes(value) {
  let size = Number(value);
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit ? size.toFixed(1) : size} ${UNITS[unit]}`;
}

/** An amount of FROST in WAL, to the last digit that is not zero. */
export function wal(frost) {
  const digits = String(frost).padStart(FROST_DIGITS + 1, "0");
  const rest = digits.slice(-FROST_DIGITS).replace(/0+$/, "");
  return `${digits.slice(0, -FROST_DIGITS)}${rest && `.${rest}`} WAL`;
}

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

function seconds(ms) {
  const whole = Math.max(0, Math.round(ms / 1_000));
  return whole < 120 ? `${whole} s` : `${Math.round(whole / 60)} min`;
}

/** A page: its title, how old it is, what is wrong, what it shows, and the block it is as of. */
export function Screen({ title, answer, children }) {
  const { data, error, watermark } = answer;
  return (
    <>
      <div className="headline">
        <h1>{title}</h1>
        <Age answer={answer} />
      </div>
      {error && <Problem error={error} scope="READ" />}
      {data ? children(data) : !error && <p className="note">asking …</p>}
      {watermark && (
        <p className="note foot">
          as of block {watermark.height}, attested to {watermark.attestedHeight}
        </p>
      )}
    </>
  );
}

/** Whether what is shown is how things are now, and if not, since when and why. */
function Age({ answer: { answeredAt, error, watermark } }) {
  const isConnected = useConnected();
  const now = useNow();
  if (answeredAt === null) return null;
  const isSilent = watermark?.ledgerSilentMs > SILENT_MS;
  if (isConnected && !error && !isSilent) return <span className="age good-text">live</span>;
  const old = seconds(now - answeredAt + (isSilent ? watermark.ledgerSilentMs : 0));
  const why = isSilent ? "the ledger is silent" : "connection lost, trying again";
  return (
    <span className="age warn-text">
      {old} old · {why}
    </span>
  );
}

const RETRY = {
  NEVER: "The same request will be refused again.",
  SAME_REQUEST: "Nothing has happened; it can be tried again at once.",
  AFTER_DELAY: "Try again in a moment, if it has not happened after all.",
  AFTER_EPOCH_CHANGE: "Try again when the next epoch has begun.",
};

/** What went wrong, in words, whether to try again, and a place for the token, when one would help. */
export function Problem({ error, scope, children }) {
  return (
    <div className="problem" role="alert">
      <p>
        {error.message} <code>{error.code}</code>
      </p>
      {RETRY[error.retry] && <p>{RETRY[error.retry]}</p>}
      {NEEDS_TOKEN.includes(error.code) && <TokenForm scope={scope} />}
      {children}
    </div>
  );
}

export function Tile({ title, value, about, tone }) {
  return (
    <div className={`tile ${tone ?? ""}`}>
      <div className="title">{title}</div>
      <div className="value">{value}</div>
      {about && <div className="about">{about}</div>}
    </div>
  );
}

/** How far a blob is from being lost. */
export function Margin({ title, durability }) {
  const { marginShards, liveShards, requiredShards, toleratedNodeLosses } = durability;
  const value = marginShards < 0 ? "cannot be read" : `${count(marginShards, "shard")} to lose`;
  const nodes = `${count(toleratedNodeLosses, "more node")} may go`;
  return <Tile title={title} value={value} about={`${liveShards} live, ${requiredShards} needed · ${nodes}`} tone={toneOfMargin(durability)} />;
}

export function toneOfMargin(durability) {
  if (durability.marginShards <= 0) return "bad";
  return durability.toleratedNodeLosses < 1 ? "warn" : "good";
}

/** A wide table, which scrolls by itself where the window is narrow. */
export function Table({ label, heads, children }) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {heads.map(([text, isNumber]) => (
              <th key={text} className={isNumber ? "number" : undefined}>
                {text}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

export function Bar({ value, max, label }) {
  return (
    <progress max={Math.max(1, max)} value={Math.min(value, Math.max(1, max))} aria-label={label}>
      {value} of {max}
    </progress>
  );
}

export function until(endsAt, now) {
  if (!endsAt) return "ends when it is advanced by hand";
  const left = Math.max(0, Math.round((new Date(endsAt) - now) / 1_000));
  const [days, hours, minutes] = [Math.floor(left / 86_400), Math.floor(left / 3_600) % 24, Math.floor(left / 60) % 60];
  if (days) return `${days} d ${hours} h left`;
  return hours ? `${hours} h ${minutes} min left` : `${minutes} min ${left % 60} s left`;
}
