"""Files that a power cut treats as it would treat real ones.

A file that was synced is safe. One that was written and not synced is, after a cut, the old one, the new one, or the
new one torn: a part of its bytes, or its length filled with zeros. One that was removed may be back.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable, Sequence

from haulout.errors import DiskFull
from haulout.primitives import Buffer
from haulout.sim.rng import SeededRng
from haulout.world.errors import NoSuchFile, StorageFailed, UnsafePath

MAX_PATH_CHARS = 1024
TEMPORARY_MARK = ".~"
CAPACITY_BYTES = 1 << 40


class DiskMedium:
    """What is on the platter, whoever has it open.

    Attributes:
        capacity_bytes: all files together may have this size.
        files: as a process sees them.
        durable: as they are safe; a path that is missing here is not.
    """

    def __init__(self, *, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self.capacity_bytes = capacity_bytes
        self.era = 0
        self.files: dict[str, bytes] = {}
        self.durable: dict[str, bytes] = {}

    def copy(self) -> DiskMedium:
        """Another one with what is durable."""
        copy = DiskMedium()
        copy.files, copy.durable = dict(self.durable), dict(self.durable)
        return copy

    def used_bytes(self) -> int:
        """Size of all files."""
        return sum(map(len, self.files.values()))

    def crash(self) -> None:
        """Who has it open is gone; everything that was written stays, also what was not synced."""
        self.era += 1

    def cut(self, rng: SeededRng) -> None:
        """Lose power: what was not synced is lost, kept or torn."""
        self.era += 1
        for path in sorted({*self.files, *self.durable}):
            new, old = self.files.get(path), self.durable.get(path)
            if new is old:
                continue
            outcomes = [old, new] if new is None else [old, new, *_torn(new, rng)]
            outcome = outcomes[rng.below(len(outcomes))]
            self.files.pop(path, None)
            if outcome is not None:
                self.files[path] = outcome
        self.durable = dict(self.files)


def _torn(new: bytes, rng: SeededRng) -> list[bytes]:
    kept = rng.below(len(new) + 1)
    return [new[:kept], new[:kept] + bytes(len(new) - kept)]


class SimDisk:
    """Implements `ports.Disk` over a medium; syncs take `sync_us` of time."""

    def __init__(self, medium: DiskMedium, *, sync_us: int = 0, name: str = "disk") -> None:
        self._medium = medium
        self._era = medium.era
        self._sync_us = sync_us
        self._name = name

    async def write(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Make or replace a file, not yet durable; returns its size in bytes.

        Raises:
            UnsafePath: the path leaves the folder.
            DiskFull: nothing is left of the new file; one that was there before still is.
            StorageFailed: the power is gone.
        """
        self._check(path, "write")
        data = b"".join(bytes(chunk) for chunk in chunks)
        if self._medium.used_bytes() + len(data) > self._medium.capacity_bytes:
            raise DiskFull(path=self._name)
        self._medium.files[path] = data
        await asyncio.sleep(0)
        return len(data)

    async def sync(self, paths: Sequence[str]) -> None:
        """Make these files durable, as one batch.

        Raises:
            NoSuchFile: one of them is not there.
            StorageFailed: the power is gone.
        """
        synced: dict[str, bytes] = {}
        for path in paths:
            self._check(path, "sync")
            if path not in self._medium.files:
                raise NoSuchFile(path=path)
            synced[path] = self._medium.files[path]
        await asyncio.sleep(self._sync_us / 1_000_000)
        self._check_power("sync")
        self._medium.durable.update(synced)

    async def write_atomic(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Replace a file durably: after a cut it is wholly the old or wholly the new one. Raises as `write`."""
        self._check(path, "write")
        data = b"".join(bytes(chunk) for chunk in chunks)
        if self._medium.used_bytes() + len(data) > self._medium.capacity_bytes:
            raise DiskFull(path=self._name)
        await asyncio.sleep(self._sync_us / 1_000_000)
        self._check_power("write")
        self._medium.files[path] = self._medium.durable[path] = data
        return len(data)

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file or a part of it; short at its end.

        Raises:
            NoSuchFile: no such file.
            StorageFailed: the power is gone.
        """
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length are not negative")
        self._check(path, "read")
        await asyncio.sleep(0)
        data = self._medium.files.get(path)
        if data is None:
            raise NoSuchFile(path=path)
        return data[offset:] if length is None else data[offset : offset + length]

    async def size(self, path: str) -> int | None:
        """Bytes in a file, or None when there is none."""
        self._check(path, "stat")
        data = self._medium.files.get(path)
        return None if data is None else len(data)

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error. A cut may bring them back."""
        for path in paths:
            self._check(path, "remove")
            self._medium.files.pop(path, None)
        await asyncio.sleep(0)

    async def list(self, prefix: str) -> builtins.list[str]:
        """Paths of all files below a folder, sorted; an empty prefix is the root."""
        self._check_power("list")
        folder = prefix.rstrip("/")
        return sorted(path for path in self._medium.files if not folder or path.startswith(f"{folder}/"))

    async def free_bytes(self) -> int:
        """Bytes that can still be written."""
        self._check_power("statvfs")
        return max(0, self._medium.capacity_bytes - self._medium.used_bytes())

    def close(self) -> None:
        """Nothing to release: what was not synced may still reach the medium, or not."""

    def _check(self, path: str, operation: str) -> None:
        self._check_power(operation)
        is_plain = not any(part in ("", ".", "..") for part in path.split("/"))
        is_named = not any(mark in path for mark in ("\0", "\\", TEMPORARY_MARK))
        if len(path) > MAX_PATH_CHARS or not is_plain or not is_named:
            raise UnsafePath(path=path)

    def _check_power(self, operation: str) -> None:
        if self._era != self._medium.era:
            raise StorageFailed(path=self._name, operation=operation, problem="the power is gone")
