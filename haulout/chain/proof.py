"""Proofs that a row has a value, or that it is not there, against a state root.

A proof is the way from the root down to where the key belongs: the sibling at every level, and what stands at the
end. A row is proven by its own leaf; an absence by an empty place, or by another leaf that stands alone where the
key's would. About twenty siblings, less than 1 KiB, for a million rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout import bcs
from haulout.bcs import U8, Bytes32
from haulout.chain.rows import Rows
from haulout.chain.tree import (
    Subtree,
    hash_inner,
    hash_key,
    hash_leaf,
    hash_subtree,
    hash_value,
    join_pairs,
    page_key,
    read_page,
    slot_of,
)
from haulout.errors import UndecodableBytes

PROOF_VERSION = 1
MAX_DEPTH = 256


@dataclass(frozen=True, slots=True)
class OtherLeaf:
    """The leaf that stands where an absent key's would."""

    key_hash: Bytes32
    value_hash: Bytes32


@dataclass(frozen=True, slots=True)
class StateProof:
    """Siblings from the root down; None is an empty sibling."""

    version: U8
    siblings: tuple[Bytes32 | None, ...]
    other: OtherLeaf | None


def prove(rows: Rows, key: bytes) -> bytes:
    """Proof of the row's value or absence in the state that `rows` hold, for `verify`.

    Raises:
        TreeCorrupt: the tree's rows are damaged.
    """
    key_hash = hash_key(key)
    siblings: list[bytes | None] = []
    depth = 0
    while True:
        page = page_key(depth, key_hash)
        end = _descend(read_page(page, rows.get(page)), slot_of(depth, key_hash), siblings)
        if end is None or len(end) == 64:
            return _encode(siblings, end, key_hash)
        depth += 1


def verify(state_root: bytes, key: bytes, value: bytes | None, proof: bytes) -> bool:
    """Whether the proof shows that the row has this value (None: is absent) under this root. Total."""
    try:
        parsed: StateProof = bcs.decode(StateProof, proof)
    except UndecodableBytes:
        return False
    if parsed.version != PROOF_VERSION or len(parsed.siblings) > MAX_DEPTH:
        return False
    key_hash = hash_key(key)
    if value is not None:
        if parsed.other is not None:
            return False
        running = hash_leaf(key_hash + hash_value(value))
    elif parsed.other is None:
        running = hash_subtree(None)
    else:
        other = parsed.other
        if other.key_hash == key_hash or not _share_bits(other.key_hash, key_hash, len(parsed.siblings)):
            return False
        running = hash_leaf(other.key_hash + other.value_hash)
    for depth in range(len(parsed.siblings) - 1, -1, -1):
        sibling = parsed.siblings[depth] or hash_subtree(None)
        running = hash_inner(sibling, running) if _bit(key_hash, depth) else hash_inner(running, sibling)
    return running == state_root


def _descend(slots: list[Subtree], slot: int, siblings: list[bytes | None]) -> Subtree:
    """Walk from a page's top to a slot; collects siblings and returns what stands at the end."""
    levels: list[list[Subtree]] = [slots]
    while len(levels[-1]) > 1:
        levels.append(join_pairs(levels[-1]))
    here = levels[4][0]
    for level in (3, 2, 1, 0):
        if here is None or len(here) == 64:
            return here
        at = slot >> level
        sibling = levels[level][at ^ 1]
        siblings.append(None if sibling is None else hash_subtree(sibling))
        here = levels[level][at]
    return here


def _encode(siblings: list[bytes | None], end: Subtree, key_hash: bytes) -> bytes:
    other = None if end is None or end[:32] == key_hash else OtherLeaf(end[:32], end[32:])
    return bcs.encode(StateProof(PROOF_VERSION, tuple(siblings), other))


def _bit(key_hash: bytes, depth: int) -> int:
    return key_hash[depth >> 3] >> (7 - (depth & 7)) & 1


def _share_bits(a: bytes, b: bytes, count: int) -> bool:
    return int.from_bytes(a, "big") >> (256 - count) == int.from_bytes(b, "big") >> (256 - count)
