"""The follower: takes verified blocks from the replica and has them applied, for as long as the process lives.

Blocks that are there already are applied many at a time; at the head each one is applied as it comes. If the process
ends anywhere, the last batch is in the database or it is not, and the next start asks for the block after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from graphql_api.read_model.database import Database, HistoryNotKept, ReadModelUnavailable
from graphql_api.read_model.project import BlockEvents, Progress, Projector
from haulout.chain.block import BlockHeader
from haulout.errors import HauloutError
from haulout.observability.logs import get_logger
from haulout.observability.metrics import LATENCY_BUCKETS_S
from haulout.ports import Clock, Workers
from haulout.replica.errors import BlockNotKept

if TYPE_CHECKING:
    from haulout.replica.ledger_store import AppliedBlock

BATCH_BLOCKS_MAX = 200
BATCH_EVENTS_MAX = 1_000
RETRY_MS = 1_000

log = get_logger("read_model")


class VerifiedBlocks(Protocol):
    """What the follower needs of a replica's store."""

    @property
    def head(self) -> BlockHeader:
        """The last verified block."""

    def header(self, height: int) -> BlockHeader:
        """The header of a verified block up to the head."""

    def follow(self, from_height: int) -> AsyncIterator[AppliedBlock]:
        """Every verified block from a height on; ends only with an error."""


class Follower:
    """Feeds a database. Keep `run()` going as a task.

    Attributes:
        progress: how far the database is.
        is_live: whether it has been at the replica's head once.
        problem: what keeps it from writing right now, or None.
        stopped: why it will not go on, or None.
    """

    def __init__(
        self,
        database: Database,
        progress: Progress,
        projector: Projector,
        blocks: VerifiedBlocks,
        *,
        clock: Clock,
        workers: Workers,
        registry: CollectorRegistry,
    ) -> None:
        self.progress = progress
        self.is_live = False
        self.problem: HauloutError | None = None
        self.stopped: HauloutError | None = None
        self._database = database
        self._projector = projector
        self._blocks = blocks
        self._clock = clock
        self._workers = workers
        self._advanced = asyncio.Event()
        self._metrics = _Metrics(registry, self)

    async def run(self) -> None:
        """Follow until cancelled; returns when there is nothing more to follow (`stopped`)."""
        self.is_live = self.progress.height >= self._blocks.head.height  # as after a restart with nothing new
        try:
            await self._follow()
        except HauloutError as e:
            self.stopped = e
            if isinstance(e, BlockNotKept):
                here = "the replica beside it"
                self.stopped = HistoryNotKept(height=self.progress.height + 1, oldest=e.oldest, keeper=here)
            problem = str(self.stopped)
            log.error("the read model stopped", code=self.stopped.code, problem=problem, height=self.progress.height)

    async def wait_for_sequence(self, sequence: int, *, timeout_ms: int) -> bool:
        """Whether the database holds this event, waiting up to `timeout_ms` for it."""
        return await self._wait_until(lambda: self.progress.sequence >= sequence, timeout_ms)

    async def wait_for_height(self, height: int, *, timeout_ms: int) -> bool:
        """Whether the database holds this block, waiting up to `timeout_ms` for it."""
        return await self._wait_until(lambda: self.progress.height >= height, timeout_ms)

    async def wait_for_news(self, progress: Progress) -> Progress:
        """How far the database is, once it is further than this."""
        while self.progress.height <= progress.height:
            await self._advanced.wait()
        return self.progress

    async def _wait_until(self, is_there: Callable[[], bool], timeout_ms: int) -> bool:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while not is_there():
                    await self._advanced.wait()
        except TimeoutError:
            return False
        return True

    @property
    def verified_height(self) -> int:
        """The last block that was verified here; the database follows."""
        return self._blocks.head.height

    def lag_ms(self) -> int:
        """How old the oldest verified block is that is not in the database yet; 0 when all are."""
        following = self.progress.height + 1
        if following > self._blocks.head.height:
            return 0
        return max(0, self._clock.now_ms() - self._blocks.header(following).time_ms)

    async def _follow(self) -> None:
        batch: list[BlockEvents] = []
        n_events = 0
        async for block in self._blocks.follow(self.progress.height + 1):
            batch.append(events_of(block))
            n_events += len(block.events)
            at_head = block.header.height >= self._blocks.head.height
            if at_head or len(batch) >= BATCH_BLOCKS_MAX or n_events >= BATCH_EVENTS_MAX:
                await self._apply(batch, n_events)
                self.is_live = self.is_live or at_head
                batch, n_events = [], 0

    async def _write(self, batch: list[BlockEvents]) -> Progress:
        """Apply a batch; while the database does not answer, keep it and try again."""
        while True:
            try:
                progress = await self._workers.run(self._database.apply, self._projector, self.progress, batch)
            except ReadModelUnavailable as e:
                if self.problem is None:
                    log.warning("the read model cannot be written", code=e.code, problem=str(e))
                self.problem = e
                await self._clock.sleep_ms(RETRY_MS)
            else:
                self.problem = None
                return progress

    async def _apply(self, batch: list[BlockEvents], n_events: int) -> None:
        started_us = self._clock.monotonic_us()
        self.progress = await self._write(batch)
        self._metrics.batch_seconds.observe((self._clock.monotonic_us() - started_us) / 1e6)
        self._metrics.events.inc(n_events)
        if self.is_live:
            now_ms = self._clock.now_ms()
            for block in batch:
                self._metrics.delay_seconds.observe(max(0, now_ms - block.time_ms) / 1000)
        self._advanced.set()
        self._advanced = asyncio.Event()


def events_of(block: AppliedBlock) -> BlockEvents:
    """What the projection needs of a verified block."""
    header = block.header
    return BlockEvents(header.height, header.time_ms, header.digest(), header.previous_digest, block.events)


class _Metrics:
    def __init__(self, registry: CollectorRegistry, follower: Follower) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"haulout_read_model_{name}", text, registry=registry)

        gauge("height", "Height of the last block in the read model.").set_function(lambda: follower.progress.height)
        gauge("sequence", "Sequence of the last event in the read model.").set_function(
            lambda: follower.progress.sequence
        )
        gauge("lag_seconds", "Age of the oldest verified block that is not in the read model.").set_function(
            lambda: follower.lag_ms() / 1000
        )
        self.events = Counter("haulout_read_model_events_total", "Events applied since start.", registry=registry)
        self.batch_seconds = Histogram(
            "haulout_read_model_batch_seconds",
            "Time to apply one batch of blocks.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.delay_seconds = Histogram(
            "haulout_read_model_delay_seconds",
            "Time from a block's stamp until its rows can be read, for blocks made while following live.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
