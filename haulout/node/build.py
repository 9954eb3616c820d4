"""Puts a storage node together from its ports; the roots call this once and keep nothing of its inside."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from haulout.account.wallet import Wallet
from haulout.crypto.schemes import SignatureScheme
from haulout.driver.epoch_driver import EpochDriver
from haulout.ledger import queries
from haulout.ledger.state import View
from haulout.node.blob_intake import BlobIntake
from haulout.node.blob_sync import BlobSync
from haulout.node.checkpoint_signer import CheckpointSigner
from haulout.node.file_watch import FileWatch
from haulout.node.garbage import GarbageCollector
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.inconsistency import InconsistencyProver
from haulout.node.ledger_follower import LedgerFollower
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peers
from haulout.node.pieces import PieceKeeper
from haulout.node.protocol_voter import ProtocolVoter
from haulout.node.scrubber import Scrubber
from haulout.node.shard_serving import ShardServer
from haulout.node.shard_sync import ShardSync
from haulout.node.sliver_repair import SliverRepair
from haulout.node.sliver_store import SliverStore
from haulout.node.space import SpaceGuard
from haulout.node.storage_node import StorageNode
from haulout.node.symbols import SymbolMaker
from haulout.node.vault import Vault
from haulout.node.work_tables import WorkTables
from haulout.ports import Clock, Disk, Ledger, NodeTransport, Rng, Store, Workers
from haulout.replica.replica import Replica


async def build_storage_node(
    *,
    identity: NodeIdentity,
    replica: Replica,
    ledger: Ledger,
    store: Store,
    disk: Disk,
    transport: NodeTransport,
    scheme: SignatureScheme,
    clock: Clock,
    rng: Rng,
    workers: Workers,
    registry: CollectorRegistry,
    settings: NodeSettings | None = None,
) -> StorageNode:
    """A node over its ports. Whoever calls keeps `replica.run()` and the node's `run()` going, and closes the ports.

    Args:
        ledger: where signatures of checkpoints go, and what is certified comes from.
        store: the node's own, not the replica's.
        disk: where slivers go; the node owns the folder `slivers`.

    Raises:
        UnknownStoreVersion, CorruptRecord: the store cannot be used.
        DiskFull: it is new, and there is no room to begin it.
    """
    settings = settings or NodeSettings()
    metrics = NodeMetrics(registry, peers=(peer.name for _, peer in queries.nodes(replica.view)))
    slivers = await SliverStore.open(store, disk, clock=clock, rng=rng, workers=workers, layout=settings.layout)
    vault = Vault(
        node_id=identity.node_id,
        replica=replica,
        slivers=slivers,
        tables=WorkTables(store),
        space=SpaceGuard(disk, clock, metrics, reserve_bytes=settings.reserve_bytes),
        clock=clock,
        metrics=metrics,
    )
    signer = CheckpointSigner(
        identity=identity,
        replica=replica,
        ledger=ledger,
        store=store,
        scheme=scheme,
        clock=clock,
        workers=workers,
        metrics=metrics,
    )
    symbols = SymbolMaker(vault, workers, settings)
    peers = Peers(identity.node_id, transport, clock=clock, rng=rng, metrics=metrics, settings=settings)
    wallet = _wallet_of(identity, replica, ledger, clock, rng)
    prover = InconsistencyProver(
        identity=identity, wallet=wallet, vault=vault, peers=peers, scheme=scheme, workers=workers, metrics=metrics
    )
    blob_sync = BlobSync(
        vault=vault,
        peers=peers,
        slivers=SliverRepair(
            vault=vault, peers=peers, symbols=symbols, prover=prover, workers=workers, metrics=metrics
        ),
        prover=prover,
        clock=clock,
        workers=workers,
        metrics=metrics,
        settings=settings,
    )
    shard_sync = ShardSync(
        identity=identity,
        wallet=wallet,
        vault=vault,
        peers=peers,
        blob_sync=blob_sync,
        scheme=scheme,
        clock=clock,
        workers=workers,
        metrics=metrics,
        settings=settings,
    )
    pieces = PieceKeeper(vault, workers, metrics, settings)
    scrubber = Scrubber(vault, clock, metrics, settings)
    return StorageNode(
        identity=identity,
        vault=vault,
        intake=BlobIntake(
            identity=identity,
            vault=vault,
            pieces=pieces,
            scheme=scheme,
            clock=clock,
            workers=workers,
            metrics=metrics,
            settings=settings,
        ),
        pieces=pieces,
        symbols=symbols,
        signer=signer,
        follower=LedgerFollower(vault, clock, settings),
        blob_sync=blob_sync,
        prover=prover,
        voter=ProtocolVoter(identity, vault, store, scheme, workers),
        shard_sync=shard_sync,
        shard_server=ShardServer(vault, scheme, workers, metrics, settings),
        epoch_driver=_driver_of(wallet, replica, clock, rng),
        scrubber=scrubber,
        file_watch=FileWatch(slivers, scrubber, clock, settings),
        garbage=GarbageCollector(identity, vault, signer, clock, metrics, settings),
        clock=clock,
        metrics=metrics,
        settings=settings,
    )


def _wallet_of(identity: NodeIdentity, replica: Replica, ledger: Ledger, clock: Clock, rng: Rng) -> Wallet | None:
    """The account that speaks for the node; without its secret the node serves and reports nothing."""
    if identity.capability_secret is None:
        return None
    chain_id = replica.head.chain_id
    return Wallet(identity.capability_secret, chain_id=chain_id, ledger=ledger, clock=clock, rng=rng)


def _driver_of(wallet: Wallet | None, replica: Replica, clock: Clock, rng: Rng) -> EpochDriver | None:
    """The fallback that every node carries: epochs go on when the epoch controller is gone."""
    if wallet is None:
        return None

    async def state() -> View:
        return replica.view

    grace_ms = queries.params(replica.view).driver_grace_ms
    return EpochDriver(state, wallet, clock=clock, rng=rng, grace_ms=max(1, grace_ms))
