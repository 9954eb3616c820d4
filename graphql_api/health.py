"""How the nodes are, asked from themselves: short timeouts, few calls at a time, a small cache."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from haulout.errors import HauloutError
from haulout.ports import Clock, NodeHealth, NodeTransport

TIMEOUT_MS = 1_000
FRESH_MS = 2_000
CALLS_MAX = 64
REMEMBERED_MAX = 1_024


@dataclass(frozen=True, slots=True)
class Checkup:
    """What a node said, or that it did not, and when."""

    health: NodeHealth | None
    checked_at_ms: int


class HealthBoard:
    """The last answer of each node; an answer that is older than two seconds is asked for again."""

    def __init__(self, transport: NodeTransport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._known: OrderedDict[str, Checkup] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Checkup]] = {}

    async def check(self, address: str) -> Checkup:
        """How the node at an address is; those that ask at once share one call."""
        known = self._known.get(address)
        if known is not None and self._clock.now_ms() - known.checked_at_ms < FRESH_MS:
            return known
        task = self._asking.get(address)
        if task is None:
            task = asyncio.create_task(self._ask(address))
            self._asking[address] = task
            task.add_done_callback(lambda _: self._asking.pop(address, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, address: str) -> Checkup:
        health: NodeHealth | None = None
        async with self._calls:
            try:
                async with asyncio.timeout(TIMEOUT_MS / 1000):
                    health = await self._transport.connect(address).health()
            except (HauloutError, TimeoutError):
                health = None  # the answer: this node cannot be reached
        checkup = Checkup(health, self._clock.now_ms())
        self._known[address] = checkup
        self._known.move_to_end(address)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return checkup
