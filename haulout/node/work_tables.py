"""Work that must survive a restart: what is lacking, what may go, and how far the ledger was followed.

None of it needs a sync of its own: rows and cursor are committed together, so a power cut takes away the last events
and what followed from them alike, and they are followed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from haulout.node.errors import CorruptRecord
from haulout.node.records import (
    CURSOR_KEY,
    CURSOR_VERSION,
    GARBAGE,
    INCOMPLETE,
    INCOMPLETE_VERSION,
    ROW_VERSION,
    SWEEP_KEY,
    CursorRow,
    CursorRowV1,
    GarbageRow,
    IncompleteRow,
    IncompleteRowV1,
    SweepRow,
    garbage_key,
    incomplete_key,
    seal_row,
    table_range,
    unseal_row,
)
from haulout.ports import Store
from haulout.primitives import U16_MAX, BlobId


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block whose events became work; `digest` is None before the first one, and where an earlier release
    kept none."""

    height: int
    digest: bytes | None


START: Final = Cursor(0, None)


class WorkTables:
    """The node's to-do lists over its store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = asyncio.Lock()  # over the count
        self._n_incomplete = sum(1 for _ in store.scan(*table_range(INCOMPLETE)))

    @property
    def n_incomplete(self) -> int:
        """Blobs on the list of what is lacking."""
        return self._n_incomplete

    # --- following ------------------------------------------------------------------------------------------

    def cursor(self) -> Cursor:
        """How far the ledger was followed. A damaged cursor starts over: following twice does no harm."""
        sealed = self._store.get(CURSOR_KEY)
        if sealed is None:
            return START
        try:
            row = unseal_row(CURSOR_KEY, sealed, CursorRow, version=CURSOR_VERSION)
            return Cursor(row.height, row.digest)
        except CorruptRecord:
            pass  # damaged, or of the form before
        try:
            return Cursor(unseal_row(CURSOR_KEY, sealed, CursorRowV1).height, None)
        except CorruptRecord:
            return START

    async def advance(
        self,
        *,
        height: int,
        digest: bytes,
        incomplete: Mapping[BlobId, int],
        complete: Iterable[BlobId],
        garbage: Mapping[BlobId, int],
        certified_ms: int = 0,
    ) -> None:
        """Move the cursor behind a block, with the work that came of it: blob ids to due times in ms.

        Args:
            certified_ms: when those of `incomplete` were certified.
        """
        writes = _cursor_writes(height, digest)
        for blob_id, due_ms in garbage.items():
            key = garbage_key(blob_id)
            writes[key] = seal_row(key, GarbageRow(ROW_VERSION, due_ms, height))
        await self._commit_incomplete(writes, incomplete, complete, certified_ms=certified_ms)

    async def start_from(self, *, height: int, digest: bytes) -> None:
        """Put the cursor behind a block whatever came before, and have all stored blobs swept again."""
        await self._store.commit({**_cursor_writes(height, digest), SWEEP_KEY: None}, durable=False)

    # --- what is lacking ------------------------------------------------------------------------------------

    def incomplete(self, *, after: BlobId | None, limit: int) -> list[tuple[BlobId, IncompleteRow]]:
        """Blobs that lacked something when they were looked at last, with the time of the next look, by id."""
        found = []
        for key, sealed in self._store.scan(*table_range(INCOMPLETE, after=after), limit=limit):
            found.append((BlobId(key[1:]), _incomplete_row(key, sealed)))
        return found

    def is_incomplete(self, blob_id: BlobId) -> bool:
        return self._store.get(incomplete_key(blob_id)) is not None

    async def add_incomplete(self, blob_id: BlobId, *, due_ms: int, attempts: int = 0) -> None:
        """Put a blob on the list, or move its next look."""
        await self._commit_incomplete({}, {blob_id: due_ms}, (), attempts=min(attempts, U16_MAX))

    async def add_all_incomplete(self, blob_ids: Iterable[BlobId]) -> None:
        """Put blobs on the list, to be looked at at once; those on it keep their place."""
        new = {blob_id: 0 for blob_id in blob_ids if not self.is_incomplete(blob_id)}
        if new:
            await self._commit_incomplete({}, new, ())

    async def remove_incomplete(
        self, blob_id: BlobId, may_go: Callable[[], bool] = lambda: True
    ) -> IncompleteRow | None:
        """Take a blob off the list, unless `may_go` has something against it once it is this one's turn.

        Returns:
            What stood there, for the one call that took it off; None for the others.
        """
        removed = await self._commit_incomplete({}, {}, (blob_id,), may_go=may_go)
        return removed.get(blob_id)

    async def _commit_incomplete(
        self,
        writes: dict[bytes, bytes | None],
        added: Mapping[BlobId, int],
        removed: Iterable[BlobId],
        attempts: int = 0,
        certified_ms: int = 0,
        may_go: Callable[[], bool] = lambda: True,
    ) -> dict[BlobId, IncompleteRow]:
        gone: dict[BlobId, IncompleteRow] = {}
        async with self._lock:
            n_new = 0
            for blob_id, due_ms in added.items():
                key = incomplete_key(blob_id)
                sealed = self._store.get(key)
                n_new += sealed is None
                first_ms = 0 if sealed is None else _incomplete_row(key, sealed).certified_ms
                row = IncompleteRow(INCOMPLETE_VERSION, due_ms, attempts, first_ms or certified_ms)
                writes[key] = seal_row(key, row)
            for blob_id in removed:
                key = incomplete_key(blob_id)
                sealed = self._store.get(key)
                if sealed is not None and may_go():
                    gone[blob_id] = _incomplete_row(key, sealed)
                    writes[key] = None
            if writes:
                await self._store.commit(writes, durable=False)
            self._n_incomplete += n_new - len(gone)
        return gone

    # --- what may go ----------------------------------------------------------------------------------------

    def garbage(self, *, after: BlobId | None, limit: int) -> list[tuple[BlobId, GarbageRow]]:
        """Candidates for deletion, by id."""
        found = []
        for key, sealed in self._store.scan(*table_range(GARBAGE, after=after), limit=limit):
            try:
                row = unseal_row(key, sealed, GarbageRow)
            except CorruptRecord:
                row = GarbageRow(ROW_VERSION, 0, 0)
            found.append((BlobId(key[1:]), row))
        return found

    async def add_garbage(self, blob_ids: Iterable[BlobId], *, due_ms: int, height: int) -> None:
        """Note candidates for deletion; those noted already keep their place."""
        row = GarbageRow(ROW_VERSION, due_ms, height)
        new = [key for key in map(garbage_key, blob_ids) if self._store.get(key) is None]
        if new:
            await self._store.commit({key: seal_row(key, row) for key in new}, durable=False)

    async def remove_garbage(self, blob_ids: Iterable[BlobId]) -> None:
        """These have been looked at."""
        writes: dict[bytes, bytes | None] = {garbage_key(blob_id): None for blob_id in blob_ids}
        if writes:
            await self._store.commit(writes, durable=False)

    def sweep(self) -> SweepRow | None:
        """Where the sweep over all stored blobs stands."""
        sealed = self._store.get(SWEEP_KEY)
        if sealed is None:
            return None
        try:
            return unseal_row(SWEEP_KEY, sealed, SweepRow)
        except CorruptRecord:
            return None

    async def set_sweep(self, *, epoch: int, after: BlobId, done: bool) -> None:
        row = SweepRow(ROW_VERSION, epoch, after, done)
        await self._store.commit({SWEEP_KEY: seal_row(SWEEP_KEY, row)}, durable=False)


def _incomplete_row(key: bytes, sealed: bytes) -> IncompleteRow:
    """A row of the list; a damaged one is to be looked at at once."""
    try:
        return unseal_row(key, sealed, IncompleteRow, version=INCOMPLETE_VERSION)
    except CorruptRecord:
        pass  # damaged, or of the form before
    try:
        row = unseal_row(key, sealed, IncompleteRowV1)
        return IncompleteRow(INCOMPLETE_VERSION, row.due_ms, row.attempts, 0)
    except CorruptRecord:
        return IncompleteRow(INCOMPLETE_VERSION, 0, 0, 0)


def _cursor_writes(height: int, digest: bytes) -> dict[bytes, bytes | None]:
    return {CURSOR_KEY: seal_row(CURSOR_KEY, CursorRow(CURSOR_VERSION, height, digest))}
