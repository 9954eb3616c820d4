"""What nodes tell of themselves stands in their status, and costs a network at rest nothing."""

from __future__ import annotations

import pytest

from haulout_operator.quantities import bytes_text
from haulout_operator.statuses.conditions import time_text

GI = 1 << 30


def status_of(town, name: str) -> dict:
    return town.kube.objects["StorageNode", name]["status"]


async def test_a_node_tells_its_release_and_how_full_its_volume_is(town) -> None:
    town.found()
    await town.play()
    name = town.nodes()[0]
    town.releases[name] = "0.2.0"
    town.stored_bytes[name] = 3 * GI // 2
    await town.round()
    status = status_of(town, name)
    assert (status["version"], status["protocolVersion"]) == ("0.2.0", 2)
    assert status["storage"] == {"usedBytes": 3 * GI // 2, "capacityBytes": 10 * GI, "summary": "1.5Gi/10Gi"}
    assert "lastSeen" not in status


async def test_bytes_are_written_anew_only_when_they_are_off_by_more_than_a_sixteenth(town) -> None:
    town.found()
    await town.play()
    name = town.nodes()[0]
    town.stored_bytes[name] = 1600
    await town.round()
    town.kube.writes.clear()
    for stored in (1601, 1700, 1500):
        town.stored_bytes[name] = stored
        await town.round()
    assert town.kube.writes == []
    assert status_of(town, name)["storage"]["usedBytes"] == 1600
    for stored in (1701, 0):
        town.stored_bytes[name] = stored
        await town.round()
        assert status_of(town, name)["storage"]["usedBytes"] == stored
    assert town.kube.writes == [f"status StorageNode/{name}"] * 2


async def test_a_silent_node_says_when_it_answered_last_and_what_it_told_then(town) -> None:
    town.found()
    await town.play()
    name = town.nodes()[0]
    town.stored_bytes[name] = 1600
    answered = time_text(town.clock.time_ms)
    await town.round()
    town.kube.break_pod(name)
    await town.round()
    told = {key: status_of(town, name)[key] for key in ("version", "storage", "lastSeen")}
    assert told["lastSeen"] == answered
    assert told["version"] == "0.1.0"
    assert told["storage"]["usedBytes"] == 1600
    town.kube.writes.clear()
    await town.round()
    assert town.kube.writes == []
    await town.restart()  # another process has not heard of it, and believes what stands there
    town.kube.break_pod(name)
    await town.round()
    assert {key: status_of(town, name)[key] for key in told} == told
    town.kube.objects.pop(("Pod", f"{name}-0"))
    town.kube.settle()
    await town.round()
    assert "lastSeen" not in status_of(town, name)


async def test_nobody_is_called_silent_who_cannot_be_asked_without_a_ledger(town) -> None:
    town.found()
    await town.play()
    town.ledger_is_up = False
    await town.round()
    assert all("lastSeen" not in status_of(town, name) for name in town.nodes())
    assert all(status_of(town, name)["version"] == "0.1.0" for name in town.nodes())


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1Ki"),
        (1536, "1.5Ki"),
        (10 * GI, "10Gi"),
        (GI - 1, "1023.9Mi"),
        (GI << 11, "2Ti"),
    ],
)
def test_bytes_for_people(size_bytes: int, text: str) -> None:
    assert bytes_text(size_bytes) == text
