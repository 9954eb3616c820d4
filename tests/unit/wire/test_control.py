"""Control of processes: what the client sees is what the server has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from haulout.embedded.membership import NodeNeeded
from haulout.errors import Forbidden, InvalidField, TooFewNodes, Unreachable
from haulout.ports import ClusterControl, ClusterReport, Condition, ProcessInfo, ReviewedToken
from haulout.primitives import ObjectId
from haulout.wire.control import SERVICE, GrpcControl, serve_control

NODE = ObjectId(b"\x07" * 32)
REPORT = ClusterReport(
    place="/data/network",
    is_ready=False,
    processes=(
        ProcessInfo("ledger", "ledger", 4711, "ready", (), 0, {"grpc": "127.0.0.1:31417", "metrics": "http://m"}),
        ProcessInfo("node-0", "node", None, "stopped", ("STOPPED: by hand", "X: y"), 3, {}),
    ),
    conditions=(Condition("TransportSecure", False, "Disabled", "plaintext on loopback"),),
)


class Recorder:
    """A cluster that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def list_processes(self) -> ClusterReport:
        return REPORT

    async def stop_node(self, name: str) -> None:
        if name != "node-0":
            raise InvalidField(field="name", problem=f"{name!r} is not one of node-0")
        self.told.append(f"stop {name}")

    async def start_node(self, name: str) -> None:
        self.told.append(f"start {name}")

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        self.told.append(f"add {stake_frost}")
        return "node-7", NODE

    async def drain_node(self, name: str) -> ObjectId:
        self.told.append(f"drain {name}")
        return NODE

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        if not is_dead:
            raise NodeNeeded(name=name, n_shards=4, n_giving=2, problem="epoch 7 is in Sync")
        self.told.append(f"remove {name}")
        return NODE

    async def scale_nodes(self, n_nodes: int) -> None:
        if n_nodes < 4:
            raise TooFewNodes(n_nodes=n_nodes, cap=33, n_shards=100, smallest=4)
        self.told.append(f"scale {n_nodes}")

    async def review_token(self, token: str) -> ReviewedToken:
        if token != "a.b.c":
            raise Forbidden
        return ReviewedToken("system:serviceaccount:shop:ci", ("READ", "STAKE"))

    async def shutdown(self) -> None:
        self.told.append("shutdown")


@pytest.fixture
def cluster() -> Recorder:
    return Recorder()


@pytest.fixture
async def control(cluster: Recorder) -> AsyncIterator[GrpcControl]:
    async with serve_control(cluster, "127.0.0.1:0") as address:
        client = GrpcControl(address)
        yield client
        await client.close()


async def test_the_report_arrives_as_it_is(control: GrpcControl) -> None:
    assert await control.list_processes() == REPORT


async def test_commands_arrive_in_order(control: GrpcControl, cluster: Recorder) -> None:
    await control.stop_node("node-0")
    await control.start_node("node-0")
    await control.shutdown()
    assert cluster.told == ["stop node-0", "start node-0", "shutdown"]


async def test_nodes_join_and_leave(control: GrpcControl, cluster: Recorder) -> None:
    assert await control.add_node(5) == ("node-7", NODE)
    assert await control.drain_node("node-7") == NODE
    assert await control.remove_node("node-7", is_dead=True) == NODE
    assert cluster.told == ["add 5", "drain node-7", "remove node-7"]
    with pytest.raises(NodeNeeded) as refused:
        await control.remove_node("node-1", is_dead=False)
    assert refused.value.n_giving == 2
    assert "haulout node drain node-1" in str(refused.value)


async def test_the_number_of_nodes_is_set_or_refused(control: GrpcControl, cluster: Recorder) -> None:
    await control.scale_nodes(7)
    with pytest.raises(TooFewNodes) as refused:
        await control.scale_nodes(3)
    assert refused.value.smallest == 4
    assert cluster.told == ["scale 7"]


async def test_a_token_of_the_cluster_is_reviewed(control: GrpcControl) -> None:
    assert await control.review_token("a.b.c") == ReviewedToken("system:serviceaccount:shop:ci", ("READ", "STAKE"))
    with pytest.raises(Forbidden):
        await control.review_token("x.y.z")


async def test_a_token_opens_its_own_network_and_no_other() -> None:
    networks = {"red": Recorder(), "blue": Recorder()}

    async def admit(token: str) -> ClusterControl:
        if token not in networks:
            raise Forbidden
        return networks[token]

    async with serve_control(admit, "127.0.0.1:0") as address:
        for token in ("red", "", "Bearer red", "green"):
            client = GrpcControl(address, token=token)
            if token == "red":
                await client.scale_nodes(5)
            else:
                with pytest.raises(Forbidden):
                    await client.scale_nodes(9)
            await client.close()
    assert networks["red"].told == ["scale 5"]
    assert networks["blue"].told == []


async def test_an_unknown_or_missing_name_is_refused_by_field(control: GrpcControl, cluster: Recorder) -> None:
    for name in ("node-9", ""):
        with pytest.raises(InvalidField) as caught:
            await control.stop_node(name)
        assert caught.value.field == "name"
    assert cluster.told == []


async def test_nobody_there_is_unreachable() -> None:
    client = GrpcControl("127.0.0.1:1")
    with pytest.raises(Unreachable):
        await client.list_processes()
    await client.close()
    with pytest.raises(Unreachable):
        await client.list_processes()


async def test_a_taken_address_is_unreachable(cluster: Recorder) -> None:
    async with serve_control(cluster, "127.0.0.1:0") as address:
        with pytest.raises(Unreachable, match="another process"):
            async with serve_control(cluster, address):
                pass


async def test_it_says_that_it_serves_and_what() -> None:
    async with serve_control(Recorder(), "127.0.0.1:0") as address, grpc.aio.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        watch.cancel()
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(asked))
        listed = {service.name for service in (await call.read()).list_services_response.service}
        assert {SERVICE, "grpc.health.v1.Health"} <= listed
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
        call.cancel()
