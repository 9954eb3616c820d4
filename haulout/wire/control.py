"""Control of the processes of a network: the port, its client and its server.

`ClusterControl` has two implementations: the supervisor of `haulout up`, and the operator in a cluster. Both are
served with `serve_control`; `GrpcControl` is the client that commands and GraphQL use.
"""

# ruff: noqa: N802 - the methods of a servicer are named by the .proto file

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc
from prometheus_client import CollectorRegistry

from haulout.errors import InvalidField, Unreachable
from haulout.ports import Clock, Rng
from haulout.primitives import ObjectId
from haulout.wire.calls import CLIENT_OPTIONS, Peer, Timeouts
from haulout.wire.convert import read_object_id
from haulout.wire.security import open_channel
from haulout.wire.serving import Context, Guard, Limits, build_server, serving
from haulout.wire.v1 import control_pb2 as pb
from haulout.wire.v1.control_pb2_grpc import (
    ClusterControlServicer,
    ClusterControlStub,
    add_ClusterControlServicer_to_server,
)
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng

if TYPE_CHECKING:  # stubs of the stubs: they exist for the type checker only
    from haulout.wire.v1.control_pb2_grpc import ClusterControlAsyncStub

# Stopping a process waits for it to drain.
STOP_TIMEOUT_MS = 30_000
# A new node executes the whole ledger before anything is staked on it.
ADD_TIMEOUT_MS = 300_000


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process of a network; see `control.proto`."""

    name: str
    role: str
    pid: int | None
    state: str
    reasons: tuple[str, ...]
    n_restarts: int
    urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact about a network that holds or does not, with a stable word for why."""

    type: str
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """Every process, in the order of their start, and the conditions of the whole."""

    place: str
    is_ready: bool
    processes: tuple[ProcessInfo, ...]
    conditions: tuple[Condition, ...] = ()


class ClusterControl(Protocol):
    """Whoever runs the processes of one network."""

    async def list_processes(self) -> ClusterReport:
        """Every process and how it is."""

    async def stop_node(self, name: str) -> None:
        """Stop a process and leave it stopped; returns when it has ended.

        Raises:
            InvalidInput: no such process.
        """

    async def start_node(self, name: str) -> None:
        """Start a stopped process.

        Raises:
            InvalidInput: no such process.
        """

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """Start one storage node more, register it and stake on it; its name and id.

        Raises:
            Rejected: the ledger refuses, under its code.
        """

    async def drain_node(self, name: str) -> ObjectId:
        """Have a node leave the committee with the next epoch; its id.

        Raises:
            InvalidInput: no such node.
            Rejected: the ledger refuses, as with too few nodes left.
        """

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """Stop a node for good; its id.

        Raises:
            InvalidInput: no such node.
            Rejected: others still need what it has.
        """

    async def shutdown(self) -> None:
        """Begin to end everything; returns at once."""


class GrpcControl:
    """Implements `ClusterControl` over gRPC; close it after use."""

    def __init__(self, address: str, *, timeouts: Timeouts | None = None, allow_plaintext: bool = False) -> None:
        self._peer = Peer(address, timeouts or Timeouts())
        self._allow_plaintext = allow_plaintext
        self._channel: grpc.aio.Channel | None = None
        self._made_stub: ClusterControlAsyncStub | None = None
        self._is_closed = False

    async def list_processes(self) -> ClusterReport:
        """Every process and how it is."""
        answer = await self._peer.unary("ListProcesses", self._stub().ListProcesses, pb.ListProcessesRequest())
        return _read_report(answer)

    async def stop_node(self, name: str) -> None:
        """Stop a process and wait until it has ended."""
        request = pb.StopNodeRequest(name=name)
        await self._peer.unary("StopNode", self._stub().StopNode, request, wait_ms=STOP_TIMEOUT_MS)

    async def start_node(self, name: str) -> None:
        """Start a stopped process."""
        await self._peer.unary("StartNode", self._stub().StartNode, pb.StartNodeRequest(name=name))

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """Start one storage node more, register it and stake on it."""
        request = pb.AddNodeRequest(stake_frost=stake_frost)
        answer = await self._peer.unary("AddNode", self._stub().AddNode, request, wait_ms=ADD_TIMEOUT_MS)
        with self._peer.reading("AddNode"):
            return answer.name, read_object_id(answer.node_id, "node_id")

    async def drain_node(self, name: str) -> ObjectId:
        """Have a node leave the committee with the next epoch."""
        request = pb.DrainNodeRequest(name=name)
        answer = await self._peer.unary("DrainNode", self._stub().DrainNode, request, wait_ms=STOP_TIMEOUT_MS)
        with self._peer.reading("DrainNode"):
            return read_object_id(answer.node_id, "node_id")

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """Stop a node for good."""
        request = pb.RemoveNodeRequest(name=name, is_dead=is_dead)
        answer = await self._peer.unary("RemoveNode", self._stub().RemoveNode, request, wait_ms=STOP_TIMEOUT_MS)
        with self._peer.reading("RemoveNode"):
            return read_object_id(answer.node_id, "node_id")

    async def shutdown(self) -> None:
        """Begin to end everything."""
        await self._peer.unary("Shutdown", self._stub().Shutdown, pb.ShutdownRequest())

    async def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    def _stub(self) -> ClusterControlAsyncStub:
        if self._is_closed:
            raise Unreachable(peer=self._peer.address, problem="the connection was closed")
        if self._made_stub is None:
            self._channel = open_channel(self._peer.address, CLIENT_OPTIONS, allow_plaintext=self._allow_plaintext)
            self._made_stub = ClusterControlStub(self._channel)
        return self._made_stub


class ControlServicer(ClusterControlServicer):
    """Decodes, calls a `ClusterControl`, encodes."""

    def __init__(self, control: ClusterControl) -> None:
        self._control = control

    async def ListProcesses(self, request: pb.ListProcessesRequest, context: Context) -> pb.ListProcessesResponse:
        return _write_report(await self._control.list_processes())

    async def StopNode(self, request: pb.StopNodeRequest, context: Context) -> pb.StopNodeResponse:
        await self._control.stop_node(_read_name(request.name))
        return pb.StopNodeResponse()

    async def StartNode(self, request: pb.StartNodeRequest, context: Context) -> pb.StartNodeResponse:
        await self._control.start_node(_read_name(request.name))
        return pb.StartNodeResponse()

    async def AddNode(self, request: pb.AddNodeRequest, context: Context) -> pb.AddNodeResponse:
        name, node_id = await self._control.add_node(request.stake_frost)
        return pb.AddNodeResponse(name=name, node_id=node_id)

    async def DrainNode(self, request: pb.DrainNodeRequest, context: Context) -> pb.DrainNodeResponse:
        return pb.DrainNodeResponse(node_id=await self._control.drain_node(_read_name(request.name)))

    async def RemoveNode(self, request: pb.RemoveNodeRequest, context: Context) -> pb.RemoveNodeResponse:
        node_id = await self._control.remove_node(_read_name(request.name), is_dead=request.is_dead)
        return pb.RemoveNodeResponse(node_id=node_id)

    async def Shutdown(self, request: pb.ShutdownRequest, context: Context) -> pb.ShutdownResponse:
        await self._control.shutdown()
        return pb.ShutdownResponse()


@contextlib.asynccontextmanager
async def serve_control(
    control: ClusterControl,
    address: str,
    *,
    clock: Clock | None = None,
    rng: Rng | None = None,
    registry: CollectorRegistry | None = None,
    allow_plaintext: bool = False,
) -> AsyncIterator[str]:
    """Serve a `ClusterControl` until the block ends; yields the bound address.

    Raises:
        PlaintextRefused, InvalidField, Unreachable: the address cannot be used.
    """
    guard = Guard(
        clock=clock or SystemClock(),
        rng=rng or SystemRng(),
        limits=Limits(max_calls=64),
        registry=registry or CollectorRegistry(),
    )
    server = build_server(guard)
    add_ClusterControlServicer_to_server(ControlServicer(control), server)
    async with serving(server, address, allow_plaintext=allow_plaintext) as bound:
        yield bound


def _read_name(name: str) -> str:
    if not name:
        raise InvalidField(field="name", problem="missing")
    return name


def _write_report(report: ClusterReport) -> pb.ListProcessesResponse:
    return pb.ListProcessesResponse(
        place=report.place,
        is_ready=report.is_ready,
        processes=[
            pb.Process(
                name=process.name,
                role=process.role,
                pid=process.pid,
                state=process.state,
                reasons=process.reasons,
                n_restarts=process.n_restarts,
                urls=process.urls,
            )
            for process in report.processes
        ],
        conditions=[
            pb.Condition(type=fact.type, holds=fact.holds, reason=fact.reason, message=fact.message)
            for fact in report.conditions
        ],
    )


def _read_report(message: pb.ListProcessesResponse) -> ClusterReport:
    return ClusterReport(
        place=message.place,
        is_ready=message.is_ready,
        processes=tuple(
            ProcessInfo(
                name=process.name,
                role=process.role,
                pid=process.pid if process.HasField("pid") else None,
                state=process.state,
                reasons=tuple(process.reasons),
                n_restarts=process.n_restarts,
                urls=dict(process.urls),
            )
            for process in message.processes
        ),
        conditions=tuple(
            Condition(type=fact.type, holds=fact.holds, reason=fact.reason, message=fact.message)
            for fact in message.conditions
        ),
    )
