"""A whole network in one process on virtual time: a ledger, storage nodes with their replicas, clients.

    async def story() -> str:
        async with World(seed=7) as world:
            stored = await world.client("alice").store(b"data")
            await world.kill("node-3")
            ...
        return world.trace.digest()

    run(story(), seed=7)

Killing a machine cuts its media first, so that nothing its tasks do while they end is kept; restarting it opens what
survived. An actor that fails for a reason of ours ends the world with that error; a replica that fell behind the blocks
that are kept has its machine started anew, as whoever runs it would.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Container, Mapping
from types import TracebackType
from typing import Final

from haulout.account.wallet import Wallet
from haulout.chain.checkpoint import CheckpointSignature
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DiskFull
from haulout.ledger.genesis import DevelopmentNetwork, NodeSecrets, build_development_network
from haulout.node.identity import NodeSettings
from haulout.node.storage_node import StorageNode
from haulout.ports import StorageNodeApi
from haulout.primitives import BlobId
from haulout.sim.client import SimClient
from haulout.sim.clock import WALL_START_MS, VirtualClock
from haulout.sim.fabric import Fabric, Weather
from haulout.sim.host import Host
from haulout.sim.loop import HOME
from haulout.sim.machine import Machine
from haulout.sim.processes import FORK, LEDGER, START_AGAIN_MS, Processes, replica_address
from haulout.sim.rng import SeededRng
from haulout.sim.store import StoreMedium
from haulout.sim.trace import Trace

POLL_MS: Final = 200
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
        processes: what runs on the machines.
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
        keep_ms: int | None = None,
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
            keep_ms: everybody forgets blocks that are older and not of the last epochs; None keeps all of them.
        """
        self.rng = SeededRng(seed, "world")
        self.trace = trace or Trace()
        self.fabric = Fabric(self.rng.fork("fabric"), self.trace, weather)
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
        self.processes = Processes(
            network=self.network,
            scheme=self.scheme,
            fabric=self.fabric,
            rng=self.rng,
            settings=settings or NodeSettings(scrub_pause_ms=60_000, file_watch_pause_ms=60_000),
            served=served,
            seen_checkpoint=seen_checkpoint,
            keep_ms=keep_ms,
            fell_behind=self._start_anew,
        )
        self.misled = self.processes.misled
        self.failures = self.processes.failures
        self._locks: dict[str, asyncio.Lock] = {}
        self._starting_anew: dict[asyncio.Task[None], None] = {}

    async def __aenter__(self) -> World:
        for host in self.hosts.values():
            await self._start(host)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop_starting_anew()
        for host in self.hosts.values():
            await host.machine.pull_plug()
        if error is None:
            self._raise_failure()

    # --- who is there ---------------------------------------------------------------------------------------

    def client(self, account: str) -> SimClient:
        """The client of an account."""
        return self.processes.clients[account]

    def node(self, name: str) -> StorageNode:
        """A node that is on."""
        node = self.hosts[name].node
        assert node is not None, f"{name} is off"
        return node

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(self._secrets)

    @property
    def has_pruned(self) -> bool:
        """Somebody has forgotten the first blocks, or began without them."""
        replicas = [host.replica for host in self.hosts.values() if host.replica is not None]
        return any(replica.store.oldest_height > 1 for replica in replicas)

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

    def lock(self, name: str) -> asyncio.Lock:
        """Held by whoever switches a machine off, until it is on again."""
        return self._locks.setdefault(name, asyncio.Lock())

    async def kill(self, name: str, *, loses_writes: bool = True) -> None:
        """Cut a machine's power: what was not synced is lost as the seed decides.

        Args:
            loses_writes: False kills only its process; what was written stays, synced or not.
        """
        host = self.hosts[name]
        self.fabric.note(f"{'cut' if loses_writes else 'kill'} {name}")
        self.fabric.detach(self._address(name))
        self.fabric.detach(replica_address(name))
        rng = self.rng.fork(f"{name}/cut {host.n_starts}")
        for medium in (host.state, host.rows, host.files):
            if loses_writes:
                medium.cut(rng)
            else:
                medium.crash()
        host.replica = host.node = host.sequencer = None
        host.has_started = False
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

    def is_level(self, name: str) -> bool:
        """Whether a machine has executed all that the ledger has."""
        sequencer, replica = self.hosts[LEDGER].sequencer, self.hosts[name].replica
        return sequencer is not None and replica is not None and replica.head.height == sequencer.head.height

    async def lose_ledger(self, look: Callable[[], None]) -> None:
        """Have the ledger lose its disk at a moment when everybody has executed all of it, and put it together from
        the nodes; whoever wants to `look` at it can do so for the last time. What was answered for and is nowhere else
        would be lost with the disk: that is waited for."""
        others = [host for host in self.hosts.values() if host.name != LEDGER]
        ledger = self.hosts[LEDGER]

        await self.until(lambda: all(self.is_level(host.name) for host in others), "everybody has all blocks")
        look()
        await self.kill(LEDGER)
        ledger.state = StoreMedium()
        ledger.machine = Machine(LEDGER)
        await ledger.machine.start(self.processes.restore_ledger(ledger, self.node_names), name="restore")
        await self._start(ledger)

    def wallet_of_node(self, name: str) -> Wallet:
        """The wallet that a node reports with, which speaks to the ledger that it follows."""
        ledger = FORK if name in self.misled else LEDGER
        return self.processes.wallet(self.hosts[name], self._secrets[name].capability_secret, ledger)

    def wallet_at_fork(self, account: str) -> Wallet:
        """An account's wallet that speaks to the forked ledger."""
        return self.processes.wallet(self.hosts[account], self.network.account_secrets[account], FORK)

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
        """Start a machine's process; one that cannot begin its rows for want of space is started until it can."""
        while not await self._has_started(host):
            await self.kill(host.name, loses_writes=False)
            await VirtualClock().sleep_ms(START_AGAIN_MS)
            host.machine = Machine(host.name)
        host.has_started = True

    async def _has_started(self, host: Host) -> bool:
        host.n_starts += 1
        host.has_started = False
        self.fabric.note(f"start {host.name}")
        if host.name in (LEDGER, FORK):
            starting = self.processes.start_ledger(host)
        elif host.name in self._secrets:
            starting = self.processes.start_node(host, self._secrets[host.name])
        else:
            starting = self.processes.start_client(host)
        try:
            await host.machine.start(starting, name="start")
        except DiskFull as e:
            if host.rows.rows():
                raise  # what is there can be served from a full disk
            self.fabric.note(f"{host.name} cannot start: {e.code}")
            return False
        return True

    async def stop_starting_anew(self) -> None:
        """Give up on machines that are being started anew; they are off, or have not started."""
        tasks = list(self._starting_anew)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_anew(self, host: Host) -> None:
        """End a machine's process and start it, unless somebody else does."""
        machine = host.machine

        async def start_anew() -> None:
            async with self.lock(host.name):
                if host.machine is machine and machine.is_on:
                    await self.kill(host.name, loses_writes=False)
                    await self.restart(host.name)

        context = contextvars.copy_context()
        context.run(HOME.set, None)
        task = asyncio.get_running_loop().create_task(start_anew(), name=f"start {host.name} anew", context=context)
        self._starting_anew[task] = None
        task.add_done_callback(lambda task: self._starting_anew.pop(task, None))

    def _raise_failure(self) -> None:
        if self.failures:
            raise self.failures[0]
