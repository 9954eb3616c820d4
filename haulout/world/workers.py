"""Where CPU-heavy calls run: threads beside the event loop, or right here; and threads that share one such call."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ThreadWorkers:
    """A fixed pool of threads; calls beyond it wait in order.

    Pays for code that releases the interpreter lock (numba, numpy, hashing, BLS); for pure Python it keeps the loop
    answering while the call runs. A cancelled caller does not stop a call that has begun.
    """

    def __init__(self, max_threads: int) -> None:
        if max_threads < 1:
            raise ValueError("at least one thread")
        self._pool = ThreadPoolExecutor(max_threads, thread_name_prefix="haulout-worker")

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread and return its result; its exception is raised here."""
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, functools.partial(function, *args, **kwargs)
        )

    def close(self) -> None:
        """Wait for running calls, drop the waiting ones and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class InlineWorkers:
    """Runs every call at once in the caller's turn: for simulations and for one-shot commands."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` and return its result; its exception is raised here."""
        return function(*args, **kwargs)

    def close(self) -> None:
        """Nothing to release."""


class Helpers:
    """Threads that help a caller with the parts of its computation, as `haulout.codec.parallel` wants it.

    The caller works as well and never waits for a helper that has not begun, so that any number of calls may share the
    helpers, from any thread.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(max(1, count), thread_name_prefix="haulout-helper")

    def run(self, parts: Sequence[Callable[[], object]]) -> None:
        """Do all parts; after one has failed no more are begun, and what it raised is raised here."""
        left = deque(parts)

        def work() -> None:
            while left:
                try:
                    part = left.popleft()
                except IndexError:
                    return
                try:
                    part()
                except BaseException:
                    left.clear()
                    raise

        helping = [self._pool.submit(work) for _ in range(min(self._count, len(parts) - 1))]
        try:
            work()
        finally:
            begun = [helper for helper in helping if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
