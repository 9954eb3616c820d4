"""A key-value store that a power cut treats as it would treat a real one.

Rows are durable up to the last durable commit that returned. What was committed after it survives up to some commit
that the seed picks: a suffix is lost, never a part. A durable commit that had not returned yet may have landed or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from haulout.errors import DiskFull
from haulout.sim.rng import SeededRng
from haulout.world.errors import StorageFailed
from haulout.world.memory_store import MemoryStore

Writes = Mapping[bytes, bytes | None]

_PLAIN: Final = frozenset((bytes, type(None)))


class StoreMedium:
    """What is on the platter, whoever has it open.

    Attributes:
        is_full: commits are refused.
    """

    def __init__(self) -> None:
        self.is_full = False
        self.era = 0  # counts power cuts; who opened it before the last one is gone
        self.durable: dict[bytes, bytes] = {}
        self.volatile: list[Writes] = []

    def flush(self) -> None:
        """Everything that was committed becomes durable."""
        for writes in self.volatile:
            _apply(self.durable, writes)
        self.volatile.clear()

    def crash(self) -> None:
        """Who has it open is gone; everything that was committed stays."""
        self.era += 1

    def cut(self, rng: SeededRng) -> None:
        """Lose power: some suffix of what is not durable is lost."""
        self.era += 1
        del self.volatile[rng.below(len(self.volatile) + 1) :]
        self.flush()

    def copy(self) -> StoreMedium:
        """Another one with what is durable."""
        copy = StoreMedium()
        copy.durable = dict(self.durable)
        return copy

    def rows(self) -> dict[bytes, bytes]:
        """What a process sees that opens it now."""
        rows = dict(self.durable)
        for writes in self.volatile:
            _apply(rows, writes)
        return rows


class SimStore:
    """Implements `ports.Store` over a medium. Commits take their turn; a durable one takes `sync_us` of time."""

    def __init__(self, medium: StoreMedium, *, sync_us: int = 0, name: str = "store") -> None:
        self._medium = medium
        self._era = medium.era
        self._sync_us = sync_us
        self._name = name
        self._rows = MemoryStore(medium.rows())
        self._turn = asyncio.Lock()

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        return self._rows.get(key)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the end with `reverse`, as of the call."""
        return self._rows.scan(start, end, reverse=reverse, limit=limit)

    async def commit(self, writes: Writes, *, durable: bool = True) -> None:
        """Apply all writes (None deletes) or none.

        Raises:
            DiskFull: nothing was applied.
            StorageFailed: the power is gone.
        """
        kept = dict(writes)
        if not _PLAIN.issuperset(map(type, kept.values())):
            kept = {bytes(key): None if value is None else bytes(value) for key, value in writes.items()}
        async with self._turn:
            self._check_power()
            if self._medium.is_full:
                raise DiskFull(path=self._name)
            self._medium.volatile.append(kept)
            try:
                if durable and self._sync_us:
                    await asyncio.sleep(self._sync_us / 1_000_000)
            finally:
                # Once handed to the medium it goes through, also when the caller gives up waiting.
                if self._era == self._medium.era:
                    if durable:
                        self._medium.flush()
                    await self._rows.commit(kept)
            self._check_power()

    async def close(self) -> None:
        """Flush and let go."""
        if self._era == self._medium.era:
            self._medium.flush()

    def _check_power(self) -> None:
        if self._era != self._medium.era:
            raise StorageFailed(path=self._name, operation="commit", problem="the power is gone")


def _apply(rows: dict[bytes, bytes], writes: Writes) -> None:
    for key, value in writes.items():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
