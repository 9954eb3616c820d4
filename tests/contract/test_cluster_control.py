"""`ClusterControl` over gRPC, as GraphQL and commands use it: a cluster's operator, a machine's supervisor."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from haulout.embedded.control import SupervisorControl
from haulout.embedded.folder import NetworkFolder
from haulout.embedded.layout import Layout
from haulout.embedded.scaling import Scaling
from haulout.embedded.supervisor import Supervisor
from haulout.errors import InvalidInput, Rejected, TooFewNodes
from haulout.ports import ClusterReport
from haulout.wire.control import GrpcControl, serve_control
from haulout.world.clock import SystemClock
from haulout_operator.control import Gatekeeper, NetworkControl
from tests.contract.memory_membership import N_SHARDS, MemoryMembership
from tests.hand_clock import HandClock
from tests.unit.haulout_operator.conftest import Town
from tests.unit.haulout_operator.fake_kube import NAMESPACE
from tests.unit.haulout_operator.test_leaving import epoch_passes

N_NODES = 5
NOBODY = "nobody"


class Case(Protocol):
    """A network of five nodes and its control."""

    control: GrpcControl

    async def settle(self) -> None:
        """What was asked for, as far as it goes without an epoch."""

    async def pass_epoch(self) -> None:
        """The next committee."""

    async def kill(self, name: str) -> None:
        """A node's process has ended, and does not come back."""

    def is_ending(self) -> bool:
        """Whether all of it is about to end."""


class OperatorCase:
    def __init__(self, town: Town, control: GrpcControl) -> None:
        self.town = town
        self.control = control

    async def settle(self) -> None:
        await self.town.play()

    async def pass_epoch(self) -> None:
        await epoch_passes(self.town)

    async def kill(self, name: str) -> None:
        self.town.kube.break_pod(name)
        self.town.kube.settle = lambda: self.town.kube.settle_others(name)  # type: ignore[method-assign]
        await self.settle()

    def is_ending(self) -> bool:
        return False


@contextlib.asynccontextmanager
async def operator(folder: Path) -> AsyncIterator[OperatorCase]:
    town = Town()
    town.found(N_NODES)
    await town.play()

    def control_of(network: str) -> NetworkControl:
        def look() -> Any:
            return town.operator.seen.get(network)

        return NetworkControl(town.kube, look, SystemClock(), network=network, namespace=NAMESPACE)

    gate = Gatekeeper(town.kube, lambda: list(town.operator.seen), control_of, namespace=NAMESPACE)
    token = base64.b64decode(town.kube.objects["Secret", "main-control"]["data"]["token"]).decode()
    async with serve_control(gate.admit, "127.0.0.1:0") as address:
        client = GrpcControl(address, token=token)
        yield OperatorCase(town, client)
        await client.close()
    await town.close()


class SupervisorCase:
    def __init__(self, supervisor: Supervisor, membership: MemoryMembership, scaling: Scaling, control: GrpcControl):
        self.supervisor = supervisor
        self.membership = membership
        self.scaling = scaling
        self.control = control

    async def settle(self) -> None:
        if self.scaling._work is not None:
            for _ in range(200):  # its clock passes as it waits
                if self.scaling._work.done():
                    return
                await asyncio.sleep(0.001)

    async def pass_epoch(self) -> None:
        self.membership.pass_epoch()
        await self.settle()

    async def kill(self, name: str) -> None:
        await self.supervisor.children[name].stop()

    def is_ending(self) -> bool:
        return self.supervisor.shutdown_requested.is_set()


@contextlib.asynccontextmanager
async def supervisor(folder: Path) -> AsyncIterator[SupervisorCase]:
    network = NetworkFolder(folder / "net")
    made = Supervisor(network, Layout(31415, N_NODES), restart=False, clock=SystemClock(), transport=None)  # type: ignore[arg-type]
    membership = MemoryMembership(made, folder)
    for child in made.children.values():
        await child.start()
    scaling = Scaling(membership, n_shards=N_SHARDS, clock=HandClock())
    control = SupervisorControl(made, str(network.root), membership, scaling)  # type: ignore[arg-type]
    async with serve_control(control, "127.0.0.1:0") as address:
        client = GrpcControl(address)
        yield SupervisorCase(made, membership, scaling, client)
        await client.close()
    await scaling.close()
    for child in made.children.values():
        await child.stop()


@pytest.fixture(params=[operator, supervisor], ids=lambda opens: opens.__name__)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async with request.param(tmp_path) as made:
        yield made


def nodes_of(report: ClusterReport) -> list[str]:
    """Nodes whose processes there are."""
    return [process.name for process in report.processes if process.role == "node" and process.state != "stopped"]


async def nodes(case: Case) -> list[str]:
    return nodes_of(await case.control.list_processes())


async def test_every_process_is_told_with_where_it_is_and_what_is_in_the_way(case: Case) -> None:
    report = await case.control.list_processes()
    assert report.place
    assert len(set(nodes_of(report))) == N_NODES
    assert {process.role for process in report.processes} == {"ledger", "node", "gateway", "graphql"}
    assert len({process.name for process in report.processes}) == N_NODES + 3
    assert all({"metrics"} < set(process.urls) for process in report.processes)
    holds = {one.type: one.holds for one in report.conditions}
    assert (holds["Progressing"], holds["ScalingBlocked"]) == (False, False)


async def test_a_node_is_stopped_stays_so_and_is_started(case: Case) -> None:
    [*_, name] = await nodes(case)
    for _ in range(2):  # asking again is fine
        await case.control.stop_node(name)
        await case.settle()
        assert name not in await nodes(case)
    assert len(await nodes(case)) == N_NODES - 1
    for _ in range(2):
        await case.control.start_node(name)
        await case.settle()
        assert name in await nodes(case)


async def test_a_node_that_there_is_not_is_told_by_name_and_nothing_happens(case: Case) -> None:
    before = await nodes(case)
    for refused in (
        case.control.stop_node(NOBODY),
        case.control.start_node(NOBODY),
        case.control.drain_node(NOBODY),
        case.control.remove_node(NOBODY, is_dead=False),
        case.control.remove_node(NOBODY, is_dead=True),
    ):
        with pytest.raises(InvalidInput, match=f"'{NOBODY}' is not one of .*{before[0]}"):
            await refused
    await case.settle()
    assert await nodes(case) == before


async def test_a_node_more_has_a_name_and_an_id_of_its_own(case: Case) -> None:
    before = await nodes(case)
    adding = asyncio.create_task(case.control.add_node(0))
    while not adding.done():
        await case.settle()
        await asyncio.sleep(0.01)
    name, node_id = await adding
    await case.settle()
    assert set(await nodes(case)) == {*before, name}
    assert name not in before
    assert await case.control.drain_node(name) == node_id
    assert await case.control.drain_node(before[0]) != node_id


async def test_a_drained_node_serves_until_the_epoch_has_passed_and_is_then_let_go(case: Case) -> None:
    [*_, name] = await nodes(case)
    node_id = await case.control.drain_node(name)
    assert await case.control.drain_node(name) == node_id  # asking again changes nothing
    await case.settle()
    assert await case.control.drain_node(name) == node_id
    assert len(await nodes(case)) == N_NODES
    with pytest.raises(Rejected) as refused:
        await case.control.remove_node(name, is_dead=False)
    assert refused.value.code == "NODE_NEEDED"
    await case.pass_epoch()
    assert await case.control.remove_node(name, is_dead=False) == node_id
    await case.settle()
    assert name not in await nodes(case)
    assert len(await nodes(case)) == N_NODES - 1


async def test_the_smallest_network_drains_nobody(case: Case) -> None:
    first, second, *_ = await nodes(case)
    await case.control.drain_node(first)
    await case.settle()
    with pytest.raises(Rejected):
        await case.control.drain_node(second)
    await case.settle()
    await case.pass_epoch()
    assert second in await nodes(case)


async def test_only_a_dead_node_is_given_up_without_its_word(case: Case) -> None:
    [*_, name] = await nodes(case)
    with pytest.raises(Rejected) as refused:
        await case.control.remove_node(name, is_dead=True)
    assert refused.value.code == "NODE_ALIVE"
    await case.settle()
    assert name in await nodes(case)
    await case.kill(name)
    node_id = await case.control.remove_node(name, is_dead=True)
    await case.settle()
    await case.pass_epoch()
    assert await case.control.remove_node(name, is_dead=False) == node_id
    assert name not in await nodes(case)


async def test_a_number_of_nodes_is_gone_to_or_refused(case: Case) -> None:
    with pytest.raises(TooFewNodes) as refused:
        await case.control.scale_nodes(3)
    assert (refused.value.n_nodes, refused.value.smallest) == (3, 4)
    with pytest.raises(InvalidInput):
        await case.control.scale_nodes(10_000)
    await case.settle()
    assert len(await nodes(case)) == N_NODES
    await case.control.scale_nodes(6)
    await case.settle()
    assert len(await nodes(case)) == 6
    await case.control.scale_nodes(4)
    await case.settle()
    assert len(await nodes(case)) >= N_NODES  # who has shards serves until the epoch changes
    await case.pass_epoch()
    assert len(await nodes(case)) == 4


async def test_it_begins_to_end_or_says_that_it_is_not_ended_this_way(case: Case) -> None:
    try:
        await case.control.shutdown()
    except Rejected:
        assert not case.is_ending()
        assert len(await nodes(case)) == N_NODES
    else:
        assert case.is_ending()
