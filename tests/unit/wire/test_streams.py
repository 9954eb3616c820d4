"""Gathering what is ready: full messages for a reader that is behind, no waiting for one that is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from haulout.wire.streams import closing, gather_ready


async def numbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


async def test_what_is_there_comes_in_full_lists() -> None:
    batches = [batch async for batch in gather_ready(numbers(25), size_of=lambda _: 10, max_bytes=100)]
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert [item for batch in batches for item in batch] == list(range(25))


async def test_at_most_so_many_items() -> None:
    batches = [batch async for batch in gather_ready(numbers(5), size_of=lambda _: 0, max_bytes=1, max_items=2)]
    assert batches == [[0, 1], [2, 3], [4]]


async def test_an_item_does_not_wait_for_the_next() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def live() -> AsyncIterator[int]:
        while True:
            yield await queue.get()

    batches = gather_ready(live(), size_of=lambda _: 1, max_bytes=100)
    queue.put_nowait(1)
    assert await anext(batches) == [1]
    queue.put_nowait(2)
    queue.put_nowait(3)
    assert await anext(batches) == [2, 3]
    await batches.aclose()  # type: ignore[attr-defined]


async def test_an_error_comes_after_everything_before_it() -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise KeyError("end")

    batches = gather_ready(failing(), size_of=lambda _: 1, max_bytes=100)
    assert await anext(batches) == [1, 2]
    with pytest.raises(KeyError):
        await anext(batches)


async def test_a_reader_that_leaves_ends_the_source() -> None:
    ended = []

    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    batches = gather_ready(endless(), size_of=lambda _: 1, max_bytes=100)
    assert await anext(batches) == [1]
    await batches.aclose()  # type: ignore[attr-defined]
    assert ended == [True]


async def test_closing_takes_sources_that_are_no_generators() -> None:
    class Plain:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> int:
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return self.left

    async with closing(Plain()) as source:
        assert [item async for item in source] == [1, 0]
