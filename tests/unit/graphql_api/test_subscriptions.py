"""Subscriptions: what each feed tells, one execution for many listeners, slow ones, and both transports."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import pytest
import websockets

from graphql_api import streams, subscriptions, view, websocket
from graphql_api.records.tokens import revoke_token
from graphql_api.streams import Listener
from haulout.ledger import events as e
from haulout.observability.http_server import serve_http
from haulout.ports import NodeHealth
from haulout.primitives import blob_id_text

EVENTS = "subscription { events { sequence __typename } }"
RESUMED = "subscription ($n: BigInt!) { events(afterSequence: $n) { sequence __typename } }"
INIT = json.dumps({"type": "connection_init"})
PATIENCE_S = 60  # for what comes in a moment, on a machine that has none


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "LOOK_MS", 20)


@pytest.fixture
async def live(net: Any) -> AsyncIterator[Any]:
    """The API over a history that goes on."""
    running = asyncio.create_task(net.follower.run())
    yield net
    running.cancel()


@pytest.fixture
async def url(live: Any) -> AsyncIterator[str]:
    async with serve_http(live.app, "127.0.0.1:0", drain_s=1) as address:
        yield f"{address}/graphql"
        live.app.state.streams.end_all()


class Client:
    """A client of graphql-transport-ws."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self.socket.recv())

    async def subscribe(self, query: str, name: str = "1", **variables: Any) -> None:
        await self.send(id=name, type="subscribe", payload={"query": query, "variables": variables})

    async def next(self, field: str) -> Any:
        """The field of the next result."""
        message = await self.receive()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"][field]

    async def close_code(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(websockets.ConnectionClosed) as closed:
                while True:
                    await self.socket.recv()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code


@contextlib.asynccontextmanager
async def connect(url: str, init: Any = None, **options: Any) -> AsyncIterator[Client]:
    async with websockets.connect(f"ws://{url}", subprotocols=["graphql-transport-ws"], **options) as socket:  # type: ignore[list-item]
        client = Client(socket)
        await client.send(type="connection_init", payload=init or {})
        assert await client.receive() == {"type": "connection_ack"}
        yield client


async def test_events_are_told_as_they_come_and_resumed_where_they_stopped(live: Any, url: str) -> None:
    async with connect(url) as client:
        await client.subscribe(EVENTS)
        first = live.history.n_events
        await wait_for_streams(live, 1)
        live.history.block(live.history.registered(4), live.history.registered(5))
        seen = [await client.next("events") for _ in range(2)]
        kinds = [(int(event["sequence"]), event["__typename"]) for event in seen]
        assert kinds == [(first, "BlobRegistered"), (first + 1, "BlobRegistered")]
        await client.send(id="1", type="complete")
        await wait_for_streams(live, 0)
    live.history.block(live.history.registered(6))  # while nobody listens
    async with connect(url) as client:
        await client.subscribe(RESUMED, n=str(first + 1))
        assert int((await client.next("events"))["sequence"]) == first + 2
        live.history.block(live.history.registered(7))
        assert int((await client.next("events"))["sequence"]) == first + 3
    await wait_for_streams(live, 0)


async def test_resuming_from_the_beginning_gives_every_event_once(live: Any, url: str) -> None:
    for number in range(10, 130):
        live.history.block(live.history.registered(number))
    async with connect(url) as client:
        await client.subscribe(RESUMED, n="0")
        seen = [int((await client.next("events"))["sequence"]) for _ in range(live.history.n_events - 1)]
    assert seen == list(range(1, live.history.n_events))


async def test_who_resumes_in_a_fragment_misses_nothing_either(live: Any, url: str) -> None:
    """What one has been told is not told to the next: resuming is never shared, wherever it stands in a document."""
    inside = "events(afterSequence: $n) { sequence }"
    for document in (
        "subscription ($n: BigInt!) { ...F } fragment F on Subscription { " + inside + " }",
        "subscription ($n: BigInt!) { ... on Subscription { " + inside + " } }",
    ):
        async with connect(url) as one, connect(url) as other:
            for client in (one, other):
                await client.subscribe(document, n="0")
                seen = [int((await client.next("events"))["sequence"]) for _ in range(live.history.n_events - 1)]
                assert seen == list(range(1, live.history.n_events))


async def test_a_result_is_executed_once_however_many_listen(live: Any, url: str) -> None:
    before = live.app.state.streams.n_executions._value.get()
    async with connect(url) as one, connect(url) as other:
        for client in (one, other):
            for number in range(5):
                await client.subscribe(EVENTS, str(number))
        await wait_for_listeners(live, 10)
        assert len(live.app.state.streams._all) == 1
        live.history.block(live.history.registered(4))
        for client in (one, other):
            told = [await client.receive() for _ in range(5)]
            assert sorted(message["id"] for message in told) == ["0", "1", "2", "3", "4"]
            assert len({json.dumps(message["payload"]) for message in told}) == 1
    assert live.app.state.streams.n_executions._value.get() == before + 1


async def test_callers_with_other_scopes_have_an_execution_of_their_own(live: Any, url: str) -> None:
    token = await live.token("STAKE")
    async with connect(url) as one, connect(url, token) as other:
        await one.subscribe(EVENTS)
        await other.subscribe(EVENTS)
        await wait_for_streams(live, 2)


async def wait_for_streams(live: Any, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(live.app.state.streams._all) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def wait_for_listeners(live: Any, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while live.app.state.streams.n_listeners != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def collect(listener: Listener) -> list[str]:
    return [message async for message in listener.messages()]


async def test_a_slow_listener_of_events_is_told_to_resume_and_nobody_waits_for_it() -> None:
    slow, quick = Listener(lossless=True), Listener(lossless=True)
    reading = asyncio.create_task(collect(quick))
    for number in range(streams.QUEUE_MAX + 1):
        assert slow.offer(str(number)) is (number < streams.QUEUE_MAX)
        assert quick.offer(str(number))
        await asyncio.sleep(0)
    quick.end()
    assert await reading == [str(number) for number in range(streams.QUEUE_MAX + 1)]
    assert await collect(slow) == []
    assert slow.errors is not None
    assert json.loads(slow.errors)[0]["extensions"]["code"] == "SLOW_CONSUMER"


async def test_a_slow_listener_of_states_gets_the_last_of_each() -> None:
    slow = Listener(lossless=False)
    slow.begin({"a": "0"})
    for number in range(5):
        assert slow.offer(str(number), "ab"[number % 2])
    for number in range(streams.QUEUE_MAX):
        assert slow.offer(f"c{number}", number) is (number < streams.QUEUE_MAX - 2)
    slow.end()
    assert await collect(slow) == [f"c{number}" for number in range(streams.QUEUE_MAX)]
    two = Listener(lossless=False)
    for number in range(5):
        two.offer(str(number), "ab"[number % 2])
    two.end()
    assert await collect(two) == ["4", "3"]


# --- feeds --------------------------------------------------------------------------------------------------


async def test_an_epoch_change_is_told_step_by_step(live: Any, url: str, ids: Any) -> None:
    query = "subscription { epochTransition { number phase transition { finishedMoves plannedMoves } } }"
    moves = "subscription { shardMoves { epoch shard state } }"
    async with connect(url) as epochs, connect(url) as shards:
        await epochs.subscribe(query)
        assert (await epochs.next("epochTransition"))["phase"] == "DONE"
        await shards.subscribe(moves)
        await wait_for_streams(live, 2)
        live.history.block(voting_ended(live))
        assert (await epochs.next("epochTransition"))["phase"] == "VOTED"
        started, opened = epoch_two(live, ids)
        live.history.block(started, opened)
        move = {"epoch": 2, "shard": 2}
        assert await shards.next("shardMoves") == [{**move, "state": "RUNNING"}]
        transition = {"finishedMoves": 0, "plannedMoves": 1}
        assert await epochs.next("epochTransition") == {"number": 2, "phase": "SYNC", "transition": transition}
        live.history.block(e.ShardsReceived(2, ids("node", 1), (2,), 0, True, 4))
        assert await shards.next("shardMoves") == [{**move, "state": "DONE"}]
        assert (await epochs.next("epochTransition"))["transition"]["finishedMoves"] == 1
        live.history.block(e.EpochDone(2, False))
        assert (await epochs.next("epochTransition"))["phase"] == "DONE"


def epoch_two(live: Any, ids: Any) -> tuple[e.EpochStarted, e.HandOversOpened]:
    """The first node gives its last shard to the second."""
    first, second, *others = voting_ended(live).members
    members = (replace(first, shards=(0, 1)), replace(second, shards=(2, *second.shards)), *others)
    moves = (e.ShardMove(2, ids("node", 0), ids("node", 1)),)
    return e.EpochStarted(2, members, 1 << 42, 100, 200), e.HandOversOpened(2, moves)


def voting_ended(live: Any) -> e.VotingEnded:
    started = next(event.body for event in live.history.blocks[0].events if isinstance(event.body, e.EpochStarted))
    return e.VotingEnded(2, started.members, 1 << 42)


async def test_a_node_is_told_again_when_it_falls_silent(live: Any, url: str, ids: Any) -> None:
    query = "subscription { storageNodes { name health { nodeStatus } } }"

    def health(status: str) -> NodeHealth:
        return NodeHealth(ids("node", 0), "node-0", 1, status, 1, 5, bytes(32), 5, (0, 1, 2), 0, 0, 1, 1)

    live.nodes.answers["127.0.0.1:31425"] = health("Active")
    async with connect(url) as client:
        await client.subscribe(query)
        first = [await client.next("storageNodes") for _ in range(4)]
        assert {node["name"]: (node["health"] or {}).get("nodeStatus") for node in first}["node-0"] == "Active"
        live.nodes.answers["127.0.0.1:31425"] = health("StorageFailed")
        async with connect(url) as late:
            await late.subscribe(query)
            names = [(await late.next("storageNodes"))["name"] for _ in range(4)]
            assert sorted(names) == ["node-0", "node-1", "node-2", "node-3"]
            assert len(live.app.state.streams._all) == 1
        changed = await client.next("storageNodes")
        assert changed == {"name": "node-0", "health": {"nodeStatus": "StorageFailed"}}


async def test_the_numbers_of_the_network_are_told_when_they_change(live: Any, url: str) -> None:
    async with connect(url) as client:
        await client.subscribe("subscription { system { blobCount certifiedBlobCount epoch { number } } }")
        numbers = {"certifiedBlobCount": "1", "epoch": {"number": 1}}
        assert await client.next("system") == {"blobCount": "3", **numbers}
        live.history.block(live.history.registered(7))
        assert await client.next("system") == {"blobCount": "4", **numbers}


async def test_a_blob_is_followed_from_registration_to_certificate(live: Any, url: str, ids: Any) -> None:
    query = "subscription ($b: BlobID!) { blob(blobId: $b) { state } }"
    async with connect(url) as client:
        await client.subscribe(query, b=blob_id_text(ids("blob", 2)))
        assert await client.next("blob") == {"state": "REGISTERED"}
        live.history.block(live.history.certified(live.history.registered(2)))
        assert await client.next("blob") == {"state": "CERTIFIED"}


async def test_objects_that_end_soon_are_told_once(live: Any, url: str, ids: Any) -> None:
    query = "subscription { expiringSoon(withinEpochs: 1) { objectId } }"
    async with connect(url) as client:
        await client.subscribe(query)
        await wait_for_streams(live, 1)
        live.history.block(live.history.registered(8, end_epoch=3), live.history.registered(9, end_epoch=4))
        told = await client.next("expiringSoon")
        assert told == {"objectId": "0x" + ids("object", 8).hex()}
        live.history.block(live.history.registered(10, end_epoch=2))
        assert await client.next("expiringSoon") == {"objectId": "0x" + ids("object", 10).hex()}


# --- transports ---------------------------------------------------------------------------------------------


async def test_a_query_has_the_same_answer_by_every_way(live: Any, url: str) -> None:
    query = "query ($n: Int) { blobs(first: $n) { nodes { blobId state } } }"
    async with connect(url) as client:
        by_post = await live.ask(query, n=2)
        await client.subscribe(query, n=2)
        by_socket = await client.receive()
        assert (await client.receive()) == {"id": "1", "type": "complete"}
        assert by_socket["payload"]["data"] == by_post
        assert by_socket["payload"]["extensions"]["watermark"]["epoch"] == 1
    by_events = await live.post(query, headers={"accept": "text/event-stream"}, n=2)
    assert by_events.headers["content-type"].startswith("text/event-stream")
    kind, data, *_ = by_events.text.split("\n")
    assert kind == "event: next"
    assert json.loads(data.removeprefix("data: "))["data"] == by_post
    assert by_events.text.endswith("event: complete\ndata:\n\n")


async def test_events_come_as_server_sent_events_too(live: Any, url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        body = {"query": RESUMED, "variables": {"n": "0"}}
        headers = {"accept": "text/event-stream"}
        async with http.stream("POST", f"http://{url}", json=body, headers=headers) as response:
            found = []
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    found.append(int(json.loads(line.removeprefix("data: "))["data"]["events"]["sequence"]))
                if len(found) == 5:
                    break
    assert found == [1, 2, 3, 4, 5]
    await wait_for_streams(live, 0)


async def test_a_mutation_needs_its_scope_over_a_socket_as_well(live: Any, url: str) -> None:
    query = 'mutation { createToken(input: {name: "x", scopes: []}) { secret } }'
    async with connect(url) as client:
        await client.subscribe(query)
        message = await client.receive()
        assert message["payload"]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    async with connect(url, await live.token("ADMIN")) as client:
        await client.subscribe(query)
        assert (await client.next("createToken"))["secret"].startswith("haulout_")


BAD_SUBSCRIPTIONS = [
    ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
    ("subscription {", "GRAPHQL_PARSE_FAILED"),
    ("subscription { events { ...F } } fragment F on Event { ...F }", "GRAPHQL_VALIDATION_FAILED"),
    ("subscription { " + "a " * 3_000 + "}", "QUERY_TOO_COMPLEX"),
    ("subscription { events { id } } #" + "x" * 11_000, "QUERY_TOO_COMPLEX"),
    ('subscription { events(filter: {types: ["Nonsense"]}) { id } }', "INVALID_ARGUMENT"),
    ("subscription { expiringSoon(withinEpochs: -1) { objectId } }", "INVALID_ARGUMENT"),
    ("", "INVALID_ARGUMENT"),
]


async def test_a_bad_subscription_is_refused_with_a_code(live: Any, url: str) -> None:
    async with connect(url) as client:
        for number, (query, code) in enumerate(BAD_SUBSCRIPTIONS):
            await client.subscribe(query, str(number))
            message = await client.receive()
            errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
            assert errors[0]["extensions"]["code"] == code, message
            if message["type"] == "next":
                assert (await client.receive())["type"] == "complete"
    await wait_for_streams(live, 0)


BREACHES: list[tuple[list[str], int]] = [
    (["not json"], 4400),
    (["[" * 2_000], 4400),
    (["[]"], 4400),
    ([INIT, '{"type": "ping", "payload": {"half a character": "\\ud800"}}'], 4400),
    ([INIT, '{"type": "ping", "payload": ' + "9" * 6_000 + "}"], 4400),
    ([json.dumps({"type": "subscribe", "id": "1", "payload": {"query": EVENTS}})], 4401),
    ([json.dumps({"type": "connection_init", "payload": 5})], 4400),
    ([json.dumps({"type": "connection_init", "payload": {"authorization": "Bearer haulout_x"}})], 4403),
    ([INIT, INIT], 4429),
    ([INIT, json.dumps({"type": "dance"})], 4400),
    ([INIT, json.dumps({"type": "subscribe", "id": 5, "payload": {}})], 4400),
    ([INIT, json.dumps({"type": "subscribe", "id": "1", "payload": {"query": 5}})], 4400),
    ([INIT] + [json.dumps({"type": "subscribe", "id": "1", "payload": {"query": EVENTS}})] * 2, 4409),
    ([INIT] + [json.dumps({"type": "ping"})] * 200, 4429),
]


async def test_who_breaks_the_protocol_is_closed_with_its_code(url: str) -> None:
    for messages, code in BREACHES:
        async with websockets.connect(f"ws://{url}", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            with contextlib.suppress(websockets.ConnectionClosed):
                for message in messages:
                    await socket.send(message)
            assert await Client(socket).close_code() == code, messages


async def test_another_protocol_is_refused(url: str) -> None:
    with pytest.raises(websockets.InvalidStatus):
        async with websockets.connect(f"ws://{url}", subprotocols=["graphql-ws"]):  # type: ignore[list-item]
            pass


async def test_a_connection_has_so_many_subscriptions_and_no_more(live: Any, url: str) -> None:
    object.__setattr__(live.services, "bounds", replace(live.services.bounds, subscriptions=3))
    async with connect(url) as client:
        for number in range(4):
            await client.subscribe(EVENTS, str(number))
        message = await client.receive()
        assert (message["type"], message["id"]) == ("error", "3")
        assert message["payload"][0]["extensions"]["code"] == "TOO_MANY_SUBSCRIPTIONS"


async def test_a_flood_of_subscriptions_is_refused_and_leaves_nothing(
    live: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LISTENERS_MAX", 3)
    async with connect(url) as client:
        for number in range(5):
            await client.subscribe(EVENTS, str(number))
        codes = [(await client.receive())["payload"][0]["extensions"]["code"] for _ in range(2)]
        assert codes == ["TOO_MANY_SUBSCRIPTIONS"] * 2
    await wait_for_streams(live, 0)


async def test_a_token_that_ends_ends_the_connection(live: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "PING_S", 0.05)
    async with connect(url, await live.token()) as client:
        await client.subscribe(EVENTS)
        await end_token(live)
        assert await client.close_code() == 4401


async def test_a_token_that_ends_ends_server_sent_events(live: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "HEARTBEAT_S", 0.05)
    headers = {"accept": "text/event-stream", **await live.token()}
    told = ""
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http,
        http.stream("POST", f"http://{url}", json={"query": EVENTS}, headers=headers) as response,
    ):
        async for text in response.aiter_text():
            told += text
            await end_token(live)  # once the line is alive
    *_, last, end, _ = told.split("\n\n")
    assert json.loads(last.split("data: ")[1])["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert end == "event: complete\ndata:"
    await wait_for_streams(live, 0)


async def end_token(net: Any) -> None:
    """Revoke the first token that was made."""
    await net.services.records.write(revoke_token, 1, net.services.clock.now_ms())


async def test_whatever_one_client_opens_others_find_a_place(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LISTENERS_MAX", 8)
    monkeypatch.setattr(streams, "STREAMS_MAX", 4)
    anyone = await live.services.access.caller_of("", origin=None, host=None)

    def ask(client: str, number: int) -> Any:
        query = EVENTS + " #" * number
        return live.app.state.streams.listen(streams.Request(query, None, None, replace(anyone, client=client), "0"))

    async with contextlib.AsyncExitStack() as stack:

        async def open_(client: str, number: int) -> None:
            await anext(await stack.enter_async_context(aclosing(ask(client, number))))

        for number in range(3):
            await open_("greedy", number)
        with pytest.raises(streams.TooManyStreams, match="3 different subscriptions of one client"):
            await anext(ask("greedy", 3))
        for _ in range(3):
            await open_("greedy", 0)
        with pytest.raises(streams.TooManyStreams, match="6 subscriptions of one client"):
            await anext(ask("greedy", 0))
        await open_("modest", 3)
        await open_("modest", 0)
        with pytest.raises(streams.TooManyStreams, match="8 subscriptions are open"):
            await anext(ask("modest", 0))
    await open_anew(live, ask)


async def open_anew(live: Any, ask: Any) -> None:
    """Who has let go of all places has all of its own again."""
    async with aclosing(ask("greedy", 3)) as places:
        await anext(places)
    await wait_for_streams(live, 0)


async def test_a_server_that_stops_lets_go_of_its_listeners(live: Any, url: str) -> None:
    async with connect(url) as client:
        await client.subscribe(EVENTS)
        await wait_for_streams(live, 1)
        live.app.state.streams.end_all()
        assert await client.close_code() == 1012


async def test_a_listener_does_not_hold_a_connection_of_the_database(live: Any) -> None:
    request = streams.Request(EVENTS, None, None, await live.services.access.caller_of("", origin=None, host=None), "0")
    async with aclosing(live.app.state.streams.listen(request)) as places:
        await anext(places)
        async with asyncio.timeout(PATIENCE_S):
            while live.database.readers.pool.checkedout():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
