"""`ClusterControl` of a cluster: what it writes into the custom resources, and whom it admits."""

from __future__ import annotations

import asyncio
import base64

import pytest

from haulout.errors import InvalidField, NotFound, Rejected, TooFewNodes
from haulout_operator.control import Gatekeeper, LeavesByItself, NetworkControl, NotEndedThisWay, WrongToken
from haulout_operator.ledger import read_facts
from tests.unit.haulout_operator.test_leaving import epoch_passes, grown

NAMESPACE = "demo"


@pytest.fixture
def control(town) -> NetworkControl:
    def look():
        return town.operator.seen.get("main")

    return NetworkControl(town.kube, look, town.clock, network="main", namespace=NAMESPACE)


def replicas(town) -> int:
    return town.kube.objects["StorageNodePool", "main"]["spec"]["replicas"]


async def test_tells_every_pod_and_the_conditions(town, control) -> None:
    town.found()
    await town.play()
    report = await control.list_processes()
    assert (report.place, report.is_ready, len(report.processes)) == ("demo/main", True, 4 + 3)
    node = next(one for one in report.processes if one.role == "node")
    assert node.urls["grpc"] == f"{node.name}.demo.svc:9000"
    assert {one.type for one in report.conditions} >= {"Available", "Degraded", "Progressing", "ScalingBlocked"}


async def test_scales_and_refuses_what_cannot_hold_all_shards(town, control) -> None:
    town.found()
    await town.play()
    await control.scale_nodes(6)
    await town.play()
    assert len(town.nodes()) == 6
    with pytest.raises(TooFewNodes):
        await control.scale_nodes(3)
    assert replicas(town) == 6


async def test_a_node_is_added_and_told_when_the_ledger_knows_it(town, control) -> None:
    town.found()
    await town.play()
    before = town.nodes()
    adding = asyncio.create_task(control.add_node(0))
    for _ in range(10):
        await asyncio.sleep(0)
        await town.round()
    name, node_id = await adding
    assert name not in before
    assert node_id == (await read_facts(town, None)).nodes[name].node_id
    with pytest.raises(InvalidField, match="stakes 2,000 WAL"):
        await control.add_node(7)


async def test_the_named_node_is_drained_once_and_no_other(town, control) -> None:
    await grown(town)
    chosen = town.nodes()[4]
    node_id = await control.drain_node(chosen)
    assert await control.drain_node(chosen) == node_id  # before a round has seen the first
    await town.play()
    assert await control.drain_node(chosen) == node_id
    await town.play()
    assert (town.leaving(), replicas(town)) == ([chosen], 6)
    with pytest.raises(LeavesByItself):
        await control.remove_node(chosen, is_dead=False)
    await epoch_passes(town)
    assert chosen not in town.nodes()
    assert await control.remove_node(chosen, is_dead=False) == node_id  # it is gone


async def test_the_smallest_network_drains_nobody(town, control) -> None:
    town.found()
    await town.play()
    with pytest.raises(TooFewNodes):
        await control.drain_node(town.nodes()[0])
    assert replicas(town) == 4


async def test_a_dead_node_is_let_go_without_its_word(town, control) -> None:
    await grown(town)
    dead = town.nodes()[0]
    town.kube.break_pod(dead)
    town.kube.settle = lambda: town.kube.settle_others(dead)
    await town.play()
    await control.remove_node(dead, is_dead=True)
    await town.play()
    await epoch_passes(town)
    assert dead not in town.nodes()
    assert len(town.nodes()) == 7  # its substitute is among them


async def test_a_stopped_node_is_started_again(town, control) -> None:
    town.found()
    await town.play()
    name = town.nodes()[0]
    await control.stop_node(name)
    await town.play()
    assert ("Pod", f"{name}-0") not in town.kube.objects
    await control.start_node(name)
    await town.play()
    assert ("Pod", f"{name}-0") in town.kube.objects
    with pytest.raises(InvalidField, match="'main-ledger' is not one of"):
        await control.stop_node("main-ledger")
    with pytest.raises(NotEndedThisWay):
        await control.shutdown()


async def test_only_the_networks_own_token_is_admitted(town, control) -> None:
    town.found()
    await town.play()
    token = base64.b64decode(town.kube.objects["Secret", "main-control"]["data"]["token"]).decode()
    gate = Gatekeeper(town.kube, lambda: ["main", "other"], lambda _: control, namespace=NAMESPACE)
    assert await gate.admit(token) is control
    for wrong in ("", token[:-1], token.upper(), "Bearer " + token):
        with pytest.raises(WrongToken):
            await gate.admit(wrong)


async def test_a_token_that_is_damaged_keeps_nobody_out_of_other_networks(town, control) -> None:
    town.found()
    await town.play()
    secret = town.kube.objects["Secret", "main-control"]
    token = base64.b64decode(secret["data"]["token"]).decode()
    town.kube.objects["Secret", "odd-control"] = {**secret, "data": {"token": "ÿ"}}
    gate = Gatekeeper(town.kube, lambda: ["odd", "main"], lambda _: control, namespace=NAMESPACE)
    assert await gate.admit(token) is control
    with pytest.raises(WrongToken):
        await gate.admit("ÿ")


async def test_a_pool_that_is_gone_meanwhile_is_an_answer(town, control) -> None:
    town.found()
    await town.play()
    del town.kube.objects["StorageNodePool", "main"]
    with pytest.raises((NotFound, Rejected)):
        await control.add_node(0)
