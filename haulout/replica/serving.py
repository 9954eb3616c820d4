"""A replica as others see it: the ledger's reading half, from a process that has executed it again.

Every storage node serves this beside its slivers, so that a ledger whose disk is lost can be put together from them,
and so that a reader may compare what the sequencer says with what the nodes have.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from haulout.chain.block import Block, TransactionResult
from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.ledger.events import Event
from haulout.ports import Attestation, Finality, LedgerStatus, StateRead
from haulout.primitives import Digest, ObjectId
from haulout.replica.errors import ReadOnlyLedger
from haulout.replica.reads import read_rows, scan_rows
from haulout.replica.replica import Replica
from haulout.replica.snapshot import export_snapshot


class ReplicaLedger:
    """Implements `ports.Ledger` over a replica; takes no transactions and no signatures."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> TransactionResult | None:
        """Refused: only the sequencer orders."""
        raise ReadOnlyLedger()

    async def result(self, digest: Digest, *, wait_ms: int = 0) -> TransactionResult | None:
        """What became of a transaction, as far as this replica is; never waits."""
        return self._replica.store.result(digest)

    async def status(self) -> LedgerStatus:
        """The replica's own head, and what it has verified to be attested."""
        head, latest = self._replica.head, self._replica.store.checkpoint()
        attested = 0 if latest is None else latest.checkpoint.height
        finality = Finality(head.height, head.height, attested)
        oldest_height = self._replica.store.oldest_height
        return LedgerStatus(Digest(head.chain_id), head, "replica", 0, finality=finality, oldest_height=oldest_height)

    async def read(self, keys: Sequence[bytes]) -> StateRead:
        """Rows with proofs."""
        return read_rows(self._replica.store, keys)

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Rows in key order."""
        return scan_rows(self._replica.store, start, end, limit=limit)

    def blocks(self, from_height: int) -> AsyncIterator[Block]:
        """Blocks from a height on."""
        return self._replica.store.follow_blocks(from_height)

    def events(self, from_sequence: int) -> AsyncIterator[Event]:
        """Events from a sequence number on."""
        return self._replica.store.follow_events(from_sequence)

    def snapshot(self) -> AsyncIterator[bytes]:
        """The whole state at the replica's head."""
        return export_snapshot(self._replica.store)

    async def attestation(
        self, *, node_id: ObjectId | None = None, wanted: int = 0, attested: int = 0, wait_ms: int = 0
    ) -> Attestation:
        """The latest certified checkpoint that was verified here; nothing is asked for."""
        return Attestation(0, self._replica.store.checkpoint())

    async def attest(self, signature: CheckpointSignature) -> None:
        """Refused: only the sequencer gathers."""
        raise ReadOnlyLedger()

    async def epoch_checkpoint(self, epoch: int) -> CertifiedCheckpoint | None:
        """The last certified checkpoint of an epoch that was verified here."""
        return self._replica.store.checkpoint(epoch)

    async def epoch_committee(self, epoch: int) -> bytes | None:
        """The committee of an epoch, as far back as this replica knows."""
        return self._replica.store.committee(epoch)
