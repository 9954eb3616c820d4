"""A change of epoch in which nothing arrives any more says so: who is awaited, until when, and what to do."""

from __future__ import annotations

from haulout_operator.ledger import read_facts
from haulout_operator.statuses.conditions import time_text

MINUTE_MS = 60_000


async def changed(town, **epoch) -> str:
    """A network whose epoch has just changed for a fifth node; that node's name."""
    town.found(4, **({"epoch": epoch} if epoch else {}))
    await town.play()
    before = set(town.nodes())
    town.scale(5)
    await town.play()
    await town.advance()
    for _ in range(2):  # its EpochTransition is made, and told about
        await town.round()
    [new] = set(town.nodes()) - before
    return new


def stalled(town) -> dict:
    return town.condition("EpochTransition", "main-2", "Stalled")


async def test_a_change_in_which_nothing_arrives_is_stalled_and_says_who_is_awaited(town) -> None:
    new = await changed(town)
    assert (stalled(town)["status"], stalled(town)["reason"]) == ("False", "Progressing")
    progressed = town.kube.objects["EpochTransition", "main-2"]["status"]["progressedAt"]
    town.kube.break_pod(new)
    await town.round()
    town.clock.time_ms += 9 * MINUTE_MS
    await town.round()
    assert stalled(town)["status"] == "False"
    town.clock.time_ms += MINUTE_MS
    await town.round()
    told = stalled(town)
    assert (told["status"], told["reason"]) == ("True", "TransitionStalled")
    assert f"nothing has arrived since {progressed}: 0 of 100 shards are synced, 67 end the change" in told["message"]
    assert f"{new} (20 shards on their way, its Pod is not ready)" in told["message"]
    assert "Epochs are manual here, so nobody forces it" in told["message"]
    assert "Next: kubectl describe sn" in told["message"]
    [event] = [
        body for (kind, _), body in town.kube.objects.items() if kind == "Event" and body["reason"] == told["reason"]
    ]
    assert event["type"] == "Warning"
    assert event["involvedObject"]["uid"] == town.kube.objects["EpochTransition", "main-2"]["metadata"]["uid"]
    town.kube.writes.clear()
    town.clock.time_ms += 5 * MINUTE_MS
    await town.round()
    assert town.kube.writes == []  # a stall that lasts is told once


async def test_who_has_reported_is_not_awaited_and_every_arrival_is_progress(town) -> None:
    new = await changed(town)
    town.clock.time_ms += 11 * MINUTE_MS
    await town.round()
    assert stalled(town)["status"] == "True"
    first, *others = sorted(set(town.nodes()) - {new})
    await town.sync(but=[new, *others])
    await town.round()
    assert (stalled(town)["status"], stalled(town)["reason"]) == ("False", "Progressing")
    town.clock.time_ms += 11 * MINUTE_MS
    await town.round()
    assert first not in stalled(town)["message"]
    assert f"{others[0]} (0 shards on their way)" in stalled(town)["message"]
    town.moving_bytes = {new: (1000, 250)}
    await town.round()
    assert stalled(town)["status"] == "False"
    await town.sync(but=[first])
    await town.play()
    assert (stalled(town)["status"], stalled(town)["reason"]) == ("False", "Done")


async def test_how_long_is_up_to_the_network(town) -> None:
    await changed(town, manual=True, transitionTimeout="1h")
    town.clock.time_ms += 59 * MINUTE_MS
    await town.round()
    assert stalled(town)["status"] == "False"
    town.kube.objects["StorageNetwork", "main"]["spec"]["epoch"]["transitionTimeout"] = "30s"
    await town.round()
    assert stalled(town)["status"] == "True"


async def test_the_deadline_is_the_ledgers(town) -> None:
    """Half an epoch after the change, by the rule that the ledger itself holds drivers to."""
    town.found(4, epoch={"duration": "1h"})
    await town.play()
    town.scale(5)
    await town.play()
    await town.epoch_clock.pass_ms(30 * MINUTE_MS)
    await town.play()
    await town.epoch_clock.pass_ms(31 * MINUTE_MS)
    await town.play()
    town.clock.time_ms += 11 * MINUTE_MS
    await town.round()
    facts = await read_facts(town, None)
    assert facts.phase == "Sync"
    deadline = time_text(facts.phase_since_ms + 30 * MINUTE_MS)
    assert f"At {deadline} the ledger may force the epoch on without them" in stalled(town)["message"]


async def test_what_arrives_after_the_next_change_completes_the_earlier_one(town) -> None:
    def handed_over() -> tuple[str, str]:
        told = town.condition("EpochTransition", "main-2", "HandedOver")
        return told["status"], told["message"]

    new = await changed(town)
    await town.sync(but=[new])
    await town.play()
    assert town.condition("EpochTransition", "main-2", "Complete")["status"] == "True"
    assert handed_over() == ("False", "0 of 20 shards")
    await town.advance()
    await town.round()
    assert handed_over() == ("False", "0 of 20 shards")
    await town.sync()
    await town.play()
    assert handed_over() == ("True", "20 of 20 shards")
