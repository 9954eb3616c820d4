"""Objects that do not become what they should be are counted, those that nobody expects to be ready are not."""

from __future__ import annotations

from typing import Any

import pytest

from haulout_operator.statuses.conditions import Fact, merge_conditions
from haulout_operator.statuses.stuck import STUCK_AFTER_MS, is_stuck

SINCE_MS = 1_700_000_000_000


def status_of(*facts: Fact) -> dict[str, Any]:
    return {"conditions": merge_conditions({}, facts, now_ms=SINCE_MS, generation=1)}


def test_an_object_is_stuck_after_ten_minutes() -> None:
    status = status_of(Fact("Ready", False, "NoPod"))
    assert not is_stuck(status, now_ms=SINCE_MS + STUCK_AFTER_MS - 1)
    assert is_stuck(status, now_ms=SINCE_MS + STUCK_AFTER_MS)


@pytest.mark.parametrize(
    "facts",
    [
        (),
        (Fact("Ready", True, "Serving"),),
        (Fact("Ready", None, "LedgerUnreachable"),),
        (Fact("Ready", False, "Maintenance"),),
        (Fact("Ready", False, "NodesNotReady"),),
        (Fact("Ready", False, "WaitsForStake"), Fact("Drained", False, "WaitsForStake")),
    ],
    ids=["new", "ready", "unknown", "maintenance", "its nodes", "leaving"],
)
def test_what_is_ready_or_not_meant_to_be_is_not_stuck(facts: tuple[Fact, ...]) -> None:
    assert not is_stuck(status_of(*facts), now_ms=SINCE_MS + 10 * STUCK_AFTER_MS)


async def test_a_round_counts_what_is_stuck_until_it_is_mended(town) -> None:
    def stuck() -> dict[str, float | None]:
        kinds = ("StorageNetwork", "StorageNodePool", "StorageNode")
        return {
            kind: town.registry.get_sample_value("haulout_operator_stuck_objects", {"kind": kind}) for kind in kinds
        }

    town.found(replicas=3)  # too few for a committee
    await town.play()
    assert stuck() == {"StorageNetwork": 0, "StorageNodePool": 0, "StorageNode": 0}
    town.clock.time_ms += STUCK_AFTER_MS
    await town.round()
    assert stuck()["StorageNetwork"] == 1
    town.kube.objects["StorageNodePool", "main"]["spec"]["replicas"] = 4
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"
    assert stuck() == {"StorageNetwork": 0, "StorageNodePool": 0, "StorageNode": 0}
