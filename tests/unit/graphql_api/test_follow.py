"""Following: batches while behind, block by block at the head, readers that wait, an end with a reason."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from graphql_api.app import why_not_ready
from graphql_api.read_model.database import Database
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.project import Projector
from haulout.errors import Corrupt
from haulout.replica.errors import BlockNotKept
from haulout.world.clock import SystemClock
from haulout.world.workers import InlineWorkers


class StillClock(SystemClock):
    """A minute after the first block was stamped, for ever."""

    def now_ms(self) -> int:
        return 1_800_000_060_000

    async def sleep_ms(self, duration_ms: int) -> None:
        await asyncio.sleep(0)


class Feed:
    """Verified blocks, handed out as a test makes them."""

    def __init__(self, history: Any) -> None:
        self.history = history
        self.more = asyncio.Event()
        self.end: Exception | None = None
        self.waiting = asyncio.Event()

    async def drained(self) -> None:
        """Return once everything that is there has been taken, and whoever took it had a turn."""
        self.waiting.clear()
        self.more.set()
        async with asyncio.timeout(5):
            await self.waiting.wait()
            await asyncio.sleep(0)

    def header(self, height: int) -> Any:
        block = self.history.blocks[height]

        class Header:
            def digest(self) -> bytes:
                return bytes(block.digest)

        header: Any = Header()
        header.height, header.time_ms, header.previous_digest = block.height, block.time_ms, block.previous_digest
        return header

    @property
    def head(self) -> Any:
        return self.header(len(self.history.blocks) - 1)

    async def follow(self, from_height: int) -> AsyncIterator[Any]:
        height = from_height
        while True:
            while height >= len(self.history.blocks):
                self.waiting.set()
                if self.end is not None:
                    raise self.end
                self.more.clear()
                await self.more.wait()

            class Applied:
                header = self.header(height)
                events = self.history.blocks[height].events

            yield Applied
            height += 1


@pytest.fixture
async def following(tmp_path: Path, history: Any) -> AsyncIterator[Any]:
    for i in range(450):
        history.block(*([history.registered(i)] if i % 50 == 0 else []))
    database = Database(f"sqlite:///{tmp_path / 'read_model.sqlite'}")
    progress = database.open(chain_id=bytes([7]) * 32, fresh_key=bytes(32))
    feed, registry = Feed(history), CollectorRegistry()
    follower = Follower(
        database,
        progress,
        Projector(10, history.scheme),
        feed,
        clock=StillClock(),
        workers=InlineWorkers(),
        registry=registry,
    )
    task: asyncio.Task[None] | None = None

    async def start() -> None:
        nonlocal task
        task = asyncio.create_task(follower.run())

    yield feed, follower, registry, start
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    database.close()


async def test_catches_up_in_batches_then_applies_each_block(following: Any, history: Any) -> None:
    feed, follower, registry, start = following
    assert why_not_ready(follower)[0].startswith("SYNCING")
    assert follower.lag_ms() == 60_000
    await start()
    assert await follower.wait_for_sequence(history.n_events - 1, timeout_ms=5_000)
    assert follower.progress.height == 450
    assert registry.get_sample_value("haulout_read_model_batch_seconds_count") == 3  # 200, 200, 51
    assert why_not_ready(follower) == []
    assert follower.lag_ms() == 0
    history.block(history.registered(1_000))
    feed.more.set()
    assert await follower.wait_for_sequence(history.n_events - 1, timeout_ms=5_000)
    assert registry.get_sample_value("haulout_read_model_delay_seconds_count") == 1
    assert registry.get_sample_value("haulout_read_model_height") == 451
    assert registry.get_sample_value("haulout_read_model_events_total") == history.n_events


async def test_a_block_without_events_moves_the_height(following: Any, history: Any) -> None:
    feed, follower, _, start = following
    await start()
    await follower.wait_for_sequence(history.n_events - 1, timeout_ms=5_000)
    history.block()
    feed.more.set()
    await feed.drained()
    assert follower.progress.height == 451
    assert follower.progress.sequence == history.n_events - 1


async def test_waiting_for_an_event_that_never_comes_ends(following: Any) -> None:
    _, follower, _, start = following
    await start()
    assert not await follower.wait_for_sequence(1 << 40, timeout_ms=20)


async def test_says_what_to_do_when_blocks_it_needs_are_gone(following: Any, history: Any) -> None:
    feed, follower, _, start = following
    feed.end = BlockNotKept(height=len(history.blocks), oldest=500, head=900)
    await start()
    await feed.drained()
    assert why_not_ready(follower)[0].startswith("READ_MODEL_HISTORY_NOT_KEPT")
    assert "needs block 451 next, and the oldest that the replica beside it keeps is 500" in str(follower.stopped)


async def test_says_why_it_stopped(following: Any, history: Any) -> None:
    feed, follower, _, start = following
    stopped = Corrupt()
    stopped.code = "LEDGER_DIVERGED"
    feed.end = stopped
    await start()
    await feed.drained()
    assert follower.progress.height == 450  # everything good was applied first
    assert why_not_ready(follower)[0].startswith("LEDGER_DIVERGED")


async def test_a_database_that_does_not_answer_is_tried_again(following: Any, history: Any) -> None:
    _, follower, _, start = following
    failures = ["database or disk is full"] * 3

    def fail(*_: Any) -> None:
        if failures:
            raise sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError(failures.pop()))

    sa.event.listen(follower._database.writer, "before_cursor_execute", fail)
    await start()
    assert await follower.wait_for_sequence(history.n_events - 1, timeout_ms=5_000)
    assert not failures
    assert follower.problem is None
    assert follower.progress.n_blobs == 9
