"""Pieces of striped slivers on disk: what `sliver_store` does for whole slivers, for those that come in segments.

A sliver in stripes may be larger than memory, so it arrives, is kept and is read segment by segment, each with its own
proof against the metadata. It counts as held when all of its segments are here. A piece goes through the same states
as a whole sliver, pending and then held, and becomes durable in the same synced batch as the rest of its blob: this
class says which rows and files belong to it, `SliverStore` commits them.

A node that rebuilds a sliver learns the proofs only at its end, since they take the roots of all stripes. Until then
its pieces are *unproven*: written, but neither counted nor made durable nor handed out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from haulout.node.errors import CorruptRecord
from haulout.node.records import (
    ROW_VERSION,
    FileRow,
    HeldPieces,
    InFile,
    Inline,
    PieceRow,
    SliverName,
    StripedRow,
    bit_of,
    mask_bytes,
    piece_key,
    piece_shard_range,
    seal_row,
    striped_key,
    unseal_row,
)
from haulout.node.sliver_files import SliverFiles, path_of
from haulout.node.store_layout import Layout
from haulout.node.synced_batch import Changes
from haulout.ports import Clock, Disk, Rng, Store, Workers
from haulout.primitives import Axis, BlobId, Buffer

PieceName = tuple[int, Axis, int]  # shard index, axis, segment


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """One segment of a sliver."""

    data: Buffer
    leaves: bytes  # 32 for each stripe
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    place: Inline | InFile
    leaves: bytes
    proof: tuple[bytes, ...] | None  # None while unproven


@dataclass(slots=True)
class _Pending:
    """What came for a blob and is not durable yet."""

    n_segments: int
    touched_us: int
    pieces: dict[PieceName, _Placed] = field(default_factory=dict)
    files: dict[bytes, FileRow] = field(default_factory=dict)


class PieceStore:
    """What one node keeps of slivers in stripes. All methods that change a blob are called under its lock."""

    def __init__(self, store: Store, disk: Disk, *, clock: Clock, rng: Rng, workers: Workers, layout: Layout) -> None:
        self._store = store
        self._disk = disk
        self._clock = clock
        self._rng = rng
        self._layout = layout
        self._files = SliverFiles(disk, workers)
        self._pending: dict[BlobId, _Pending] = {}

    # --- what is here ---------------------------------------------------------------------------------------

    def segments_held(self, blob_id: BlobId, *, durable_only: bool = False) -> dict[SliverName, int]:
        """Bits of the segments that are here, by sliver."""
        row = self._row(blob_id)
        held = {} if row is None else {(h.shard_index, h.axis): h.mask() for h in row.held}
        pending = self._pending.get(blob_id)
        if pending is not None and not durable_only:
            for (shard_index, axis, segment), placed in pending.pieces.items():
                if placed.proof is not None:
                    held[shard_index, axis] = held.get((shard_index, axis), 0) | 1 << segment
        return held

    def held_mask(self, blob_id: BlobId, *, durable_only: bool = False) -> int:
        """The slivers of which everything is here, as bits `records.bit_of`."""
        n_segments = self._n_segments(blob_id)
        if not n_segments:
            return 0
        full = (1 << n_segments) - 1
        held = self.segments_held(blob_id, durable_only=durable_only)
        return sum(bit_of(*name) for name, segments in held.items() if segments == full)

    def is_pending(self, blob_id: BlobId) -> bool:
        return blob_id in self._pending

    def pending_bytes(self, blob_id: BlobId) -> int:
        """Bytes of proven pieces that are not durable yet."""
        pending = self._pending.get(blob_id)
        placed = () if pending is None else pending.pieces.values()
        return sum(p.place.size_bytes for p in placed if p.proof is not None)

    def pending_blobs(self) -> list[BlobId]:
        """Blobs with proven pieces that are not durable yet."""
        return [b for b, p in self._pending.items() if any(placed.proof is not None for placed in p.pieces.values())]

    def idle_blobs(self, limit_us: int) -> list[BlobId]:
        """Of these, those that nothing was put to since."""
        return [blob_id for blob_id in self.pending_blobs() if self._pending[blob_id].touched_us <= limit_us]

    def file_names(self, blob_id: BlobId) -> list[bytes]:
        """Names of the files that durable records name."""
        row = self._row(blob_id)
        return [] if row is None else [file.name for file in row.files]

    async def get(self, blob_id: BlobId, name: PieceName) -> StoredPiece | None:
        """A proven piece, its bytes checked against the checksum they were stored with.

        Raises:
            CorruptRecord: it is damaged; `discard` it.
        """
        placed = self._find(blob_id, name)
        if placed is None or placed.proof is None:
            return None
        data = placed.place.data if isinstance(placed.place, Inline) else await self._files.read(blob_id, placed.place)
        return StoredPiece(data, placed.leaves, placed.proof)

    def leaves(self, blob_id: BlobId, name: PieceName) -> bytes | None:
        """The leaf hashes of a piece, proven or not.

        Raises:
            CorruptRecord: its record is damaged.
        """
        placed = self._find(blob_id, name)
        return None if placed is None else placed.leaves

    def _find(self, blob_id: BlobId, name: PieceName) -> _Placed | None:
        pending = self._pending.get(blob_id)
        if pending is not None and name in pending.pieces:
            return pending.pieces[name]
        key = _key(blob_id, name)
        sealed = self._store.get(key)
        if sealed is None:
            return None
        row = unseal_row(key, sealed, PieceRow)
        return _Placed(row.place, row.leaves, row.proof)

    # --- putting --------------------------------------------------------------------------------------------

    async def put(
        self,
        blob_id: BlobId,
        pieces: Sequence[tuple[PieceName, Buffer, bytes, tuple[bytes, ...] | None]],
        n_segments: int,
    ) -> None:
        """Keep verified pieces that came together: name, bytes, leaf hashes, proof. They share a file unless they are
        small enough for their rows.

        Raises:
            DiskFull: none of them is kept.
        """
        pending = self._pending.get(blob_id)
        if pending is None:
            pending = self._pending[blob_id] = _Pending(n_segments, 0)
        pending.touched_us = self._clock.monotonic_us()
        held = self.segments_held(blob_id)
        new = [p for p in pieces if not held.get(p[0][:2], 0) >> p[0][2] & 1 and p[0] not in pending.pieces]
        size = sum(len(data) for _, data, _, _ in new)
        if size <= self._layout.inline_piece_bytes:
            for name, data, leaves, proof in new:
                pending.pieces[name] = _Placed(Inline(bytes(data)), leaves, proof)
            return
        file_name = self._rng.random_bytes(8)
        try:
            places = await self._files.write(blob_id, file_name, [data for _, data, _, _ in new])
        except BaseException:
            if not pending.pieces:
                self._pending.pop(blob_id, None)
            raise
        pending.files[file_name] = FileRow(file_name, len(new), size)
        for (name, _, leaves, proof), place in zip(new, places, strict=True):
            pending.pieces[name] = _Placed(place, leaves, proof)

    def prove(self, blob_id: BlobId, proofs: Mapping[PieceName, tuple[bytes, ...]]) -> None:
        """Unproven pieces count from now on."""
        pending = self._pending.get(blob_id)
        for name, proof in proofs.items():
            if pending is not None and name in pending.pieces:  # else the blob was dropped meanwhile
                pending.pieces[name] = replace(pending.pieces[name], proof=proof)

    async def drop_unproven(self, blob_id: BlobId) -> None:
        """Forget what was rebuilt and came to nothing."""
        pending = self._pending.get(blob_id)
        if pending is None:
            return
        gone = [name for name, placed in pending.pieces.items() if placed.proof is None]
        for name in gone:
            _leave_file(pending.files, pending.pieces.pop(name).place)
        empty = [name for name, file in pending.files.items() if not file.slivers]
        for file_name in empty:
            del pending.files[file_name]
        if not pending.pieces:
            del self._pending[blob_id]
        await self._disk.remove([path_of(blob_id, file_name) for file_name in empty])

    # --- what a commit has to do ----------------------------------------------------------------------------

    def rows_to_sync(self, blob_id: BlobId) -> Changes:
        """The rows that make all proven pieces of a blob durable, and the files to sync before."""
        pending = self._pending.get(blob_id)
        changes = Changes()
        proven = {} if pending is None else {n: p for n, p in pending.pieces.items() if p.proof is not None}
        if pending is None or not proven:
            return changes
        before = self.held_mask(blob_id, durable_only=True)
        for name, placed in proven.items():
            key = _key(blob_id, name)
            assert placed.proof is not None
            changes.writes[key] = seal_row(key, PieceRow(ROW_VERSION, placed.place, placed.leaves, placed.proof))
            changes.size_bytes += placed.place.size_bytes
        used = {placed.place.name for placed in proven.values() if isinstance(placed.place, InFile)}
        files = [file for file_name, file in pending.files.items() if file_name in used]
        changes.files = [path_of(blob_id, file.name) for file in files]
        changes.slivers = (self.held_mask(blob_id) & ~before).bit_count()
        row = self._row(blob_id)
        old_files = () if row is None else row.files
        self._write_row(changes, blob_id, pending.n_segments, self.segments_held(blob_id), (*old_files, *files))
        return changes

    def synced(self, blob_id: BlobId) -> None:
        """What `rows_to_sync` named is durable now."""
        pending = self._pending.get(blob_id)
        if pending is None:
            return
        pending.pieces = {name: placed for name, placed in pending.pieces.items() if placed.proof is None}
        used = {placed.place.name for placed in pending.pieces.values() if isinstance(placed.place, InFile)}
        pending.files = {name: file for name, file in pending.files.items() if name in used}
        if not pending.pieces:
            del self._pending[blob_id]

    def rows_to_drop(self, blob_id: BlobId) -> Changes:
        """The rows and files of everything of a blob; what was pending is forgotten at once."""
        changes = Changes()
        pending = self._pending.pop(blob_id, None)
        if pending is not None:
            changes.files += [path_of(blob_id, name) for name in pending.files]
        row = self._row(blob_id)
        if row is None:
            return changes
        changes.slivers = -self.held_mask_of(row).bit_count()
        for held in row.held:
            for segment in _bits(held.mask()):
                self._drop_row(changes, blob_id, (held.shard_index, held.axis, segment))
        changes.writes[striped_key(blob_id)] = None
        changes.files += [path_of(blob_id, file.name) for file in row.files]
        return changes

    def rows_to_discard(self, blob_id: BlobId, names: Sequence[PieceName]) -> Changes:
        """The rows of some pieces, and the files that nothing is left in."""
        changes = Changes()
        pending = self._pending.get(blob_id)
        for name in names if pending is not None else ():
            placed = pending.pieces.pop(name, None) if pending is not None else None
            if placed is not None and pending is not None:
                _leave_file(pending.files, placed.place)
        row = self._row(blob_id)
        if row is None:
            return changes
        files = {file.name: file for file in row.files}
        held = {(h.shard_index, h.axis): h.mask() for h in row.held}
        for name in names:
            if not held.get(name[:2], 0) >> name[2] & 1:
                continue
            held[name[:2]] &= ~(1 << name[2])
            place = self._drop_row(changes, blob_id, name)
            if place is not None:
                _leave_file(files, place)
        if not changes.writes:
            return changes
        changes.files = [path_of(blob_id, file.name) for file in files.values() if not file.slivers]
        kept = tuple(file for file in files.values() if file.slivers)
        before = self.held_mask_of(row)
        self._write_row(changes, blob_id, row.n_segments, held, kept)
        full = (1 << row.n_segments) - 1
        after = sum(bit_of(*name) for name, segments in held.items() if segments == full)
        changes.slivers = after.bit_count() - before.bit_count()
        return changes

    def names_on_shard(self, blob_id: BlobId, shard_index: int) -> list[PieceName]:
        """All pieces of a blob on one shard."""
        held = self.segments_held(blob_id)
        return [(shard_index, axis, segment) for axis in Axis for segment in _bits(held.get((shard_index, axis), 0))]

    def blobs_on_shard(self, shard_index: int, *, limit: int) -> list[BlobId]:
        """Blobs with durable pieces of a shard, in order, at most `limit`."""
        found: list[BlobId] = []
        while len(found) < limit:
            start, end = piece_shard_range(shard_index, after=found[-1] if found else None)
            first = next(iter(self._store.scan(start, end, limit=1)), None)
            if first is None:
                break
            found.append(BlobId(first[0][3:35]))
        return found

    def held_mask_of(self, row: StripedRow) -> int:
        """The slivers that a record says are whole."""
        full = (1 << row.n_segments) - 1
        return sum(bit_of(held.shard_index, held.axis) for held in row.held if held.mask() == full)

    def _drop_row(self, changes: Changes, blob_id: BlobId, name: PieceName) -> Inline | InFile | None:
        key = _key(blob_id, name)
        sealed = self._store.get(key)
        if sealed is None:
            return None
        changes.writes[key] = None
        try:
            place = unseal_row(key, sealed, PieceRow).place
        except CorruptRecord:
            return None
        changes.size_bytes -= place.size_bytes
        return place

    def _write_row(
        self,
        changes: Changes,
        blob_id: BlobId,
        n_segments: int,
        held: dict[SliverName, int],
        files: tuple[FileRow, ...],
    ) -> None:
        key = striped_key(blob_id)
        masks = tuple(HeldPieces(*name, mask_bytes(held[name])) for name in sorted(held) if held[name])
        changes.writes[key] = seal_row(key, StripedRow(ROW_VERSION, n_segments, masks, files)) if masks else None

    def _n_segments(self, blob_id: BlobId) -> int:
        pending = self._pending.get(blob_id)
        if pending is not None:
            return pending.n_segments
        row = self._row(blob_id)
        return 0 if row is None else row.n_segments

    def _row(self, blob_id: BlobId) -> StripedRow | None:
        key = striped_key(blob_id)
        sealed = self._store.get(key)
        if sealed is None:
            return None
        try:
            return unseal_row(key, sealed, StripedRow)
        except CorruptRecord:
            return None  # nothing held: the pieces are rebuilt and this row is written anew


def _key(blob_id: BlobId, name: PieceName) -> bytes:
    shard_index, axis, segment = name
    return piece_key(shard_index, blob_id, axis, segment)


def _leave_file(files: dict[bytes, FileRow], place: Inline | InFile) -> None:
    """One piece less in its file."""
    if isinstance(place, InFile) and place.name in files:
        files[place.name] = replace(files[place.name], slivers=files[place.name].slivers - 1)


def _bits(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]
