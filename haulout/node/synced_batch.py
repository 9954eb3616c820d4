"""Files and the rows that point into them, made durable in the only order that is safe: the files first.

Batches of different blobs run side by side; the store gathers their commits, so many small uploads share a flush.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from haulout.errors import DiskFull
from haulout.ports import Disk, Store
from haulout.world.errors import StorageFailed


@dataclass(slots=True)
class Changes:
    """What a commit has to write and remove, and by how much it changes the totals."""

    writes: dict[bytes, bytes | None] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)  # to sync before, or to remove afterwards
    slivers: int = 0
    size_bytes: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            {**self.writes, **other.writes},
            [*self.files, *other.files],
            self.slivers + other.slivers,
            self.size_bytes + other.size_bytes,
        )


class SyncedBatches:
    """Durable batches over a disk and a store.

    A failed sync leaves it unknown what is on the disk: from then on nothing is written, `failed` says why.
    """

    def __init__(self, store: Store, disk: Disk) -> None:
        self._store = store
        self._disk = disk
        self.failed: StorageFailed | None = None

    def check(self) -> None:
        """Raises StorageFailed once a sync has failed."""
        if self.failed is not None:
            raise self.failed

    async def sync(self, files: Sequence[str], writes: Mapping[bytes, bytes | None]) -> None:
        """Make files durable and then the rows, as one batch. If it stops half-way, no row is there.

        Raises:
            StorageFailed: a sync failed, now or earlier; fatal.
            DiskFull: no row was written, the files may stay.
        """
        self.check()
        operation = f"sync of {len(files)} files"
        try:
            if files:
                await self._disk.sync(files)
                self.check()
            operation = f"commit of {len(writes)} rows"
            await self._store.commit(writes, durable=True)
        except DiskFull as e:
            if operation.startswith("commit"):
                raise  # nothing was applied
            self.failed = StorageFailed(path=e.path, operation=operation, problem=str(e))
            raise self.failed from e
        except StorageFailed as e:
            self.failed = e
            raise
        except Exception as e:
            self.failed = StorageFailed(path="the node's folder", operation=operation, problem=str(e))
            raise self.failed from e
