"""The parts of the service, put together over whatever ports it is given: real ones, or those of a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

import haulout
from graphql_api.access import Access, Scope
from graphql_api.app import build_app, why_not_ready
from graphql_api.cluster_tokens import ClusterTokens
from graphql_api.context import Services
from graphql_api.gateway import Gateway
from graphql_api.health import HealthBoard
from graphql_api.holdings import HoldingsBoard
from graphql_api.inspection import Inspector
from graphql_api.ledger_watch import LedgerWatch
from graphql_api.limits import DEFAULT_BOUNDS, Bounds
from graphql_api.network_metrics import NetworkCollector
from graphql_api.operation_keeper import OperationKeeper
from graphql_api.rates import POINTS_PER_HOUR, Rates
from graphql_api.read_model.database import CURSOR_KEY_BYTES, Database, HistoryNotKept
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.project import Projector
from graphql_api.read_model.reading import ReadModel
from graphql_api.records.database import Records
from graphql_api.retention_keeper import RetentionKeeper
from haulout.account.wallet import Wallet
from haulout.client.network import Network
from haulout.client.view import LedgerView, ReplicaSource
from haulout.crypto.schemes import SignatureScheme
from haulout.ledger import queries
from haulout.ledger.genesis import Genesis
from haulout.ports import Clock, ClusterControl, Ledger, NodeTransport, Rng, Store, Workers
from haulout.replica.errors import FellBehind
from haulout.replica.metrics import ReplicaCollector
from haulout.replica.pruning import Pruner
from haulout.replica.readiness import Readiness
from haulout.replica.replica import Replica


@dataclass(slots=True)
class Service:
    """What runs: `tasks` end only with the service, or because something that it needs has failed."""

    app: Starlette
    replica: Replica
    follower: Follower
    readiness: Readiness
    tasks: tuple[asyncio.Task[None], ...]

    def end_streams(self) -> None:
        """Let go of all subscriptions, so that the server can stop."""
        self.app.state.streams.end_all()

    def why_not_ready(self) -> list[str]:
        """Reasons why answers would mislead. Once ready, a ledger that is away is none: answers say their height."""
        return why_not_ready(self.follower) or list(self.readiness.reasons())


@contextlib.asynccontextmanager
async def run_service(
    *,
    genesis: Genesis,
    scheme: SignatureScheme,
    ledger: Ledger,
    transport: NodeTransport,
    store: Store,
    database: Database,
    clock: Clock,
    rng: Rng,
    readers: Workers,
    writers: Workers,
    registry: CollectorRegistry,
    gateway_url: str,
    records: Records,
    public_gateway_url: str = "",
    anonymous: Iterable[Scope] = (Scope.READ,),
    wallet_secret: bytes | None = None,
    control: ClusterControl | None = None,
    origins: Sequence[str] = ("*",),
    points_per_hour: int = POINTS_PER_HOUR,
    bounds: Bounds = DEFAULT_BOUNDS,
    rebuild: bool = False,
) -> AsyncIterator[Service]:
    """Follow the ledger and keep the read model until the block ends.

    Args:
        store: of the replica; closed with it.
        gateway_url: where the gateway is asked from here.
        public_gateway_url: where it is for people and browsers; the same when empty.
        database: not opened yet; the caller closes it.
        records: not opened yet; the caller closes it.
        anonymous: what callers without a token may do.
        wallet_secret: Ed25519 secret of the account that mutations are paid by; None: callers sign for themselves.
        control: who runs the network's processes; None: nodes are neither drained nor added through this API.
        readers, writers: where SQL runs; a slow reader must not keep the writer waiting.
        points_per_hour: what one client may ask for; 0 for everything.
        bounds: what one document may ask for, and how long it may take.
        rebuild: empty the read model first.

    Raises:
        ForeignReadModel, ReadModelOfOtherChain, ForeignRecords, RecordsOfOtherChain, WrongGenesis: nothing was changed.
        HistoryNotKept: blocks that the read model lacks are not kept any more; the same ends the replica's task when it
            is the ledger that does not have them.
    """
    async with contextlib.AsyncExitStack() as stack:
        replica = await Replica.open(
            store=store, ledger=ledger, genesis=genesis, scheme=scheme, clock=clock, workers=writers
        )
        stack.push_async_callback(replica.close)
        params = queries.params(replica.view)
        await records.open(chain_id=params.chain_id)
        progress = await writers.run(
            database.open, chain_id=params.chain_id, fresh_key=rng.random_bytes(CURSOR_KEY_BYTES), rebuild=rebuild
        )
        if progress.height + 1 < replica.store.oldest_height:
            oldest = replica.store.oldest_height
            raise HistoryNotKept(height=progress.height + 1, oldest=oldest, keeper="the replica beside it")
        projector = Projector(params.n_shards, scheme)
        follower = Follower(
            database, progress, projector, replica.store, clock=clock, workers=writers, registry=registry
        )
        health = HealthBoard(transport, clock)
        stack.push_async_callback(health.close)
        watch = LedgerWatch(replica, ledger, scheme, clock=clock, workers=writers, registry=registry)
        network = Network(
            view=LedgerView(ReplicaSource(replica)),
            transport=transport,
            scheme=scheme,
            clock=clock,
            rng=rng,
            workers=readers,
        )
        wallet = None
        if wallet_secret is not None:
            wallet = Wallet(wallet_secret, chain_id=params.chain_id, ledger=ledger, clock=clock, rng=rng)
        gateway = Gateway(gateway_url)
        stack.push_async_callback(gateway.close)
        holdings = HoldingsBoard(network, params.n_shards, registry)
        ReplicaCollector(replica, registry)
        NetworkCollector(lambda: replica.view, holdings, registry)
        read_model = ReadModel(database, readers)
        operations = OperationKeeper(records, read_model, gateway, control, clock=clock, rng=rng)
        retention = RetentionKeeper(records, read_model, follower, wallet, clock=clock, rng=rng, registry=registry)
        services = Services(
            params=params,
            cursor_key=database.cursor_key,
            public_gateway_url=(public_gateway_url or gateway_url).rstrip("/"),
            health=health,
            finality=watch,
            network=network,
            holdings=holdings,
            inspector=Inspector(network, params.n_shards),
            view=lambda: replica.view,
            bounds=bounds,
            version=haulout.__version__,
            records=records,
            access=Access(
                records,
                clock,
                anonymous=anonymous,
                origins=origins,
                cluster=None if control is None else ClusterTokens(control, records, clock),
            ),
            clock=clock,
            rng=rng,
            ledger=ledger,
            wallet=wallet,
            follower=follower,
            gateway=gateway,
            operations=operations,
            retention=retention,
            rates=Rates(clock, registry, points_per_hour=points_per_hour),
        )
        app = build_app(services, read_model, follower, clock=clock, rng=rng, registry=registry, origins=origins)
        pruner = Pruner(replica.store, clock, is_source=False, needed_from=lambda: follower.progress.height + 1)
        tasks = (
            asyncio.create_task(_follow_ledger(replica), name="replica"),
            asyncio.create_task(pruner.run(), name="pruning"),
            asyncio.create_task(follower.run(), name="follower"),
            asyncio.create_task(watch.run(), name="ledger watch"),
            asyncio.create_task(holdings.run(), name="holdings"),
            asyncio.create_task(operations.run(), name="operations"),
            asyncio.create_task(retention.run(), name="retention"),
        )
        stack.push_async_callback(_end, tasks)
        yield Service(app, replica, follower, Readiness(replica), tasks)


async def _follow_ledger(replica: Replica) -> None:
    try:
        await replica.run()
    except FellBehind as e:
        raise HistoryNotKept(height=e.height + 1, oldest=e.oldest, keeper="the ledger") from e


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
