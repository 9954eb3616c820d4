"""Control of the processes of a network over gRPC: the client and the server of the `ClusterControl` port.

`GrpcControl` is the client that commands and GraphQL use. Where a server is reached by more than its own machine, a
token says which network a caller may control; the supervisor of `haulout up` listens on loopback and asks for none.
"""

# ruff: noqa: N802 - the methods of a servicer are named by the .proto file

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
from prometheus_client import CollectorRegistry

from haulout.errors import InvalidField, Unreachable
from haulout.ports import Clock, ClusterControl, ClusterReport, Condition, ProcessInfo, ReviewedToken, Rng
from haulout.primitives import ObjectId
from haulout.wire.calls import CLIENT_OPTIONS, Peer, Timeouts
from haulout.wire.convert import read_object_id
from haulout.wire.security import open_channel
from haulout.wire.service import serve_services
from haulout.wire.serving import Context, Limits
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

SERVICE = pb.DESCRIPTOR.services_by_name["ClusterControl"].full_name

# Stopping a process waits for it to drain.
STOP_TIMEOUT_MS = 30_000
# A new node executes the whole ledger before anything is staked on it.
ADD_TIMEOUT_MS = 300_000

TOKEN_KEY = "authorization"
TOKEN_PREFIX = "Bearer "

# The network that a token opens; raises `Forbidden` for a token that opens none.
Admit = Callable[[str], Awaitable[ClusterControl]]


class GrpcControl:
    """Implements `ClusterControl` over gRPC; close it after use."""

    def __init__(
        self, address: str, *, token: str = "", timeouts: Timeouts | None = None, allow_plaintext: bool = False
    ) -> None:
        metadata = ((TOKEN_KEY, TOKEN_PREFIX + token),) if token else ()
        self._peer = Peer(address, timeouts or Timeouts(), metadata)
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

    async def scale_nodes(self, n_nodes: int) -> None:
        """Have this many storage nodes from now on."""
        request = pb.ScaleNodesRequest(n_nodes=n_nodes)
        await self._peer.unary("ScaleNodes", self._stub().ScaleNodes, request, wait_ms=STOP_TIMEOUT_MS)

    async def review_token(self, token: str) -> ReviewedToken:
        """Whose a token of the cluster is, and what they may do with this network."""
        request = pb.ReviewTokenRequest(token=token)
        answer = await self._peer.unary("ReviewToken", self._stub().ReviewToken, request)
        return ReviewedToken(answer.username, tuple(answer.scopes))

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

    def __init__(self, admit: Admit) -> None:
        self._admit = admit

    async def _of(self, context: Context) -> ClusterControl:
        told = dict(context.invocation_metadata() or ()).get(TOKEN_KEY, "")
        return await self._admit(str(told).removeprefix(TOKEN_PREFIX))

    async def ListProcesses(self, request: pb.ListProcessesRequest, context: Context) -> pb.ListProcessesResponse:
        return _write_report(await (await self._of(context)).list_processes())

    async def StopNode(self, request: pb.StopNodeRequest, context: Context) -> pb.StopNodeResponse:
        control = await self._of(context)
        await control.stop_node(_read_name(request.name))
        return pb.StopNodeResponse()

    async def StartNode(self, request: pb.StartNodeRequest, context: Context) -> pb.StartNodeResponse:
        await (await self._of(context)).start_node(_read_name(request.name))
        return pb.StartNodeResponse()

    async def AddNode(self, request: pb.AddNodeRequest, context: Context) -> pb.AddNodeResponse:
        name, node_id = await (await self._of(context)).add_node(request.stake_frost)
        return pb.AddNodeResponse(name=name, node_id=node_id)

    async def DrainNode(self, request: pb.DrainNodeRequest, context: Context) -> pb.DrainNodeResponse:
        return pb.DrainNodeResponse(node_id=await (await self._of(context)).drain_node(_read_name(request.name)))

    async def RemoveNode(self, request: pb.RemoveNodeRequest, context: Context) -> pb.RemoveNodeResponse:
        node_id = await (await self._of(context)).remove_node(_read_name(request.name), is_dead=request.is_dead)
        return pb.RemoveNodeResponse(node_id=node_id)

    async def ScaleNodes(self, request: pb.ScaleNodesRequest, context: Context) -> pb.ScaleNodesResponse:
        await (await self._of(context)).scale_nodes(request.n_nodes)
        return pb.ScaleNodesResponse()

    async def ReviewToken(self, request: pb.ReviewTokenRequest, context: Context) -> pb.ReviewTokenResponse:
        found = await (await self._of(context)).review_token(request.token)
        return pb.ReviewTokenResponse(username=found.username, scopes=found.scopes)

    async def Shutdown(self, request: pb.ShutdownRequest, context: Context) -> pb.ShutdownResponse:
        await (await self._of(context)).shutdown()
        return pb.ShutdownResponse()


@contextlib.asynccontextmanager
async def serve_control(
    control: ClusterControl | Admit,
    address: str,
    *,
    clock: Clock | None = None,
    rng: Rng | None = None,
    registry: CollectorRegistry | None = None,
    allow_plaintext: bool = False,
) -> AsyncIterator[str]:
    """Serve a `ClusterControl`, or the one that a caller's token opens, until the block ends; yields the bound address.

    gRPC health speaks of this server, not of the network: who controls one can be asked while it is not ready.

    Raises:
        PlaintextRefused, InvalidField, Unreachable: the address cannot be used.
    """
    servicer = ControlServicer(control if callable(control) else _open_to_all(control))
    async with serve_services(
        functools.partial(add_ClusterControlServicer_to_server, servicer),
        [SERVICE],
        address,
        ready=tuple,
        limits=Limits(max_calls=64),
        clock=clock or SystemClock(),
        rng=rng or SystemRng(),
        registry=registry or CollectorRegistry(),
        allow_plaintext=allow_plaintext,
    ) as bound:
        yield bound


def _open_to_all(control: ClusterControl) -> Admit:
    async def admit(_token: str) -> ClusterControl:
        return control

    return admit


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
