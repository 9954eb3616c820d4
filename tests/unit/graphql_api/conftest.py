"""A history made by hand, a read model filled from it, and the API over that, all in one process."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from graphql_api.access import Access, Scope
from graphql_api.app import build_app
from graphql_api.context import Services
from graphql_api.gateway import Gateway
from graphql_api.health import HealthBoard
from graphql_api.holdings import HoldingsBoard
from graphql_api.inspection import Inspector
from graphql_api.limits import Bounds
from graphql_api.operation_keeper import OperationKeeper
from graphql_api.rates import Rates
from graphql_api.read_model.database import Database
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.project import BlockEvents, Progress, Projector
from graphql_api.read_model.reading import ReadModel
from graphql_api.records.database import Records
from graphql_api.records.tokens import digest_of, make_token, secret_text
from graphql_api.retention_keeper import RetentionKeeper
from haulout.client.network import Network
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.messages import storage_confirmation
from haulout.errors import Unreachable
from haulout.ledger import events as e
from haulout.ledger.state import Committee, Member, Params
from haulout.ports import NodeHealth
from haulout.world.clock import SystemClock
from haulout.world.memory_store import MemoryStore
from haulout.world.rng import SystemRng
from haulout.world.workers import ThreadWorkers

GENESIS_MS = 1_800_000_000_000
N_SHARDS = 10
WEIGHTS = (3, 3, 2, 2)
GATEWAY = "http://127.0.0.1:31415"
CHAIN_ID = bytes([7]) * 32


def name(kind: str, number: int) -> bytes:
    """A recognisable id of 32 bytes."""
    return kind.encode().ljust(24, b"-") + number.to_bytes(8, "big")


class History:
    """Blocks of events, written down by hand: four nodes, ten shards, and whatever a test adds."""

    def __init__(self) -> None:
        self.scheme = KeyedHash()
        self.secrets = [self.scheme.generate(bytes([i]) * 32) for i in range(len(WEIGHTS))]
        self.blocks: list[BlockEvents] = []
        self.n_events = 0
        self.epoch = 1
        self.found()

    def block(self, *bodies: Any) -> BlockEvents:
        """One block with these events."""
        height = len(self.blocks)
        time_ms = GENESIS_MS + 1_000 * height
        made = []
        for body in bodies:
            if isinstance(body, e.EpochStarted):
                self.epoch = body.epoch
            made.append(e.Event(self.n_events, height, 0, time_ms, self.epoch, body))
            self.n_events += 1
        previous = self.blocks[-1].digest if self.blocks else bytes(32)
        self.blocks.append(BlockEvents(height, time_ms, name("block", height), previous, tuple(made)))
        return self.blocks[-1]

    def found(self) -> None:
        """Genesis: accounts, nodes, stake, epoch 1."""
        bodies: list[Any] = [e.BalanceChanged(name("account", i), 1_000 * (i + 1)) for i in range(2)]
        for i in range(len(WEIGHTS)):
            bodies.append(
                e.NodeRegistered(
                    node_id=name("node", i),
                    governance=name("account", 0),
                    capability=name("capability", i),
                    name=f"node-{i}",
                    addresses=(f"127.0.0.1:{31425 + i}", f"node-{i}.internal:1"),
                    public_key=self.scheme.public_key(self.secrets[i]),
                    network_public_key=b"net",
                    commission_rate_bps=500,
                    storage_price_frost=(1 << 64) - 1 if i == 0 else 100,
                    write_price_frost=200,
                    node_capacity_bytes=1 << 40,
                    activation_epoch=1,
                )
            )
        for i, weight in enumerate(WEIGHTS):
            bodies.append(
                e.StakeChanged(name("stake", i), name("account", 0), name("node", i), 100 * weight, 1, None, 0)
            )
        members = []
        at = 0
        for i, weight in enumerate(WEIGHTS):
            shards = tuple(range(at, at + weight))
            members.append(e.CommitteeMemberRecord(name("node", i), self.scheme.public_key(self.secrets[i]), shards))
            at += weight
        bodies.append(e.EpochStarted(1, tuple(members), 1 << 42, 100, 200))
        bodies.append(e.EpochDone(1, False))
        bodies.append(e.RingChanged(1, 0, 0))
        self.block(*bodies)

    def registered(
        self, number: int, *, blob: int | None = None, deletable: bool = True, **changes: Any
    ) -> e.BlobRegistered:
        """A registration of object `number`."""
        values: dict[str, Any] = {
            "object_id": name("object", number),
            "owner": name("account", 1),
            "blob_id": name("blob", number if blob is None else blob),
            "root_hash": name("root", number),
            "size_bytes": 1_000 + number,
            "encoding_type": 1,
            "registered_epoch": 1,
            "start_epoch": 1,
            "end_epoch": 6,
            "storage_id": name("storage", number),
            "storage_size_bytes": 1 << 20,
            "deletable": deletable,
            "cost_frost": 10,
        }
        return e.BlobRegistered(**{**values, **changes})

    def certified(
        self, of: e.BlobRegistered, *, signers: tuple[int, ...] = (0, 1, 2), forge: bool = False
    ) -> e.BlobCertified:
        """A certification of an object by some members."""
        message = storage_confirmation(1, of.blob_id, of.object_id if of.deletable else None)
        signed = message + b"!" if forge else message
        signature = self.scheme.aggregate([self.scheme.sign(self.secrets[i], signed) for i in signers])
        return e.BlobCertified(
            object_id=of.object_id,
            blob_id=of.blob_id,
            certified_epoch=1,
            end_epoch=of.end_epoch,
            storage_size_bytes=of.storage_size_bytes,
            deletable=of.deletable,
            is_extension=False,
            weight=sum(WEIGHTS[i] for i in signers),
            message=message,
            signature=signature,
            signers=bitmap_of(signers),
            cost_frost=0,
        )


class Net:
    """The API over a read model that holds a history."""

    def __init__(self, database: Database, http: httpx.AsyncClient, history: History, transport: Nodes) -> None:
        self.database = database
        self.http = http
        self.history = history
        self.nodes = transport
        self.follower: Follower
        self.read_model: ReadModel
        self.app: Starlette
        self.services: Services

    async def post(self, query: str, *, headers: Mapping[str, str] | None = None, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables}
        return await self.http.post("/graphql", json=body, headers=dict(headers or {}))

    async def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer without errors."""
        answer = (await self.post(query, **variables)).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def token(self, *scopes: str, expires_ms: int | None = None) -> dict[str, str]:
        """Headers of a caller with these scopes."""
        secret = secret_text(SystemRng().random_bytes(32))
        now_ms = SystemClock().now_ms()
        await self.services.records.write(make_token, digest_of(secret), "test", scopes, now_ms, expires_ms)
        return {"authorization": f"Bearer {secret}"}

    async def refused(self, query: str, **variables: Any) -> tuple[str, str]:
        """Code and message of the first error."""
        error = (await self.post(query, **variables)).json()["errors"][0]
        return error["extensions"]["code"], error["message"]


class Nodes:
    """A transport to nodes of which some answer."""

    def __init__(self) -> None:
        self.answers: dict[str, NodeHealth] = {}
        self.n_calls = 0

    def connect(self, address: str) -> Any:
        nodes = self

        class Api:
            async def health(self) -> NodeHealth:
                nodes.n_calls += 1
                await asyncio.sleep(0)
                if address not in nodes.answers:
                    raise Unreachable(peer=address, problem="it is down")
                return nodes.answers[address]

            async def list_incomplete(self, **_: Any) -> Any:
                raise Unreachable(peer=address, problem="it is down")

        return Api()

    async def close(self) -> None:
        return None


class ListedBlocks:
    """A replica's store that holds a history."""

    def __init__(self, history: History) -> None:
        self.history = history

    @property
    def head(self) -> Any:
        return self.header(len(self.history.blocks) - 1)

    def header(self, height: int) -> Any:
        block = self.history.blocks[height]
        return _Header(block)

    async def follow(self, from_height: int) -> AsyncIterator[Any]:
        for height in itertools.count(from_height):
            while height >= len(self.history.blocks):  # noqa: ASYNC110 - tests add blocks by hand
                await asyncio.sleep(0.005)
            block = self.history.blocks[height]
            yield _Applied(_Header(block), block.events)


class _Header:
    def __init__(self, block: BlockEvents) -> None:
        self.height, self.time_ms, self.previous_digest = block.height, block.time_ms, block.previous_digest
        self._digest = block.digest

    def digest(self) -> bytes:
        return self._digest


class _Applied:
    def __init__(self, header: _Header, events: tuple[e.Event, ...]) -> None:
        self.header, self.events = header, events


class Ledger:
    """What a replica would say: the committee of genesis."""

    def __init__(self, history: History) -> None:
        self.history = history

    async def committee(self) -> Committee:
        body = next(event.body for event in self.history.blocks[0].events if isinstance(event.body, e.EpochStarted))
        return Committee(1, body.epoch, tuple(Member(m.node_id, m.public_key, m.shards) for m in body.members))

    async def open_hand_overs(self) -> list[Any]:
        return []

    async def nodes(self, node_ids: Any) -> dict[Any, Any]:
        bodies = [event.body for event in self.history.blocks[0].events]
        return {body.node_id: body for body in bodies if isinstance(body, e.NodeRegistered)}


class NoLedger:
    """A ledger that nobody reaches."""

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> Any:
        raise Unreachable(peer="the ledger", problem="it is down")


class Heard:
    """A ledger that answers; its nodes have attested block 4."""

    attested_height = 4

    def silence_ms(self) -> int:
        return 0


def params() -> Params:
    return Params(1, CHAIN_ID, N_SHARDS, 86_400_000, 53, 1 << 30, GENESIS_MS, False, 60_000, False, 0)


def open_database(url: str, **options: Any) -> tuple[Database, Progress]:
    database = Database(url)
    return database, database.open(chain_id=CHAIN_ID, fresh_key=bytes(32), **options)


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def history_of() -> Any:
    """Makes histories of their own."""
    return History


@pytest.fixture
def ids() -> Any:
    """Makes the ids that a history uses: `ids("blob", 1)`."""
    return name


@pytest.fixture
def bounds() -> Bounds:
    return Bounds()


@pytest.fixture
def backend() -> str:
    """Where the read model is; tests that hold on both databases make it "sqlite" and "postgres"."""
    return "sqlite"


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if backend == "postgres":
        url: str = request.getfixturevalue("postgres").new_database()
        return url
    return f"sqlite:///{tmp_path / 'read_model.sqlite'}"


def _found(url: str) -> None:
    """Fill a database with the tables and the first block that all histories have in common."""
    database, progress = open_database(url)
    history = History()
    database.apply(Projector(N_SHARDS, history.scheme), progress, history.blocks[:1])
    database.close()


@pytest.fixture(scope="session")
def founded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to copy: making tables takes longer than most tests."""
    path: Path = tmp_path_factory.mktemp("founded") / "read_model.sqlite"
    _found(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def founded_postgres(postgres: Any) -> str:
    """The name of a database to copy."""
    url: str = postgres.new_database()
    _found(url)
    return sa.make_url(url).database or ""


@pytest.fixture
def founded_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A read model that stands at genesis."""
    if backend == "postgres":
        template = request.getfixturevalue("founded_postgres")
        url: str = request.getfixturevalue("postgres").new_database(template=template)
        return url
    path = tmp_path / "read_model.sqlite"
    shutil.copyfile(request.getfixturevalue("founded_sqlite"), path)
    return f"sqlite:///{path}"


@pytest.fixture
async def net(founded_url: str, history: History, bounds: Bounds, tmp_path: Path) -> AsyncIterator[Net]:
    """Three blobs: certified, only registered, deleted."""
    one, two, three = (history.registered(i, deletable=i != 1) for i in (1, 2, 3))
    history.block(e.BalanceChanged(name("account", 1), 1_900), one, e.RingChanged(1, 1 << 20, 110))
    history.block(two, e.BlobAttributesChanged(two.object_id, {"type": "film", "year": "1999"}))
    history.block(history.certified(one), three)
    history.block(history.certified(three))
    history.block(
        e.BlobDeleted(three.object_id, three.blob_id, 6, True, three.storage_id),
        e.StorageReserved(three.storage_id, three.owner, 1, 6, 1 << 20, 0),
    )
    database, progress = open_database(founded_url)
    projector = Projector(N_SHARDS, history.scheme)
    progress = database.apply(projector, progress, history.blocks[progress.height + 1 :])
    clock, registry, transport, workers = SystemClock(), CollectorRegistry(), Nodes(), ThreadWorkers(4)
    follower = Follower(
        database, progress, projector, ListedBlocks(history), clock=clock, workers=workers, registry=registry
    )
    board = HealthBoard(transport, clock)
    network = Network(
        view=Ledger(history), transport=transport, scheme=history.scheme, clock=clock, rng=SystemRng(), workers=workers
    )
    records = Records(f"sqlite:///{tmp_path / 'records.sqlite'}", workers)
    await records.open(chain_id=CHAIN_ID)
    read_model, gateway = ReadModel(database, workers), Gateway("http://127.0.0.1:1")
    services = Services(
        params=params(),
        cursor_key=database.cursor_key,
        public_gateway_url=GATEWAY,
        health=board,
        finality=Heard(),
        network=network,
        holdings=HoldingsBoard(network, N_SHARDS, registry),
        inspector=Inspector(network, N_SHARDS),
        view=MemoryStore,
        bounds=bounds,
        version="0.0.0",
        records=records,
        access=Access(records, clock, anonymous={Scope.READ}),
        clock=clock,
        rng=SystemRng(),
        ledger=NoLedger(),
        wallet=None,
        follower=follower,
        gateway=gateway,
        operations=OperationKeeper(records, read_model, gateway, None, clock=clock, rng=SystemRng()),
        retention=RetentionKeeper(records, read_model, follower, None, clock=clock, rng=SystemRng(), registry=registry),
        rates=Rates(clock, registry),
    )
    app = build_app(services, read_model, follower, clock=clock, rng=SystemRng(), registry=registry)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http:
        running = Net(database, http, history, transport)
        running.services = services
        running.follower, running.read_model, running.app = follower, read_model, app
        yield running
    await board.close()
    records.close()
    workers.close()
    database.close()
