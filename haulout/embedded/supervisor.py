"""The supervisor of a local network: the cluster's operator in small.

It starts every process, starts a dead one again, asks each whether it is ready and the nodes how they are, and
answers `haulout status`, `down` and `node stop|start` over gRPC. It holds no truth: the ledger does. If it dies, its
children die with it on the next start of the folder, and all data comes back from their own disks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from haulout.embedded.child import Child, ChildState
from haulout.embedded.ending import end_orphans
from haulout.embedded.folder import NetworkFolder, read_json, write_json
from haulout.embedded.founding import command_of, environment_of
from haulout.embedded.layout import Layout, role_of
from haulout.embedded.readiness import ask_ready
from haulout.errors import HauloutError, InvalidField, Unavailable, Unreachable
from haulout.observability.logs import get_logger
from haulout.ports import Clock, NodeHealth, NodeTransport

log = get_logger("supervisor")

PROBE_INTERVAL_MS = 1_000
START_PROBE_INTERVAL_MS = 200  # while somebody waits
HEALTH_TIMEOUT_S = 2.0
SETTLED = (ChildState.READY, ChildState.STOPPED)  # a stopped one is stopped because somebody wanted it


@dataclass(eq=False)
class StartFailed(Unavailable):
    """A process did not become ready."""

    code = "START_FAILED"
    template = "{name} did not become ready within {timeout_s} s: {reason}\n{last_lines}\nits whole log is {log}"
    hint = "stop what holds its ports or its folder, and try again"
    name: str
    timeout_s: int
    reason: str
    last_lines: str
    log: str


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process as `haulout status` shows it."""

    name: str
    role: str
    pid: int | None
    state: str
    reasons: tuple[str, ...]
    n_restarts: int
    urls: Mapping[str, str]
    health: NodeHealth | None


class Supervisor:
    """Keeps the processes of one network running until it is told to stop."""

    def __init__(
        self,
        folder: NetworkFolder,
        layout: Layout,
        *,
        restart: bool,
        clock: Clock,
        transport: NodeTransport,
        node_arguments: Sequence[str] = (),
    ) -> None:
        """Make a supervisor; nothing runs yet. `node_arguments` stand on the command line of every node."""
        self._folder = folder
        self._layout = layout
        self._clock = clock
        self._transport = transport
        self._health: dict[str, NodeHealth] = {}
        self._are_started = False
        self._cannot_record = False
        self.addresses_announced = False
        self.shutdown_requested = asyncio.Event()
        self._restart = restart
        self._node_arguments = tuple(node_arguments)
        self.children = {name: self._make_child(name) for name in layout.names}
        self.companions: dict[str, Child] = {}  # run beside the network and are no part of it

    def _make_child(self, name: str) -> Child:
        arguments = self._node_arguments if role_of(name) == "node" else ()
        return Child(
            name=name,
            command=[*command_of(name, self._folder, self._layout), *arguments],
            environment=environment_of(name),
            log=self._folder.log_of(name),
            restart=self._restart,
        )

    @property
    def layout(self) -> Layout:
        """Who belongs to the network now, and where it listens."""
        return self._layout

    def extend_layout(self, layout: Layout) -> None:
        """A number was taken by a node that is to come."""
        self._layout = layout

    async def add_child(self, name: str) -> None:
        """Run one process more, which the layout has already."""
        if name not in self.children:
            self.children[name] = self._make_child(name)
        await self.children[name].start()
        self.record()

    async def remove_child(self, name: str, layout: Layout) -> None:
        """Stop a process and forget it; `layout` has it no more."""
        await self._child(name).stop()
        self._layout = layout
        del self.children[name]
        self._health.pop(name, None)
        self.record()

    async def run(self) -> None:
        """Start everything and probe it until cancelled; then end it in the order opposite to the start."""
        end_orphans(self._folder)
        try:
            for child in self.children.values():
                await child.start()
            self._are_started = True
            self.record()
            while True:
                await asyncio.gather(*(self._probe(child) for child in list(self.children.values())))
                self.record()
                await self._clock.sleep_ms(PROBE_INTERVAL_MS if self.is_ready else START_PROBE_INTERVAL_MS)
        finally:
            await asyncio.shield(self._end())

    async def wait_ready(self, timeout_s: int) -> None:
        """Wait until a store would succeed: every process is ready.

        Raises:
            StartFailed: names the first process that is not, with the end of its log.
        """
        deadline_us = self._clock.monotonic_us() + timeout_s * 1_000_000
        while not (self._are_started and self._processes_ready):
            failed = next((c for c in self.children.values() if c.state is ChildState.EXITED), None)
            if failed is not None or self._clock.monotonic_us() > deadline_us:
                child = failed or next(c for c in self.children.values() if not c.is_ready)
                raise StartFailed(
                    name=child.name,
                    timeout_s=timeout_s,
                    reason="; ".join(child.reasons) or child.state.value,
                    last_lines="\n".join(child.last_lines()),
                    log=str(child.log),
                )
            await self._clock.sleep_ms(50)

    @property
    def is_ready(self) -> bool:
        """Whether every process that should run is ready and the ledger knows where the nodes are."""
        return self._are_started and self.addresses_announced and self._processes_ready

    def why_not_ready(self) -> list[str]:
        """What keeps the network from being ready; empty when it is."""
        waiting = [
            f"{child.name}: {'; '.join(child.reasons) or child.state.value}"
            for child in self.children.values()
            if child.state not in SETTLED
        ]
        if not self._are_started:
            return ["STARTING: processes are being started"]
        if not waiting and not self.addresses_announced:
            return ["STARTING: the ledger has yet to learn where the nodes are"]
        return waiting

    @property
    def _processes_ready(self) -> bool:
        return all(child.state in SETTLED for child in self.children.values())

    def reports(self) -> list[ProcessReport]:
        """All processes, in the order of their start."""
        return [
            ProcessReport(
                name=child.name,
                role=role_of(child.name),
                pid=child.pid,
                state=child.state.value,
                reasons=child.reasons,
                n_restarts=child.n_restarts,
                urls=self._layout.urls_of(child.name),
                health=self._health.get(child.name) if child.pid is not None else None,
            )
            for child in self.children.values()
        ]

    async def stop_node(self, name: str) -> None:
        """Stop a process and leave it stopped."""
        await self._child(name).stop()
        self.record()

    async def start_node(self, name: str) -> None:
        """Start a stopped process."""
        await self._child(name).start()
        self.record()

    def record(self) -> None:
        """Write down who runs, so that `status` and the next start know after a crash of this process."""
        running = (*self.children.values(), *self.companions.values())
        pids = {child.name: child.pid for child in running if child.pid is not None}
        document = {
            "pid": os.getpid(),
            "address": self._layout.address_of("supervisor"),
            "portBase": self._layout.port_base,
            "ready": self.is_ready,
            "children": pids,
        }
        try:
            if document != read_json(self._folder.supervisor_file):
                write_json(self._folder.supervisor_file, document)
        except HauloutError as e:  # a full disk ends no network: the record is written once there is room
            if not self._cannot_record:
                log.warning("cannot write down who runs", code=e.code, problem=str(e))
            self._cannot_record = True
        else:
            self._cannot_record = False

    def _child(self, name: str) -> Child:
        child = self.children.get(name)
        if child is None:
            raise InvalidField(field="name", problem=f"{name!r} is not one of {', '.join(self.children)}")
        return child

    async def _probe(self, child: Child) -> None:
        if child.pid is None:
            child.is_ready = False
            self._health.pop(child.name, None)
            return
        try:
            child.reasons = await ask_ready(self._layout.metrics_address_of(child.name), timeout_s=HEALTH_TIMEOUT_S)
            child.is_ready = not child.reasons
        except Unreachable as e:
            child.is_ready = False
            child.reasons = (f"NOT_ANSWERING: {e.problem}",)
            return
        child.was_ready = child.was_ready or child.is_ready
        if role_of(child.name) == "node":
            with contextlib.suppress(HauloutError):  # unreachable or starting: it is shown without its numbers
                self._health[child.name] = await self._transport.connect(self._layout.address_of(child.name)).health()

    async def _end(self) -> None:
        names = self.children
        for group in ("graphql", "gateway", "node", "ledger"):
            await asyncio.gather(*(child.stop() for name, child in names.items() if role_of(name) == group))
        self._folder.supervisor_file.unlink(missing_ok=True)
