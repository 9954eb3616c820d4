"""So many bytes at once, and no more: keeps many large reads from filling the memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator


class ByteBudget:
    """Hands out bytes in the order in which they were asked for.

    Args:
        limit_bytes: handed out at any time; who wants more than all of it gets all of it, alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._free_bytes = limit_bytes
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used_bytes(self) -> int:
        return self._limit_bytes - self._free_bytes

    @contextlib.asynccontextmanager
    async def take(self, size_bytes: int) -> AsyncIterator[None]:
        """Have `size_bytes` within the block; waits for them."""
        share = min(size_bytes, self._limit_bytes)
        if self._queue or share > self._free_bytes:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append((share, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._free_bytes += share  # it was our turn just when we were cancelled
                else:
                    self._queue.remove((share, turn))
                self._serve()
                raise
        else:
            self._free_bytes -= share
        try:
            yield
        finally:
            self._free_bytes += share
            self._serve()

    def _serve(self) -> None:
        while self._queue and self._queue[0][0] <= self._free_bytes:
            share, turn = self._queue.popleft()
            self._free_bytes -= share
            turn.set_result(None)
