// BLAKE2b-256 (RFC 7693) of at most one block, which is all that a proof has: hashes of hashes.

const BLOCK_BYTES = 128;
const DIGEST_BYTES = 32;
const WORD = (1n << 64n) - 1n;

const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n, 0x510e527fade682d1n, 0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];

const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

const LANES = [
  [0, 4, 8, 12],
  [1, 5, 9, 13],
  [2, 6, 10, 14],
  [3, 7, 11, 15],
  [0, 5, 10, 15],
  [1, 6, 11, 12],
  [2, 7, 8, 13],
  [3, 4, 9, 14],
];

const turn = (word, by) => ((word >> by) | (word << (64n - by))) & WORD;

/** The digest, 32 bytes, of at most 128 bytes. */
export function blake2b256(message) {
  if (message.length > BLOCK_BYTES) throw new RangeError(`${message.length} bytes are more than one block`);
  const block = new Uint8Array(BLOCK_BYTES);
  block.set(message);
  const words = new DataView(block.buffer);
  const m = Array.from({ length: 16 }, (_, i) => words.getBigUint64(8 * i, true));
  const h = [IV[0] ^ 0x01010000n ^ BigInt(DIGEST_BYTES), ...IV.slice(1)];
  const v = [...h, ...IV];
  v[12] ^= BigInt(message.length);
  v[14] ^= WORD;
  for (let round = 0; round < 12; round += 1) {
    const order = SIGMA[round % 10];
    LANES.forEach(([a, b, c, d], lane) => {
      v[a] = (v[a] + v[b] + m[order[2 * lane]]) & WORD;
      v[d] = turn(v[d] ^ v[a], 32n);
      v[c] = (v[c] + v[d]) & WORD;
      v[b] = turn(v[b] ^ v[c], 24n);
      v[a] = (v[a] + v[b] + m[order[2 * lane + 1]]) & WORD;
      v[d] = turn(v[d] ^ v[a], 16n);
      v[c] = (v[c] + v[d]) & WORD;
      v[b] = turn(v[b] ^ v[c], 63n);
    });
  }
  const digest = new DataView(new ArrayBuffer(64));
  h.forEach((word, i) => digest.setBigUint64(8 * i, word ^ v[i] ^ v[i + 8], true));
  return new Uint8Array(digest.buffer, 0, DIGEST_BYTES);
}
