"""The supervisor behind the `ClusterControl` port, and the command line's side of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from haulout.embedded.folder import NetworkFolder, read_json
from haulout.embedded.layout import Layout, role_of
from haulout.embedded.membership import Membership
from haulout.embedded.scaling import Scaling
from haulout.embedded.supervisor import ProcessReport, Supervisor
from haulout.errors import HauloutError, NotFound, Rejected
from haulout.ports import ClusterReport, NodeHealth, ProcessInfo, ReviewedToken
from haulout.primitives import ObjectId
from haulout.wire.control import GrpcControl
from haulout.wire.transport import GrpcNodeTransport


@dataclass(eq=False)
class NotRunning(NotFound):
    """Nobody supervises the network."""

    code = "NETWORK_NOT_RUNNING"
    template = "the network in {path} is not running"
    hint = "start it with `haulout up`"
    path: str


@dataclass(eq=False)
class NoCluster(Rejected):
    """Service accounts are Kubernetes's."""

    code = "NO_CLUSTER"
    template = "this network runs on one machine, which has no service accounts"
    hint = "make a token with `haulout token create`"


class SupervisorControl:
    """Implements `ClusterControl` over a supervisor."""

    def __init__(self, supervisor: Supervisor, place: str, membership: Membership, scaling: Scaling) -> None:
        self._supervisor = supervisor
        self._place = place
        self._membership = membership
        self._scaling = scaling

    async def list_processes(self) -> ClusterReport:
        """Every process and how it is."""
        processes = tuple(
            ProcessInfo(r.name, r.role, r.pid, r.state, r.reasons, r.n_restarts, r.urls)
            for r in self._supervisor.reports()
        )
        return ClusterReport(self._place, self._supervisor.is_ready, processes, self._scaling.conditions())

    async def stop_node(self, name: str) -> None:
        """Stop a process and leave it stopped."""
        await self._supervisor.stop_node(name)

    async def start_node(self, name: str) -> None:
        """Start a stopped process."""
        await self._supervisor.start_node(name)

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """Start one storage node more, register it and stake on it."""
        return await self._membership.add_node(stake_frost)

    async def drain_node(self, name: str) -> ObjectId:
        """Have a node leave the committee with the next epoch."""
        return await self._membership.request_leave(name)

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """Stop a node for good."""
        return await self._membership.remove_node(name, is_dead=is_dead)

    async def scale_nodes(self, n_nodes: int) -> None:
        """Have this many storage nodes from now on."""
        self._scaling.ask(n_nodes)

    async def review_token(self, token: str) -> ReviewedToken:
        """Nobody's: one machine has no service accounts."""
        raise NoCluster

    async def shutdown(self) -> None:
        """Begin to end everything."""
        self._supervisor.shutdown_requested.set()


async def fetch_reports(folder: NetworkFolder) -> tuple[bool, list[ProcessReport]]:
    """Whether the network is ready, and its processes; all of them stopped when nobody supervises it."""
    shape = folder.require_shape()
    record = read_json(folder.supervisor_file)
    if record is None or not folder.is_locked():
        layout = Layout(shape.port_base, shape.n_nodes, frozenset(shape.removed))
        return False, [
            ProcessReport(name, role_of(name), None, "stopped", (), 0, layout.urls_of(name), None)
            for name in layout.names
        ]
    control = GrpcControl(str(record["address"]))
    transport = GrpcNodeTransport()
    try:
        report = await control.list_processes()
        healths = await _healths(transport, report.processes)
    finally:
        await control.close()
        await transport.close()
    return report.is_ready, [
        ProcessReport(p.name, p.role, p.pid, p.state, p.reasons, p.n_restarts, p.urls, healths.get(p.name))
        for p in report.processes
    ]


@contextlib.asynccontextmanager
async def open_control(folder: NetworkFolder) -> AsyncIterator[GrpcControl]:
    """The supervisor of a folder's network.

    Raises:
        NotRunning: nobody supervises it.
    """
    record = read_json(folder.supervisor_file)
    if record is None or not folder.is_locked():
        raise NotRunning(path=str(folder.root))
    control = GrpcControl(str(record["address"]))
    try:
        yield control
    finally:
        await control.close()


async def _healths(transport: GrpcNodeTransport, processes: Sequence[ProcessInfo]) -> dict[str, NodeHealth]:
    found: dict[str, NodeHealth] = {}
    for process in processes:
        if process.role != "node" or process.pid is None:
            continue
        try:
            found[process.name] = await transport.connect(process.urls["grpc"]).health()
        except HauloutError:  # shown without its numbers: its state says that it does not answer
            continue
    return found
