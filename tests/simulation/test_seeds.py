"""Drawn worlds without a violation, lighter than those of `make sim`; a seed is the same wherever it is played."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from haulout.sim.plan import COUNTED, draw_plan
from haulout.sim.story import Run, play

SEEDS = range(50)  # `test_more_seeds` plays others: two files keep two workers busy
SEED_PLAYED_TWICE = 3
PLAYED: dict[int, Run] = {}


def played(seed: int) -> Run:
    if seed not in PLAYED:
        PLAYED[seed] = replace(play(draw_plan(seed).lighter()), lines=[])
    return PLAYED[seed]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_happens_that_may_never_happen(seed: int) -> None:
    run = played(seed)
    assert run.violation is None, f"python -m haulout.sim --light --seed {seed}: {run.violation}"


@pytest.mark.timeout(600)  # played alone it plays all seeds
def test_every_kind_of_fault_happened_in_some_of_these_worlds() -> None:
    runs = [played(seed) for seed in SEEDS]
    assert [kind for kind in COUNTED if not any(run.faults[kind] for run in runs)] == []


def test_the_canary_is_found() -> None:
    run = play(draw_plan(0, is_canary=True))
    assert run.violation is not None and run.violation.startswith("D-6")


def test_a_seed_is_one_run_in_any_process() -> None:
    traces = {play(draw_plan(SEED_PLAYED_TWICE)).trace}
    for hash_seed in ("1", "2"):
        code = f"from tests.simulation.test_seeds import *; print(play(draw_plan({SEED_PLAYED_TWICE})).trace)"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert child.returncode == 0, child.stderr
        traces.add(child.stdout.strip())
    assert len(traces) == 1
