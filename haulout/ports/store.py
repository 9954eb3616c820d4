"""Rows in order, and when they are safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol


class Store(Protocol):
    """An ordered key-value store with atomic batches and one writer. SQLite outside, a crashable fake inside."""

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the end with `reverse`, as of the call."""

    async def commit(self, writes: Mapping[bytes, bytes | None], *, durable: bool = True) -> None:
        """Apply all writes (None deletes) or none. When `durable`, it and all before it survive a power cut once
        this returns; otherwise a suffix of commits may be lost, never a part of one.

        Raises:
            DiskFull: nothing was applied.
        """

    async def close(self) -> None:
        """Release the files; nothing may be called afterwards."""
