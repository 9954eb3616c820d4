"""New rules begin when everything that runs can follow them, by themselves or when people say so."""

from __future__ import annotations

from typing import Any

import pytest

from haulout.ledger.apply import PROTOCOL_VERSION
from haulout_operator.ledger import read_facts

BEFORE, AFTER = PROTOCOL_VERSION - 1, PROTOCOL_VERSION


@pytest.fixture
def old(town: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A namespace whose networks are founded under the rules before the present ones, by nodes that know no others."""
    monkeypatch.setattr("haulout_operator.genesis.PROTOCOL_VERSION", BEFORE)
    return town


def state(town: Any) -> tuple[str, str]:
    condition = town.condition("StorageNetwork", "main", "ProtocolNewest")
    assert condition["message"]
    return condition["status"], condition["reason"]


def message(town: Any) -> str:
    return town.condition("StorageNetwork", "main", "ProtocolNewest")["message"]


def upgrade(town: Any, *names: str) -> None:
    """Nodes run a release that knows the newest rules; all of them when none is named."""
    town.knows |= dict.fromkeys(names or town.nodes(), AFTER)


async def chosen(town: Any) -> tuple[int, tuple[int, int] | None]:
    facts = await read_facts(town, None)
    return facts.protocol_version, facts.next_protocol


async def test_new_rules_begin_with_the_epoch_after_the_last_node_can_follow_them(old) -> None:
    old.found()
    await old.play()
    assert state(old) == ("False", "ProtocolWaits")
    upgrade(old, *old.nodes()[:3])
    await old.play()
    late = old.nodes()[3]
    assert f"protocol version {AFTER} waits until {late} knows it; its release 0.1.0 does not" in message(old)
    assert await chosen(old) == (BEFORE, None)

    upgrade(old)
    assert await old.play() == 1
    assert await chosen(old) == (BEFORE, (AFTER, 2))
    assert (state(old), message(old)) == (
        ("False", "ProtocolChosen"),
        f"protocol version {AFTER} begins with epoch 2",
    )
    old.kube.writes.clear()
    for _ in range(3):
        assert not await old.round()
    assert old.kube.writes == []

    await old.advance()
    await old.sync()
    await old.play()
    assert await chosen(old) == (AFTER, None)
    assert state(old) == ("True", "ProtocolNewest")
    assert old.kube.objects["StorageNetwork", "main"]["status"]["protocolVersion"] == AFTER
    events = [body["reason"] for (kind, _), body in old.kube.objects.items() if kind == "Event"]
    assert {"ProtocolChosen", "ProtocolNewest"} <= set(events)
    assert "ProtocolVotesMissing" not in events


async def test_a_network_of_the_newest_rules_has_nothing_to_activate(town) -> None:
    town.found()
    await town.play()
    assert state(town) == ("True", "ProtocolNewest")
    assert town.agreed == {}


async def test_manual_networks_say_what_to_do_and_wait_for_it(old) -> None:
    old.found(protocol={"activation": "Manual"})
    await old.play()
    upgrade(old)
    await old.play()
    assert state(old) == ("False", "ProtocolManual")
    assert f"kubectl annotate --overwrite snet/main haulout.dev/activate-protocol={AFTER}" in message(old)
    annotations = old.kube.objects["StorageNetwork", "main"]["metadata"].setdefault("annotations", {})
    annotations["haulout.dev/activate-protocol"] = str(AFTER + 1)
    await old.play()
    assert (state(old)[1], await chosen(old)) == ("ProtocolManual", (BEFORE, None))
    annotations["haulout.dev/activate-protocol"] = str(AFTER)
    await old.play()
    assert await chosen(old) == (BEFORE, (AFTER, 2))


async def test_who_knows_what_other_people_run_has_to_say_so(old) -> None:
    old.found(5)
    await old.play()
    elsewhere = old.nodes()[0]
    old.scale(4)
    for kind, name in [key for key in old.kube.objects if elsewhere in key[1]]:
        del old.kube.objects[kind, name]  # its owner runs it somewhere else from now on
    old.refusing.add(elsewhere)
    upgrade(old, *old.nodes())
    await old.play()
    assert state(old) == ("False", "ProtocolWaits")
    assert f"waits for {elsewhere}, which other people run" in message(old)
    assert await chosen(old) == (BEFORE, None)
    annotations = old.kube.objects["StorageNetwork", "main"]["metadata"].setdefault("annotations", {})
    annotations["haulout.dev/activate-protocol"] = str(AFTER)
    await old.play()
    assert await chosen(old) == (BEFORE, (AFTER, 2))


async def test_nothing_begins_while_pods_are_of_another_release_than_asked_for(old) -> None:
    old.found()
    await old.play()
    upgrade(old)
    old.kube.objects["StorageNodePool", "main"]["spec"]["update"] = {"paused": True}
    old.kube.objects["StorageNetwork", "main"]["spec"]["image"] = "haulout:2"
    await old.play()
    assert "runs what its pool asks for, and is ready" in message(old)
    assert await chosen(old) == (BEFORE, None)
    old.kube.objects["StorageNodePool", "main"]["spec"]["update"] = {}
    await old.play()
    assert old.images() == {"haulout:2"}
    assert await chosen(old) == (BEFORE, (AFTER, 2))


@pytest.mark.parametrize(("kind", "name"), [("StatefulSet", "main-ledger"), ("Deployment", "main-gateway")])
async def test_ledger_and_services_are_upgraded_first(old, kind: str, name: str) -> None:
    old.found()
    await old.play()
    upgrade(old)
    body = old.kube.objects[kind, name]
    body["status"] = {**body["status"], "updatedReplicas": 0}
    await old.rounds_alone(limit=0)
    assert message(old) == f"protocol version {AFTER} waits until {kind.lower()}/{name} runs haulout:1 alone"
    old.kube.settle()
    await old.play()
    assert await chosen(old) == (BEFORE, (AFTER, 2))


async def test_a_ledger_of_an_old_release_is_waited_for(old, monkeypatch: pytest.MonkeyPatch) -> None:
    old.found()
    await old.play()
    upgrade(old)
    with monkeypatch.context() as patch:
        patch.setattr("haulout.sequencer.sequencer.PROTOCOL_VERSION", BEFORE)
        await old.play()
        assert "the ledger's process knows it" in message(old)
    await old.play()
    assert await chosen(old) == (BEFORE, (AFTER, 2))


async def test_a_node_that_is_down_or_in_another_epoch_is_waited_for(old) -> None:
    old.found()
    await old.play()
    upgrade(old)
    node = old.nodes()[0]
    old.kube.break_pod(node)
    await old.rounds_alone(limit=3)
    assert f"sn/{node} runs what its pool asks for, and is ready" in message(old)
    assert await chosen(old) == (BEFORE, None)


async def test_shards_on_their_way_are_waited_for(old) -> None:
    old.found()
    await old.play()
    old.scale(5)
    await old.play()
    await old.advance()  # the fifth node gains shards, and has not said yet that it has them
    upgrade(old)
    await old.play()
    assert message(old) == f"protocol version {AFTER} waits until shards are where they belong"
    await old.sync()
    await old.play()
    assert await chosen(old) == (BEFORE, (AFTER, 3))


async def test_votes_that_are_missing_are_told_and_hold_up_nothing_else(old) -> None:
    old.found()
    await old.play()
    upgrade(old)
    refusing = old.nodes()[:2]
    old.refusing |= set(refusing)
    for _ in range(3):
        assert not await old.round()
    assert state(old) == ("False", "ProtocolVotesMissing")
    assert f"not agreed to by their owners: {', '.join(sorted(refusing))}" in message(old)
    assert "ProtocolVotesMissing" in old.warnings()
    assert old.condition("StorageNetwork", "main", "Ready")["status"] == "True"
    assert old.condition("StorageNetwork", "main", "Degraded")["status"] == "True"
    old.refusing.clear()
    await old.play()
    assert await chosen(old) == (BEFORE, (AFTER, 2))
    assert old.condition("StorageNetwork", "main", "Degraded")["status"] == "False"
