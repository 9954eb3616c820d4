"""Group commit of the node's store: while one durable commit is under way, the next ones gather and go together.

A batch is made durable in the only order that is safe: the files first, then the rows that point into them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from haulout.errors import DiskFull
from haulout.ports import Disk, Store
from haulout.world.errors import StorageFailed


@dataclass
class _Batch:
    files: list[str] = field(default_factory=list)
    writes: dict[bytes, bytes | None] = field(default_factory=dict)
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupSync:
    """Durable batches, one at a time, each taking everything that came while the one before it ran.

    A failed sync leaves it unknown what is on the disk: from then on nothing is written, `failed` says why.
    """

    def __init__(self, store: Store, disk: Disk) -> None:
        self._store = store
        self._disk = disk
        self._next: _Batch | None = None
        self._task: asyncio.Task[None] | None = None
        self.failed: StorageFailed | None = None

    async def sync(self, files: Sequence[str], writes: Mapping[bytes, bytes | None]) -> None:
        """Make files and then rows durable, all of them or none of the rows.

        Raises:
            DiskFull: no row was written.
            StorageFailed: a sync failed, now or earlier.
        """
        self.check()
        if self._next is None:
            self._next = _Batch()
        batch = self._next
        batch.files.extend(files)
        batch.writes.update(writes)
        if self._task is None:
            self._task = asyncio.ensure_future(self._drain())
        await asyncio.shield(batch.done)

    def check(self) -> None:
        """Raises StorageFailed once a sync has failed."""
        if self.failed is not None:
            raise self.failed

    async def _drain(self) -> None:
        while self._next is not None:
            batch, self._next = self._next, None
            try:
                self.check()
                await self._write(batch)
            except (DiskFull, StorageFailed) as e:
                batch.done.set_exception(e)
                batch.done.exception()  # seen, even when every caller has gone
            else:
                batch.done.set_result(None)
        self._task = None

    async def _write(self, batch: _Batch) -> None:
        operation = f"sync of {len(batch.files)} files"
        try:
            if batch.files:
                await self._disk.sync(batch.files)
            operation = f"commit of {len(batch.writes)} rows"
            await self._store.commit(batch.writes, durable=True)
        except DiskFull as e:
            if operation.startswith("commit"):
                raise  # nothing was applied
            self.failed = StorageFailed(path=e.path, operation=operation, problem=str(e))
            raise self.failed from e
        except Exception as e:
            self.failed = StorageFailed(path="the node's folder", operation=operation, problem=str(e))
            raise self.failed from e
