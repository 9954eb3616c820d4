"""The ledger as others see it over simulated wires."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from haulout.chain.block import Block, TransactionResult
from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.ledger.events import Event
from haulout.ports import Attestation, LedgerStatus, StateRead
from haulout.primitives import Digest, ObjectId
from haulout.sim.fabric import Fabric, Port

T = TypeVar("T")


class SimLedger:
    """Implements `ports.Ledger` by calling the ledger at the other end; `Unreachable` while it is away."""

    def __init__(
        self, fabric: Fabric, origin: str, address: str, *, seen: Callable[[CheckpointSignature], None] | None = None
    ) -> None:
        """One machine's way to a ledger; `seen` is told of every checkpoint that it signs, when it sends it off."""
        self._port = Port(fabric, origin)
        self._address = address
        self._seen = seen

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> TransactionResult | None:
        raw = bytes(transaction)
        return await self._port.call(self._address, "submit", lambda ledger: ledger.submit(raw, wait_ms=wait_ms))

    async def result(self, digest: Digest, *, wait_ms: int = 0) -> TransactionResult | None:
        return await self._port.call(self._address, "result", lambda ledger: ledger.result(digest, wait_ms=wait_ms))

    async def status(self) -> LedgerStatus:
        return await self._port.call(self._address, "status", lambda ledger: ledger.status())

    async def read(self, keys: Sequence[bytes]) -> StateRead:
        return await self._port.call(self._address, "read", lambda ledger: ledger.read(keys))

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[tuple[bytes, bytes]]:
        return await self._port.call(self._address, "scan", lambda ledger: ledger.scan(start, end, limit=limit))

    def blocks(self, from_height: int) -> AsyncIterator[Block]:
        return self._port.download(
            self._address, "blocks", _same, lambda ledger: ledger.blocks(from_height), endless=True
        )

    def events(self, from_sequence: int) -> AsyncIterator[Event]:
        return self._port.download(
            self._address, "events", _same, lambda ledger: ledger.events(from_sequence), endless=True
        )

    def snapshot(self) -> AsyncIterator[bytes]:
        return self._port.download(self._address, "snapshot", _same, lambda ledger: ledger.snapshot())

    async def attestation(
        self, *, node_id: ObjectId | None = None, wanted: int = 0, attested: int = 0, wait_ms: int = 0
    ) -> Attestation:
        return await self._port.call(
            self._address,
            "attestation",
            lambda ledger: ledger.attestation(node_id=node_id, wanted=wanted, attested=attested, wait_ms=wait_ms),
        )

    async def attest(self, signature: CheckpointSignature) -> None:
        if self._seen is not None:
            self._seen(signature)
        await self._port.call(self._address, "attest", lambda ledger: ledger.attest(signature))

    async def epoch_checkpoint(self, epoch: int) -> CertifiedCheckpoint | None:
        return await self._port.call(self._address, "epoch_checkpoint", lambda ledger: ledger.epoch_checkpoint(epoch))

    async def epoch_committee(self, epoch: int) -> bytes | None:
        return await self._port.call(self._address, "epoch_committee", lambda ledger: ledger.epoch_committee(epoch))

    async def close(self) -> None:
        """End all calls; later ones are `Unreachable`."""
        self._port.close()


def _same(item: T) -> T:
    return item  # values cannot be changed: no copy is needed
