"""Processes that play seeds, one after another each."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

from haulout.codec import parallel
from haulout.sim.plan import draw_plan
from haulout.sim.report import SeedResult
from haulout.sim.story import play
from haulout.world.kernels import KernelSettings, load_kernels

SEEDS_PER_PROCESS = 50


def play_one(seed: int, *, is_light: bool) -> SeedResult:
    """One seed, for a process of its own."""
    started_s = time.process_time()
    plan = draw_plan(seed)
    run = play(plan.lighter() if is_light else plan)
    return SeedResult.of(run, time.process_time() - started_s)


def play_all(seeds: Sequence[int], n_jobs: int, *, is_light: bool) -> Iterator[SeedResult]:
    """All seeds, in the order they end."""
    if n_jobs <= 1:
        use_kernels()
        yield from map(partial(play_one, is_light=is_light), seeds)
        return
    # A process keeps a few MiB of every world; so none plays very many of them. The pool's own limit for that brings it
    # to a standstill: when all processes have reached it, no new one is started.
    for start in range(0, len(seeds), n_jobs * SEEDS_PER_PROCESS):
        yield from _play_in_pool(seeds[start : start + n_jobs * SEEDS_PER_PROCESS], n_jobs, is_light=is_light)


def _play_in_pool(seeds: Sequence[int], n_jobs: int, *, is_light: bool) -> Iterator[SeedResult]:
    pool = ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn"), initializer=use_kernels)
    try:
        with _interrupts_kept_back():
            futures = [pool.submit(play_one, seed, is_light=is_light) for seed in seeds]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_kept_back() -> Iterator[None]:
    """What is started within never hears Ctrl-C, which a terminal sends to all: the process that reports ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def use_kernels() -> None:
    """Compute in this process as fast as it can, with one thread: the other processors play other seeds."""
    load_kernels(KernelSettings.of(os.environ))
    parallel.use(None)
