"""Plays seeds: `python -m haulout.sim --seeds 1000`, or one again with its trace: `--seed 7`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from haulout.sim.plan import Plan, draw_plan
from haulout.sim.players import play_all
from haulout.sim.report import Report, SeedResult
from haulout.sim.scenarios import SCENARIOS, scenario_plan
from haulout.sim.story import play

TRACE_LINES = 40
INTERRUPTED = 130  # exit code


def main(argv: Sequence[str] | None = None) -> int:
    """Play seeds and print the report; 0 when nothing went wrong and enough happened."""
    parser = argparse.ArgumentParser(prog="python -m haulout.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="play this one alone and print the end of its trace")
    parser.add_argument("--light", action="store_true", help="smaller worlds, as among other tests")
    parser.add_argument("--as-kept", action="store_true", help="with --seed: as it is in the regression list")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="with --seed: worlds that stress one part")
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="with --seed: leave all other kinds of faults out")
    parser.add_argument("--trace", type=int, default=TRACE_LINES, help="with --seed: lines of trace")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(argv)
    if options.seed is not None:
        drawn = draw_plan(options.seed, is_as_kept=options.as_kept)
        plan = scenario_plan(options.scenario, options.seed) if options.scenario else drawn
        plan = plan.lighter() if options.light else plan
        return replay(plan.only(*options.only) if options.only else plan, options.trace)
    if play(draw_plan(options.first, is_canary=True)).violation is None:
        print("the canary sang: a planted loss was not seen, so these seeds would prove nothing", file=sys.stderr)
        return 1
    started_s = time.monotonic()
    results: list[SeedResult] = []
    seeds, is_stopped = range(options.first, options.first + options.seeds), False
    try:
        for result in play_all(seeds, options.jobs, is_light=options.light):
            results.append(result)
            if not options.json:
                if result.violation is not None:
                    print(f"\n{result.complaint()}", file=sys.stderr, flush=True)
                show_progress(results, options.seeds, time.monotonic() - started_s)
    except KeyboardInterrupt:
        is_stopped = True
        print(f"stopped after {len(results)} of {options.seeds} seeds", file=sys.stderr)
    if results or not is_stopped:
        report = Report(sorted(results, key=lambda result: result.seed), time.monotonic() - started_s)
        print(json.dumps(report.as_json()) if options.json else report.as_text())
    return INTERRUPTED if is_stopped else 0 if report.is_good else 1


def replay(plan: Plan, n_lines: int) -> int:
    """One world with its plan and the end of its trace."""
    run = play(plan)
    print(plan)
    print("\n".join(run.lines[-n_lines:]))
    print(f"trace {run.trace}, {run.n_blobs} blobs, {sum(run.operations.values())} operations")
    print(f"violation: {run.violation}" if run.violation else "no violation")
    return 1 if run.violation else 0


def show_progress(results: Sequence[SeedResult], n_seeds: int, elapsed_s: float) -> None:
    """One line on a terminal that is written over and over; elsewhere twenty lines."""
    n_bad = sum(result.violation is not None for result in results)
    eta_s = elapsed_s / len(results) * (n_seeds - len(results))
    line = f"{len(results)}/{n_seeds} seeds, {n_bad} violations, {eta_s:.0f} s left"
    if sys.stderr.isatty():
        print(f"\r{line} ", end="\n" if len(results) == n_seeds else "", file=sys.stderr)
    elif len(results) % max(1, n_seeds // 20) == 0:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
