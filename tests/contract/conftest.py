"""Every implementation of every port, by name: a suite runs once for each.

A case opens its port and brings a runner: `case.run(story)` runs an async story, on asyncio's loop for the real
ports and on the virtual-time loop for the fakes. To add an implementation, append a case to its list here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger.genesis import DevelopmentNetwork, build_development_network
from haulout.ports import Clock, Disk, Ledger, NodeTransport, Rng, StorageNodeApi, Store, Workers
from haulout.sequencer.sequencer import Sequencer
from haulout.sim.clock import VirtualClock
from haulout.sim.disk import DiskMedium, SimDisk
from haulout.sim.fabric import Fabric, Weather
from haulout.sim.ledger import SimLedger
from haulout.sim.loop import run as run_virtually
from haulout.sim.machine import Machine
from haulout.sim.network import SimNodeTransport
from haulout.sim.rng import SeededRng
from haulout.sim.store import SimStore, StoreMedium
from haulout.sim.trace import Trace
from haulout.wire.calls import Timeouts
from haulout.wire.ledger import GrpcLedger
from haulout.wire.serving import Guard, Limits, build_server, serving
from haulout.wire.transport import GrpcNodeTransport
from haulout.wire.v1.ledger_pb2_grpc import add_LedgerServicer_to_server
from haulout.wire.v1.storage_pb2_grpc import add_StorageNodeServicer_to_server
from haulout.world.clock import SystemClock
from haulout.world.disk import FileDisk
from haulout.world.memory_store import MemoryStore
from haulout.world.rng import SystemRng
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import InlineWorkers, ThreadWorkers
from node_grpc.ledger_servicer import LedgerServicer
from node_grpc.storage_servicer import StorageServicer

T = TypeVar("T")
Runner = Callable[[Coroutine[Any, Any, Any]], Any]


@dataclass
class StoreCase:
    """A store: `open` gives the same rows again when `persists`."""

    name: str
    open: Callable[[Path], Store]
    persists: bool
    run: Runner = asyncio.run


@dataclass
class DiskCase:
    """A disk: `open` gives the same files again; `close` lets go of it."""

    name: str
    open: Callable[[Path], Disk]
    close: Callable[[Any], None] = lambda disk: disk.close()
    run: Runner = asyncio.run


@dataclass
class ClockCase:
    name: str
    open: Callable[[], Clock]
    run: Runner = asyncio.run


@dataclass
class RngCase:
    """Chance; `is_seeded` when two of the same seed agree."""

    name: str
    open: Callable[[int], Rng]
    is_seeded: bool = False


@dataclass
class WorkersCase:
    name: str
    open: Callable[[], Workers]
    close: Callable[[Any], None] = field(default=lambda workers: workers.close())
    run: Runner = asyncio.run


@dataclass
class LedgerCase:
    """A ledger of a network, running while its context is open."""

    name: str
    open: Callable[[Path, DevelopmentNetwork, Clock], AbstractAsyncContextManager[Ledger]]
    persists: bool
    run: Runner = asyncio.run


@dataclass
class OpenTransport:
    """A transport and the one node behind it; `cut` takes the node away as a pulled plug would."""

    transport: NodeTransport
    address: str
    cut: Callable[[], Coroutine[Any, Any, None]]


@dataclass
class TransportCase:
    """A way to a storage node, which is served while the context is open."""

    name: str
    open: Callable[[StorageNodeApi, int], AbstractAsyncContextManager[OpenTransport]]
    run: Runner = asyncio.run


def build_contract_network() -> DevelopmentNetwork:
    """The network of the ledger suite: always the same."""
    return build_development_network(
        node_addresses={f"node-{n}": (f"127.0.0.1:{n}",) for n in range(4)},
        n_shards=10,
        stake_frost=2_000_000_000_000,
        account_funds_frost={"alice": 1_000_000_000_000, "bob": 5_000},
        genesis_time_ms=1_800_000_000_000,
        epoch_duration_ms=86_400_000,
        seed=b"\x07" * 32,
        scheme=KeyedHash(),
    )


def _sequencer_over(name: str, open_store: Callable[[Path], Store]) -> Callable[..., Any]:
    @asynccontextmanager
    async def opened(folder: Path, network: DevelopmentNetwork, clock: Clock) -> AsyncIterator[Ledger]:
        sequencer = await Sequencer.open(
            store=open_store(folder),
            genesis=network.genesis,
            scheme=KeyedHash(),
            clock=clock,
            workers=InlineWorkers(),
            engine=name,
        )
        running = asyncio.ensure_future(sequencer.run())
        try:
            yield sequencer
        finally:
            sequencer.stop()
            await running
            await sequencer.close()

    return opened


@asynccontextmanager
async def _grpc_transport(node: StorageNodeApi, n_shards: int) -> AsyncIterator[OpenTransport]:
    """A servicer and a client on loopback."""
    guard = Guard(clock=SystemClock(), rng=SystemRng(), limits=Limits(), registry=CollectorRegistry())
    server = build_server(guard)
    add_StorageNodeServicer_to_server(StorageServicer(node, n_shards=n_shards), server)
    transport = GrpcNodeTransport(timeouts=Timeouts(unary_ms=5_000, progress_ms=5_000))
    async with serving(server, "127.0.0.1:0", drain_s=0.2) as address:
        try:
            yield OpenTransport(transport, address, lambda: server.stop(0))
        finally:
            await transport.close()


def _ledger_over_grpc() -> Callable[..., Any]:
    open_sequencer = _sequencer_over("memory", lambda folder: MemoryStore())

    @asynccontextmanager
    async def opened(folder: Path, network: DevelopmentNetwork, clock: Clock) -> AsyncIterator[Ledger]:
        async with open_sequencer(folder, network, clock) as sequencer:
            guard = Guard(clock=SystemClock(), rng=SystemRng(), limits=Limits(), registry=CollectorRegistry())
            server = build_server(guard)
            add_LedgerServicer_to_server(LedgerServicer(sequencer), server)
            async with serving(server, "127.0.0.1:0", drain_s=0.2) as address:
                ledger = GrpcLedger(address)
                try:
                    yield ledger
                finally:
                    await ledger.close()

    return opened


# --- simulated ----------------------------------------------------------------------------------------------

SYNC_US = 500
_store_media: dict[Path, StoreMedium] = {}
_disk_media: dict[Path, DiskMedium] = {}


def _sim_store(folder: Path) -> Store:
    return SimStore(_store_media.setdefault(folder, StoreMedium()), sync_us=SYNC_US)


def _sim_disk(folder: Path) -> Disk:
    return SimDisk(_disk_media.setdefault(folder, DiskMedium()), sync_us=SYNC_US)


def _wires() -> Fabric:
    return Fabric(SeededRng(1, "wires"), Trace(), Weather(delay_us_min=20_000, delay_us_max=30_000))


@asynccontextmanager
async def _sim_ledger(folder: Path, network: DevelopmentNetwork, clock: Clock) -> AsyncIterator[Ledger]:
    """A sequencer on one machine, and the suite on another."""
    wires, machine = _wires(), Machine("ledger")
    async with _sequencer_over("simulated", _sim_store)(folder, network, clock) as sequencer:
        wires.attach("ledger", machine, sequencer)
        ledger = SimLedger(wires, "client", "ledger")
        try:
            yield ledger
        finally:
            await ledger.close()
            await machine.pull_plug()


@asynccontextmanager
async def _sim_transport(node: StorageNodeApi, n_shards: int) -> AsyncIterator[OpenTransport]:
    """A node on one machine, and the suite on another."""
    wires, machine = _wires(), Machine("node")
    wires.attach("node:1", machine, node)
    transport = SimNodeTransport(wires, "client")
    try:
        yield OpenTransport(transport, "node:1", machine.pull_plug)
    finally:
        await transport.close()
        await machine.pull_plug()


STORES: list[StoreCase] = [
    StoreCase("memory", lambda folder: MemoryStore(), persists=False),
    StoreCase("sqlite", lambda folder: SqliteStore(folder / "store" / "rows.db"), persists=True),
    StoreCase("simulated", _sim_store, persists=True, run=run_virtually),
]
DISKS: list[DiskCase] = [
    DiskCase("file", lambda folder: FileDisk(folder / "disk")),
    DiskCase("simulated", _sim_disk, run=run_virtually),
]
CLOCKS: list[ClockCase] = [ClockCase("system", SystemClock), ClockCase("virtual", VirtualClock, run=run_virtually)]
RNGS: list[RngCase] = [RngCase("system", lambda seed: SystemRng()), RngCase("seeded", SeededRng, is_seeded=True)]
WORKERS: list[WorkersCase] = [
    WorkersCase("threads", lambda: ThreadWorkers(2)),
    WorkersCase("inline", InlineWorkers),
    WorkersCase("inline, virtual time", InlineWorkers, run=run_virtually),
]

LEDGERS: list[LedgerCase] = [
    LedgerCase("memory", _sequencer_over("memory", lambda folder: MemoryStore()), persists=False),
    LedgerCase(
        "sqlite", _sequencer_over("sqlite", lambda folder: SqliteStore(folder / "ledger" / "rows.db")), persists=True
    ),
    LedgerCase("grpc", _ledger_over_grpc(), persists=False),
    LedgerCase("simulated", _sim_ledger, persists=True, run=run_virtually),
]
TRANSPORTS: list[TransportCase] = [
    TransportCase("grpc", _grpc_transport),
    TransportCase("simulated", _sim_transport, run=run_virtually),
]


def _named(cases: list[Any]) -> dict[str, Any]:
    return {"params": cases, "ids": [case.name for case in cases]}


@pytest.fixture(**_named(STORES))
def store_case(request: pytest.FixtureRequest) -> StoreCase:
    return request.param


@pytest.fixture(**_named(DISKS))
def disk_case(request: pytest.FixtureRequest) -> DiskCase:
    return request.param


@pytest.fixture(**_named(CLOCKS))
def clock_case(request: pytest.FixtureRequest) -> ClockCase:
    return request.param


@pytest.fixture(**_named(RNGS))
def rng_case(request: pytest.FixtureRequest) -> RngCase:
    return request.param


@pytest.fixture(**_named(WORKERS))
def workers_case(request: pytest.FixtureRequest) -> WorkersCase:
    return request.param


@pytest.fixture(**_named(LEDGERS))
def ledger_case(request: pytest.FixtureRequest) -> LedgerCase:
    return request.param


@pytest.fixture(**_named(TRANSPORTS))
def transport_case(request: pytest.FixtureRequest) -> TransportCase:
    return request.param


@pytest.fixture
def all_ledger_cases() -> list[LedgerCase]:
    return LEDGERS


@pytest.fixture
def contract_network() -> DevelopmentNetwork:
    return build_contract_network()
