"""Rows of slivers that are durable: what they say, and which of them a change has to write.

Nothing is written here: a change comes back as `Changes`, which `SliverStore` commits as one batch. A blob's own row
says which slivers are held, and theirs say where. A damaged row counts as nothing held there, so that it is rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from haulout.node.errors import CorruptRecord
from haulout.node.pending_slivers import Pending
from haulout.node.records import (
    BLOB,
    ROW_VERSION,
    BlobRow,
    FileRow,
    InFile,
    Inline,
    Promise,
    SliverName,
    SliverRow,
    bit_of,
    blob_key,
    mask_bytes,
    metadata_key,
    names_in,
    seal,
    seal_row,
    shard_range,
    sliver_key,
    split_sliver_key,
    table_range,
    unseal,
    unseal_row,
)
from haulout.node.sliver_files import path_of
from haulout.node.synced_batch import Changes
from haulout.ports import Store
from haulout.primitives import Axis, BlobId


class SliverRows:
    """Reads rows of a store; which of them to write, it says."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- what they say --------------------------------------------------------------------------------------

    def blob(self, blob_id: BlobId) -> BlobRow | None:
        """The blob's own row; None when nothing is held, or the row is damaged: it is written anew."""
        key = blob_key(blob_id)
        sealed = self._store.get(key)
        if sealed is None:
            return None
        try:
            return unseal_row(key, sealed, BlobRow)
        except CorruptRecord:
            return None

    def held_mask(self, blob_id: BlobId) -> int:
        """The slivers held, as bits `records.bit_of`."""
        row = self.blob(blob_id)
        return 0 if row is None else row.mask()

    def has_metadata(self, blob_id: BlobId) -> bool:
        """Whether metadata is here, damaged or not."""
        return self._store.get(metadata_key(blob_id)) is not None

    def metadata(self, blob_id: BlobId) -> bytes | None:
        """The blob's metadata (BCS), or None.

        Raises:
            CorruptRecord: it is damaged.
        """
        key = metadata_key(blob_id)
        sealed = self._store.get(key)
        return None if sealed is None else unseal(key, sealed)

    def find(self, blob_id: BlobId, name: SliverName) -> Inline | InFile | CorruptRecord | None:
        """Where a sliver is, or what is wrong with its row; None when it is not held."""
        shard_index, axis = name
        key = sliver_key(shard_index, blob_id, axis)
        sealed = self._store.get(key)
        if sealed is None:
            is_held = bool(self.held_mask(blob_id) & bit_of(shard_index, axis))
            return CorruptRecord(what=f"record of a sliver on shard {shard_index} (gone)") if is_held else None
        try:
            return unseal_row(key, sealed, SliverRow).place
        except CorruptRecord as e:
            return e

    def file_names(self, blob_id: BlobId) -> list[bytes]:
        """Names of the files that rows of a blob name."""
        row = self.blob(blob_id)
        return [] if row is None else [file.name for file in row.files]

    def blob_ids(self, *, after: BlobId | None, limit: int) -> list[BlobId]:
        """Blobs with rows, in order."""
        start, end = table_range(BLOB, after=after)
        return [BlobId(key[1:]) for key, _ in self._store.scan(start, end, limit=limit)]

    def blobs_on_shard(self, shard_index: int, *, limit: int) -> list[BlobId]:
        """Blobs with slivers on a shard, in order, of its first `limit` blobs."""
        start, end = shard_range(shard_index)
        slivers = self._store.scan(start, end, limit=len(Axis) * limit)
        return list(dict.fromkeys(split_sliver_key(key)[1] for key, _ in slivers))

    # --- which to write -------------------------------------------------------------------------------------

    def rows_to_sync(self, blob_id: BlobId, pending: Pending, promise: Promise | None) -> Changes:
        """Those that make a pending upload visible, with its files, which are durable before."""
        changes = Changes(files=pending.paths(blob_id))
        row = self.blob(blob_id) or BlobRow(ROW_VERSION, b"", (), None)
        mask = row.mask()
        files = dict(pending.files)
        for (shard_index, axis), place in pending.places().items():
            if mask & bit_of(shard_index, axis):  # held already: this copy is not needed
                _leave_file(files, place)
                continue
            key = sliver_key(shard_index, blob_id, axis)
            changes.writes[key] = seal_row(key, SliverRow(ROW_VERSION, place))
            mask |= bit_of(shard_index, axis)
            changes.slivers += 1
            changes.size_bytes += place.size_bytes
        if pending.metadata is not None:
            key = metadata_key(blob_id)
            changes.writes[key] = seal(key, pending.metadata)
        kept = tuple(file for file in files.values() if file.slivers)  # the others are swept at the next start
        row = replace(row, held=mask_bytes(mask), files=row.files + kept, promise=promise or row.promise)
        changes.writes[blob_key(blob_id)] = seal_row(blob_key(blob_id), row)
        return changes

    def rows_to_drop(self, blob_id: BlobId) -> Changes:
        """Those of everything of a blob, with its files."""
        changes = Changes()
        row = self.blob(blob_id)
        if self.has_metadata(blob_id):
            changes.writes[metadata_key(blob_id)] = None
        if row is not None:
            changes.writes[blob_key(blob_id)] = None
            changes.files = [path_of(blob_id, file.name) for file in row.files]
            for shard_index, axis in names_in(row.mask()):
                key = sliver_key(shard_index, blob_id, axis)
                changes.writes[key] = None
                changes.slivers -= 1
                changes.size_bytes -= self._size_of(key)
        return changes

    def rows_to_discard(self, blob_id: BlobId, names: Iterable[SliverName]) -> Changes:
        """Those of some slivers, with the files that nothing is left in."""
        changes = Changes()
        row = self.blob(blob_id)
        files = {} if row is None else {file.name: file for file in row.files}
        mask = 0 if row is None else row.mask()
        for shard_index, axis in names:
            key = sliver_key(shard_index, blob_id, axis)
            sealed, is_held = self._store.get(key), mask & bit_of(shard_index, axis)
            if sealed is None and not is_held:
                continue
            changes.writes[key] = None
            place = None if sealed is None else _place_or_none(key, sealed)
            _leave_file(files, place)
            if is_held:
                changes.slivers -= 1
                changes.size_bytes -= 0 if place is None else place.size_bytes
            mask &= ~bit_of(shard_index, axis)
        if changes.writes and row is not None:
            kept = tuple(file for file in files.values() if file.slivers)
            row = replace(row, held=mask_bytes(mask), files=kept)
            changes.writes[blob_key(blob_id)] = seal_row(blob_key(blob_id), row)
        if changes.writes:
            changes.files = [path_of(blob_id, file.name) for file in files.values() if not file.slivers]
        return changes

    def _size_of(self, key: bytes) -> int:
        sealed = self._store.get(key)
        place = None if sealed is None else _place_or_none(key, sealed)
        return 0 if place is None else place.size_bytes


def _place_or_none(key: bytes, sealed: bytes) -> Inline | InFile | None:
    try:
        return unseal_row(key, sealed, SliverRow).place
    except CorruptRecord:
        return None


def _leave_file(files: dict[bytes, FileRow], place: Inline | InFile | None) -> None:
    """One sliver less in its file."""
    if isinstance(place, InFile) and place.name in files:
        files[place.name] = replace(files[place.name], slivers=files[place.name].slivers - 1)
