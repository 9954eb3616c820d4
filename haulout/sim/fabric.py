"""The wires between machines: requests and answers that take time, get lost, and end when a plug is pulled.

A call is a task on the machine that serves it. The caller sees its result, its error as the class it was raised as,
or `Unreachable`: at once when nothing listens, after `timeout_ms` when the packet was swallowed, after `deadline_ms`
when whoever serves it does not come to an end, or when nothing came of its answer's stream for so long. A request may
be served twice, as one that its sender repeated would be; items of one stream stay in order, separate calls overtake
each other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from haulout.errors import HauloutError, Unreachable
from haulout.replica.replica import close_stream
from haulout.sim.loop import SimLoop
from haulout.sim.machine import Machine
from haulout.sim.rng import SeededRng
from haulout.sim.trace import Trace

T = TypeVar("T")
R = TypeVar("R")

ITEMS_UNDER_WAY = 4
USUAL_DELAY_US = 5_000  # most, one way; what takes longer is a fault


@dataclass(slots=True)
class Weather:
    """How the wires are: times one way, and how often a message is swallowed, held up or sent twice."""

    delay_us_min: int = 500
    delay_us_max: int = USUAL_DELAY_US
    loss_per_million: int = 0
    straggler_per_million: int = 0  # takes up to `straggler_ms` longer: later calls overtake it
    straggler_ms: int = 2_000
    duplicate_per_million: int = 0  # of requests without a stream
    timeout_ms: int = 5_000
    deadline_ms: int = 20_000  # of a call without a stream


class Channel(Generic[T]):
    """Items from one task to another, a few at a time, until it is closed."""

    def __init__(self, limit: int = ITEMS_UNDER_WAY) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._moved = asyncio.Event()
        self._is_closed = False

    async def put(self, item: T) -> None:
        """Hand over an item, waiting while too many are under way; after `close` it goes nowhere."""
        while len(self._items) >= self._limit and not self._is_closed:
            await self._wait()
        self._items.append(item)
        self._wake()

    async def items(self, *, patience_ms: int | None = None) -> AsyncIterator[T]:
        """Items in order; ends when the channel is closed and empty.

        Raises:
            TimeoutError: no item came for `patience_ms`.
        """
        while True:
            while not self._items:
                if self._is_closed:
                    return
                async with asyncio.timeout(None if patience_ms is None else patience_ms / 1000):
                    await self._wait()
            item = self._items.popleft()
            self._wake()
            yield item

    def close(self) -> None:
        """No item will follow."""
        self._is_closed = True
        self._wake()

    async def _wait(self) -> None:
        await self._moved.wait()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


class Fabric:
    """All wires of a world. What listens at an address is `attach`ed; faults are set while it runs."""

    def __init__(self, rng: SeededRng, trace: Trace, weather: Weather | None = None) -> None:
        self.weather = weather or Weather()
        self.trace = trace
        self._rng = rng
        self._served: dict[str, tuple[Machine, Any]] = {}
        self._cut: set[tuple[str, str]] = set()  # origin, target
        self.happened: Counter[str] = Counter()

    def note(self, text: str) -> None:
        """Put an event into the trace."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop), "a simulation runs on its own loop"
        self.trace.note(turn=loop.turns, time_us=round(loop.time() * 1_000_000), text=text)

    # --- who listens, and which wires are cut ---------------------------------------------------------------

    def attach(self, address: str, machine: Machine, served: Any) -> None:
        """Let an object answer at an address."""
        self._served[address] = (machine, served)

    def detach(self, address: str) -> None:
        """Nothing listens there any more."""
        self._served.pop(address, None)

    def partition(self, side: Iterable[str], other: Iterable[str], *, one_way: bool = False) -> None:
        """Swallow everything between two groups of machines, by name; `one_way`: only from `side` to `other`."""
        others = list(other)
        for a in side:
            self._cut |= {(a, b) for b in others if a != b}
            if not one_way:
                self._cut |= {(b, a) for b in others if a != b}

    def heal(self) -> None:
        """Mend all wires."""
        self._cut.clear()

    # --- messages -------------------------------------------------------------------------------------------

    async def travel(self, origin: str, target: str) -> None:
        """Let one message go from a machine to another.

        Raises:
            Unreachable: it was swallowed, and waited for in vain.
        """
        weather = self.weather
        delay_us = weather.delay_us_min + self._rng.below(weather.delay_us_max - weather.delay_us_min + 1)
        self.happened["latency"] += delay_us > USUAL_DELAY_US
        is_lost = self._happens("loss", weather.loss_per_million)
        if self._happens("reordering", weather.straggler_per_million):
            delay_us += self._rng.below(weather.straggler_ms * 1000)
        if not is_lost:
            await asyncio.sleep(delay_us / 1_000_000)
        is_cut = (origin, target) in self._cut
        if is_cut:
            self.happened["partition"] += 1
        if is_lost or is_cut:
            await asyncio.sleep(weather.timeout_ms / 1000)
            raise Unreachable(peer=target, problem=f"no answer within {weather.timeout_ms} ms")

    def sends_twice(self) -> bool:
        """Whether this request is one that arrives twice."""
        return self._happens("duplication", self.weather.duplicate_per_million)

    def _happens(self, kind: str, per_million: int) -> bool:
        happens = self._rng.happens(per_million)
        if happens:
            self.happened[kind] += 1
        return happens

    def at(self, address: str) -> tuple[Machine, Any]:
        """Who listens at an address now.

        Raises:
            Unreachable: nobody.
        """
        found = self._served.get(address)
        if found is None or not found[0].is_on:
            raise Unreachable(peer=address, problem="connection refused")
        return found


class Port:
    """One machine's way onto the fabric. Closing it ends the calls under way, as a pulled cable would."""

    def __init__(self, fabric: Fabric, origin: str) -> None:
        self._fabric = fabric
        self._origin = origin
        self._is_closed = False
        self._calls: dict[asyncio.Task[Any], None] = {}

    def close(self) -> None:
        """End all calls; later ones fail."""
        self._is_closed = True
        for task in list(self._calls):
            task.cancel()

    async def call(self, address: str, name: str, action: Callable[[Any], Awaitable[R]]) -> R:
        """One request and its answer.

        Raises:
            Unreachable: nobody answered; whether it was done is unknown.
            HauloutError: what was answered.
        """
        machine, serving = await self._begin(address, name, action)
        if self._fabric.sends_twice():
            machine.start(self._serve_again(address, action), name=f"{name} for {self._origin}, again")
        deadline_ms = self._fabric.weather.deadline_ms
        try:
            done, _ = await asyncio.wait((serving,), timeout=deadline_ms / 1000)
            if not done:
                raise Unreachable(peer=machine.name, problem=f"no answer within {deadline_ms} ms")
            return await self._answer(serving, machine, name)
        finally:
            self._end(serving)

    async def upload(
        self,
        address: str,
        name: str,
        source: AsyncIterable[T],
        copied: Callable[[T], T],
        action: Callable[[Any, AsyncIterator[T]], Awaitable[R]],
    ) -> R:
        """A request that carries a stream; its first error, of either side, ends it."""
        channel: Channel[T] = Channel()
        machine, serving = await self._begin(address, name, lambda served: action(served, channel.items()))
        pumping = asyncio.ensure_future(self._pump(source, copied, channel, machine))
        try:
            await asyncio.wait((serving, pumping), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await pumping
                channel.close()
                await asyncio.wait((serving,))
            return await self._answer(serving, machine, name)
        finally:
            pumping.cancel()
            try:
                await asyncio.gather(pumping, return_exceptions=True)
            finally:  # whoever ends with a machine may be cancelled twice: by the machine, and by who waits for it
                self._end(serving)

    async def download(
        self,
        address: str,
        name: str,
        copied: Callable[[T], T],
        action: Callable[[Any], AsyncIterator[T]],
        *,
        endless: bool = False,
    ) -> AsyncIterator[T]:
        """A request that is answered by a stream, which ends with an error or well.

        Args:
            endless: silence is no error.
        """
        channel: Channel[T] = Channel()

        async def feed(served: Any) -> None:
            stream = action(served)
            try:
                async for item in stream:
                    await channel.put(copied(item))
            finally:
                await close_stream(stream)

        machine, serving = await self._begin(address, name, feed)
        serving.add_done_callback(lambda _: channel.close())
        deadline_ms = self._fabric.weather.deadline_ms
        items = channel.items(patience_ms=None if endless else deadline_ms)
        try:
            async for item in items:
                await self._fabric.travel(machine.name, self._origin)
                if serving.cancelled():
                    break
                yield item
            await self._answer(serving, machine, name)
        except TimeoutError:
            raise Unreachable(peer=machine.name, problem=f"nothing came for {deadline_ms} ms") from None
        finally:
            await close_stream(items)
            self._end(serving)

    # --- steps ----------------------------------------------------------------------------------------------

    async def _begin(
        self, address: str, name: str, action: Callable[[Any], Awaitable[R]]
    ) -> tuple[Machine, asyncio.Task[R]]:
        """Bring a request there and start it."""
        self._check_open(address)
        self._fabric.note(f"{self._origin} -> {address} {name}")
        peer = self._fabric._served.get(address)
        await self._fabric.travel(self._origin, peer[0].name if peer else address)
        self._check_open(address)
        machine, served = self._fabric.at(address)

        async def serve() -> R:
            return await action(served)

        serving = machine.start(serve(), name=f"{name} for {self._origin}")
        self._calls[serving] = None
        return machine, serving

    async def _serve_again(self, address: str, action: Callable[[Any], Awaitable[R]]) -> None:
        """A copy of a request that was held up on its way; nobody waits for its answer."""
        with contextlib.suppress(HauloutError):
            await self._fabric.travel(self._origin, self._origin)
            await action(self._fabric.at(address)[1])

    async def _answer(self, serving: asyncio.Task[R], machine: Machine, name: str) -> R:
        """What a call came to, once it is over and the answer is here."""
        if not serving.cancelled():
            await self._fabric.travel(machine.name, self._origin)
        if serving.cancelled() or self._is_closed:
            self._fabric.note(f"{self._origin} <- {machine.name} {name}: gone")
            raise Unreachable(peer=machine.name, problem="the connection broke")
        problem = serving.exception()
        outcome = "ok" if problem is None else problem.code if isinstance(problem, HauloutError) else repr(problem)
        self._fabric.note(f"{self._origin} <- {machine.name} {name}: {outcome}")
        return serving.result()

    def _end(self, serving: asyncio.Task[Any]) -> None:
        self._calls.pop(serving, None)
        if serving.done():
            _seen(serving)
            return
        serving.cancel()
        serving.add_done_callback(_seen)  # not waited for: it ends where it runs, whatever that machine is doing

    async def _pump(
        self, source: AsyncIterable[T], copied: Callable[[T], T], channel: Channel[T], machine: Machine
    ) -> None:
        try:
            async for item in source:
                ours = copied(item)
                await self._fabric.travel(self._origin, machine.name)
                await channel.put(ours)
        finally:
            if isinstance(source, AsyncIterator):
                await close_stream(source)

    def _check_open(self, address: str) -> None:
        if self._is_closed:
            raise Unreachable(peer=address, problem="the transport is closed")


def _seen(task: asyncio.Task[Any]) -> None:
    """Take note of a task's end."""
    if not task.cancelled():
        task.exception()
