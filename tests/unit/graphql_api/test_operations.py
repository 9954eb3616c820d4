"""Operations: how far uploads, leaves, epochs and changes of the number of nodes are; and that none is lost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from graphql_api import operations
from graphql_api.operation_keeper import ADVANCE_EPOCH, SETTLING_MS, OperationKeeper
from graphql_api.records import operations as kept
from graphql_api.records.operations import Operation, Part, Standing
from haulout.errors import TooFewNodes
from haulout.ledger import events as e
from haulout.observability.http_server import serve_http
from haulout.ports import ClusterReport, Condition, ProcessInfo
from haulout.primitives import ObjectId, blob_id_text, hex_id_text
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng
from tests.unit.graphql_api.test_subscriptions import connect

UPLOAD = (
    """mutation { createUpload(input: {epochs: 2}) { uploadUrl operation { id phase kind } userErrors { code } } }"""
)
DRAIN = """mutation ($n: ObjectID!) { drainNode(input: {nodeId: $n}) {
  operation { id kind phase totalParts } userErrors { code retry } } }"""
SCALE = """mutation ($n: Int!) { scaleCluster(input: {nodes: $n}) {
  operation { id kind phase doneParts totalParts } userErrors { code retry } } }"""
STATE = """query ($id: ID!) { operation(id: $id) { phase progress doneBytes totalBytes doneParts totalParts finishedAt
  steps { phase } error { code } perNode { weight hasConfirmed node { name } } blob { blobId }
  result { ... on Blob { blobId } ... on StorageNode { name } ... on Epoch { number } } } }"""
LIST = "query ($f: OperationFilter) { operations(filter: $f) { totalCount nodes { id kind phase } } }"
CLUSTER = "{ cluster { place ready processes { name role state addresses { kind url } } conditions { type status } } }"


class Control:
    """Runs processes as a test says."""

    def __init__(self) -> None:
        self.nodes = 4
        self.conditions = [Condition("Progressing", False, "Settled", "")]
        self.drained: list[str] = []

    async def list_processes(self) -> ClusterReport:
        urls = {"grpc": "127.0.0.1:1"}
        nodes = [ProcessInfo(f"node-{i}", "node", 1, "ready", (), 0, urls) for i in range(self.nodes)]
        ledger = ProcessInfo("ledger", "ledger", 2, "ready", (), 0, {})
        return ClusterReport("/tmp/net", True, (ledger, *nodes), tuple(self.conditions))

    async def drain_node(self, name: str) -> ObjectId:
        self.drained.append(name)
        return ObjectId(bytes(32))

    async def scale_nodes(self, n_nodes: int) -> None:
        if n_nodes < 4:
            raise TooFewNodes(n_nodes=n_nodes, cap=3, n_shards=10, smallest=4)
        self.conditions = [Condition("Progressing", True, "NodesChanging", "")]


@pytest.fixture
async def live(net: Any) -> AsyncIterator[Any]:
    """The API over a history that goes on, with somebody who runs the processes."""
    net.control = net.services.operations.control = Control()
    running = asyncio.create_task(net.follower.run())
    yield net
    running.cancel()


async def change(net: Any, query: str, scope: str, **variables: Any) -> Any:
    """The payload of a mutation."""
    answer = (await net.post(query, headers=await net.token(scope), **variables)).json()
    assert "errors" not in answer, answer["errors"]
    (payload,) = answer["data"].values()
    return payload


async def state(net: Any, operation_id: str) -> Any:
    return (await net.ask(STATE, id=operation_id))["operation"]


async def block(net: Any, *bodies: Any) -> None:
    """One block more, and its rows."""
    height = net.history.block(*bodies).height
    assert await net.follower.wait_for_height(height, timeout_ms=10_000)


# --- uploads ------------------------------------------------------------------------------------------------


class Uploads:
    """A gateway's documents of one upload."""

    def __init__(self, ids: Any) -> None:
        node = {"nodeId": hex_id_text(ids("node", 0)), "name": "node-0", "weight": 3, "problem": None}
        self.announced: list[dict[str, Any]] = []
        self.document: dict[str, Any] | None = {
            "id": "",
            "phase": "waiting",
            "doneBytes": 0,
            "totalBytes": 0,
            "nodes": [{**node, "hasConfirmed": True}],
            "result": None,
            "error": None,
        }

    async def announce(self, request: Request) -> JSONResponse:
        self.announced.append({**request.query_params, **await request.json()})
        if self.document is not None:
            self.document["id"] = f"{len(self.announced):032x}"
        return await self.answer(request)

    async def answer(self, _: Request) -> JSONResponse:
        if self.document is None:
            details = [{"reason": "UPLOAD_NOT_FOUND"}]
            return JSONResponse({"error": {"status": "NOT_FOUND", "details": details, "message": "gone"}}, 404)
        return JSONResponse(self.document)


@pytest.fixture
async def uploads(live: Any, ids: Any) -> AsyncIterator[Uploads]:
    uploads = Uploads(ids)
    routes = [
        Route("/v1/uploads", uploads.announce, methods=["POST"]),
        Route("/v1/uploads/{upload_id}", uploads.answer, methods=["GET"]),
    ]
    async with serve_http(Starlette(routes=routes), "127.0.0.1:0", drain_s=1) as address:
        live.services.gateway.url = f"http://{address}"
        yield uploads
        await live.services.gateway.close()


async def test_an_upload_is_followed_and_its_end_outlives_the_gateway(live: Any, uploads: Any, ids: Any) -> None:
    made = await change(live, UPLOAD, "WRITE_BLOB")
    assert made["uploadUrl"].endswith(f"/v1/uploads/{1:032x}")
    assert (made["operation"]["phase"], made["operation"]["kind"]) == ("WAITING", "UPLOAD")
    uploads.document.update(phase="uploading", doneBytes=30, totalBytes=40)
    seen = await state(live, made["operation"]["id"])
    assert (seen["phase"], seen["progress"], seen["doneBytes"], seen["totalBytes"]) == ("UPLOADING", 0.75, "30", "40")
    assert seen["perNode"] == [{"weight": 3, "hasConfirmed": True, "node": {"name": "node-0"}}]
    blob_id = blob_id_text(ids("blob", 1))
    uploads.document.update(phase="done", result={"alreadyCertified": {"blobId": blob_id}})
    seen = await state(live, made["operation"]["id"])
    assert (seen["phase"], seen["progress"], seen["blob"]) == ("DONE", 1.0, {"blobId": blob_id})
    assert seen["result"] == {"blobId": blob_id}
    assert seen["finishedAt"] is not None
    uploads.document = None  # the gateway was started again
    assert await state(live, made["operation"]["id"]) == seen
    assert [step["phase"] for step in seen["steps"]] == ["WAITING", "UPLOADING", "DONE"]


async def test_an_upload_that_is_asked_for_twice_is_begun_once(live: Any, uploads: Any) -> None:
    query = """mutation ($i: CreateUploadInput!) { createUpload(input: $i) {
      uploadUrl operation { id } clientMutationId userErrors { code } } }"""
    asked = {"epochs": 2, "size": "700", "attributes": [{"key": "type", "value": "film"}], "idempotencyKey": "one"}
    made = await change(live, query, "WRITE_BLOB", i=asked)
    assert uploads.announced == [
        {"epochs": "2", "deletable": "true", "sizeBytes": 700, "attributes": {"type": "film"}},
    ]
    headers = await live.token("WRITE_BLOB")

    async def ask(**changes: Any) -> Any:
        return (await live.post(query, headers=headers, i={**asked, **changes})).json()["data"]["createUpload"]

    theirs = await ask()  # another token's key
    assert theirs["operation"] != made["operation"]
    both = await asyncio.gather(ask(), ask(clientMutationId="x"))
    assert [one["operation"] for one in both] == [theirs["operation"]] * 2
    assert [one["uploadUrl"] for one in both] == [theirs["uploadUrl"]] * 2
    assert [one["clientMutationId"] for one in both] == [None, "x"]
    assert (await ask(epochs=3))["userErrors"] == [{"code": "IDEMPOTENCY_KEY_REUSED"}]
    n_announced = len(uploads.announced)
    fresh = await asyncio.gather(ask(idempotencyKey="two"), ask(idempotencyKey="two"))  # neither sees the other's
    assert fresh[0]["operation"] == fresh[1]["operation"] != theirs["operation"]
    assert fresh[0]["uploadUrl"] == fresh[1]["uploadUrl"]
    assert len(uploads.announced) <= n_announced + 2
    for wrong in ({"idempotencyKey": ""}, {"attributes": [*asked["attributes"], *asked["attributes"]]}):
        refused = await ask(**{"idempotencyKey": "three", **wrong})
        assert refused["userErrors"] == [{"code": "INVALID_ARGUMENT"}]


async def test_operations_are_found_by_their_state(live: Any, uploads: Any, ids: Any) -> None:
    query = "query ($s: [OperationState!]) { operations(filter: {state: $s}) { nodes { id state } totalCount } }"
    headers = await live.token("OPERATE")

    async def found(*states: str) -> list[tuple[str, str]]:
        answer = (await live.post(query, headers=headers, s=list(states))).json()["data"]["operations"]
        assert int(answer["totalCount"]) == len(answer["nodes"])
        return sorted((node["id"], node["state"]) for node in answer["nodes"])

    made = [(await change(live, UPLOAD, "WRITE_BLOB"))["operation"]["id"] for _ in range(3)]
    result = {"alreadyCertified": {"blobId": blob_id_text(ids("blob", 1))}}
    for number, phase in ((0, "done"), (1, "failed")):
        uploads.document.update(phase=phase, result=result if phase == "done" else None)
        await state(live, made[number])
    expected = list(zip(made, ("SUCCEEDED", "FAILED", "RUNNING"), strict=True))
    for number in range(3):
        assert await found(expected[number][1]) == [expected[number]]
    assert await found("RUNNING", "FAILED") == sorted(expected[1:])
    assert await found("SUCCEEDED", "FAILED") == sorted(expected[:2])
    assert await found() == sorted(expected)


async def test_an_upload_that_the_gateway_forgot_has_failed(live: Any, uploads: Any) -> None:
    made = await change(live, UPLOAD, "WRITE_BLOB")
    uploads.document = None
    seen = await state(live, made["operation"]["id"])
    assert (seen["phase"], seen["error"]["code"]) == ("FAILED", "UPLOAD_NOT_FOUND")


async def test_a_gateway_that_does_not_answer_leaves_the_last_word(live: Any, uploads: Any) -> None:
    made = await change(live, UPLOAD, "WRITE_BLOB")
    live.services.gateway.url = "http://127.0.0.1:1"
    seen = await state(live, made["operation"]["id"])
    assert (seen["phase"], seen["error"]) == ("WAITING", None)


async def test_what_has_begun_is_followed_without_anybody_asking(
    live: Any, uploads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_api.operation_keeper.PERIOD_MS", 10)
    await change(live, UPLOAD, "WRITE_BLOB")
    # As after a restart of this process: another keeper over the same records.
    services = live.services
    keeper = OperationKeeper(
        services.records, live.read_model, services.gateway, None, clock=SystemClock(), rng=SystemRng()
    )
    running = asyncio.create_task(keeper.run())
    uploads.document.update(phase="failed", error={"code": "INSUFFICIENT_FUNDS", "message": "too little"})
    async with asyncio.timeout(10):
        while await services.records.read(kept.unfinished):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    answer = (await live.post(LIST, headers=await live.token("OPERATE"), f={"finished": True})).json()
    assert [node["phase"] for node in answer["data"]["operations"]["nodes"]] == ["FAILED"]


# --- nodes that leave, epochs that begin ---------------------------------------------------------------------


def epoch_two(net: Any, ids: Any) -> tuple[e.EpochStarted, e.HandOversOpened]:
    """Node 0 is out; its three shards go to two others."""
    started = next(event.body for event in net.history.blocks[0].events if isinstance(event.body, e.EpochStarted))
    _, second, third, fourth = started.members
    members = (
        dataclasses.replace(second, shards=(*second.shards, 0, 1)),
        dataclasses.replace(third, shards=(*third.shards, 2)),
        fourth,
    )
    takers = (ids("node", 1), ids("node", 1), ids("node", 2))
    moves = tuple(e.ShardMove(shard, ids("node", 0), taker) for shard, taker in enumerate(takers))
    return e.EpochStarted(2, members, 1 << 42, 100, 200), e.HandOversOpened(2, moves)


async def test_a_node_is_drained_shard_by_shard(live: Any, ids: Any) -> None:
    node = hex_id_text(ids("node", 0))
    begun = (await change(live, DRAIN, "OPERATE", n=node))["operation"]
    assert live.control.drained == ["node-0"]
    assert (begun["kind"], begun["phase"], begun["totalParts"]) == ("DRAIN_NODE", "REQUESTED", 3)
    await block(live, e.NodeLeaveRequested(ids("node", 0)))
    assert (await state(live, begun["id"]))["phase"] == "LEAVING"
    await block(live, *epoch_two(live, ids))
    seen = await state(live, begun["id"])
    assert (seen["phase"], seen["doneParts"], seen["totalParts"]) == ("MOVING", 0, 3)
    await block(live, e.ShardsReceived(2, ids("node", 1), (0, 1), 0, True, 5))
    seen = await state(live, begun["id"])
    assert (seen["phase"], seen["doneParts"]) == ("MOVING", 2)
    assert seen["perNode"] == [
        {"weight": 2, "hasConfirmed": True, "node": {"name": "node-1"}},
        {"weight": 1, "hasConfirmed": False, "node": {"name": "node-2"}},
    ]
    await block(live, e.ShardsReceived(2, ids("node", 2), (2,), 0, True, 8))
    seen = await state(live, begun["id"])
    assert (seen["phase"], seen["progress"], seen["result"]) == ("DONE", 1.0, {"name": "node-0"})


async def test_a_leave_that_was_taken_back_is_told(live: Any, ids: Any) -> None:
    begun = (await change(live, DRAIN, "OPERATE", n=hex_id_text(ids("node", 0))))["operation"]
    await block(live, e.NodeLeaveRequested(ids("node", 0)))
    await block(live, e.NodeLeaveCancelled(ids("node", 0)))
    seen = await state(live, begun["id"])
    assert (seen["phase"], seen["error"]["code"]) == ("FAILED", "LEAVE_CANCELLED")


async def test_an_epoch_that_was_begun_is_done_when_the_ledger_says_so(live: Any, ids: Any) -> None:
    begun = await live.services.operations.begin(ADVANCE_EPOCH, {"epoch": 2}, Standing("MOVING"))
    await block(live, *epoch_two(live, ids))
    async with live.read_model.reading() as reading:
        seen = await live.services.operations.look(begun, reading)
    assert (seen.standing.phase, seen.standing.done, seen.standing.total) == ("MOVING", 0, 3)
    await block(live, e.EpochDone(2, False))
    async with live.read_model.reading() as reading:
        seen = await live.services.operations.look(begun, reading)
    assert (seen.standing.phase, seen.ended_ms is not None) == ("DONE", True)


# --- the number of nodes -------------------------------------------------------------------------------------


async def test_the_number_of_nodes_is_followed_to_the_one_asked_for(live: Any) -> None:
    begun = (await change(live, SCALE, "ADMIN", n=6))["operation"]
    assert (begun["kind"], begun["phase"], begun["doneParts"], begun["totalParts"]) == (
        "SCALE_CLUSTER",
        "CHANGING",
        4,
        6,
    )
    live.control.nodes = 6
    assert (await state(live, begun["id"]))["phase"] == "CHANGING"  # the last one is still joining
    live.control.conditions = [Condition("Progressing", False, "Settled", "")]
    assert (await state(live, begun["id"]))["phase"] == "DONE"


async def test_an_operation_is_told_with_each_step_to_its_end(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LOOK_S", 0.02)
    begun = (await change(live, SCALE, "ADMIN", n=6))["operation"]
    query = "subscription ($id: ID!) { operation(id: $id) { phase doneParts } }"
    async with serve_http(live.app, "127.0.0.1:0", drain_s=1) as address, connect(f"{address}/graphql") as client:
        await client.subscribe(query, id=begun["id"])
        assert await client.next("operation") == {"phase": "CHANGING", "doneParts": 4}
        live.control.nodes = 6
        assert await client.next("operation") == {"phase": "CHANGING", "doneParts": 6}
        live.control.conditions = [Condition("Progressing", False, "Settled", "")]
        assert await client.next("operation") == {"phase": "DONE", "doneParts": 6}
        assert await client.receive() == {"id": "1", "type": "complete"}


async def test_a_change_of_the_number_ends_when_it_is_blocked_replaced_or_given_up(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await change(live, SCALE, "ADMIN", n=5))["operation"]
    second = (await change(live, SCALE, "ADMIN", n=6))["operation"]
    assert (await state(live, first["id"]))["error"]["code"] == "OPERATION_SUPERSEDED"
    live.control.conditions = [
        Condition("Progressing", False, "Settled", ""),
        Condition("ScalingBlocked", True, "INSUFFICIENT_FUNDS", "too little"),
    ]
    seen = await state(live, second["id"])
    assert (seen["phase"], seen["error"]["code"]) == ("FAILED", "INSUFFICIENT_FUNDS")
    third = (await change(live, SCALE, "ADMIN", n=7))["operation"]
    live.control.conditions = [Condition("Progressing", False, "Settled", "")]  # a supervisor that forgot
    assert (await state(live, third["id"]))["phase"] == "CHANGING"
    now_ms = SystemClock().now_ms()
    monkeypatch.setattr(live.services.operations, "_clock", Later(now_ms + SETTLING_MS + 1_000))
    assert (await state(live, third["id"]))["error"]["code"] == "SCALING_INTERRUPTED"


class Later:
    """A clock that stands."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


async def test_refusals_come_as_user_errors(live: Any, ids: Any) -> None:
    refused = await change(live, SCALE, "ADMIN", n=1)
    assert refused == {"operation": None, "userErrors": [{"code": "BELOW_MIN_NODES", "retry": "NEVER"}]}
    unknown = await change(live, DRAIN, "OPERATE", n="0x1")
    assert unknown["userErrors"][0]["code"] == "INVALID_ARGUMENT"
    live.services.operations.control = None
    for query, scope, argument in ((SCALE, "ADMIN", 5), (DRAIN, "OPERATE", hex_id_text(ids("node", 0)))):
        assert (await change(live, query, scope, n=argument))["userErrors"][0]["code"] == "NO_CLUSTER_CONTROL"


async def test_who_runs_the_processes_is_asked_for_those_who_may_know(live: Any) -> None:
    answer = (await live.post(CLUSTER)).json()
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    cluster = (await live.post(CLUSTER, headers=await live.token("OPERATE"))).json()["data"]["cluster"]
    assert (cluster["place"], cluster["ready"], len(cluster["processes"])) == ("/tmp/net", True, 5)
    assert cluster["conditions"] == [{"type": "Progressing", "status": False}]


async def test_an_unknown_operation_is_null_and_another_id_an_error(live: Any, ids: Any) -> None:
    found = await live.ask("{ blobs(first: 1) { nodes { id } } }")
    assert (await live.refused(STATE, id=found["blobs"]["nodes"][0]["id"]))[0] == "INVALID_ARGUMENT"


# --- the records ---------------------------------------------------------------------------------------------


def an_operation(number: int) -> Operation:
    standing = Standing("MOVING", 1, 2, (Part(bytes([number]) * 32, 3, False, "busy"),), ("X", "y"), bytes(32))
    return Operation(f"{number:032x}", "DRAIN_NODE", {"nodeId": "00"}, number, standing, (("MOVING", number),))


async def test_an_operation_comes_back_as_it_was_kept(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_MAX", 2)
    records = net.services.records
    for number in range(1, 4):
        await records.write(kept.begin, an_operation(number))
    assert await records.read(kept.find, f"{1:032x}") == an_operation(1)  # it goes on: it is not forgotten
    ended = await records.write(lambda c: kept.advance(c, f"{1:032x}", Standing("DONE"), 9, ended=True))
    assert (ended.ended_ms, ended.steps) == (9, (("MOVING", 1), ("DONE", 9)))
    late = await records.write(lambda c: kept.advance(c, f"{1:032x}", Standing("FAILED"), 11, ended=True))
    assert late == ended
    await records.write(kept.begin, an_operation(4))
    assert await records.read(kept.find, f"{1:032x}") is None
    assert [o.started_ms for o in await records.read(kept.unfinished)] == [2, 3, 4]
