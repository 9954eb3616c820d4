/** What several pages show things with. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

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

export function Tile({ title, value, about, tone }) {
  return (
    <div className={`tile ${tone ?? ""}`}>
      <div className="title">{title}</div>
      <div className="value">{value}</div>
      {about && <div className="about">{about}</div>}
    </div>
  );
}

export function Asked({ answer, children }) {
  return (
    <>
      {answer.error && (
        <p className="problem" role="alert">
          {answer.error}
        </p>
      )}
      {answer.data ? children(answer.data) : !answer.error && <p className="note">asking …</p>}
      {answer.watermark && (
        <p className="note">
          as of block {answer.watermark.height}, attested to {answer.watermark.attestedHeight}
          {answer.watermark.ledgerSilentMs > 0 && ` · the ledger has been silent for ${answer.watermark.ledgerSilentMs} ms`}
        </p>
      )}
    </>
  );
}

export function toneOfMargin(durability) {
  if (!durability) return "";
  if (durability.marginShards <= 0) return "bad";
  return durability.toleratedNodeLosses < 1 ? "warn" : "good";
}

export function until(endsAt) {
  if (!endsAt) return "advanced by hand";
  const seconds = Math.max(0, Math.round((new Date(endsAt) - Date.now()) / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h left`;
  return hours ? `${hours} h ${minutes} min left` : `${minutes} min ${seconds % 60} s left`;
}
