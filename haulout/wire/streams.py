"""Iterating over streams so that they are always closed, and gathering what is ready into one message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import TypeVar

T = TypeVar("T")


@contextlib.asynccontextmanager
async def closing(source: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterate over a source and, whatever happens, let it clean up at the end when it is a generator."""
    iterator = aiter(source)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


async def gather_ready(
    source: AsyncIterable[T], *, size_of: Callable[[T], int], max_bytes: int, max_items: int = 1_000
) -> AsyncIterator[list[T]]:
    """Items in lists: as many as are there without waiting, at least one, up to `max_bytes` and `max_items`.

    For endless streams: a reader that is behind gets full messages, one that has caught up gets each item at once.
    """
    async with closing(source) as iterator:
        ahead: asyncio.Task[T] | None = None

        async def take() -> T:  # a task needs a coroutine, and `anext` gives any awaitable
            return await anext(iterator)

        try:
            while True:
                batch: list[T] = []
                n_bytes = 0
                while len(batch) < max_items and n_bytes < max_bytes:
                    ahead = ahead or asyncio.create_task(take())
                    if batch:
                        await asyncio.sleep(0)  # a source that need not wait is done after one turn
                        if not ahead.done():
                            break
                    try:
                        item = await ahead
                    except StopAsyncIteration:
                        if batch:
                            yield batch
                        return
                    except Exception:
                        if batch:
                            yield batch
                        raise
                    finally:
                        if ahead.done():
                            ahead = None
                    batch.append(item)
                    n_bytes += size_of(item)
                yield batch
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait([ahead])
