"""`haulout up`: puts a network together on this machine and runs it until it is told to stop.

Order: hold the folder, find ports, found the network if there is none, write down where it listens, serve the
control port, start the processes. Whatever ends it, the processes are ended in order and the folder is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from haulout.embedded.addresses import announce_addresses
from haulout.embedded.control import SupervisorControl
from haulout.embedded.desk import LedgerDesk
from haulout.embedded.ending import end_orphans
from haulout.embedded.epoch_watch import EpochWatch
from haulout.embedded.folder import NetworkFolder, NetworkShape, ShapeChanged, read_json
from haulout.embedded.founding import check_epoch_duration, check_shape, found_network, write_client_file
from haulout.embedded.layout import DEFAULT_PORT_BASE, Layout, choose_layout
from haulout.embedded.membership import Membership
from haulout.embedded.metrics import SupervisorCollector
from haulout.embedded.monitoring import Monitoring, write_monitoring
from haulout.embedded.scaling import Scaling
from haulout.embedded.supervisor import Supervisor
from haulout.observability.health_server import serve_health
from haulout.observability.lifecycle import stop_on_signals
from haulout.observability.metrics import build_registry, show_disk
from haulout.primitives import parse_object_id
from haulout.wire.control import serve_control
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.clock import SystemClock
from haulout.world.genesis_file import read_genesis
from haulout.world.rng import SystemRng

DEFAULT_NODES = 5
DEFAULT_SHARDS = 100
READY_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What a person asked for; None means: as the folder has it, or the default."""

    folder: NetworkFolder
    n_nodes: int | None
    n_shards: int | None
    port_base: int | None
    restart: bool
    epoch_duration_ms: int | None = None
    monitoring: bool = False
    scrub_rate: int | None = None  # bytes per second of each node


@dataclass(frozen=True, slots=True)
class Running:
    """A network while it runs, as its watcher sees it."""

    supervisor: Supervisor
    layout: Layout
    shape: NetworkShape
    wanted_port_base: int
    epochs: EpochWatch


Watcher = Callable[[Running], Awaitable[None]]


async def run_network(options: UpOptions, *, on_start: Watcher, on_ready: Watcher) -> None:
    """Run a network until a signal or `haulout down`.

    Args:
        options: size and place.
        on_start: called when the processes have been started.
        on_ready: called when a store would succeed; runs until the network ends and is cancelled then.

    Raises:
        NetworkRunning, FolderOfAnotherVersion, ShapeChanged, InvalidField, NoFreePorts: before anything starts.
        StartFailed: a process did not become ready; all are ended.
    """
    clock = SystemClock()
    with options.folder.locked():
        end_orphans(options.folder)
        shape, layout, wanted = _prepare(options, clock)
        write_client_file(options.folder, layout)
        if options.monitoring:
            write_monitoring(options.folder, layout)
        transport = GrpcNodeTransport()
        supervisor = Supervisor(
            options.folder,
            layout,
            restart=options.restart,
            clock=clock,
            transport=transport,
            node_arguments=() if options.scrub_rate is None else ("--scrub-rate", str(options.scrub_rate)),
        )
        running = Running(supervisor, layout, shape, wanted, EpochWatch())
        desk = LedgerDesk(options.folder, layout, chain_id=shape.chain_id, clock=clock, rng=SystemRng())
        membership = Membership(options.folder, supervisor, desk)
        scaling = Scaling(membership, n_shards=shape.n_shards, clock=clock)
        control = SupervisorControl(supervisor, str(options.folder.root), membership, scaling)
        registry = build_registry("supervisor")
        SupervisorCollector(supervisor, registry)
        show_disk(registry, options.folder.root)
        health = serve_health(layout.metrics_address_of("supervisor"), registry, ready=supervisor.why_not_ready)
        try:
            with stop_on_signals() as stop:
                async with serve_control(control, layout.address_of("supervisor")), health:
                    work = asyncio.create_task(supervisor.run())
                    driving = asyncio.create_task(desk.drive_epochs())
                    looking = [asyncio.create_task(running.epochs.follow(desk, clock))]
                    if options.monitoring:
                        looking.append(asyncio.create_task(Monitoring(options.folder, supervisor, clock).run()))
                    watch = asyncio.create_task(_watch(running, options.folder, clock, on_start, on_ready))
                    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(supervisor.shutdown_requested.wait())]
                    try:
                        done, _ = await asyncio.wait([work, watch, *ends], return_when=asyncio.FIRST_COMPLETED)
                        for task in done & {work, watch}:
                            task.result()
                    finally:
                        tasks = (watch, *ends, *looking, driving, work)
                        for task in tasks:
                            task.cancel()
                        for task in tasks:
                            with contextlib.suppress(asyncio.CancelledError):
                                await _finish(task)
        finally:
            await scaling.close()
            await desk.close()
            await transport.close()


async def _finish(task: asyncio.Task[object]) -> None:
    """Wait for a cancelled task; its error, if any, has been raised by `run_network` already."""
    await asyncio.wait([task])
    if task.cancelled():
        return
    task.exception()


async def _watch(
    running: Running, folder: NetworkFolder, clock: SystemClock, on_start: Watcher, on_ready: Watcher
) -> None:
    await on_start(running)
    announcing = asyncio.create_task(_announce(running, folder, clock))
    try:
        await running.supervisor.wait_ready(READY_TIMEOUT_S)
        await announcing
    finally:
        announcing.cancel()
    await on_ready(running)


async def _announce(running: Running, folder: NetworkFolder, clock: SystemClock) -> None:
    """See that the ledger names the nodes' present addresses; only then would a store succeed."""
    ledger = GrpcLedger(running.layout.address_of("ledger"))
    chain_id = parse_object_id(running.shape.chain_id, field="chain_id")
    try:
        await announce_addresses(folder, running.layout, chain_id=chain_id, ledger=ledger, clock=clock, rng=SystemRng())
    finally:
        await ledger.close()
    running.supervisor.addresses_announced = True


def _prepare(options: UpOptions, clock: SystemClock) -> tuple[NetworkShape, Layout, int]:
    shape = options.folder.load_shape()
    if shape is None:
        n_nodes = DEFAULT_NODES if options.n_nodes is None else options.n_nodes
        n_shards = DEFAULT_SHARDS if options.n_shards is None else options.n_shards
        check_shape(n_nodes, n_shards)
        if options.epoch_duration_ms is not None:
            check_epoch_duration(options.epoch_duration_ms)
        wanted = DEFAULT_PORT_BASE if options.port_base is None else options.port_base
        layout = choose_layout(wanted, n_nodes)
        founded = found_network(
            options.folder,
            layout,
            n_shards=n_shards,
            clock=clock,
            rng=SystemRng(),
            epoch_duration_ms=options.epoch_duration_ms,
        )
        return founded, layout, wanted
    path = str(options.folder.root)
    removed = frozenset(shape.removed) | _half_joined(options.folder, shape)
    sizes = (
        ("nodes", shape.n_nodes - len(removed), options.n_nodes),
        ("shards", shape.n_shards, options.n_shards),
        ("ms per epoch", _epoch_duration_ms(options.folder), options.epoch_duration_ms),
    )
    for what, have, asked in sizes:
        if asked is not None and asked != have:
            raise ShapeChanged(path=path, what=what, have=have, asked=asked)
    wanted = shape.port_base if options.port_base is None else options.port_base
    layout = choose_layout(wanted, shape.n_nodes, removed)
    moved = dataclasses.replace(shape, port_base=layout.port_base)
    options.folder.save_shape(moved)
    return moved, layout, wanted


def _epoch_duration_ms(folder: NetworkFolder) -> int:
    """How long the network's epochs are; 0 for those that are advanced by hand."""
    genesis = read_genesis(folder.genesis_file)
    return 0 if genesis.manual_epochs else genesis.epoch_duration_ms


def _half_joined(folder: NetworkFolder, shape: NetworkShape) -> set[str]:
    """Nodes that took a number and were never registered: their joining was cut off, and nobody knows them."""
    names = (f"node-{i}" for i in range(shape.n_nodes))
    return {name for name in names if "nodeId" not in (read_json(folder.data_of(name) / "keys.json") or {})}
