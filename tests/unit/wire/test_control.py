"""Control of processes: what the client sees is what the server has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from haulout.errors import InvalidField, Unreachable
from haulout.wire.control import ClusterReport, Condition, GrpcControl, ProcessInfo, serve_control

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
