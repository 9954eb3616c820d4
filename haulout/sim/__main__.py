"""Plays seeds: `python -m haulout.sim --seeds 1000`, or one again with its trace: `--seed 7`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from haulout.codec import parallel
from haulout.sim.plan import Plan, draw_plan
from haulout.sim.report import Report, SeedResult
from haulout.sim.scenarios import SCENARIOS, scenario_plan
from haulout.sim.story import play
from haulout.world.kernels import KernelSettings, load_kernels

TRACE_LINES = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Play seeds and print the report; 0 when nothing went wrong and enough happened."""
    parser = argparse.ArgumentParser(prog="python -m haulout.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="play this one alone and print the end of its trace")
    parser.add_argument("--light", action="store_true", help="smaller worlds, as among other tests")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="with --seed: worlds that stress one part")
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="with --seed: leave all other kinds of faults out")
    parser.add_argument("--trace", type=int, default=TRACE_LINES, help="with --seed: lines of trace")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(argv)
    if options.seed is not None:
        plan = scenario_plan(options.scenario, options.seed) if options.scenario else draw_plan(options.seed)
        plan = plan.lighter() if options.light else plan
        return replay(plan.only(*options.only) if options.only else plan, options.trace)
    if play(draw_plan(options.first, is_canary=True)).violation is None:
        print("the canary sang: a planted loss was not seen, so these seeds would prove nothing", file=sys.stderr)
        return 1
    started_s = time.monotonic()
    results = []
    for result in play_all(range(options.first, options.first + options.seeds), options.jobs, is_light=options.light):
        results.append(result)
        if not options.json:
            show_progress(results, options.seeds, time.monotonic() - started_s)
    report = Report(sorted(results, key=lambda result: result.seed), time.monotonic() - started_s)
    print(json.dumps(report.as_json()) if options.json else report.as_text())
    return 0 if report.is_good else 1


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
    with ProcessPoolExecutor(n_jobs, initializer=use_kernels) as pool:
        for future in as_completed([pool.submit(play_one, seed, is_light=is_light) for seed in seeds]):
            yield future.result()


def use_kernels() -> None:
    """Compute in this process as fast as it can, with one thread: the other processors play other seeds."""
    load_kernels(KernelSettings.of(os.environ))
    parallel.use(None)


def replay(plan: Plan, n_lines: int) -> int:
    """One world with its plan and the end of its trace."""
    run = play(plan)
    print(plan)
    print("\n".join(run.lines[-n_lines:]))
    print(f"trace {run.trace}, {run.n_blobs} blobs, {sum(run.operations.values())} operations")
    print(f"violation: {run.violation}" if run.violation else "no violation")
    return 1 if run.violation else 0


def show_progress(results: Sequence[SeedResult], n_seeds: int, elapsed_s: float) -> None:
    """One line on a terminal that is written over and over."""
    if sys.stderr.isatty():
        n_bad = sum(result.violation is not None for result in results)
        eta_s = elapsed_s / len(results) * (n_seeds - len(results))
        end = "\n" if len(results) == n_seeds else ""
        print(f"\r{len(results)}/{n_seeds} seeds, {n_bad} violations, {eta_s:.0f} s left ", end=end, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
