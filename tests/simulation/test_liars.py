"""A node that tells the ledger it has shards of which it fetched nothing: nobody loses anything by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout.sim.plan import draw_plan
from haulout.sim.scenarios import small
from haulout.sim.story import play


@pytest.mark.parametrize("seed", range(2))
def test_shards_that_were_claimed_and_never_fetched_are_rebuilt_by_whoever_gets_them_next(seed: int) -> None:
    plan = small(draw_plan(seed), "stake swing", "false sync-done", n_shards=10, n_nodes=5)
    run = play(replace(plan, change_pause_ms=4_000))
    assert run.violation is None
    assert run.faults["false sync-done"] > 0
