"""A full disk makes the node read-only, and free space makes it take uploads again."""

from __future__ import annotations

from haulout.errors import DiskFull
from haulout.node.metrics import NodeMetrics
from haulout.ports import Clock, Disk

LOOK_AGAIN_US = 1_000_000


class SpaceGuard:
    """Looks at the free space at most once a second, and keeps a reserve for what serving and repair must write."""

    def __init__(self, disk: Disk, clock: Clock, metrics: NodeMetrics, *, reserve_bytes: int) -> None:
        self._disk = disk
        self._clock = clock
        self._metrics = metrics
        self._reserve_bytes = reserve_bytes
        self._looked_us: int | None = None
        self.is_full = False

    async def check(self) -> None:
        """Raises DiskFull while less than the reserve is free."""
        if await self.look():
            raise DiskFull(path="the node's folder")

    async def look(self) -> bool:
        """Whether less than the reserve is free."""
        now = self._clock.monotonic_us()
        if self._looked_us is None or now - self._looked_us >= LOOK_AGAIN_US:
            self._looked_us = now
            self._set(await self._disk.free_bytes() < self._reserve_bytes)
        return self.is_full

    def note_full(self) -> None:
        """A write found no space: believe it until the next look."""
        self._looked_us = self._clock.monotonic_us()
        self._set(True)

    def _set(self, is_full: bool) -> None:
        self.is_full = is_full
        self._metrics.is_read_only.set(int(is_full))
