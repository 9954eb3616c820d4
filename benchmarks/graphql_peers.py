"""The same documents four ways in one process: this API, graphql-core alone twice, and a plain JSON endpoint.

All run the same SQL over the same read model, on a worker thread and from one snapshot, and are called as ASGI
applications without a socket. graphql-core resolves from dictionaries made beforehand, and has no limits, tokens,
watermark or metrics: `core` is `graphql()` for each request, as its manual has it; `prepared` parses and validates each
document once, and only executes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import ExecutionResult, build_schema, execute, graphql_sync, parse, validate
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.read_model_story import Accepting
from graphql_api.events import TYPES
from graphql_api.read_model import blob_queries, epoch_queries, event_queries, lists, queries
from graphql_api.read_model import schema as t
from graphql_api.read_model.database import Database
from graphql_api.read_model.paging import Order, Window, fetch_page
from graphql_api.read_model.reading import ReadModel
from graphql_api.records.database import Records
from graphql_api.schema import sdl
from graphql_api.service import run_service
from haulout.errors import Unreachable
from haulout.ledger.genesis import Genesis
from haulout.primitives import blob_id_text, hex_id_text
from haulout.world.clock import SystemClock
from haulout.world.memory_store import MemoryStore
from haulout.world.rng import SystemRng
from haulout.world.workers import ThreadWorkers

ROUNDS = 10

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A query, and the function that answers it from a connection."""

    query: str
    answer: Callable[[Connection], Data]


def _epoch(connection: Connection) -> int:
    return int(connection.execute(t.progress.select()).mappings().one()["epoch"])


def _page_of_50(connection: Connection) -> Data:
    """One statement each for the page, its certificates, its objects, their owners and their storage."""
    page = fetch_page(
        connection, blob_queries.blobs_statement(blob_queries.BlobQuery(), _epoch(connection)), NEWEST, Window(50)
    )
    ids = [row["blob_id"] for row in page.rows]
    certificates = queries.rows_by(
        connection, t.certificates.c.sequence, [r["certificate_sequence"] for r in page.rows]
    )
    found = lists.pages_by_parent(
        connection, "objects", "blob_id", ids, blob_queries.ObjectQuery(), _epoch(connection), Window(1)
    )
    objects = {blob_id: found[blob_id].rows for blob_id in ids}
    owners = queries.rows_by(connection, t.accounts.c.address, [o["owner"] for rows in objects.values() for o in rows])
    storage = queries.rows_by(
        connection, t.storage.c.object_id, [o["storage_id"] for rows in objects.values() for o in rows]
    )
    nodes = []
    for row in page.rows:
        certificate = certificates[row["certificate_sequence"]]
        inner = [
            {
                "owner": {
                    "address": hex_id_text(o["owner"]),
                    "walBalance": str(owners[o["owner"]]["balance_frost"] if o["owner"] in owners else 0),
                },
                "storage": {
                    "endEpoch": storage[o["storage_id"]]["end_epoch"],
                    "sizeBytes": str(storage[o["storage_id"]]["size_bytes"]),
                },
            }
            for o in objects[row["blob_id"]]
        ]
        nodes.append(
            {
                "blobId": blob_id_text(row["blob_id"]),
                "state": blob_queries.state_of_blob(row, 1),
                "unencodedSize": str(row["size_bytes"]),
                "endEpoch": row["end_epoch"],
                "certificate": {
                    "epoch": certificate["epoch"],
                    "weight": certificate["weight"],
                    "verified": certificate["verified"],
                },
                "objects": {"nodes": inner},
            }
        )
    return {"blobs": {"nodes": nodes}}


def _blobs(connection: Connection) -> Data:
    page = fetch_page(
        connection, blob_queries.blobs_statement(blob_queries.BlobQuery(), _epoch(connection)), NEWEST, Window(10)
    )
    nodes = [
        {
            "blobId": blob_id_text(row["blob_id"]),
            "state": blob_queries.state_of_blob(row, 1),
            "unencodedSize": str(row["size_bytes"]),
            "encodedSize": str(row["encoded_size_bytes"]),
            "endEpoch": row["end_epoch"],
            "contentUrl": f"http://127.0.0.1/v1/blobs/{blob_id_text(row['blob_id'])}",
        }
        for row in page.rows
    ]
    return {"blobs": {"nodes": nodes}}


def _committee(connection: Connection) -> Data:
    members = epoch_queries.members_by_epoch(connection, [_epoch(connection)])[1]
    nodes = queries.rows_by(connection, t.nodes.c.node_id, [row["node_id"] for row in members])
    shard_map = [
        {
            "weight": row["weight"],
            "shards": json.loads(row["shards"]),
            "node": {"name": nodes[row["node_id"]]["name"]},
        }
        for row in members
    ]
    n = sum(row["weight"] for row in members)
    epoch = queries.rows_by(connection, t.epochs.c.epoch, [1])[1]
    committee = {
        "epoch": epoch["epoch"],
        "nShards": n,
        "maxFaultyShards": (n - 1) // 3,
        "quorumThreshold": n - (n - 1) // 3,
    }
    return {"committee": committee, "shardMap": shard_map}


def _events(connection: Connection) -> Data:
    page = fetch_page(
        connection,
        event_queries.events_statement(event_queries.EventQuery()),
        event_queries.EVENTS_ORDER,
        Window(10, backward=True),
    )
    nodes = [
        {"__typename": TYPES[row["kind"]].__name__, "sequence": str(row["sequence"]), "epoch": row["epoch"]}
        for row in page.rows
    ]
    return {"events": {"nodes": nodes}}


NEWEST = Order(blob_queries.BLOB_ORDERS["CREATED_AT"], descending=True)
FIELDS = """blobId state unencodedSize endEpoch certificate { epoch weight verified }
  objects(first: 1) { nodes { owner { address walBalance } storage { endEpoch sizeBytes } } }"""
PAGE = f"{{ blobs(first: 50) {{ nodes {{ {FIELDS} }} }} }}"
DOCUMENTS: Mapping[str, Document] = {
    "page of 50": Document(PAGE, _page_of_50),
    "blobs": Document(
        "{ blobs(first: 10) { nodes { blobId state unencodedSize encodedSize endEpoch contentUrl } } }", _blobs
    ),
    "committee": Document(
        "{ committee { epoch nShards maxFaultyShards quorumThreshold } shardMap { weight shards node { name } } }",
        _committee,
    ),
    "events": Document("{ events(last: 10) { nodes { __typename sequence epoch } } }", _events),
}


# --- who answers --------------------------------------------------------------------------------------------


class Nobody:
    """A ledger and nodes that cannot be reached: what is measured needs neither."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: Any, **__: Any) -> Any:
            raise Unreachable(peer=name, problem="there is none here")

        return refuse

    def connect(self, address: str) -> Nobody:
        return self


@contextlib.asynccontextmanager
async def four_ways(read_model_path: Path, genesis: Genesis) -> AsyncIterator[dict[str, Any]]:
    """ASGI applications over a read model, by name: `api`, `core`, `prepared`, `json`."""
    workers, clock = ThreadWorkers(4), SystemClock()
    database = Database(f"sqlite:///{read_model_path}")
    records = Records(f"sqlite:///{read_model_path.with_suffix('.records')}", workers)
    nobody: Any = Nobody()
    async with run_service(
        genesis=genesis,
        scheme=Accepting(),
        ledger=nobody,
        transport=nobody,
        store=MemoryStore(),
        database=database,
        clock=clock,
        rng=SystemRng(),
        readers=workers,
        writers=workers,
        registry=CollectorRegistry(),
        gateway_url="http://127.0.0.1",
        records=records,
        points_per_hour=0,
    ) as service:
        read_model = ReadModel(database, workers)
        core, prepared = _core(read_model, prepared=False), _core(read_model, prepared=True)
        yield {"api": service.app, "core": core, "prepared": prepared, "json": _json(read_model)}
    records.close()
    database.close()
    workers.close()


def _core(read_model: ReadModel, *, prepared: bool) -> Starlette:
    schema = build_schema(sdl())
    parsed = {document.query: parse(document.query) for document in DOCUMENTS.values()}
    for document in parsed.values():
        if errors := validate(schema, document):
            raise SystemExit(str(errors[0]))
    answers = {document.query: document.answer for document in DOCUMENTS.values()}

    def type_of_event(value: Data, *_: Any) -> str:
        return str(value["__typename"])

    interface: Any = schema.get_type("Event")
    interface.resolve_type = type_of_event

    async def serve(request: Request) -> Response:
        query = json.loads(await request.body())["query"]
        async with read_model.reading() as reading:
            root = await reading.run(answers[query])
        result = execute(schema, parsed[query], root) if prepared else graphql_sync(schema, query, root)
        assert isinstance(result, ExecutionResult), "nothing in it waits"
        if result.errors:
            raise SystemExit(str(result.errors[0]))
        return Response(json.dumps({"data": result.data}, separators=(",", ":")), media_type="application/json")

    return Starlette(routes=[Route("/graphql", serve, methods=["POST"])])


def _json(read_model: ReadModel) -> Starlette:
    answers = {document.query: document.answer for document in DOCUMENTS.values()}

    async def serve(request: Request) -> Response:
        query = json.loads(await request.body())["query"]
        async with read_model.reading() as reading:
            return JSONResponse(await reading.run(answers[query]))

    return Starlette(routes=[Route("/graphql", serve, methods=["POST"])])


async def call(app: Any, query: str) -> Data:
    """One request to an ASGI application."""
    body = json.dumps({"query": query}).encode()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"api"), (b"accept", b"application/json")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("api", 80),
    }
    await app(scope, receive, send)
    answer: Data = json.loads(b"".join(message.get("body", b"") for message in sent))
    return answer.get("data", answer)


async def requests_per_s(apps: Mapping[str, Any], query: str, n_requests: int) -> dict[str, float]:
    """Answers of each in a second of this process's CPU time; the best of some rounds, which they take in turn."""
    best = dict.fromkeys(apps, 0.0)
    for _ in range(ROUNDS):
        for way, app in apps.items():
            start = time.process_time()
            for _ in range(n_requests // ROUNDS):
                await call(app, query)
            best[way] = max(best[way], n_requests // ROUNDS / (time.process_time() - start))
    return best
