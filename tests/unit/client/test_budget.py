"""A budget of bytes: nobody overtakes, nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib

from haulout.client.budget import ByteBudget


class Reader:
    """Takes bytes and keeps them until told."""

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self.has = False
        self._done = asyncio.Event()
        self.task = asyncio.ensure_future(self._work(budget, size_bytes))

    async def _work(self, budget: ByteBudget, size_bytes: int) -> None:
        async with budget.take(size_bytes):
            self.has = True
            await self._done.wait()
        self.has = False

    async def finish(self) -> None:
        self._done.set()
        await self.task
        await settle()

    async def cancel(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_bytes_are_handed_out_in_order() -> None:
    budget = ByteBudget(10)
    readers = [Reader(budget, size) for size in (6, 5, 1)]
    await settle()
    assert [reader.has for reader in readers] == [True, False, False], "the small one has overtaken"
    await readers[0].finish()
    assert [reader.has for reader in readers] == [False, True, True]
    for reader in readers[1:]:
        await reader.finish()
    assert budget.used_bytes == 0


async def test_more_than_everything_is_everything_alone() -> None:
    budget = ByteBudget(10)
    large, small = Reader(budget, 1_000), Reader(budget, 1)
    await settle()
    assert (large.has, small.has, budget.used_bytes) == (True, False, 10)
    await large.finish()
    assert small.has
    await small.finish()


async def test_who_gives_up_holds_nobody_up() -> None:
    budget = ByteBudget(10)
    first, second, third = Reader(budget, 10), Reader(budget, 10), Reader(budget, 3)
    await settle()
    await second.cancel()
    await first.cancel()
    assert third.has
    await third.finish()
    assert budget.used_bytes == 0


async def test_a_turn_that_comes_with_the_cancellation_is_passed_on() -> None:
    budget = ByteBudget(10)
    first, second, third = (Reader(budget, 10) for _ in range(3))
    await settle()
    first._done.set()
    await first.task  # hands the turn to the second, which has not run yet
    await second.cancel()
    assert third.has
    await third.finish()
    assert budget.used_bytes == 0
