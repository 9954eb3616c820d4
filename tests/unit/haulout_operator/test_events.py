"""Events: one per turn, a Warning where a person is needed, none at rest; and each Warning is explained."""

from __future__ import annotations

from pathlib import Path

from haulout_operator.events import WARNINGS, Happening, find_happenings

OPERATIONS = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def status(type_: str, holds: str, reason: str, message: str = "") -> dict:
    return {"conditions": [{"type": type_, "status": holds, "reason": reason, "message": message}]}


def test_nothing_that_stays_is_told_again() -> None:
    same = status("Ready", "False", "OwnsShards", "it owns 25 shards")
    assert find_happenings(same, status("Ready", "False", "OwnsShards", "it owns 24 shards")) == []


def test_a_turn_is_told_and_who_is_needed_is_warned() -> None:
    before = status("Ready", "True", "Serving")
    assert find_happenings(before, status("Ready", "False", "HandingOver", "3 to go")) == [
        Happening("Normal", "HandingOver", "3 to go")
    ]
    assert find_happenings({}, status("Staked", "False", "StakeUnfunded", "lacks 5")) == [
        Happening("Warning", "StakeUnfunded", "lacks 5")
    ]
    assert find_happenings({}, status("Ready", "False", "MakingKeys")) == []


def test_a_ledger_that_has_not_begun_is_no_setback() -> None:
    gone = status("Available", "False", "LedgerUnreachable", "UNREACHABLE: down")
    assert find_happenings(status("Available", "False", "Founding"), gone) == []
    assert [one.type for one in find_happenings(status("Available", "True", "Available"), gone)] == ["Warning"]


def test_every_warning_is_explained() -> None:
    text = OPERATIONS.read_text()
    assert [reason for reason in sorted(WARNINGS) if f"`{reason}`" not in text and f" {reason}`" not in text] == []


async def test_an_installation_warns_of_nothing_and_rest_is_silent(town) -> None:
    town.found()
    await town.play()
    events = [body for (kind, _), body in town.kube.objects.items() if kind == "Event"]
    assert [one["reason"] for one in events if one["type"] == "Warning"] == []
    assert {"Serving", "Available"} <= {one["reason"] for one in events}
    town.kube.writes.clear()
    await town.play()
    assert town.kube.writes == []
