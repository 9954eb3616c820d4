"""Blocks: the order of transactions, hash-chained, with the roots of everything they caused.

A block names its predecessor's digest, so one digest stands for all of history; it carries the roots of its
transactions, of their results and events, of the state after it and of the history before it, so that whoever
executes it again can tell at once whether they agree. Transactions are opaque bytes here: the ledger reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulout import bcs
from haulout.bcs import U8, U32, U64, Bytes32
from haulout.crypto.hashing import blake2b256
from haulout.crypto.merkle import compute_root, hash_leaf, hash_pair
from haulout.primitives import Digest

BLOCK_TAG = b"haulout/block/1"
NO_DIGEST = Digest(bytes(32))
HEADER_VERSION = 1


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What a block's digest covers. Genesis is height 0 and has no transactions."""

    version: U8
    protocol_version: U32
    chain_id: Bytes32
    height: U64
    time_ms: U64
    previous_digest: Bytes32
    transactions_root: Bytes32
    outcomes_root: Bytes32  # results and events
    state_root: Bytes32
    history_root: Bytes32  # over the digests of all earlier blocks

    def digest(self) -> Digest:
        """The block's name: BLAKE2b-256 over a tag and the canonical header."""
        return blake2b256(BLOCK_TAG + bcs.encode(self))


@dataclass(frozen=True, slots=True)
class Block:
    """A header and the canonical bytes of its signed transactions, in order."""

    header: BlockHeader
    transactions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What became of one transaction: the objects it made, or the refusal that kept it from any effect.

    `reason` is the stable word for the rule (upper snake case, `ledger.refusals`) that APIs show; `message` is for
    people and is made from the refusal's fields. The header commits to both.
    """

    digest: Bytes32
    height: U64
    index: U32
    reason: str  # empty when it took effect
    message: str
    created: tuple[tuple[Bytes32, ...], ...]  # per command, the ids of the objects it made

    @property
    def is_ok(self) -> bool:
        return not self.reason


def compute_transactions_root(transactions: Sequence[bytes]) -> Digest:
    """Merkle root over the canonical bytes of a block's signed transactions."""
    return compute_root([hash_leaf(raw) for raw in transactions])


def compute_outcomes_root(results: Sequence[bytes], events: Sequence[bytes]) -> Digest:
    """Over the canonical bytes of all results and of all events: the pair of their Merkle roots."""
    return hash_pair(
        compute_root([hash_leaf(raw) for raw in results]), compute_root([hash_leaf(raw) for raw in events])
    )
