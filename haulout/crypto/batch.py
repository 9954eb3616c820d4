"""Many Merkle leaves and many Merkle trees at once, as arrays: where an encoded blob's time goes.

The plain versions loop over `hashlib`. Where native kernels were chosen (`codec.kernels`), their owner has put
`blake2b_lanes.hash_rows` in place, and the same calls take a tenth of the time. Both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haulout.crypto.merkle import EMPTY, INNER_PREFIX, LEAF_PREFIX, compute_root

Bytes = NDArray[np.uint8]
Digests = NDArray[np.uint8]  # (..., 32)
HashRows = Callable[[Bytes, Digests, int], None]  # contiguous rows, where their digests go, the byte before each row

DIGEST_BYTES: Final = 32
_TREES_BYTES: Final = 1 << 20  # of leaves whose trees are built together: they should stay in the cache

_native: HashRows | None = None


def use(hash_rows: HashRows | None) -> None:
    """From now on hash with this function, or with `hashlib` if None; calls that run finish as they began."""
    global _native
    _native = hash_rows


def hash_leaves(symbols: Bytes) -> Digests:
    """The hash of every symbol (..., s) as a leaf of a Merkle tree: (..., 32)."""
    rows = np.ascontiguousarray(symbols).reshape(-1, symbols.shape[-1])
    digests = np.empty((len(rows), DIGEST_BYTES), np.uint8)
    (_native or hash_rows_plainly)(rows, digests, LEAF_PREFIX[0])
    return digests.reshape(*symbols.shape[:-1], DIGEST_BYTES)


def compute_roots(leaves: Digests) -> Digests:
    """The roots (trees, 32) of trees over leaf hashes (trees, n, 32); n is not zero. Any strides."""
    hash_rows = _native
    if hash_rows is None:
        return compute_roots_plainly(leaves)
    n_trees, n_leaves, _ = leaves.shape
    roots = np.empty((n_trees, DIGEST_BYTES), np.uint8)
    step = max(1, _TREES_BYTES // (n_leaves * DIGEST_BYTES))
    for start in range(0, n_trees, step):
        level = leaves[start : start + step]
        while level.shape[1] > 1:
            level = _parents(level, hash_rows)
        roots[start : start + step] = level[:, 0]
    return roots


def hash_rows_plainly(rows: Bytes, out: Digests, prefix: int) -> None:
    """What a kernel does: write the digests of `prefix || row` for rows (count, length) into `out` (count, 32)."""
    size = rows.shape[1]
    raw = rows.tobytes()
    begin = blake2b(bytes([prefix]), digest_size=DIGEST_BYTES).copy
    hashes = []
    for at in range(0, len(rows) * size, size) if size else [0] * len(rows):
        state = begin()
        state.update(raw[at : at + size])
        hashes.append(state.digest())
    out.reshape(-1)[:] = np.frombuffer(b"".join(hashes), np.uint8)


def compute_roots_plainly(leaves: Digests) -> Digests:
    """As `compute_roots`, tree by tree."""
    n_leaves = leaves.shape[1]
    roots = np.empty((len(leaves), DIGEST_BYTES), np.uint8)
    for tree, root in zip(leaves, roots, strict=True):
        raw = tree.tobytes()
        root[:] = np.frombuffer(compute_root([raw[32 * i : 32 * i + 32] for i in range(n_leaves)]), np.uint8)
    return roots


def _parents(level: Digests, hash_rows: HashRows) -> Digests:
    """The level above one of more than one node per tree; an odd level gets its empty node."""
    n_trees, n_nodes, _ = level.shape
    n_pairs = (n_nodes + 1) // 2
    pairs = np.empty((n_trees, 2 * n_pairs, DIGEST_BYTES), np.uint8)
    pairs[:, :n_nodes] = level
    if n_nodes % 2:
        pairs[:, n_nodes] = np.frombuffer(EMPTY, np.uint8)
    above = np.empty((n_trees, n_pairs, DIGEST_BYTES), np.uint8)
    hash_rows(pairs.reshape(-1, 2 * DIGEST_BYTES), above.reshape(-1, DIGEST_BYTES), INNER_PREFIX[0])
    return above
