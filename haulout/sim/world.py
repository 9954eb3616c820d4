"""A whole network in one process on virtual time: a ledger, storage nodes with their replicas, clients.

    async def story() -> str:
        async with World(seed=7) as world:
            stored = await world.client("alice").store(b"data")
            await world.kill("node-3")
            ...
        return world.trace.digest()

    run(story(), seed=7)

Killing a machine cuts its media first, so that nothing its tasks do while they end is kept; restarting it opens what
survived. An actor that fails for a reason of ours ends the world with that error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping
from types import TracebackType
from typing import Final

from prometheus_client import CollectorRegistry

from haulout.account.wallet import Wallet
from haulout.chain.checkpoint import CheckpointSignature
from haulout.client.network import Network
from haulout.client.view import LedgerView, ProvenSource, ReplicaSource, RowSource
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DiskFull
from haulout.ledger.genesis import DevelopmentNetwork, NodeSecrets, build_development_network
from haulout.node.build import build_storage_node
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.storage_node import StorageNode
from haulout.ports import StorageNodeApi
from haulout.primitives import BlobId
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.replica import Replica
from haulout.sequencer.sequencer import Sequencer
from haulout.sim.client import SimClient
from haulout.sim.clock import WALL_START_MS, VirtualClock
from haulout.sim.disk import SimDisk
from haulout.sim.fabric import Fabric, Weather
from haulout.sim.host import Host
from haulout.sim.ledger import SimLedger
from haulout.sim.machine import Machine
from haulout.sim.network import SimNodeTransport
from haulout.sim.rng import SeededRng
from haulout.sim.store import SimStore, StoreMedium
from haulout.sim.trace import Trace
from haulout.sim.workers import SimWorkers
from haulout.world.errors import StorageFailed
from haulout.world.memory_store import MemoryStore

LEDGER: Final = "ledger"
FORK: Final = "forked ledger"
SYNC_US: Final = 2_000
POLL_MS: Final = 200
FULL_PAUSE_MS: Final = 1_000
STOP_S: Final = 10
FUNDS_FROST: Final = 1_000_000_000_000
STAKE_FROST: Final = 2_000_000_000_000


class World:
    """Everything, wired. Made and used inside `loop.run`; `async with` starts and ends it.

    Attributes:
        fabric: the wires, to cut them or to change the weather.
        trace: what happened.
        network: genesis and secrets.
        hosts: machines by name: `ledger`, `node-0` …, and one per account.
        scheme: how nodes sign.
        failures: what ended an actor that nobody had killed.
        misled: nodes that follow the forked ledger, by name.
    """

    def __init__(
        self,
        seed: int,
        *,
        n_nodes: int = 5,
        n_shards: int = 10,
        accounts: tuple[str, ...] = ("alice",),
        weather: Weather | None = None,
        settings: NodeSettings | None = None,
        stake_frost: int | Mapping[str, int] = STAKE_FROST,
        scheme: SignatureScheme | None = None,
        served: Callable[[str, StorageNode], StorageNodeApi] = lambda _, node: node,
        trace: Trace | None = None,
        epoch_ms: int = 14 * 24 * 3_600_000,
        grace_ms: int = 60_000,
        funds_frost: int = FUNDS_FROST,
        seen_checkpoint: Callable[[CheckpointSignature], None] | None = None,
    ) -> None:
        """A world that is not started yet.

        Args:
            n_nodes: nodes at genesis, `node-0` and so on.
            accounts: each becomes a client with a replica of its own.
            weather: how the wires are at the beginning.
            stake_frost: of every node, or of each by name.
            scheme: how nodes sign; by default the keyed hash that costs nothing.
            served: what answers at a node's address instead of the node itself.
            trace: where to write what happens.
            epoch_ms: how long an epoch is.
            grace_ms: how long nodes wait for somebody else to bring the epoch on.
            funds_frost: of every account.
            seen_checkpoint: is told of every checkpoint that a node signs, for whichever ledger.
        """
        self.rng = SeededRng(seed, "world")
        self.trace = trace or Trace()
        self.fabric = Fabric(self.rng.fork("fabric"), self.trace, weather)
        self.settings = settings or NodeSettings()
        self.scheme = scheme or KeyedHash()
        self.network: DevelopmentNetwork = build_development_network(
            node_addresses={f"node-{n}": (f"node-{n}:1",) for n in range(n_nodes)},
            n_shards=n_shards,
            stake_frost=stake_frost,
            account_funds_frost=dict.fromkeys(accounts, funds_frost),
            genesis_time_ms=WALL_START_MS,
            seed=bytes(31) + b"\x07",
            scheme=self.scheme,
            epoch_duration_ms=epoch_ms,
            driver_grace_ms=grace_ms,
        )
        self._secrets = {node.name: node for node in self.network.nodes}
        names = (LEDGER, *self._secrets, *accounts)
        self.hosts = {name: Host(name, Machine(name)) for name in names}
        self._clients: dict[str, SimClient] = {}
        self._served = served
        self._seen_checkpoint = seen_checkpoint
        self._workers = SimWorkers()
        self._founding: dict[bytes, bytes] | None = None  # rows of a ledger at genesis
        self.misled: set[str] = set()
        self.failures: list[BaseException] = []

    async def __aenter__(self) -> World:
        for host in self.hosts.values():
            await self._start(host)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            await host.machine.pull_plug()
        if error is None:
            self._raise_failure()

    # --- who is there ---------------------------------------------------------------------------------------

    def client(self, account: str) -> SimClient:
        """The client of an account."""
        return self._clients[account]

    def node(self, name: str) -> StorageNode:
        """A node that is on."""
        node = self.hosts[name].node
        assert node is not None, f"{name} is off"
        return node

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(self._secrets)

    def any_node_name(self, rng: SeededRng) -> str:
        """Some node's name."""
        return self.node_names[rng.below(len(self._secrets))]

    def secrets(self, name: str) -> NodeSecrets:
        """The keys of a node."""
        return self._secrets[name]

    async def add_node(self, secrets: NodeSecrets) -> None:
        """A machine for a node that has been registered."""
        self._secrets[secrets.name] = secrets
        self.hosts[secrets.name] = Host(secrets.name, Machine(secrets.name))
        await self._start(self.hosts[secrets.name])

    # --- faults ---------------------------------------------------------------------------------------------

    async def kill(self, name: str, *, loses_writes: bool = True) -> None:
        """Cut a machine's power: what was not synced is lost as the seed decides.

        Args:
            loses_writes: False kills only its process; what was written stays, synced or not.
        """
        host = self.hosts[name]
        self.fabric.note(f"{'cut' if loses_writes else 'kill'} {name}")
        self.fabric.detach(self._address(name))
        rng = self.rng.fork(f"{name}/cut {host.n_starts}")
        for medium in (host.state, host.rows, host.files):
            if loses_writes:
                medium.cut(rng)
            else:
                medium.crash()
        host.replica = host.node = host.sequencer = None
        await host.machine.pull_plug()

    async def stop(self, name: str) -> None:
        """End a node as whoever runs it does: ask it to, wait a while, and end its process."""
        task = self.hosts[name].machine.start(self.node(name).stop(), name="stop")
        await asyncio.wait((task,), timeout=STOP_S)
        await self.kill(name, loses_writes=False)

    async def restart(self, name: str) -> None:
        """Start a machine that is off, from what its media hold."""
        host = self.hosts[name]
        assert not host.machine.is_on, f"{name} is on"
        host.machine = Machine(name)
        await self._start(host)

    async def fork_ledger(self, medium: StoreMedium) -> None:
        """Start a second ledger from a copy of what the first one once was."""
        host = self.hosts[FORK] = Host(FORK, Machine(FORK), state=medium)
        await self._start(host)

    async def end_fork(self) -> None:
        """Whoever it was, it is gone."""
        await self.kill(FORK)
        del self.hosts[FORK]

    async def restore_replica(self, name: str, *, misled: bool) -> None:
        """Have a node begin its copy of the ledger anew, from the forked one or from the true one."""
        await self.kill(name, loses_writes=False)
        self.hosts[name].state = StoreMedium()
        if misled:
            self.misled.add(name)
        else:
            self.misled.discard(name)
        await self.restart(name)

    def wallet_of_node(self, name: str) -> Wallet:
        """The wallet that a node reports with, which speaks to the ledger that it follows."""
        ledger = FORK if name in self.misled else LEDGER
        return self._wallet(self.hosts[name], self._secrets[name].capability_secret, ledger)

    def wallet_at_fork(self, account: str) -> Wallet:
        """An account's wallet that speaks to the forked ledger."""
        return self._wallet(self.hosts[account], self.network.account_secrets[account], FORK)

    async def until(self, condition: Callable[[], bool], what: str, *, within_ms: int = 300_000) -> None:
        """Let time pass until a condition holds, looked at a few times a second.

        Raises:
            AssertionError: it does not within `within_ms`.
        """
        clock = VirtualClock()
        deadline_us = clock.monotonic_us() + within_ms * 1000
        while not condition():
            self._raise_failure()
            assert clock.monotonic_us() < deadline_us, f"{what}: not within {within_ms} ms"
            await clock.sleep_ms(POLL_MS)
        self.fabric.note(f"reached: {what}")

    def is_complete(self, name: str, *, beside: Container[BlobId] = ()) -> bool:
        """It has followed the ledger to its end; a node lacks nothing of certified blobs but of those `beside`."""
        host, ledger = self.hosts[name], self.hosts[LEDGER].sequencer
        if host.replica is None or ledger is None or host.replica.head.height < ledger.head.height:
            return False
        if host.node is None:
            return True
        if host.node.follower.height < ledger.head.height:
            return False
        tables = host.node.vault.tables
        lacking = tables.incomplete(after=None, limit=tables.n_incomplete) if tables.n_incomplete else ()
        return all(blob_id in beside for blob_id, _ in lacking)

    # --- starting -------------------------------------------------------------------------------------------

    def _address(self, name: str) -> str:
        return self._secrets[name].addresses[0] if name in self._secrets else name

    async def _start(self, host: Host) -> None:
        host.n_starts += 1
        self.fabric.note(f"start {host.name}")
        if host.name in (LEDGER, FORK):
            starting = self._start_ledger(host)
        elif host.name in self._secrets:
            starting = self._start_node(host, self._secrets[host.name])
        else:
            starting = self._start_client(host)
        await host.machine.start(starting, name="start")

    async def _start_ledger(self, host: Host) -> None:
        await self._found(host)
        host.sequencer = await Sequencer.open(
            store=SimStore(host.state, sync_us=SYNC_US, name=host.name),
            genesis=self.network.genesis,
            scheme=self.scheme,
            clock=host.clock,
            workers=self._workers,
            engine="simulated",
        )
        self._keep_going(host, host.sequencer.run, "sequencer")
        self.fabric.attach(host.name, host.machine, host.sequencer)

    async def _found(self, host: Host) -> None:
        """Put genesis on an empty medium, as opening a ledger there would; it is built once for all."""
        if self._founding is None:
            store = MemoryStore()
            await LedgerStore.open(store, self.network.genesis, self.scheme)
            self._founding = dict(store.scan(b"", b"\xff" * 64))
        if not host.state.durable and not host.state.volatile:
            host.state.durable = dict(self._founding)

    async def _start_replica(self, host: Host) -> Replica:
        await self._found(host)
        replica = await Replica.open(
            store=SimStore(host.state, sync_us=SYNC_US, name=f"{host.name}/state"),
            ledger=self._ledger(host),
            genesis=self.network.genesis,
            scheme=self.scheme,
            clock=host.clock,
            workers=self._workers,
        )
        host.replica = replica
        self._keep_going(host, replica.run, "replica")
        return replica

    async def _start_node(self, host: Host, secrets: NodeSecrets) -> None:
        replica = await self._start_replica(host)
        host.node = await build_storage_node(
            identity=NodeIdentity(
                secrets.name,
                secrets.node_id,
                secrets.bls_secret,
                self.scheme.public_key(secrets.bls_secret),
                secrets.capability_secret,
            ),
            replica=replica,
            ledger=self._ledger(host),
            store=SimStore(host.rows, sync_us=SYNC_US, name=f"{host.name}/rows"),
            disk=SimDisk(host.files, sync_us=SYNC_US, name=f"{host.name}/files"),
            transport=SimNodeTransport(self.fabric, host.name),
            scheme=self.scheme,
            clock=host.clock,
            rng=self._rng_of(host),
            workers=self._workers,
            registry=CollectorRegistry(),
            settings=self.settings,
        )
        self._keep_going(host, host.node.run, "node")
        self.fabric.attach(self._address(host.name), host.machine, self._served(host.name, host.node))

    async def _start_client(self, host: Host) -> None:
        replica = await self._start_replica(host)
        rng = self._rng_of(host)

        def wallet_of(secret: bytes) -> Wallet:
            return self._wallet(host, secret, LEDGER, rng)

        def network_of(source: RowSource) -> Network:
            return Network(
                view=LedgerView(source),
                transport=SimNodeTransport(self.fabric, host.name),
                scheme=self.scheme,
                clock=host.clock,
                rng=rng,
                workers=self._workers,
            )

        ledger = SimLedger(self.fabric, host.name, LEDGER)
        self._clients[host.name] = SimClient(
            host,
            ledger,
            network_of(ReplicaSource(replica)),
            network_of(ProvenSource(ledger, self.network.genesis.chain_id)),
            wallet_of(self.network.account_secrets[host.name]),
            wallet_of,
        )

    def _ledger(self, host: Host) -> SimLedger:
        address = FORK if host.name in self.misled else LEDGER
        return SimLedger(self.fabric, host.name, address, seen=self._seen_checkpoint)

    def _wallet(self, host: Host, secret: bytes, ledger: str, rng: SeededRng | None = None) -> Wallet:
        return Wallet(
            secret,
            chain_id=self.network.genesis.chain_id,
            ledger=SimLedger(self.fabric, host.name, ledger),
            clock=host.clock,
            rng=rng or self._rng_of(host).fork(ledger),
        )

    def _rng_of(self, host: Host) -> SeededRng:
        return self.rng.fork(f"{host.name}/start {host.n_starts}")

    def _keep_going(self, host: Host, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Run an actor; a failure that it does not expect is the world's."""

        async def watched() -> None:
            while True:
                try:
                    return await work()
                except DiskFull as e:
                    self.fabric.note(f"{host.name} waits for space: {e}")
                    await host.clock.sleep_ms(FULL_PAUSE_MS)
                except StorageFailed as e:
                    if host.machine.is_on:
                        self.fabric.note(f"{host.name} stops: {e}")
                        self.failures.append(e)
                    return None
                except Exception as e:  # noqa: BLE001 - raised again where the story stands
                    self.failures.append(e)
                    return None

        host.machine.start(watched(), name=what)

    def _raise_failure(self) -> None:
        if self.failures:
            raise self.failures[0]
