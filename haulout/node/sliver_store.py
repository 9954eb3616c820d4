"""Slivers and metadata on disk: nothing is indexed before it is durable, and what is read back is checked.

An upload of one blob goes through three states::

    put_metadata, put_sliver ...    pending: bytes in memory or in files that nobody has synced
    sync_blob                       ONE synced batch: the files, then one durable commit of all rows
    get_sliver ...                  held: the row says where, and what the bytes hash to

Rows come last and all at once, so a crash leaves either all of what `sync_blob` was called for or none of it; files
without a row are leftovers and are swept away after a start. There is no sync per sliver: at 20 shards that would be
40 of them per blob, and a flush costs more than writing 64 KiB.

Where the bytes go depends on how many there are. What a blob has pending at its sync goes into the rows themselves
up to `inline_bytes` (a small blob then costs one commit and no file). Beyond, slivers are gathered into files of
`pack_bytes`; a sliver of `own_file_bytes` or more has its own. Files never mix blobs. So deleting a blob, which is
what happens every day, removes whole files and rewrites nothing. Dropping a shard, which happens when the committee
changes, frees rows and own files at once; in a pack it leaves a hole until the pack's last sliver goes. The holes are
bounded: slivers in packs are below 1 MiB, a pack is below 5 MiB, and it lives no longer than its blob.

`PendingSlivers` keeps what is pending, and `SliverRows` says what stands in rows and which of them a change writes; all
of them are committed here. Slivers in stripes come in pieces and are kept by a `PieceStore`; they are synced and
deleted from here, too, in one batch with the rest of their blob. All methods that change a blob are called under its
lock (`BlobLocks.exclusively`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from haulout.node.errors import CorruptRecord, UnknownStoreVersion
from haulout.node.pending_slivers import PendingSlivers
from haulout.node.piece_store import PieceName, PieceStore
from haulout.node.records import (
    FORMAT_KEY,
    ROW_VERSION,
    STORE_FORMAT,
    TOTALS_KEY,
    FormatRow,
    InFile,
    Inline,
    Promise,
    SliverName,
    TotalsRow,
    metadata_key,
    seal_row,
    unseal,
    unseal_row,
)
from haulout.node.sliver_files import FOLDER, SliverFiles, path_of, split_path
from haulout.node.sliver_rows import SliverRows
from haulout.node.store_layout import Layout
from haulout.node.synced_batch import Changes, SyncedBatches
from haulout.observability import tracing
from haulout.ports import Clock, Disk, Rng, Store, Workers
from haulout.primitives import Axis, BlobId, Buffer
from haulout.world.errors import StorageFailed

LOOKED_UP_AT_ONCE = 64  # rows, before others get their turn


class SliverStore:
    """What one node keeps of blobs. Made with `open`."""

    def __init__(
        self, store: Store, disk: Disk, *, clock: Clock, rng: Rng, workers: Workers, layout: Layout, totals: TotalsRow
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._layout = layout
        self._sync = SyncedBatches(store, disk)
        self._files = SliverFiles(disk, workers)
        self._rows = SliverRows(store)
        self._pending = PendingSlivers(self._files, clock=clock, rng=rng, layout=layout)
        self.pieces = PieceStore(store, disk, clock=clock, rng=rng, workers=workers, layout=layout)
        self._slivers = totals.slivers
        self._bytes = totals.size_bytes

    @classmethod
    async def open(
        cls, store: Store, disk: Disk, *, clock: Clock, rng: Rng, workers: Workers, layout: Layout | None = None
    ) -> SliverStore:
        """Open what is there, or start an empty one; what an earlier release wrote is this one's from now on.

        Raises:
            UnknownStoreVersion: a later release wrote it.
            CorruptRecord: its first record is damaged.
            DiskFull: there is no room for that record.
        """
        sealed = store.get(FORMAT_KEY)
        found = 0 if sealed is None else _format_of(sealed)  # of any release: only its first four bytes are promised
        if found > STORE_FORMAT:
            raise UnknownStoreVersion(found=found, supported=STORE_FORMAT)
        if found < STORE_FORMAT:
            await store.commit({FORMAT_KEY: seal_row(FORMAT_KEY, FormatRow(STORE_FORMAT))}, durable=True)
        totals = TotalsRow(ROW_VERSION, 0, 0)
        sealed = store.get(TOTALS_KEY)
        if sealed is not None:
            totals = unseal_row(TOTALS_KEY, sealed, TotalsRow)
        return cls(store, disk, clock=clock, rng=rng, workers=workers, layout=layout or Layout(), totals=totals)

    # --- what is here ---------------------------------------------------------------------------------------

    @property
    def failed(self) -> StorageFailed | None:
        """Why the storage is not trusted any more, or None."""
        return self._sync.failed

    @property
    def stored_slivers(self) -> int:
        return self._slivers

    @property
    def stored_bytes(self) -> int:
        return self._bytes

    @property
    def buffered_bytes(self) -> int:
        """Slivers waiting in memory for their sync."""
        return self._pending.buffered_bytes

    def has_metadata(self, blob_id: BlobId) -> bool:
        """Whether metadata is here, damaged or not: `get_metadata` looks at the bytes."""
        pending = self._pending.get(blob_id)
        return (pending is not None and pending.metadata is not None) or self._rows.has_metadata(blob_id)

    def has_durable_metadata(self, blob_id: BlobId) -> bool:
        """Whether metadata survives a power cut."""
        return self._rows.has_metadata(blob_id)

    def get_metadata(self, blob_id: BlobId) -> bytes | None:
        """The blob's metadata (BCS), pending or durable; None when it is not here.

        Raises:
            CorruptRecord: it was, but it is damaged.
        """
        pending = self._pending.get(blob_id)
        if pending is not None and pending.metadata is not None:
            return pending.metadata
        return self._rows.metadata(blob_id)

    def held_mask(self, blob_id: BlobId, *, durable_only: bool = False) -> int:
        """The slivers held, as bits `records.bit_of`. A damaged record counts as nothing held: all is rebuilt."""
        mask = self._rows.held_mask(blob_id)
        pending = self._pending.get(blob_id)
        if pending is not None and not durable_only:
            mask |= pending.mask()
        return mask | self.pieces.held_mask(blob_id, durable_only=durable_only)

    def is_durable(self, blob_id: BlobId, mask: int) -> bool:
        """Whether the metadata and all of these slivers survive a power cut."""
        return self._rows.has_metadata(blob_id) and not mask & ~self.held_mask(blob_id, durable_only=True)

    def is_pending(self, blob_id: BlobId) -> bool:
        """Something of the blob waits for its sync."""
        return blob_id in self._pending or self.pieces.is_pending(blob_id)

    def promise(self, blob_id: BlobId) -> Promise | None:
        """The last confirmation signed for the blob."""
        row = self._rows.blob(blob_id)
        return None if row is None else row.promise

    def blob_ids(self, *, after: BlobId | None = None, limit: int) -> list[BlobId]:
        """Ids of blobs with durable records, in order."""
        return self._rows.blob_ids(after=after, limit=limit)

    async def get_sliver(self, blob_id: BlobId, shard_index: int, axis: Axis) -> bytes | None:
        """A sliver's canonical bytes, pending or durable, checked against the checksum they were stored with.

        Raises:
            CorruptRecord: it is damaged; `discard_sliver` it.
        """
        name = (shard_index, axis)
        place = self._find(blob_id, name)
        if place is None:
            return None
        ((_, found),) = await self._read_batch(blob_id, [(name, place)])
        if isinstance(found, CorruptRecord):
            raise found
        return bytes(found)

    async def get_slivers(
        self, blob_id: BlobId, names: Iterable[SliverName]
    ) -> AsyncIterator[tuple[SliverName, Buffer | CorruptRecord]]:
        """Those of some slivers that are here, in order, or what is wrong with them; `pack_bytes` are read at once."""
        batch: list[tuple[SliverName, Inline | InFile | CorruptRecord]] = []
        size = 0
        for name in names:
            place = self._find(blob_id, name)
            if place is None:
                continue
            batch.append((name, place))
            size += 0 if isinstance(place, CorruptRecord) else place.size_bytes
            if size >= self._layout.pack_bytes:
                for item in await self._read_batch(blob_id, batch):
                    yield item
                batch, size = [], 0
        for item in await self._read_batch(blob_id, batch):
            yield item

    async def _read_batch(
        self, blob_id: BlobId, batch: Sequence[tuple[SliverName, Inline | InFile | CorruptRecord]]
    ) -> list[tuple[SliverName, Buffer | CorruptRecord]]:
        with tracing.span("read slivers") as span:
            span.note(n_slivers=len(batch))
            in_files = [place for _, place in batch if isinstance(place, InFile)]
            read = iter(await self._files.read_all(blob_id, in_files) if in_files else ())
        found: list[tuple[SliverName, Buffer | CorruptRecord]] = []
        for name, place in batch:
            if isinstance(place, InFile):
                found.append((name, next(read)))
            else:
                found.append((name, place.data if isinstance(place, Inline) else place))
        return found

    def _find(self, blob_id: BlobId, name: SliverName) -> Inline | InFile | CorruptRecord | None:
        pending = self._pending.get(blob_id)
        place = None if pending is None else pending.find(name)
        return self._rows.find(blob_id, name) if place is None else place

    # --- an upload ------------------------------------------------------------------------------------------

    def put_metadata(self, blob_id: BlobId, metadata: bytes) -> None:
        """Keep verified metadata; durable with the blob's next sync.

        Raises:
            StorageFailed: a sync failed earlier.
        """
        self._sync.check()
        self._pending.put_metadata(blob_id, metadata)

    async def put_sliver(self, blob_id: BlobId, shard_index: int, axis: Axis, sliver: Buffer) -> None:
        """Keep a verified sliver; durable with the blob's next sync. The caller does not write into it any more.

        If it stops half-way, what it had written is a file without a row.

        Raises:
            DiskFull: the sliver is not kept, those before it are.
            StorageFailed: a sync failed earlier.
        """
        self._sync.check()
        await self._pending.put(blob_id, (shard_index, axis), sliver)

    async def sync_blob(self, blob_id: BlobId, *, promise: Promise | None = None) -> None:
        """Make everything that came for a blob durable, with the promise about to be signed, as one batch.

        Returns at once when there is nothing new. If it stops half-way, either all rows are there or none.

        Raises:
            DiskFull: nothing changed, what was pending still is.
            StorageFailed: fatal; nothing may be promised any more.
        """
        self._sync.check()
        pieces = self.pieces.rows_to_sync(blob_id)
        if blob_id not in self._pending and not pieces.writes and (promise is None or promise == self.promise(blob_id)):
            return
        pending = await self._pending.settle(blob_id)
        changes = self._rows.rows_to_sync(blob_id, pending, promise) + pieces
        await self._commit(changes, files=changes.files)
        self.pieces.synced(blob_id)
        self._pending.pop(blob_id)

    def idle_blobs(self, idle_us: int) -> list[BlobId]:
        """Blobs with something pending that nothing was put to for a while: uploads that were given up."""
        limit = self._clock.monotonic_us() - idle_us
        return list(dict.fromkeys(self._pending.idle_blobs(limit) + self.pieces.idle_blobs(limit)))

    def pending_blobs(self) -> list[BlobId]:
        """Blobs with something that is not durable yet."""
        return list(dict.fromkeys(self._pending.blob_ids() + self.pieces.pending_blobs()))

    # --- letting go -----------------------------------------------------------------------------------------

    async def discard_sliver(self, blob_id: BlobId, shard_index: int, axis: Axis) -> None:
        """Forget a damaged sliver, so that it counts as missing.

        Raises:
            DiskFull: it could not be recorded; the sliver is found damaged again.
            StorageFailed: a sync failed.
        """
        pending = self._pending.get(blob_id)
        if pending is not None:
            pending.placed.pop((shard_index, axis), None)
        await self._let_go(self._rows.rows_to_discard(blob_id, [(shard_index, axis)]))

    async def discard_piece(self, blob_id: BlobId, name: PieceName) -> None:
        """Forget a damaged piece, so that its sliver counts as incomplete. Raises as `discard_sliver`."""
        await self._let_go(self.pieces.rows_to_discard(blob_id, [name]))

    async def discard_metadata(self, blob_id: BlobId) -> None:
        """Forget damaged metadata, so that it counts as missing."""
        await self._let_go(Changes({metadata_key(blob_id): None}))

    async def drop_blob(self, blob_id: BlobId) -> None:
        """Delete everything of a blob. The rows go first: a crash leaves files without rows, which are swept.

        Raises:
            DiskFull: nothing was deleted.
            StorageFailed: a sync failed.
        """
        pending = self._pending.pop(blob_id)
        leftovers = Changes(files=[] if pending is None else pending.paths(blob_id))
        await self._let_go(leftovers + self._rows.rows_to_drop(blob_id) + self.pieces.rows_to_drop(blob_id))

    def drop_shard_page(self, shard_index: int, *, limit: int = 64) -> list[BlobId]:
        """Blobs that still have slivers of a shard, at most `limit`: the caller drops them with `drop_from_shard`."""
        slivers = self._rows.blobs_on_shard(shard_index, limit=limit)
        pieces = self.pieces.blobs_on_shard(shard_index, limit=limit)
        return list(dict.fromkeys(slivers + pieces))[:limit]

    async def drop_from_shard(self, blob_id: BlobId, shard_index: int) -> None:
        """Delete what a blob has on one shard."""
        await self._let_go(self._rows.rows_to_discard(blob_id, [(shard_index, axis) for axis in Axis]))
        names = self.pieces.names_on_shard(blob_id, shard_index)
        await self._let_go(self.pieces.rows_to_discard(blob_id, names))

    async def sweep_files(self) -> int:
        """Remove files that no row names: leftovers of uploads that a crash cut off. Returns how many.

        Goes folder by folder and may run while the node works: a file that is being written is known as pending.
        """
        removed = 0
        for first_byte in range(256):
            leftovers = []
            for path in await self._disk.list(f"{FOLDER}/{first_byte:02x}"):
                parsed = split_path(path)
                if parsed is None or not self._is_wanted(*parsed):
                    leftovers.append(path)
            if leftovers:
                await self._disk.remove(leftovers)
                removed += len(leftovers)
        return removed

    async def find_lost_files(self, first_byte: bytes) -> list[BlobId]:
        """Blobs whose ids begin with this byte and of which a file is gone that rows name.

        A blob that was deleted meanwhile may be among them; whoever reads it finds out.
        """
        named: list[tuple[BlobId, str]] = []
        after = None if first_byte == b"\x00" else BlobId(bytes([first_byte[0] - 1]) + b"\xff" * 31)
        while page := [i for i in self.blob_ids(after=after, limit=LOOKED_UP_AT_ONCE) if i[:1] == first_byte]:
            named += [(blob_id, path_of(blob_id, name)) for blob_id in page for name in self._file_names(blob_id)]
            after = page[-1]
            await asyncio.sleep(0)
        if not named:
            return []
        there = set(await self._disk.list(f"{FOLDER}/{first_byte.hex()}"))
        return list(dict.fromkeys(blob_id for blob_id, path in named if path not in there))

    def _file_names(self, blob_id: BlobId) -> list[bytes]:
        """Names of the files that durable rows of a blob name."""
        return self._rows.file_names(blob_id) + self.pieces.file_names(blob_id)

    def _is_wanted(self, blob_id: BlobId, name: bytes) -> bool:
        if self.is_pending(blob_id):
            return True  # including one whose name is not known yet; the next start looks again
        return name in self._file_names(blob_id)

    # --- committing -----------------------------------------------------------------------------------------

    async def _let_go(self, changes: Changes) -> None:
        """Commit rows that let go of something, then remove its files."""
        if changes.writes:
            await self._commit(changes)
        if changes.files:
            await self._disk.remove(changes.files)

    async def _commit(self, changes: Changes, files: Sequence[str] = ()) -> None:
        """Files that are to be durable before, then the rows of a change, with the totals after it."""
        writes = dict(changes.writes)
        self._count(changes.slivers, changes.size_bytes)
        if changes.slivers or changes.size_bytes:
            writes[TOTALS_KEY] = seal_row(TOTALS_KEY, TotalsRow(ROW_VERSION, self._slivers, self._bytes))
        try:
            await self._sync.sync(files, writes)
        except BaseException:
            self._count(-changes.slivers, -changes.size_bytes)
            raise

    def _count(self, slivers: int, size_bytes: int) -> None:
        self._slivers = max(0, self._slivers + slivers)
        self._bytes = max(0, self._bytes + size_bytes)


def _format_of(sealed: bytes) -> int:
    return int.from_bytes(unseal(FORMAT_KEY, sealed)[:4], "little")
