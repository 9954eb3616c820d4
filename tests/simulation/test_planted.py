"""Planted mistakes still fit the sources, and the quickest to find are found; `make sim-planted` hunts all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulout.sim.scenarios import SCENARIOS
from tests.simulation.planted import hunt


def test_every_planted_mistake_has_its_scenario() -> None:
    assert sorted(SCENARIOS) == hunt.patches()


@pytest.mark.parametrize("name", hunt.patches())
def test_a_patch_applies_to_the_sources_as_they_are(name: str) -> None:
    assert hunt.why_not_applicable(name) == ""


@pytest.mark.parametrize("name", ["confirmation-before-sync", "reward-rounded-up"])
def test_a_planted_mistake_is_found(name: str) -> None:
    outcome = hunt.hunt(name, most_seeds=10)
    assert outcome.is_found, outcome
    assert outcome.violation.startswith(("D-6", "actor"))


def test_a_patch_that_no_longer_applies_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = (hunt.FOLDER / "reward-rounded-up.patch").read_text()
    (tmp_path / "reward-rounded-up.patch").write_text(patch.replace("-    rewards = {", "-    reward = {"))
    monkeypatch.setattr(hunt, "FOLDER", tmp_path)
    outcome = hunt.hunt("reward-rounded-up")
    assert not outcome.is_found
    assert "does not apply" in outcome.problem
