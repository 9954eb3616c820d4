"""Blocks are pruned, replicas are lost, and the ledger with its disk: everybody goes on with the same chain."""

from __future__ import annotations

from haulout.sim.plan import LEDGER_KEPT, draw_plan
from haulout.sim.scenarios import small
from haulout.sim.story import play


def test_a_pruned_ledger_is_joined_by_snapshot_and_comes_back_from_the_nodes() -> None:
    run = play(small(draw_plan(1), *LEDGER_KEPT, "join", n_shards=10, n_nodes=5))
    assert run.violation is None
    assert run.operations["begin with a snapshot: ok"] > 0
    assert [kind for kind in (*LEDGER_KEPT, "join") if not run.faults[kind]] == []
