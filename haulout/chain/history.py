"""The history tree: the digests of all blocks, as rows of the store.

Every complete subtree has one row, `F1 level index`, written once and never changed; so a block adds two rows on
average, a root or a proof reads as many as the tree is high, and the tree at any earlier height is still there.
"""

from __future__ import annotations

from typing import Final

from haulout.chain.merkle_log import complete_subtrees, fold_root, hash_inner, hash_leaf, split_at
from haulout.chain.rows import Rows, TreeCorrupt
from haulout.primitives import Digest

PREFIX: Final = b"\xf1"


def node_key(level: int, index: int) -> bytes:
    """The row of a complete subtree over entries [index << level, (index + 1) << level)."""
    return PREFIX + bytes((level,)) + index.to_bytes(8, "big")


def append(rows: Rows, size: int, digest: bytes) -> tuple[Digest, dict[bytes, bytes]]:
    """Add the digest of block `size` to the tree over blocks 0 … size - 1.

    Returns:
        The new root, and the rows to write.
    """
    running, index, level = hash_leaf(digest), size, 0
    writes = {node_key(0, index): bytes(running)}
    while index & 1:
        running = hash_inner(_read(rows, level, index - 1), running)
        index, level = index >> 1, level + 1
        writes[node_key(level, index)] = running
    hashes = [writes.get(node_key(at, i)) or _read(rows, at, i) for at, i in complete_subtrees(size + 1)]
    return fold_root(hashes), writes


def read_root(rows: Rows, size: int) -> Digest:
    """The root over the first `size` blocks."""
    return fold_root([_read(rows, level, index) for level, index in complete_subtrees(size)])


def prove_inclusion(rows: Rows, size: int, index: int) -> list[bytes]:
    """The path that shows block `index` in the tree over the first `size` blocks; index < size."""
    return _path(rows, index, 0, size)


def prove_consistency(rows: Rows, old_size: int, new_size: int) -> list[bytes]:
    """The path that shows that the tree over `new_size` blocks extends that over `old_size`; old_size <= new_size."""
    if old_size in (0, new_size):
        return []
    return _consistency(rows, old_size, 0, new_size, is_known=True)


def _path(rows: Rows, index: int, start: int, size: int) -> list[bytes]:
    if size == 1:
        return []
    k = split_at(size)
    if index < k:
        return [*_path(rows, index, start, k), _subtree(rows, start + k, size - k)]
    return [*_path(rows, index - k, start + k, size - k), _subtree(rows, start, k)]


def _consistency(rows: Rows, old: int, start: int, size: int, *, is_known: bool) -> list[bytes]:
    if old == size:
        return [] if is_known else [_subtree(rows, start, size)]
    k = split_at(size)
    if old <= k:
        return [*_consistency(rows, old, start, k, is_known=is_known), _subtree(rows, start + k, size - k)]
    return [*_consistency(rows, old - k, start + k, size - k, is_known=False), _subtree(rows, start, k)]


def _subtree(rows: Rows, start: int, size: int) -> Digest:
    """Root over blocks [start, start + size); start is a multiple of the next power of two from size on."""
    hashes = []
    for level, index in complete_subtrees(size):
        hashes.append(_read(rows, level, (start >> level) + index))
    return fold_root(hashes)


def _read(rows: Rows, level: int, index: int) -> bytes:
    key = node_key(level, index)
    raw = rows.get(key)
    if raw is None or len(raw) != 32:
        raise TreeCorrupt(tree="history", key=key.hex())
    return raw
