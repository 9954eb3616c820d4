"""An event loop in which time is a number, waiting takes none, and a seed decides who goes first.

Callbacks that are ready together run in an order drawn from the seed: whatever a race between tasks can lead to, some
seed leads there, and leads there again. Three things would make two runs of one seed differ, and are ruled out here:

- threads and sockets: there are none, and asking for one is an `AssertionError`;
- sets of tasks, whose order follows memory addresses: tasks and futures hash by their number;
- the garbage collector, which ends forgotten generators whenever it comes by: it comes by after fixed numbers of turns.

When nothing is ready and no timer runs, everybody waits for somebody: `Deadlock` names the tasks.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from haulout.sim.rng import SeededRng

T = TypeVar("T")

LIMIT_S = 24 * 3600.0
TURNS_BETWEEN_COLLECTIONS = 20_000


class Home(Protocol):
    """Where a task runs. While `held` is a list the place stands still, and what would run there is put into it."""

    held: list[Callback] | None


HOME: contextvars.ContextVar[Home | None] = contextvars.ContextVar("home", default=None)


class Callback:
    """Something in line, to run now or at a time. What asyncio wants of a handle, and no more: a world makes hundreds
    of thousands of them."""

    __slots__ = ("args", "context", "function", "is_cancelled", "when_s")

    def __init__(
        self, function: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context, when_s: float
    ) -> None:
        self.function = function
        self.args = args
        self.context = context
        self.when_s = when_s
        self.is_cancelled = False

    def cancel(self) -> None:
        """Take it back; it stays in line and is passed over."""
        self.is_cancelled = True
        self.function, self.args = _nothing, ()

    def cancelled(self) -> bool:
        """Whether it was taken back."""
        return self.is_cancelled

    def when(self) -> float:
        """When it runs, in the loop's time."""
        return self.when_s


def _nothing() -> None:
    """What a callback that was taken back holds on to."""


class Deadlock(AssertionError):
    """Every task waits for another one."""


class OutOfTime(AssertionError):
    """The simulated time that a run may take is over."""


class SimTask(asyncio.Task[T]):
    """A task that hashes by its number and knows the machine it runs on (`HOME` of its context)."""

    def __init__(self, coro: Any, *, number: int, home: Home | None, **kwargs: Any) -> None:
        self.number = number
        self.home = home
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self.number


class _SimFuture(asyncio.Future[T]):
    """A future that hashes by its number."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class SimLoop(asyncio.BaseEventLoop):
    """Virtual time. With a seed, ready callbacks run in a seeded order; without one, first come, first served."""

    _ready: deque[Callback]

    def __init__(self, seed: int | None = None, *, limit_s: float = LIMIT_S) -> None:
        self._now_s = 0.0
        super().__init__()
        self._rng = None if seed is None else SeededRng(seed, "loop")
        self._limit_s = limit_s
        self._n_made = 0
        self._timers: list[tuple[float, int, Callback]] = []  # a heap; of the same time, first come first
        self.turns = 0

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now_s

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        self._n_made += 1
        return _SimFuture(number=self._n_made, loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """A task of this loop, at home where its context says."""
        self._check_closed()  # type: ignore[attr-defined]
        self._n_made += 1
        home = HOME.get() if context is None else context.get(HOME)
        return SimTask(
            coro,
            number=self._n_made,
            home=home,
            loop=self,
            name=str(name) if name is not None else f"task-{self._n_made}",
            context=context,
        )

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> Callback:
        """Run something in the next turn."""
        handle = Callback(callback, args, contextvars.copy_context() if context is None else context, self._now_s)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads here

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> Callback:
        """Run something in `delay` seconds."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> Callback:
        """Run something when it is `when`."""
        timer = Callback(callback, args, contextvars.copy_context() if context is None else context, when)
        self._n_made += 1
        heapq.heappush(self._timers, (when, self._n_made, timer))
        return timer

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """There are no threads here."""
        raise AssertionError(f"{func!r} was to run in a thread: a simulation has none")

    def _run_once(self) -> None:
        """One turn: everything that is ready now; if nothing is, time goes on to the next timer first."""
        timers, ready = self._timers, self._ready
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise Deadlock(f"everybody waits at {self._now_s:.6f} s: {self._waiting()}")
            self._now_s = max(self._now_s, timers[0][0])
            if self._now_s > self._limit_s:
                raise OutOfTime(f"not done after {self._limit_s} simulated seconds: {self._waiting()}")
        while timers and timers[0][0] <= self._now_s:
            ready.append(heapq.heappop(timers)[2])
        batch = list(ready)
        ready.clear()
        if self._rng is not None and len(batch) > 1:
            batch = self._rng.shuffled(batch)
        for handle in batch:
            if handle.is_cancelled:
                continue
            home = handle.context.get(HOME)
            if home is not None and home.held is not None:
                home.held.append(handle)
                continue
            try:
                handle.context.run(handle.function, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as e:  # noqa: BLE001 - as every loop does: it is logged, and the others go on
                self.call_exception_handler({"message": f"{handle.function!r} failed", "exception": e})
        self.turns += 1
        if self.turns % TURNS_BETWEEN_COLLECTIONS == 0:
            gc.collect()

    def _waiting(self) -> str:
        return ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(self))) or "no task at all"

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""

    def _process_events(self, event_list: Any) -> None:
        """No events come from outside."""


def run(main: Coroutine[Any, Any, T], seed: int | None = None, *, limit_s: float = LIMIT_S) -> T:
    """Run a simulation to its end, and end every task that is left.

    Args:
        seed: decides the order of callbacks that are ready together; None: in the order they became ready.
        limit_s: simulated seconds that it may take.

    Raises:
        Deadlock, OutOfTime: it cannot or does not come to an end.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()  # what was there before the run is not looked at over and over
    try:
        with asyncio.Runner(loop_factory=lambda: SimLoop(seed, limit_s=limit_s)) as runner:
            return runner.run(main)
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
