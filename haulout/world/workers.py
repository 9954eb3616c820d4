"""Where CPU-heavy calls run: threads beside the event loop, or right here."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
