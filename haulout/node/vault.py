"""What a node holds and what the ledger asks of it, behind one door.

The storage node, its repairs and its garbage collection all go through here, so that each rule stands once: a blob is
changed by one of them at a time, bytes that were found damaged are never handed out but put on the list of what is
lacking, and a full or failed disk stops writing for all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from haulout import bcs
from haulout.codec.metadata import BlobMetadata
from haulout.errors import DiskFull
from haulout.ledger import queries
from haulout.ledger.state import View
from haulout.node import rules
from haulout.node.blob_locks import BlobLocks
from haulout.node.errors import CorruptRecord
from haulout.node.metrics import NodeMetrics
from haulout.node.piece_store import PieceName, StoredPiece
from haulout.node.records import Promise, SliverName, bit_of
from haulout.node.sliver_store import SliverStore
from haulout.node.space import SpaceGuard
from haulout.node.sync_progress import SyncProgress
from haulout.node.work_tables import WorkTables
from haulout.observability import tracing
from haulout.ports import Clock
from haulout.primitives import Axis, BlobId, Buffer, ObjectId, ShardIndex
from haulout.replica.replica import Replica

T = TypeVar("T")
Keep = Callable[[Promise], Awaitable[None]]

PARSED_METADATA = 64
DAMAGE_SHOWN_MS = 5_000  # before it is repaired: whoever asks every few seconds sees that there was some


@dataclass(frozen=True, slots=True)
class CheckedSliver:
    """A sliver that was verified against its blob's metadata, with the shard it belongs to."""

    shard_index: ShardIndex
    axis: Axis
    bcs: Buffer


@dataclass(frozen=True, slots=True)
class CheckedPiece:
    """A segment of a sliver in stripes that was verified; without proof when that is not known yet."""

    name: PieceName
    data: Buffer
    leaves: bytes
    proof: tuple[bytes, ...] | None


class Vault:
    """The node's holdings under the node's own ledger view."""

    def __init__(
        self,
        *,
        node_id: ObjectId,
        replica: Replica,
        slivers: SliverStore,
        tables: WorkTables,
        space: SpaceGuard,
        clock: Clock,
        metrics: NodeMetrics,
    ) -> None:
        self.replica = replica
        self.slivers = slivers
        self.tables = tables
        self.metrics = metrics
        self.locks = BlobLocks()
        self.corrupt_found = 0
        self.progress = SyncProgress()
        self.work_arrived = asyncio.Event()  # something was put on a list
        self.last_report: tuple[int, tuple[int, ...]] | None = None  # since the start: epoch, shards that are complete
        self.node_id = node_id
        self.space = space
        self._clock = clock
        self._parsed: OrderedDict[BlobId, BlobMetadata] = OrderedDict()
        self._holders: dict[int, Mapping[ObjectId, tuple[int, ...]]] = {}  # by the epoch of first certification
        self._holders_height = -1
        self._takers: tuple[int, Mapping[ObjectId, tuple[int, ...]]] | None = None  # height, to whom
        self._duty: tuple[int, rules.Duty] | None = None  # height, what it asks

    # --- what the ledger says -------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The node's own verified state."""
        return self.replica.view

    @property
    def height(self) -> int:
        """The block that `view` is after."""
        return self.replica.head.height

    @property
    def is_set_back(self) -> bool:
        """A power cut has taken the last blocks of the replica, but not the work that came of them. Until it has caught
        up again, `view` says nothing about later blobs: what it calls unwanted may be certified."""
        return self.height < self.tables.cursor().height

    def duty(self) -> rules.Duty:
        """What the latest committee asks of this node."""
        if self._duty is None or self._duty[0] != self.height:
            self._duty = (self.height, rules.duty_of(self.view, self.node_id))
        return self._duty[1]

    def holders(self, blob_id: BlobId) -> Mapping[ObjectId, tuple[int, ...]]:
        """Who has the slivers of a certified blob, by node, with its shards; this node may be among them."""
        record = queries.blob_record(self.view, blob_id)
        certified_epoch = None if record is None else record.initial_certified_epoch
        if certified_epoch is None:
            certified_epoch = self.duty().epoch
        if self._holders_height != self.height:
            self._holders, self._holders_height = {}, self.height
        if certified_epoch not in self._holders:
            self._holders[certified_epoch] = rules.holders_of(self.view, certified_epoch)
        return self._holders[certified_epoch]

    def takers(self) -> Mapping[ObjectId, tuple[int, ...]]:
        """Whom shards are on their way to, by node, with these shards; this node may be among them."""
        if self._takers is None or self._takers[0] != self.height:
            self._takers = (self.height, rules.takers_of(self.view))
        return self._takers[1]

    # --- reading --------------------------------------------------------------------------------------------

    async def metadata_bytes(self, blob_id: BlobId) -> bytes | None:
        """The blob's metadata (BCS); damaged metadata is discarded and counts as lacking."""
        try:
            return self.slivers.get_metadata(blob_id)
        except CorruptRecord:
            await self._forget_damaged(blob_id, lambda: self.slivers.discard_metadata(blob_id))
            return None

    async def metadata(self, blob_id: BlobId) -> BlobMetadata | None:
        """The blob's metadata, parsed; the last few are remembered."""
        known = self._parsed.get(blob_id)
        if known is not None:
            self._parsed.move_to_end(blob_id)
            return known
        raw = await self.metadata_bytes(blob_id)
        if raw is None:
            return None
        parsed: BlobMetadata = bcs.decode(BlobMetadata, raw)
        self._parsed[blob_id] = parsed
        while len(self._parsed) > PARSED_METADATA:
            self._parsed.popitem(last=False)
        return parsed

    async def sliver(self, blob_id: BlobId, shard_index: int, axis: Axis) -> bytes | None:
        """A sliver's canonical bytes as they were verified once; a damaged one is discarded and counts as lacking."""
        if not self.held(blob_id) & bit_of(shard_index, axis):
            return None
        try:
            return await self.slivers.get_sliver(blob_id, shard_index, axis)
        except CorruptRecord:
            await self._look_into_damage(blob_id, shard_index, axis)
            return None

    async def slivers_of(
        self, blob_id: BlobId, names: Iterable[SliverName]
    ) -> AsyncIterator[tuple[SliverName, Buffer]]:
        """Those of some slivers that are here, in order, as `sliver` gives them; a few MiB are read at once."""
        held = self.held(blob_id)
        async for name, found in self.slivers.get_slivers(blob_id, [name for name in names if held & bit_of(*name)]):
            if isinstance(found, CorruptRecord):
                await self._look_into_damage(blob_id, *name)
            else:
                yield name, found

    async def _look_into_damage(self, blob_id: BlobId, shard_index: int, axis: Axis) -> None:
        if self.held(blob_id) & bit_of(shard_index, axis):  # else it was dropped while it was being read
            await self._forget_damaged(blob_id, lambda: self.slivers.discard_sliver(blob_id, shard_index, axis))

    async def piece(self, blob_id: BlobId, name: PieceName) -> StoredPiece | None:
        """A segment of a sliver as it was verified once; a damaged one is discarded and counts as lacking."""
        try:
            return await self.slivers.pieces.get(blob_id, name)
        except CorruptRecord:
            if not self.slivers.pieces.segments_held(blob_id).get(name[:2], 0) >> name[2] & 1:
                return None  # dropped while it was being read: nothing is wrong
            await self._forget_damaged(blob_id, lambda: self.slivers.discard_piece(blob_id, name))
            return None

    def held(self, blob_id: BlobId) -> int:
        """Slivers held, durable or pending, as bits of `records.bit_of`."""
        return self.slivers.held_mask(blob_id)

    # --- writing --------------------------------------------------------------------------------------------

    async def check_writable(self) -> None:
        """Raises StorageFailed or DiskFull while nothing may be written."""
        if self.slivers.failed is not None:
            raise self.slivers.failed
        await self.space.check()

    async def is_full(self) -> bool:
        """Whether so little space is left that nothing is taken in."""
        return await self.space.look()

    async def put_metadata(self, blob_id: BlobId, metadata: bytes, check: Callable[[], None]) -> None:
        """Keep verified metadata, unless `check` has something against it by now; durable with the next sync."""

        async def put() -> None:
            check()
            self.slivers.put_metadata(blob_id, metadata)

        await self._write(blob_id, put)

    async def put_slivers(self, blob_id: BlobId, slivers: Sequence[CheckedSliver], check: Callable[[], None]) -> None:
        """Keep verified slivers, unless `check` has something against it by now; durable with the next sync."""

        async def put() -> None:
            check()
            for sliver in slivers:
                await self.put_sliver(blob_id, sliver)
                self.progress.note(sliver.shard_index, len(sliver.bcs))

        await self._write(blob_id, put)

    async def put_sliver(self, blob_id: BlobId, sliver: CheckedSliver) -> None:
        """Keep one verified sliver, for an action that has the blob to itself; durable with the next sync."""
        with tracing.span("keep sliver") as span:
            span.note(shard=sliver.shard_index, axis=sliver.axis.name.lower(), size_bytes=len(sliver.bcs))
            await self.slivers.put_sliver(blob_id, sliver.shard_index, sliver.axis, sliver.bcs)

    async def put_pieces(
        self, blob_id: BlobId, pieces: Sequence[CheckedPiece], n_segments: int, check: Callable[[], None]
    ) -> None:
        """Keep segments of slivers, unless `check` has something against it by now; as `put_slivers`."""

        async def put() -> None:
            check()
            given = [(piece.name, piece.data, piece.leaves, piece.proof) for piece in pieces]
            with tracing.span("keep segments") as span:
                span.note(n_segments=len(pieces))
                await self.slivers.pieces.put(blob_id, given, n_segments)
            for piece in pieces:
                self.progress.note(piece.name[0], len(piece.data))

        await self._write(blob_id, put)

    async def prove_pieces(self, blob_id: BlobId, proofs: Mapping[PieceName, tuple[bytes, ...]]) -> None:
        """Rebuilt pieces count from now on."""

        async def prove() -> None:
            self.slivers.pieces.prove(blob_id, proofs)

        await self._write(blob_id, prove)

    async def drop_unproven_pieces(self, blob_id: BlobId) -> None:
        """Forget pieces that were rebuilt and came to nothing."""
        await self._write(blob_id, lambda: self.slivers.pieces.drop_unproven(blob_id))

    async def sync_blob(self, blob_id: BlobId) -> None:
        """Make durable what came for a blob."""
        await self._write(blob_id, lambda: self._sync(blob_id))

    async def promise(
        self, blob_id: BlobId, action: Callable[[Callable[[Promise], Awaitable[None]]], Awaitable[T]]
    ) -> T:
        """Run `action` while nobody else changes the blob, with a function that makes blob and promise durable."""

        async def keep(promise: Promise) -> None:
            known = self.slivers.promise(blob_id)
            if known is not None and (known.epoch, known.object_id) == (promise.epoch, promise.object_id):
                promise = known  # given before; asking again costs no sync
            await self._sync(blob_id, promise)

        return await self._write(blob_id, lambda: action(keep))

    async def _sync(self, blob_id: BlobId, promise: Promise | None = None) -> None:
        started_us = self._clock.monotonic_us()
        with tracing.span("sync"):
            await self.slivers.sync_blob(blob_id, promise=promise)
        duration_us = self._clock.monotonic_us() - started_us
        self.metrics.sync_seconds.observe(duration_us / 1_000_000, tracing.exemplar())

    async def drop_blob(self, blob_id: BlobId, may_drop: Callable[[], bool]) -> bool:
        """Delete everything of a blob if it still may go; says whether it did."""

        async def drop() -> bool:
            if not may_drop():
                return False
            await self.slivers.drop_blob(blob_id)
            self._parsed.pop(blob_id, None)
            return True

        return await self._write(blob_id, drop)

    async def drop_from_shard(self, blob_id: BlobId, shard_index: int, may_drop: Callable[[], bool]) -> bool:
        """Delete what a blob has on a shard if it still may go; says whether it did."""

        async def drop() -> bool:
            if not may_drop():
                return False
            await self.slivers.drop_from_shard(blob_id, shard_index)
            return True

        return await self._write(blob_id, drop)

    async def list_incomplete(self, blob_id: BlobId, *, delay_ms: int = 0) -> None:
        """Put a blob on the list of what is lacking, if every owner of a shard must have it."""
        if self.is_set_back or rules.is_wanted(self.view, blob_id, self.duty().epoch):
            await self.tables.add_incomplete(blob_id, due_ms=self._clock.now_ms() + delay_ms)
            self.work_arrived.set()

    async def unlist_incomplete(self, blob_id: BlobId) -> None:
        """Take a blob off the list of what is lacking, if everything is here or nobody wants it."""
        if self.tables.is_incomplete(blob_id):
            try:
                row = await self.tables.remove_incomplete(blob_id, lambda: self._may_be_unlisted(blob_id))
            except DiskFull:
                self.space.note_full()  # the next look at the list finds it complete
                return
            if row is not None and row.certified_ms and self.slivers.is_durable(blob_id, self.duty().wanted_mask):
                self.metrics.note_whole(self._clock.now_ms() - row.certified_ms)

    def _may_be_unlisted(self, blob_id: BlobId) -> bool:
        duty = self.duty()
        if self.slivers.is_durable(blob_id, duty.wanted_mask):
            return True
        return not self.is_set_back and not (duty.has_shards and rules.is_wanted(self.view, blob_id, duty.epoch))

    async def _write(self, blob_id: BlobId, action: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self.locks.exclusively(blob_id, action)
        except DiskFull:
            self.space.note_full()
            raise

    async def _forget_damaged(self, blob_id: BlobId, discard: Callable[[], Awaitable[None]]) -> None:
        """Count damage, and let what was damaged be rebuilt.

        It is listed first: forgetting is durable, and makes durable what was written before. And once more after that:
        meanwhile it may have been looked at, and found complete.
        """
        self.corrupt_found += 1
        self.metrics.corrupt_slivers.inc()
        try:
            await self.list_incomplete(blob_id, delay_ms=DAMAGE_SHOWN_MS)
            await self.locks.exclusively(blob_id, discard)
            await self.list_incomplete(blob_id, delay_ms=DAMAGE_SHOWN_MS)
        except DiskFull:
            self.space.note_full()  # it is found again when it is read again
