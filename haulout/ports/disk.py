"""Files, and when they are safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from haulout.primitives import Buffer


class Disk(Protocol):
    """Files under one folder; paths are relative, with `/`. What `sync` has returned for survives a power cut."""

    async def write(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Make or replace a file, not yet durable; returns its size. Folders are made as needed.

        Raises:
            DiskFull: nothing is left of the file.
        """

    async def sync(self, paths: Sequence[str]) -> None:
        """Make these files and their names durable, as one batch. A failed sync is fatal to the caller's process."""

    async def write_atomic(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Replace a file durably: after a crash it is wholly the old or wholly the new one."""

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file or a part of it; short at its end.

        Raises:
            NotFound: no such file.
        """

    async def size(self, path: str) -> int | None:
        """Bytes in a file, or None when there is none."""

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    async def list(self, prefix: str) -> list[str]:
        """Paths of all files below a folder, sorted."""

    async def free_bytes(self) -> int:
        """Bytes that can still be written."""
