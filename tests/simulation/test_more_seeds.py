"""More drawn worlds without a violation, and at their full size those that had one."""

from __future__ import annotations

import pytest

from haulout.sim.plan import draw_plan
from haulout.sim.story import play
from tests.simulation.regressions import SEEDS_THAT_FAILED, SEEDS_THAT_FAILED_SINCE

SEEDS = range(50, 100)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_happens_that_may_never_happen(seed: int) -> None:
    run = play(draw_plan(seed).lighter())
    assert run.violation is None, f"python -m haulout.sim --light --seed {seed}: {run.violation}"


@pytest.mark.parametrize("seed", SEEDS_THAT_FAILED)
def test_what_failed_once_does_not_fail_again(seed: int) -> None:
    run = play(draw_plan(seed, is_as_kept=True))
    assert run.violation is None, f"python -m haulout.sim --seed {seed} --as-kept: {run.violation}"


@pytest.mark.parametrize("seed", SEEDS_THAT_FAILED_SINCE)
def test_what_failed_since_does_not_fail_again(seed: int) -> None:
    run = play(draw_plan(seed))
    assert run.violation is None, f"python -m haulout.sim --seed {seed}: {run.violation}"
