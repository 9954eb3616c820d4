"""An ordered key-value store in memory: the ledger's engine `memory`, and the store of tests.

Keys stand in blocks of bounded length, each sorted, and a second list holds the first key of each block; finding a
place is two bisections and inserting moves at most one block. A scan that is under way when something is committed
takes the rest of its rows first, so it stays as of its call and idle scans cost nothing.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping

MAX_BLOCK_KEYS = 1024
FEWEST_SCANS = 64  # noted before those that are over are looked for


class MemoryStore:
    """Rows in memory; `durable` has no meaning, for nothing survives the process."""

    def __init__(self, rows: Mapping[bytes, bytes] | None = None) -> None:
        self._rows: dict[bytes, bytes] = dict(rows or {})
        keys = sorted(self._rows)
        half = MAX_BLOCK_KEYS // 2
        self._blocks: list[list[bytes]] = [keys[at : at + half] for at in range(0, len(keys), half)] or [[]]
        self._firsts: list[bytes] = [block[0] if block else b"" for block in self._blocks]
        self._scans: list[weakref.ref[_Scan]] = []  # some are over
        self._most_scans = FEWEST_SCANS

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        return self._rows.get(key)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the end with `reverse`, as of the call."""
        keys = self._descending(start, end) if reverse else self._ascending(start, end)
        scan = _Scan(self._rows, keys, limit)
        if len(self._scans) >= self._most_scans:
            self._scans = [reference for reference in self._scans if reference() is not None]
            self._most_scans = FEWEST_SCANS + 2 * len(self._scans)
        self._scans.append(weakref.ref(scan))
        return scan

    async def commit(self, writes: Mapping[bytes, bytes | None], *, durable: bool = True) -> None:
        """Apply all writes; None deletes."""
        for reference in self._scans:
            scan = reference()
            if scan is not None:
                scan.detach()
        self._scans.clear()
        for key, value in writes.items():
            if value is None:
                if self._rows.pop(key, None) is not None:
                    self._discard(key)
            else:
                if key not in self._rows:
                    self._insert(key)
                self._rows[key] = value

    async def close(self) -> None:
        """Let go of the rows."""
        self._rows, self._blocks, self._firsts = {}, [[]], [b""]

    # --- the sorted keys ------------------------------------------------------------------------------------

    def _block_of(self, key: bytes) -> int:
        """Index of the block in which a key stands or belongs."""
        return max(0, bisect_right(self._firsts, key) - 1)

    def _insert(self, key: bytes) -> None:
        at = self._block_of(key)
        block = self._blocks[at]
        insort(block, key)
        if len(block) > MAX_BLOCK_KEYS:
            half = len(block) // 2
            self._blocks.insert(at + 1, block[half:])
            self._firsts.insert(at + 1, block[half])
            del block[half:]
        self._firsts[at] = block[0]

    def _discard(self, key: bytes) -> None:
        at = self._block_of(key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if block:
            self._firsts[at] = block[0]
        elif len(self._blocks) > 1:
            del self._blocks[at], self._firsts[at]
        else:
            self._firsts[at] = b""

    def _ascending(self, start: bytes, end: bytes) -> Iterator[bytes]:
        at = self._block_of(start)
        index = bisect_left(self._blocks[at], start)
        while at < len(self._blocks):
            for key in self._blocks[at][index:]:
                if key >= end:
                    return
                yield key
            at, index = at + 1, 0

    def _descending(self, start: bytes, end: bytes) -> Iterator[bytes]:
        at = self._block_of(end)
        index = bisect_left(self._blocks[at], end)
        while at >= 0:
            for key in reversed(self._blocks[at][:index]):
                if key < start:
                    return
                yield key
            at -= 1
            index = len(self._blocks[at])


class _Scan:
    """Rows still to come: read from the store as they are asked for, or taken aside before a commit."""

    __slots__ = ("__weakref__", "_source")

    def __init__(self, rows: Mapping[bytes, bytes], keys: Iterator[bytes], limit: int | None) -> None:
        self._source = self._rows(rows, keys, limit)

    @staticmethod
    def _rows(rows: Mapping[bytes, bytes], keys: Iterator[bytes], limit: int | None) -> Iterator[tuple[bytes, bytes]]:
        if limit is not None and limit <= 0:
            return
        for count, key in enumerate(keys, start=1):
            yield key, rows[key]
            if count == limit:
                return

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self

    def __next__(self) -> tuple[bytes, bytes]:
        return next(self._source)

    def detach(self) -> None:
        self._source = iter(list(self._source))
