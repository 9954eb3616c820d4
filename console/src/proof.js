// Checks a sliver's proof here, with nothing but BLAKE2b-256: from the hashes of its pair up to the blob id.
//
//   leaf = H(0x00, primaryHash, secondaryHash)
//   up   = H(0x01, left, right), the sibling on the left where the bit of `pair` is 1
//   root = metadataRoot
//   id   = H(encodingCode, unencodedSize in 8 bytes little-endian, root)

import { blake2b256 } from "./blake2b.js";

export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

const idText = (digest) =>
  btoa(String.fromCharCode(...digest))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");

const join = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));
const isSame = (one, other) => one.length === other.length && one.every((byte, i) => byte === other[i]);

/** What was checked, in order; all of it has to hold. */
export function checkProof(proof, blobId) {
  const root = fromBase64(proof.metadataRoot);
  let node = blake2b256(join([0], fromBase64(proof.primaryHash), fromBase64(proof.secondaryHash)));
  proof.merklePath.forEach((sibling, level) => {
    const other = fromBase64(sibling);
    node = blake2b256((proof.pair >> level) & 1 ? join([1], other, node) : join([1], node, other));
  });
  const head = new DataView(new ArrayBuffer(9));
  head.setUint8(0, proof.encodingCode);
  head.setBigUint64(1, BigInt(proof.unencodedSize), true);
  const id = idText(blake2b256(join(new Uint8Array(head.buffer), root)));
  const hash = proof.axis === "PRIMARY" ? proof.primaryHash : proof.secondaryHash;
  return [
    { name: `the sliver's hash is the ${proof.axis.toLowerCase()} one of pair ${proof.pair}`, passed: hash === proof.sliverHash },
    { name: `the pair and ${proof.merklePath.length} siblings lead to the metadata root`, passed: isSame(node, root) },
    { name: "encoding, size and root make the blob id", passed: id === blobId },
  ];
}

/** The bytes that a proof of a range is about, cut out of its slivers. */
export function bytesOf({ start, length, rowBytes, slivers }) {
  const content = join(...slivers.map(({ sliver }) => fromBase64(sliver)));
  const from = Number(start) % Number(rowBytes);
  return content.slice(from, from + Number(length));
}
