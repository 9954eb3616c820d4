"""A run of seeds is worth something only when enough happened in it; the report says so, whatever else it counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout.sim import __main__ as command
from haulout.sim import changes, faults
from haulout.sim.plan import (
    COUNTED,
    DISHONEST,
    FREQUENT_LIES,
    KINDS,
    LEDGER_KEPT,
    LIE_KINDS,
    SET_BACK,
    SHARED,
    WRITERS,
    draw_plan,
)
from haulout.sim.report import Report, SeedResult
from haulout.sim.scenarios import small
from haulout.sim.story import Run, play

WIRES = {"latency", "loss", "duplication", "reordering"}
ENOUGH = SeedResult(
    seed=0,
    violation=None,
    faults=dict.fromkeys(COUNTED, 1),
    operations={"store: ok": 20},
    n_blobs=20,
    n_epochs=3,
    trace="",
    cpu_s=1.0,
)


def hundred(**changed: list) -> list[SeedResult]:
    """A hundred seeds in which just enough happened, the first ones with other values of some fields."""
    results = [replace(ENOUGH, seed=seed) for seed in range(100)]
    for name, values in changed.items():
        for seed, value in enumerate(values):
            results[seed] = replace(results[seed], **{name: value})
    return results


def test_just_enough_is_good() -> None:
    report = Report(hundred(), 60.0)
    assert report.shortcomings() == []
    assert report.is_good
    assert "not good enough" not in report.as_text()


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize("left", [None, 0], ids=["not named", "counted zero times"])
def test_a_kind_that_happened_in_four_seeds_of_a_hundred_is_too_rare(kind: str, left: int | None) -> None:
    without = {other: 1_000 for other in COUNTED if other != kind} | ({} if left is None else {kind: left})
    often_in_few = [without] * 96 + [ENOUGH.faults | {kind: 1_000_000}] * 4
    report = Report(hundred(faults=often_in_few), 60.0)
    assert report.shortcomings() == [f"{kind} happened in 4.0% of the seeds, at least 5% are needed"]
    assert not report.is_good
    assert f"not good enough: {kind}" in report.as_text()
    assert Report(hundred(faults=[without] * 95), 60.0).is_good


@pytest.mark.parametrize(("name", "fewest"), [("n_blobs", 20), ("n_epochs", 3)])
def test_the_median_counts_and_not_the_sum(name: str, fewest: int) -> None:
    a_few_large_ones = [fewest - 1] * 51 + [1_000_000] * 49
    report = Report(hundred(**{name: a_few_large_ones}), 60.0)
    assert len(report.shortcomings()) == 1
    assert report.shortcomings()[0].startswith("the median seed")
    assert not report.is_good
    assert Report(hundred(**{name: [0] * 49}), 60.0).is_good


def test_one_violation_spoils_a_thousand_seeds() -> None:
    results = [replace(ENOUGH, seed=seed) for seed in range(1_000)]
    results[723] = replace(results[723], violation="D-1: gone")
    report = Report(results, 60.0)
    assert not report.is_good
    assert "make sim SEED=723" in report.as_text()
    assert report.as_json()["violations"] == {723: "D-1: gone"}


def test_nothing_that_can_happen_is_left_out_of_the_report() -> None:
    assert {*faults.CATALOGUE, *changes.CATALOGUE, *WRITERS, *DISHONEST, *WIRES, *LEDGER_KEPT, SHARED} == set(KINDS)
    assert set(COUNTED) == {*KINDS, *LIE_KINDS.values()}


def test_what_came_to_nothing_is_not_counted() -> None:
    plan = replace(small(draw_plan(0), "join"), change_pause_ms=1_000, duration_ms=15_000, n_blobs=1)
    assert play(replace(plan, most_joins=0)).faults["join"] == 0
    assert play(replace(plan, most_joins=1)).faults["join"] == 1


def test_every_kind_is_drawn_often_enough_to_happen() -> None:
    plans = [draw_plan(seed) for seed in range(400)]
    for kind in KINDS:
        assert sum(kind in plan.kinds for plan in plans) > 0.1 * len(plans), kind
    for lie in FREQUENT_LIES:
        assert sum(lie in plan.lies for plan in plans) > 0.15 * len(plans), lie


def test_what_is_drawn_only_since_a_seed_was_kept_is_left_out_when_it_is_played_again() -> None:
    plans = [(draw_plan(seed), draw_plan(seed, is_as_kept=True)) for seed in range(100)]
    assert any(SHARED in plan.kinds for plan, _ in plans)
    assert any(plan.lies != kept.lies for plan, kept in plans)
    for plan, kept in plans:
        since = {SHARED, SET_BACK}
        assert not since & kept.kinds
        assert kept.lies - {"poverty"} <= plan.lies
        as_kept = replace(plan, kinds=plan.kinds - since, lies=kept.lies, rebuilds_by_symbols=False)
        assert replace(as_kept, bad_nodes=kept.bad_nodes) == kept
        assert plan.bad_nodes == kept.bad_nodes or SET_BACK in plan.kinds


@pytest.mark.parametrize(("rare", "status"), [((), 0), (("bit rot",), 1)])
def test_the_command_fails_when_its_seeds_prove_too_little(
    rare: tuple[str, ...], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    happened = {kind: count for kind, count in ENOUGH.faults.items() if kind not in rare}
    monkeypatch.setattr(command, "play", lambda plan: Run(plan, violation="D-6: the canary's" * plan.is_canary))
    monkeypatch.setattr(command, "play_all", lambda *_, **__: hundred(faults=[happened] * 100))
    assert command.main(["--seeds", "100"]) == status
    assert ("not good enough: bit rot" in capsys.readouterr().out) == bool(rare)


def test_a_canary_that_nobody_saw_ends_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def played(*_: object, **__: object) -> None:
        raise AssertionError("no seed is worth playing")

    monkeypatch.setattr(command, "play", Run)
    monkeypatch.setattr(command, "play_all", played)
    assert command.main(["--seeds", "100"]) == 1
    assert "the canary sang" in capsys.readouterr().err
