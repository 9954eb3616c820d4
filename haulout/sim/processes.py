"""What runs on the machines of a world: a ledger, nodes and clients, started from what their media hold.

A process is wired here as the real one is (`node_grpc`, `gateway`), over simulated ports: its actors are kept going, it
prunes its blocks where the world says so, and a replica to which the kept blocks do not lead begins with a snapshot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry

from haulout.account.wallet import Wallet
from haulout.chain.checkpoint import CheckpointSignature
from haulout.client.network import Network
from haulout.client.view import LedgerView, ProvenSource, ReplicaSource, RowSource
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DiskFull, HauloutError
from haulout.ledger.genesis import DevelopmentNetwork, NodeSecrets
from haulout.node.build import build_storage_node
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.storage_node import StorageNode
from haulout.ports import StorageNodeApi
from haulout.replica.bootstrap import bring_near
from haulout.replica.errors import FellBehind
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.pruning import Pruner
from haulout.replica.replica import Replica
from haulout.replica.restore import restore_ledger
from haulout.replica.serving import ReplicaLedger
from haulout.sequencer.sequencer import Sequencer
from haulout.sim.client import SimClient
from haulout.sim.clock import VirtualClock
from haulout.sim.disk import SimDisk
from haulout.sim.fabric import Fabric
from haulout.sim.host import Host
from haulout.sim.ledger import SimLedger
from haulout.sim.network import SimNodeTransport
from haulout.sim.rng import SeededRng
from haulout.sim.store import SimStore
from haulout.sim.workers import SimWorkers
from haulout.world.errors import StorageFailed
from haulout.world.memory_store import MemoryStore

LEDGER: Final = "ledger"
FORK: Final = "forked ledger"
SYNC_US: Final = 2_000
FULL_PAUSE_MS: Final = 1_000
START_AGAIN_MS: Final = 1_000


class Processes:
    """Starts them.

    Attributes:
        clients: by account.
        failures: what ended an actor that nobody had killed.
        misled: nodes that follow the forked ledger, by name.
        n_snapshots: how many replicas began with one.
    """

    def __init__(
        self,
        *,
        network: DevelopmentNetwork,
        scheme: SignatureScheme,
        fabric: Fabric,
        rng: SeededRng,
        settings: NodeSettings,
        served: Callable[[str, StorageNode], StorageNodeApi],
        seen_checkpoint: Callable[[CheckpointSignature], None] | None,
        keep_ms: int | None,
        fell_behind: Callable[[Host], None],
    ) -> None:
        """Nothing is started yet; arguments as those of `World`.

        Args:
            fell_behind: is told of a machine that has to be started anew.
        """
        self._network = network
        self._scheme = scheme
        self._fabric = fabric
        self._rng = rng
        self._settings = settings
        self._served = served
        self._seen_checkpoint = seen_checkpoint
        self._keep_ms = keep_ms
        self._fell_behind = fell_behind
        self._workers = SimWorkers()
        self._founding: dict[bytes, bytes] | None = None  # rows of a ledger at genesis
        self.clients: dict[str, SimClient] = {}
        self.failures: list[BaseException] = []
        self.misled: set[str] = set()
        self.n_snapshots = 0

    # --- one of each ----------------------------------------------------------------------------------------

    async def start_ledger(self, host: Host) -> None:
        """The one that orders."""
        await self._found(host)
        host.sequencer = await Sequencer.open(
            store=SimStore(host.state, sync_us=SYNC_US, name=host.name),
            genesis=self._network.genesis,
            scheme=self._scheme,
            clock=host.clock,
            workers=self._workers,
            engine="simulated",
        )
        self._keep_going(host, host.sequencer.run, "sequencer")
        self._prune(host, host.sequencer.store)
        self._fabric.attach(host.name, host.machine, host.sequencer)

    async def start_node(self, host: Host, secrets: NodeSecrets) -> None:
        """A storage node with its replica, which it serves to others as well."""
        replica = await self._start_replica(host)
        host.node = await build_storage_node(
            identity=NodeIdentity(
                secrets.name,
                secrets.node_id,
                secrets.bls_secret,
                self._scheme.public_key(secrets.bls_secret),
                secrets.capability_secret,
            ),
            replica=replica,
            ledger=self._ledger(host),
            store=SimStore(host.rows, sync_us=SYNC_US, name=f"{host.name}/rows"),
            disk=SimDisk(host.files, sync_us=SYNC_US, name=f"{host.name}/files"),
            transport=SimNodeTransport(self._fabric, host.name),
            scheme=self._scheme,
            clock=host.clock,
            rng=self._rng_of(host),
            workers=self._workers,
            registry=CollectorRegistry(),
            settings=self._settings,
        )
        node = host.node
        self._keep_going(host, node.run, "node")
        self._prune(host, replica.store, needed_from=lambda: node.vault.tables.cursor().height + 1)
        self._fabric.attach(secrets.addresses[0], host.machine, self._served(host.name, host.node))
        self._fabric.attach(replica_address(host.name), host.machine, ReplicaLedger(replica))

    async def start_client(self, host: Host) -> None:
        """An account at work."""
        replica = await self._start_replica(host)
        self._prune(host, replica.store, is_source=False)
        rng = self._rng_of(host)

        def wallet_of(secret: bytes) -> Wallet:
            return self.wallet(host, secret, LEDGER, rng)

        def network_of(source: RowSource) -> Network:
            return Network(
                view=LedgerView(source),
                transport=SimNodeTransport(self._fabric, host.name),
                scheme=self._scheme,
                clock=host.clock,
                rng=rng,
                workers=self._workers,
            )

        ledger = SimLedger(self._fabric, host.name, LEDGER)
        self.clients[host.name] = SimClient(
            host,
            ledger,
            network_of(ReplicaSource(replica)),
            network_of(ProvenSource(ledger, self._network.genesis.chain_id)),
            wallet_of(self._network.account_secrets[host.name]),
            wallet_of,
        )

    async def restore_ledger(self, host: Host, node_names: Iterable[str]) -> None:
        """Put a lost ledger together from the nodes."""
        rows = SimStore(host.state, sync_us=SYNC_US, name=host.name)
        sources = {name: SimLedger(self._fabric, host.name, replica_address(name)) for name in node_names}
        genesis = self._network.genesis
        restored = await restore_ledger(rows, sources, genesis=genesis, scheme=self._scheme, workers=self._workers)
        await rows.close()
        self._fabric.note(f"the ledger was restored up to block {restored.height}")

    def wallet(self, host: Host, secret: bytes, ledger: str, rng: SeededRng | None = None) -> Wallet:
        """The wallet of an account on a machine, which speaks to a ledger."""
        return Wallet(
            secret,
            chain_id=self._network.genesis.chain_id,
            ledger=SimLedger(self._fabric, host.name, ledger),
            clock=host.clock,
            rng=rng or self._rng_of(host).fork(ledger),
        )

    # --- shared ---------------------------------------------------------------------------------------------

    async def _found(self, host: Host) -> None:
        """Put genesis on an empty medium, as opening a ledger there would; it is built once for all."""
        if self._founding is None:
            store = MemoryStore()
            await LedgerStore.open(store, self._network.genesis, self._scheme)
            self._founding = dict(store.scan(b"", b"\xff" * 64))
        if not host.state.durable and not host.state.volatile:
            host.state.durable = dict(self._founding)

    async def _start_replica(self, host: Host) -> Replica:
        await self._found(host)
        store = SimStore(host.state, sync_us=SYNC_US, name=f"{host.name}/state")
        if self._keep_ms is not None:
            await self._bring_near(host, store)
        replica = await Replica.open(
            store=store,
            ledger=self._ledger(host),
            genesis=self._network.genesis,
            scheme=self._scheme,
            clock=host.clock,
            workers=self._workers,
        )
        host.replica = replica
        self._keep_going(host, replica.run, "replica")
        return replica

    async def _bring_near(self, host: Host, store: SimStore) -> None:
        """Begin with a snapshot where blocks do not lead to the ledger's head; a process that cannot is started again
        and again."""
        while True:
            try:
                imported = await bring_near(
                    store,
                    self._ledger(host),
                    genesis=self._network.genesis,
                    scheme=self._scheme,
                    clock=host.clock,
                    workers=self._workers,
                )
            except StorageFailed:
                raise
            except HauloutError as e:
                self._fabric.note(f"{host.name} cannot start: {e.code}")
                await VirtualClock().sleep_ms(START_AGAIN_MS)
                continue
            if imported is not None:
                self.n_snapshots += 1
                self._fabric.note(f"{host.name} begins with a snapshot of block {imported.height}")
            return

    def _prune(self, host: Host, store: LedgerStore, **options: Any) -> None:
        """Have a process forget blocks, where the world does."""
        if self._keep_ms is not None:
            self._keep_going(host, Pruner(store, host.clock, keep_ms=self._keep_ms, **options).run, "pruner")

    def _ledger(self, host: Host) -> SimLedger:
        address = FORK if host.name in self.misled else LEDGER
        return SimLedger(self._fabric, host.name, address, seen=self._seen_checkpoint)

    def _rng_of(self, host: Host) -> SeededRng:
        return self._rng.fork(f"{host.name}/start {host.n_starts}")

    def _keep_going(self, host: Host, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Run an actor; a failure that it does not expect is the world's."""

        async def watched() -> None:
            while True:
                try:
                    return await work()
                except DiskFull as e:
                    self._fabric.note(f"{host.name} waits for space: {e}")
                    await host.clock.sleep_ms(FULL_PAUSE_MS)
                except FellBehind as e:
                    self._fabric.note(f"{host.name} begins again: {e}")
                    return self._fell_behind(host)
                except StorageFailed as e:
                    if host.machine.is_on:
                        self._fabric.note(f"{host.name} stops: {e}")
                        self.failures.append(e)
                    return None
                except Exception as e:  # noqa: BLE001 - raised again where the story stands
                    self.failures.append(e)
                    return None

        host.machine.start(watched(), name=what)


def replica_address(name: str) -> str:
    """Where a node serves what it has of the ledger."""
    return f"{name}/ledger"
