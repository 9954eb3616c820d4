"""A storage node that keeps everything in memory: what stands behind a transport while its promises are tried."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from haulout import errors
from haulout.errors import HauloutError
from haulout.node.errors import (
    MetadataNotFound,
    MetadataNotStored,
    NotRegistered,
)
from haulout.ports import (
    BlobHoldings,
    IncompleteBlob,
    IncompletePage,
    NodeHealth,
    Outcome,
    PartialSliver,
    ProofUpload,
    SignedMessage,
    SliverUpload,
    SyncedSliver,
)
from haulout.primitives import Axis, BlobId, Digest, ObjectId, SliverIndex, SliverPairIndex

EPOCH = 7
BLOB = BlobId(b"\x11" * 32)
OTHER = BlobId(b"\x22" * 32)
HEALTH = NodeHealth(
    node_id=ObjectId(b"\x44" * 32),
    name="node-3",
    epoch=EPOCH,
    status="Active",
    uptime_ms=12_345,
    height=99,
    block_digest=Digest(b"\x55" * 32),
    head_height=101,
    shards=(0, 5, 199),
    incomplete_blobs=2,
    corrupt_slivers=1,
    stored_slivers=400,
    stored_bytes=1 << 40,
    gaining=(7, 8),
    giving=(9,),
    moving_bytes=1 << 41,
    moved_bytes=1 << 33,
    release="1.2.3",
    protocol_version=7,
    agreed_version=8,
    agreed_epoch=1 << 31,
)


async def stream(*slivers: SliverUpload) -> AsyncIterator[SliverUpload]:
    for sliver in slivers:
        yield sliver


class MemoryNode:
    """A storage node that keeps everything in memory and believes every byte.

    Attributes:
        failure: raised by every call, when set.
        taken: slivers in the order in which they came.
        refuse_pair: the pair whose sliver is refused.
        endings: how calls ended that did not end well.
        gate: streams wait here before each sliver, when set.
        waiting: how many calls wait at the gate.
    """

    def __init__(self) -> None:
        self.failure: HauloutError | None = None
        self.refuse_pair: int | None = None
        self.gate: asyncio.Event | None = None
        self.metadata: dict[BlobId, bytes] = {}
        self.pieces: list[SliverUpload] = []
        self.slivers: dict[tuple[BlobId, SliverPairIndex, Axis], bytes] = {}
        self.taken: list[tuple[SliverPairIndex, Axis]] = []
        self.asked: list[tuple[object, ...]] = []
        self.endings: list[str] = []
        self.waiting = 0

    def _check(self, epoch: int | None = None) -> None:
        if self.failure is not None:
            raise self.failure
        if epoch is not None and epoch != EPOCH:
            raise errors.WrongEpoch(request_epoch=epoch, server_epoch=EPOCH)

    async def _pass_gate(self) -> None:
        if self.gate is not None:
            self.waiting += 1
            try:
                await self.gate.wait()
            finally:
                self.waiting -= 1

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        self._check(epoch)
        outcome = Outcome.ALREADY_STORED if blob_id in self.metadata else Outcome.STORED
        self.metadata[blob_id] = bytes(metadata)
        return outcome

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        self._check(epoch)
        if blob_id not in self.metadata:
            raise MetadataNotStored(blob_id="its name")
        outcomes = []
        try:
            async for sliver in slivers:
                if sliver.pair_index == self.refuse_pair:
                    raise NotRegistered(blob_id="its name", height=12)
                if sliver.first_stripe is not None:
                    self.pieces.append(dataclasses.replace(sliver, bcs=bytes(sliver.bcs)))
                    outcomes.append(Outcome.STORED)
                    continue
                name = (blob_id, sliver.pair_index, sliver.axis)
                outcomes.append(Outcome.ALREADY_STORED if name in self.slivers else Outcome.STORED)
                self.slivers[name] = bytes(sliver.bcs)
                self.taken.append((sliver.pair_index, sliver.axis))
        except (asyncio.CancelledError, HauloutError) as e:
            self.endings.append(type(e).__name__)
            raise
        return outcomes

    async def holdings(self, *, epoch: int, blob_id: BlobId) -> BlobHoldings:
        self._check(epoch)
        missing = tuple(
            (SliverPairIndex(pair), axis)
            for pair in range(3)
            for axis in Axis
            if (blob_id, SliverPairIndex(pair), axis) not in self.slivers
        )
        partial = tuple(
            PartialSliver(piece.pair_index, piece.axis, (range(9, 12), range(20, 21))) for piece in self.pieces
        )
        has_metadata = blob_id in self.metadata
        return BlobHoldings(is_registered=True, has_metadata=has_metadata, missing=missing, partial=partial)

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        self._check(epoch)
        self.asked.append((object_id, wait_ms))
        try:
            await self._pass_gate()
        except asyncio.CancelledError:
            self.endings.append("CancelledError")
            raise
        return SignedMessage(message=b"message" + blob_id + (object_id or b""), signature=b"s" * 96)

    async def store_and_confirm(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        object_id: ObjectId | None,
        metadata: bytes,
        slivers: Sequence[SliverUpload],
        wait_ms: int,
    ) -> SignedMessage:
        await self.store_metadata(epoch=epoch, blob_id=blob_id, metadata=metadata)
        await self.store_slivers(epoch=epoch, blob_id=blob_id, slivers=stream(*slivers))
        return await self.confirm_blob(epoch=epoch, blob_id=blob_id, object_id=object_id, wait_ms=wait_ms)

    async def read_metadata(self, *, epoch: int, blob_id: BlobId) -> bytes:
        self._check(epoch)
        if blob_id not in self.metadata:
            raise MetadataNotFound(blob_id="its name")
        return bytes(blob_id) + self.metadata[blob_id]

    async def read_slivers(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        stripes: range | None = None,
    ) -> AsyncIterator[SliverUpload]:
        self._check(epoch)
        try:
            for piece in self.pieces:
                if stripes is not None and piece.first_stripe in stripes:
                    yield piece
            for pair, axis in targets:
                if (blob_id, pair, axis) in self.slivers:
                    yield SliverUpload(pair, axis, self.slivers[blob_id, pair, axis])
                    await self._pass_gate()
        except (GeneratorExit, asyncio.CancelledError) as e:
            self.endings.append(type(e).__name__)
            raise

    async def sync_shards(self, *, public_key: bytes, requests: Sequence[SignedMessage]) -> AsyncIterator[SyncedSliver]:
        self._check()
        self.asked.append((public_key, tuple(requests)))
        try:
            for blob_id, pair, axis in sorted(self.slivers):
                yield SyncedSliver(blob_id, SliverUpload(pair, axis, self.slivers[blob_id, pair, axis]))
                await self._pass_gate()
        except (GeneratorExit, asyncio.CancelledError) as e:
            self.endings.append(type(e).__name__)
            raise

    async def read_recovery_symbols(
        self, *, epoch: int, blob_id: BlobId, target: SliverIndex, target_axis: Axis, with_proofs: bool
    ) -> Sequence[bytes]:
        self._check(epoch)
        self.asked.append((target, target_axis, with_proofs))
        return [bytes([i]) * 60_000 for i in range(100)]

    async def attest_inconsistency(
        self, *, epoch: int, blob_id: BlobId, axis: Axis, proof: ProofUpload
    ) -> SignedMessage:
        self._check(epoch)
        raw = b"".join([chunk async for chunk in proof.chunks])
        assert len(raw) == proof.size_bytes
        self.asked.append((axis, raw))
        return SignedMessage(message=b"it is wrong" + blob_id, signature=b"s" * 96)

    async def agree_to_protocol(self, *, consent: SignedMessage, public_key: bytes) -> None:
        self._check()
        self.asked.append((consent, public_key))

    async def sign_protocol_vote(self, *, epoch: int, version: int, start_epoch: int) -> SignedMessage:
        self._check(epoch)
        self.asked.append((version, start_epoch))
        return SignedMessage(message=b"it may begin", signature=b"s" * 96)

    async def blob_status(self, *, blob_id: BlobId) -> bytes | None:
        self._check()
        return None if blob_id == OTHER else b"record" if blob_id == BLOB else b""

    async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
        self._check()
        self.asked.append((after, limit))
        if after is not None:
            return IncompletePage(height=8, blobs=(), next_after=None)
        blobs = (IncompleteBlob(BLOB, True, 40), IncompleteBlob(OTHER, False, 1))
        return IncompletePage(height=7, blobs=blobs, next_after=OTHER)

    async def health(self) -> NodeHealth:
        self._check()
        return HEALTH
