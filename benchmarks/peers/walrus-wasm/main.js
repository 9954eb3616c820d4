// Encodes and decodes blobs with Walrus's own WASM encoder, buffers reused.
//
//   node main.js encode|blob-id|decode N_SHARDS BLOB_BYTES REPEATS
//
// Prints the CPU seconds of the fastest repeat and the blob id as hex. `decode` has lost the first f primary slivers.

const { BlobEncoder } = require('@mysten/walrus-wasm');

const [operation, ...numbers] = process.argv.slice(2);
const [n, size, repeats] = numbers.map(Number);
const f = Math.floor((n - 1) / 3);
const [k1, k2] = [n - 2 * f, n - f];
const symbol = 2 * Math.ceil(Math.max(size, 1) / (2 * k1 * k2));

function buffers(symbols) {
  // BCS of a sliver: length as ULEB128, its bytes, symbol size, index
  const length = symbols * symbol;
  const prefix = Math.max(1, Math.ceil(Math.log2(length + 1) / 7));
  return Array.from({ length: n }, () => new Uint8Array(prefix + length + 4));
}

const data = new Uint8Array(size);
for (let i = 0; i < size; i++) data[i] = (i * 31 + (i >> 8)) & 255;
const encoder = new BlobEncoder(n);
const [primary, secondary] = [buffers(k2), buffers(k1)];
const blobId = Array.from(encoder.compute_metadata(data)[0]);
if (operation === 'decode') encoder.encode(data, primary, secondary);
const out = new Uint8Array(size);
let best = Infinity;
for (let i = 0; i < repeats; i++) {
  const start = process.cpuUsage();
  if (operation === 'encode') encoder.encode(data, primary, secondary);
  else if (operation === 'blob-id') encoder.compute_metadata(data);
  else encoder.decode(new Uint8Array(blobId), BigInt(size), primary.slice(f, f + k1), out);
  const { user, system } = process.cpuUsage(start);
  best = Math.min(best, (user + system) / 1e6);
}
if (operation === 'decode' && Buffer.compare(Buffer.from(out), Buffer.from(data)) !== 0) throw new Error('decoded wrongly');
console.log(best, Buffer.from(blobId).toString('hex'));
