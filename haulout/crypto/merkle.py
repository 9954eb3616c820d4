"""Merkle trees as Walrus builds them.

Leaves are hashed behind a 00 byte, pairs behind a 01 byte. A level with an odd count gets one *empty* node at its
end, which stands for 32 zero bytes; it is added once per level, not up to a power of two. Three leaves a, b, c::

              root = H(01 ab ce)
             /                  \\
      ab = H(01 a b)      ce = H(01 c 00…00)
       /      \\             /       \\
    H(00 a)  H(00 b)     H(00 c)    empty

Source: `walrus-core`, `merkle.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated

from haulout import bcs
from haulout.bcs import Codec
from haulout.primitives import Buffer, Digest

EMPTY = bytes(32)
LEAF_PREFIX = b"\x00"
INNER_PREFIX = b"\x01"


def _write_node(out: bytearray, value: bytes | None) -> None:
    if value is None:
        out.append(0)
    else:
        out.append(1)
        out += value


def _read_node(data: bytes, at: int) -> tuple[bytes | None, int]:
    if at >= len(data) or data[at] > 1:
        raise bcs.Malformed("a Merkle node starts with 00 or 01")
    if data[at] == 0:
        return None, at + 1
    if at + 33 > len(data):
        raise bcs.Malformed("truncated")
    return data[at + 1 : at + 33], at + 33


# A digest, or None for the empty node.
Node = Annotated[bytes | None, Codec(_write_node, _read_node, "MerkleNode")]


@dataclass(frozen=True, slots=True)
class MerkleProof:
    """The siblings of a leaf from its own level up, without the root; None is the empty node."""

    siblings: tuple[Node, ...]


def hash_leaf(data: Buffer) -> Digest:
    """Hash of one leaf's data."""
    state = blake2b(LEAF_PREFIX, digest_size=32)
    state.update(data)
    return Digest(state.digest())


def hash_pair(left: bytes, right: bytes) -> Digest:
    """Hash of two neighbours; an empty node is 32 zero bytes."""
    return Digest(blake2b(INNER_PREFIX + left + right, digest_size=32).digest())


def build_levels(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """All levels from the leaf hashes up to the root, padded where a level is odd; no level for no leaves."""
    levels: list[list[bytes]] = []
    level = list(leaf_hashes)
    while len(level) > 1:
        if len(level) % 2:
            level.append(EMPTY)
        levels.append(level)
        level = _parents(level)
    if level:
        levels.append(level)
    return levels


def compute_root(leaf_hashes: Sequence[bytes]) -> Digest:
    """Root over leaf hashes; the empty node for no leaves."""
    level = list(leaf_hashes)
    if not level:
        return Digest(EMPTY)
    while len(level) > 1:
        if len(level) % 2:
            level.append(EMPTY)
        level = _parents(level)
    return Digest(level[0])


def _parents(level: Sequence[bytes]) -> list[bytes]:
    """The level above one with an even number of nodes."""
    start_pair = blake2b(INNER_PREFIX, digest_size=32).copy
    left_to_right = iter(level)
    parents = []
    for left, right in zip(left_to_right, left_to_right, strict=True):
        pair = start_pair()
        pair.update(left + right)
        parents.append(pair.digest())
    return parents


def proof_length(n_leaves: int) -> int:
    """Siblings in a proof: ceil(log2(n_leaves)), 0 for 0 or 1 leaves."""
    return (n_leaves - 1).bit_length() if n_leaves > 1 else 0


def build_proof(leaf_hashes: Sequence[bytes], index: int) -> MerkleProof:
    """Proof for the leaf at `index`, which must be below the number of leaves."""
    assert 0 <= index < len(leaf_hashes)
    siblings: list[bytes | None] = []
    level = list(leaf_hashes)
    while len(level) > 1:
        sibling = index ^ 1
        siblings.append(level[sibling] if sibling < len(level) else None)
        if len(level) % 2:
            level.append(EMPTY)
        level = _parents(level)
        index >>= 1
    return MerkleProof(tuple(siblings))


def verify_proof(root: bytes, n_leaves: int, leaf: Buffer, index: int, proof: MerkleProof) -> bool:
    """Whether `leaf` stands at `index` of a tree with this root and number of leaves (`verify_path`)."""
    return verify_path(root, n_leaves, hash_leaf(leaf), index, proof)


def verify_path(root: bytes, n_leaves: int, leaf_hash: bytes, index: int, proof: MerkleProof) -> bool:
    """Whether a leaf with this hash stands at `index` of such a tree (`root_of_path`)."""
    return root_of_path(n_leaves, leaf_hash, index, proof) == root


def root_of_path(n_leaves: int, leaf_hash: bytes, index: int, proof: MerkleProof) -> Digest | None:
    """The root that a leaf at `index` of a tree of so many leaves leads to; None for a path that no such leaf has.

    A path that is too long for the tree is refused, and so is one too short for the index. A shorter path than that of
    the tree would have to end in its root, which a leaf's hash cannot be: leaves and pairs have different prefixes.
    """
    if index < 0 or len(proof.siblings) > proof_length(n_leaves) or index >> len(proof.siblings):
        return None
    running = leaf_hash
    for sibling in proof.siblings:
        other = EMPTY if sibling is None else sibling
        running = hash_pair(other, running) if index & 1 else hash_pair(running, other)
        index >>= 1
    return Digest(running)
