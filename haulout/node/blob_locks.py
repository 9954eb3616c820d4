"""One thing at a time per blob: confirmation, deletion and garbage collection of one blob exclude each other.

An action runs in a task of its own and always to its end: a client that hangs up cannot leave a blob half-written
with its lock free. The table holds only blobs that somebody is working on or waiting for, and is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from haulout.node.errors import TooManyRequests
from haulout.primitives import BlobId

T = TypeVar("T")


class BlobLocks:
    """Locks by blob id, made on demand and forgotten when nobody holds or awaits them."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._locks: dict[BlobId, tuple[asyncio.Lock, int]] = {}  # lock, users
        self._tasks: set[asyncio.Task[object]] = set()

    def is_busy(self, blob_id: BlobId) -> bool:
        """Somebody is changing what is kept of this blob."""
        return blob_id in self._locks

    async def exclusively(self, blob_id: BlobId, action: Callable[[], Awaitable[T]]) -> T:
        """Run `action` while nobody else changes the blob; it goes on when the caller is cancelled.

        Raises:
            TooManyRequests: as many blobs are being worked on as the table holds.
        """
        if blob_id not in self._locks and len(self._locks) >= self._limit:
            raise TooManyRequests(what="blobs being changed", limit=self._limit)
        lock, users = self._locks.get(blob_id, (None, 0))
        if lock is None:
            lock = asyncio.Lock()
        self._locks[blob_id] = (lock, users + 1)
        task: asyncio.Task[T] = asyncio.ensure_future(self._run(blob_id, lock, action))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until every action that has started is over."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, blob_id: BlobId, lock: asyncio.Lock, action: Callable[[], Awaitable[T]]) -> T:
        try:
            async with lock:
                return await action()
        finally:
            _, users = self._locks[blob_id]
            if users == 1:
                del self._locks[blob_id]
            else:
                self._locks[blob_id] = (lock, users - 1)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even when the caller has gone
