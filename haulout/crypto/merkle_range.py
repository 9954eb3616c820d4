"""Proofs for consecutive leaves of a Merkle tree: the siblings at both edges, level by level.

Whoever has leaves 2 and 3 of five needs two nodes to come to the root, marked with a star::

            root
           /    \\
        *ab..    cd           proof, from the leaves up, left before right:
        /  \\      |           level 0: none (2 and 3 are a pair)
      ab    cd   e…           level 1: the pair (0, 1) on the left
      /\\    /\\   |            level 2: what stands over leaf 4 on the right
     0  1  2  3  4

The tree is that of `merkle.py`: an odd level ends in an empty node, which is never part of a proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from haulout.crypto.merkle import EMPTY, hash_pair
from haulout.errors import InvalidField
from haulout.primitives import Digest


def build_range_proof(leaf_hashes: Sequence[bytes], start: int, stop: int) -> tuple[bytes, ...]:
    """The proof for leaves `start` to `stop` (not included) of a tree over all these leaf hashes."""
    return narrow_range_proof(leaf_hashes, 0, (), len(leaf_hashes), start, stop)


def narrow_range_proof(
    known: Sequence[bytes], known_start: int, proof: Sequence[bytes], n_leaves: int, start: int, stop: int
) -> tuple[bytes, ...]:
    """The proof for a part of leaves that are themselves proven.

    Args:
        known: leaf hashes from `known_start` on.
        proof: theirs, right for a tree of `n_leaves`.
        start, stop: within the known leaves, not empty.
    """
    assert known_start <= start < stop <= known_start + len(known) <= n_leaves
    siblings = iter(proof)
    narrowed: list[bytes] = []
    level, first = list(known), known_start
    while n_leaves > 1:
        level, first = _complete(level, first, n_leaves, siblings)
        if start & 1:
            narrowed.append(level[start - 1 - first])
        if stop & 1 and stop != n_leaves:
            narrowed.append(level[stop - first])
        level, first = _parents(level), first >> 1
        start, stop, n_leaves = start >> 1, (stop + 1) >> 1, (n_leaves + 1) >> 1
    return tuple(narrowed)


def compute_root_of_range(leaf_hashes: Sequence[bytes], start: int, proof: Sequence[bytes], n_leaves: int) -> Digest:
    """The root that consecutive leaves and their proof lead to, in a tree of `n_leaves`.

    Raises:
        InvalidField: the leaves are not in the tree, or the proof is too long or too short.
    """
    if not leaf_hashes or start < 0 or start + len(leaf_hashes) > n_leaves:
        raise InvalidField(field="leaves", problem=f"{len(leaf_hashes)} from {start} on are not among {n_leaves}")
    siblings = iter(proof)
    level, first = list(leaf_hashes), start
    while n_leaves > 1:
        level, first = _complete(level, first, n_leaves, siblings)
        level, first, n_leaves = _parents(level), first >> 1, (n_leaves + 1) >> 1
    if next(siblings, None) is not None:
        raise InvalidField(field="proof", problem="longer than the tree is high")
    return Digest(level[0])


def _complete(level: list[bytes], first: int, n_nodes: int, siblings: Iterator[bytes]) -> tuple[list[bytes], int]:
    """Consecutive nodes of a level with what makes whole pairs of them, and where they begin now."""
    if first & 1:
        level, first = [_next(siblings), *level], first - 1
    end = first + len(level)
    if end & 1:
        level = [*level, EMPTY if end == n_nodes else _next(siblings)]
    return level, first


def _next(siblings: Iterator[bytes]) -> bytes:
    sibling = next(siblings, None)
    if sibling is None or len(sibling) != len(EMPTY):
        raise InvalidField(field="proof", problem="too short for the tree")
    return bytes(sibling)


def _parents(level: Sequence[bytes]) -> list[bytes]:
    return [hash_pair(level[i], level[i + 1]) for i in range(0, len(level), 2)]
