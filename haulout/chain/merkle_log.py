"""The append-only tree of RFC 9162 over a sequence of digests: its root, and proofs that need nothing but hashes.

The tree over n leaves splits at the largest power of two below n, so every complete subtree, once complete, never
changes: a later root extends an earlier one, and that can be proven. Over five leaves::

              root
             /    \\
         abcd      e          inner    H(inner tag, left, right)
        /    \\               leaf     H(leaf tag, digest)
      ab      cd              nothing  32 zero bytes
"""

from __future__ import annotations

from collections.abc import Sequence

from haulout.chain.tree import EMPTY_ROOT
from haulout.crypto.hashing import TAG_HISTORY_INNER, TAG_HISTORY_LEAF, blake2b256
from haulout.primitives import Digest


def hash_leaf(digest: bytes) -> Digest:
    """Hash of one entry."""
    return blake2b256(TAG_HISTORY_LEAF + digest)


def hash_inner(left: bytes, right: bytes) -> Digest:
    """Hash of two subtrees."""
    return blake2b256(TAG_HISTORY_INNER + left + right)


def split_at(size: int) -> int:
    """Leaves in the left subtree of a tree of `size` > 1: the largest power of two below it."""
    return 1 << ((size - 1).bit_length() - 1)


def complete_subtrees(size: int) -> list[tuple[int, int]]:
    """The complete subtrees that make up a tree, left to right, as (level, index)."""
    return [(level, (size >> level) - 1) for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]


def fold_root(hashes: Sequence[bytes]) -> Digest:
    """The root over complete subtrees, left to right."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = hash_inner(left, root)
    return Digest(root)


def verify_inclusion(root: bytes, size: int, index: int, digest: bytes, path: Sequence[bytes]) -> bool:
    """Whether `digest` is entry `index` of the log with this root and size; `path` goes from the leaf up.

    Source: RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    node, last = index, size - 1
    running: bytes = hash_leaf(digest)
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            running = hash_inner(sibling, running)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            running = hash_inner(running, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and running == root


def verify_consistency(old_root: bytes, old_size: int, new_root: bytes, new_size: int, path: Sequence[bytes]) -> bool:
    """Whether the log with the new root begins with all entries of the one with the old root.

    Source: RFC 9162, 2.1.4.2.
    """
    if not 0 <= old_size <= new_size:
        return False
    if old_size == new_size:
        return not path and old_root == new_root
    if old_size == 0:
        return not path and old_root == EMPTY_ROOT
    nodes = list(path)
    if old_size & (old_size - 1) == 0:  # a complete subtree: its own root starts both
        nodes.insert(0, old_root)
    if not nodes:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = hash_inner(sibling, old), hash_inner(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = hash_inner(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root
