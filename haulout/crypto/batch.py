"""Many Merkle leaves and many Merkle trees at once, as arrays: where an encoded blob's time goes.

The plain versions loop over `hashlib`. Where native kernels were chosen (`codec.kernels`), their owner has put
`crypto.blake2b_lanes` in place, and the same calls take a tenth of the time. Both give the same bytes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from haulout.crypto.merkle import LEAF_PREFIX, compute_root

Bytes = NDArray[np.uint8]
Digests = NDArray[np.uint8]  # (..., 32)

DIGEST_BYTES: Final = 32


class NativeHashes(Protocol):
    """What `crypto.blake2b_lanes` offers."""

    def hash_rows(self, rows: Bytes, out: Digests, prefix: int) -> None:
        """Digests of `prefix || row` for rows (outer, inner, length) into `out` (outer, inner, 32)."""

    def compute_roots(self, leaves: Digests, out: Digests) -> None:
        """Roots of trees over leaf hashes (trees, n, 32) into `out` (trees, 32)."""


_native: NativeHashes | None = None


def use(native: NativeHashes | None) -> None:
    """From now on hash with these kernels, or with `hashlib` if None; calls that run finish as they began."""
    global _native
    _native = native


def hash_leaves(symbols: Bytes, out: Digests) -> None:
    """Write the hash of every symbol (outer, inner, s) as a leaf of a Merkle tree into `out` (outer, inner, 32).

    Both may be strided in their first two axes.
    """
    if _native is not None:
        _native.hash_rows(symbols, out, LEAF_PREFIX[0])
    else:
        hash_rows_plainly(symbols, out, LEAF_PREFIX[0])


def compute_roots(leaves: Digests) -> Digests:
    """The roots (trees, 32) of trees over leaf hashes (trees, n, 32), strided in two axes; n is not zero."""
    roots = np.empty((len(leaves), DIGEST_BYTES), np.uint8)
    if _native is not None:
        _native.compute_roots(leaves, roots)
    else:
        compute_roots_plainly(leaves, roots)
    return roots


def hash_rows_plainly(rows: Bytes, out: Digests, prefix: int) -> None:
    """What a kernel does: write the digests of `prefix || row` for rows (outer, inner, length) into `out`."""
    n_inner, size = rows.shape[1:]
    begin = blake2b(bytes([prefix]), digest_size=DIGEST_BYTES).copy
    for line, digests in zip(rows, out, strict=True):
        raw = line.tobytes()
        hashes = []
        for at in range(0, n_inner * size, size) if size else [0] * n_inner:
            state = begin()
            state.update(raw[at : at + size])
            hashes.append(state.digest())
        digests[:] = np.frombuffer(b"".join(hashes), np.uint8).reshape(n_inner, DIGEST_BYTES)


def compute_roots_plainly(leaves: Digests, out: Digests) -> None:
    """What a kernel does: write the roots of trees over leaf hashes (trees, n, 32) into `out` (trees, 32)."""
    n_leaves = leaves.shape[1]
    for tree, root in zip(leaves, out, strict=True):
        raw = tree.tobytes()
        root[:] = np.frombuffer(compute_root([raw[32 * i : 32 * i + 32] for i in range(n_leaves)]), np.uint8)
