"""The ledger as everyone else sees it, and what it answers with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from haulout.chain.block import Block, BlockHeader, TransactionResult
from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.ledger.events import Event
from haulout.primitives import Digest, ObjectId


@dataclass(frozen=True, slots=True)
class StateEntry:
    """A row of the state, or its absence, with the proof that it is so (canonical bytes of `chain.proof`)."""

    key: bytes
    value: bytes | None
    proof: bytes


@dataclass(frozen=True, slots=True)
class StateRead:
    """Rows as of one block."""

    header: BlockHeader
    entries: tuple[StateEntry, ...]


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Where the ledger stands."""

    chain_id: Digest
    head: BlockHeader
    engine: str
    pending_transactions: int
    metrics: Mapping[str, int] = field(default_factory=dict)
    finality: Finality | None = None
    oldest_height: int = 0  # of the blocks that are kept; state and history are there whatever it is
    protocol_version: int = 0  # newest one whose rules its release knows; 0 of one that does not tell
    # Since its process began, of what is in blocks; only the one who makes them tells.
    refusals: Mapping[str, int] = field(default_factory=dict)  # transactions by the code of the rule that refused them
    commands: Mapping[tuple[str, bool], int] = field(default_factory=dict)  # by kind, and whether they were executed
    epoch_change_ms: int | None = None  # how long the last change of epoch took


@dataclass(frozen=True, slots=True)
class Finality:
    """How far the ledger is, by height: put in order, durable, and signed by n - f shards that executed it again.

    Nothing is sure to stay before it is `committed`, and nothing is proven to a stranger before it is `attested`.
    """

    sequenced: int
    committed: int
    attested: int


@dataclass(frozen=True, slots=True)
class Attestation:
    """What nodes are asked to sign next, and what is certified already."""

    wanted_height: int  # 0: nothing at present
    latest: CertifiedCheckpoint | None
    signed: CheckpointSignature | None = None  # the last of the node that asks, as far as the ledger knows


class Ledger(Protocol):
    """The ledger as everyone else sees it: it orders transactions and hands out blocks, results, rows with proofs."""

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> TransactionResult | None:
        """Hand in a signed transaction (BCS). Returns its result when that is durable within `wait_ms`, else None.
        The same digest again gives the recorded result.

        Raises:
            InvalidInput: inadmissible, with the reason's code; it is in no block.
        """

    async def result(self, digest: Digest, *, wait_ms: int = 0) -> TransactionResult | None:
        """What became of a transaction, waiting up to `wait_ms` for it."""

    async def status(self) -> LedgerStatus:
        """The head and how the ledger is."""

    async def read(self, keys: Sequence[bytes]) -> StateRead:
        """Rows of committed tables with proofs against the head's state root."""

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Rows in key order, without proofs: for indexes whose hits are then read with `read`."""

    def blocks(self, from_height: int) -> AsyncIterator[Block]:
        """All blocks from a height on, then each new one as it is made; ends only with an error.

        Raises:
            BlockNotKept: the first one was pruned (`LedgerStatus.oldest_height`).
        """

    def events(self, from_sequence: int) -> AsyncIterator[Event]:
        """All events from a sequence number on, then each new one. Raises `EventNotKept`, as `blocks` does."""

    def snapshot(self) -> AsyncIterator[bytes]:
        """The whole state at the head in chunks, deterministic; verified by its root on import."""

    async def attestation(
        self, *, node_id: ObjectId | None = None, wanted: int = 0, attested: int = 0, wait_ms: int = 0
    ) -> Attestation:
        """What to sign next, and the latest certified checkpoint; waits up to `wait_ms` until they are others than the
        caller knows (`wanted`, `attested`: their heights). A node is told soon what to sign next, and what is certified
        with it or within a second; who names no node is told at once what is certified, and nothing else."""

    async def attest(self, signature: CheckpointSignature) -> None:
        """Hand in a node's signature of a checkpoint. One that is no longer wanted is not an error.

        Raises:
            Rejected: of another block than the ledger's, not of a member, or not its signature.
        """

    async def epoch_checkpoint(self, epoch: int) -> CertifiedCheckpoint | None:
        """The last certified checkpoint of an epoch: of a past one, it names the committee that followed."""

    async def epoch_committee(self, epoch: int) -> bytes | None:
        """The committee of an epoch (BCS of `ledger.state.Committee`), also of past ones that the state forgot; not
        proven by itself, but named by the checkpoint that closed the epoch before."""
