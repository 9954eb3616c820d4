"""The gateway's process: a replica of the ledger, a client of the nodes, and HTTP in front."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from haulout.account.wallet import Wallet, read_secret
from haulout.client.metrics import ClientMetrics
from haulout.client.network import Network
from haulout.client.view import LedgerView, ReplicaSource
from haulout.crypto.bls import Bls12381
from haulout.gateway.aggregator import Aggregator
from haulout.gateway.app import build_app
from haulout.gateway.cache import BlobCache
from haulout.gateway.metrics import GatewayMetrics
from haulout.gateway.publisher import Publisher
from haulout.ledger import queries
from haulout.observability.health_server import serve_health
from haulout.observability.http_server import serve_http
from haulout.observability.kernels import show_kernels, warm_up_kernels
from haulout.observability.lifecycle import DRAIN_S, stop_on_signals
from haulout.observability.logs import get_logger
from haulout.observability.metrics import build_registry, count_disk_errors, show_disk
from haulout.replica.bootstrap import open_replica
from haulout.replica.metrics import ReplicaCollector
from haulout.replica.pruning import Pruner
from haulout.replica.readiness import Readiness
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.clock import SystemClock
from haulout.world.genesis_file import read_genesis
from haulout.world.kernels import KernelSettings
from haulout.world.rng import SystemRng
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers

THREADS = 4

log = get_logger("gateway")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the command line says."""

    data_dir: Path
    genesis: Path
    ledger: str
    listen: str
    metrics: str
    wallet: Path
    kernels: KernelSettings
    cache_bytes: int = 0  # without a cache every answer shows that the nodes have the blob
    allow_plaintext: bool = False  # gRPC to ledger and nodes that are not on this machine


async def run_gateway(settings: GatewaySettings) -> None:
    """Run until SIGTERM or SIGINT, or until the replica cannot go on."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    genesis = read_genesis(settings.genesis)
    registry = build_registry("gateway")
    show_kernels(registry)
    show_disk(registry, settings.data_dir)
    clock, rng, scheme = SystemClock(), SystemRng(), Bls12381()
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        workers = ThreadWorkers(THREADS)
        stack.callback(workers.close)
        ledger = GrpcLedger(settings.ledger, allow_plaintext=settings.allow_plaintext)
        stack.push_async_callback(ledger.close)
        transport = GrpcNodeTransport(allow_plaintext=settings.allow_plaintext)
        stack.push_async_callback(transport.close)
        rows = SqliteStore(settings.data_dir / "replica.sqlite", on_error=count_disk_errors(registry))
        replica = await open_replica(rows, ledger, genesis=genesis, scheme=scheme, clock=clock, workers=workers)
        stack.push_async_callback(replica.close)
        ReplicaCollector(replica, registry)
        following = asyncio.create_task(replica.run(), name="replica")
        stack.push_async_callback(_end, following)
        pruning = asyncio.create_task(Pruner(replica.store, clock, is_source=False).run(), name="pruning")
        stack.push_async_callback(_end, pruning)
        network = Network(
            view=LedgerView(ReplicaSource(replica)),
            transport=transport,
            scheme=scheme,
            clock=clock,
            rng=rng,
            workers=workers,
            spill=settings.data_dir / "spill",
            metrics=ClientMetrics(registry),
        )
        wallet = Wallet(read_secret(settings.wallet), chain_id=genesis.chain_id, ledger=ledger, clock=clock, rng=rng)
        metrics = GatewayMetrics(registry)
        metrics.balance_frost.set_function(lambda: queries.balance(replica.view, wallet.address))
        readiness = Readiness(replica)
        warming_up = asyncio.create_task(
            warm_up_kernels(settings.kernels, workers, clock, readiness.reasons), name="kernels"
        )
        stack.push_async_callback(_end, warming_up)
        app = build_app(
            network,
            Aggregator(network, BlobCache(settings.cache_bytes), metrics),
            Publisher(network, wallet, settings.data_dir / "spill", metrics),
            metrics,
            ledger=ledger,
            why_not_ready=readiness.reasons,
        )
        await stack.enter_async_context(serve_health(settings.metrics, registry, ready=readiness.reasons))
        address = await stack.enter_async_context(serve_http(app, settings.listen, drain_s=DRAIN_S))
        log.info("serving blobs", url=f"http://{address}", height=replica.head.height)
        await _until(stop, following)
        log.info("stopping")


async def _until(stop: asyncio.Event, following: asyncio.Task[None]) -> None:
    """Wait for the signal; a replica that stopped for a reason is shown by `/readyz`, one that failed ends us."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, following}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
            await stopping
    finally:
        stopping.cancel()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
