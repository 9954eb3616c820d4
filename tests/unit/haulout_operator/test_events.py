"""Events: one per turn, a Warning where a person is needed, none at rest; and each Warning is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import haulout_operator
from haulout_operator.events import ON_THE_WAY, WARNINGS, Happening, find_happenings

PACKAGE = Path(haulout_operator.__file__).parent
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


@pytest.mark.parametrize("reason", ["CreateContainerConfigError", "OOMKilled", "LedgerDiverged", "InvalidImageName"])
def test_whatever_is_not_known_to_be_ordinary_warns(reason: str) -> None:
    before = status("Ready", "True", "Serving")
    assert find_happenings(before, status("Ready", "False", reason, "why")) == [Happening("Warning", reason, "why")]
    assert find_happenings({}, status("Ready", "False", reason, "why")) == [Happening("Warning", reason, "why")]


@pytest.mark.parametrize("reason", [*sorted(ON_THE_WAY), "ApiServerUnavailable", "Unreachable"])
def test_what_is_on_its_way_or_tried_again_warns_of_nothing(reason: str) -> None:
    [told] = find_happenings(status("Ready", "True", "Serving"), status("Ready", "False", reason, "why"))
    assert told.type == "Normal"


def test_every_reason_of_ours_is_one_or_the_other() -> None:
    """A reason that is added is either ordinary, or explained to the person that it warns."""
    text = "".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")))
    reasons = set(re.findall(r'Leaving\(\s*"(\w+)"', text)) | set(
        re.findall(r'Fact\(\s*"Ready",\s*False,\s*"(\w+)"', text)
    )
    assert len(reasons) > 20
    assert reasons - ON_THE_WAY - WARNINGS == set()
    assert WARNINGS.isdisjoint(ON_THE_WAY)


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
