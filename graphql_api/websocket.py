"""`graphql-transport-ws`: subscriptions, and any other operation, over a WebSocket.

A client sends `connection_init` (with `{"authorization": "Bearer …"}` if it has a token), is acknowledged, and then may
`subscribe` under ids of its own. The protocol and its close codes: enisdenjo/graphql-ws, PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from graphql_api.access import Caller, Unauthenticated
from graphql_api.cluster_tokens import TokenReviewUnavailable
from graphql_api.errors import extensions_of
from graphql_api.rates import SUBSCRIBE_POINTS, RateLimited, Rates
from graphql_api.streams import Request, Streams, TooManyStreams
from haulout.errors import HauloutError

PROTOCOL = "graphql-transport-ws"
INIT_TIMEOUT_S = 10
PING_S = 15
SEND_TIMEOUT_S = 30
MESSAGE_BYTES_MAX = 64 * 1024
MESSAGES_PER_SECOND = 50  # a client that sends more is not one

RESTARTING = 1012
TRY_AGAIN = 1013
BAD_MESSAGE = 4400
UNAUTHORIZED = 4401
FORBIDDEN = 4403
BAD_PROTOCOL = 4406
INIT_TIMEOUT = 4408
DUPLICATE = 4409
TOO_MUCH = 4429

Authenticate = Callable[[str], Awaitable[Caller]]


class Closing(Exception):
    """The connection ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """One client."""

    def __init__(
        self,
        websocket: WebSocket,
        streams: Streams,
        authenticate: Authenticate,
        rates: Rates,
        new_trace_id: Callable[[], str],
        *,
        subscriptions_max: int,
    ) -> None:
        """`authenticate` makes the caller behind an authorization, and raises what keeps it out."""
        self._websocket = websocket
        self._streams = streams
        self._authenticate = authenticate
        self._rates = rates
        self._new_trace_id = new_trace_id
        self._subscriptions_max = subscriptions_max
        self._authorization = websocket.headers.get("authorization", "")
        self._caller: Caller | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._window = (0.0, 0)

    async def serve(self) -> None:
        """Until the client goes or has to."""
        if PROTOCOL not in self._websocket.scope.get("subprotocols", ()):
            await self._websocket.close(BAD_PROTOCOL, "Subprotocol not acceptable")
            return
        await self._websocket.accept(PROTOCOL)
        tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._keep_alive())]
        try:
            done, _ = await asyncio.wait([*tasks, self._failed], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Closing as e:
            with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
                async with asyncio.timeout(1):
                    await self._websocket.close(e.code, e.reason)
        except WebSocketDisconnect:
            pass
        finally:
            self._failed.cancel()
            everything = [*tasks, *self._running.values()]
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)

    async def _receive(self) -> None:
        try:
            async with asyncio.timeout(INIT_TIMEOUT_S):
                await self._init(await self._next())
        except TimeoutError as e:
            raise Closing(INIT_TIMEOUT, "Connection initialisation timeout") from e
        while True:
            message = await self._next()
            match message.get("type"):
                case "subscribe":
                    self._subscribe(message)
                case "complete":
                    task = self._running.pop(str(message.get("id")), None)
                    if task is not None:
                        task.cancel()
                case "ping":
                    await self._send('{"type":"pong"}')
                case "pong":
                    pass
                case "connection_init":
                    raise Closing(TOO_MUCH, "Too many initialisation requests")
                case _:
                    raise Closing(BAD_MESSAGE, "Unknown message type")

    async def _init(self, message: dict[str, Any]) -> None:
        while message.get("type") in ("ping", "pong"):
            if message["type"] == "ping":
                await self._send('{"type":"pong"}')
            message = await self._next()
        if message.get("type") != "connection_init":
            raise Closing(UNAUTHORIZED, "Unauthorized")
        payload = message.get("payload") or {}
        if not isinstance(payload, dict):
            raise Closing(BAD_MESSAGE, "The payload of connection_init is an object")
        sent = payload.get("authorization", payload.get("Authorization", self._authorization))
        self._authorization = sent if isinstance(sent, str) else ""
        await self._identify(FORBIDDEN)
        await self._send('{"type":"connection_ack"}')

    async def _identify(self, code: int) -> None:
        try:
            self._caller = await self._authenticate(self._authorization)
        except Unauthenticated as e:
            raise Closing(code, f"{e.code}: {e.problem}"[:120]) from e
        except RateLimited as e:
            raise Closing(TOO_MUCH, e.code) from e
        except TokenReviewUnavailable as e:
            raise Closing(TRY_AGAIN, e.code) from e

    async def _keep_alive(self) -> None:
        """Ping, and end a connection whose token has ended."""
        while True:
            await asyncio.sleep(PING_S)
            if self._caller is not None:
                await self._identify(UNAUTHORIZED)
                await self._ping()

    async def _next(self) -> dict[str, Any]:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        self._count()
        text = message.get("text")
        if text is None or len(text) > MESSAGE_BYTES_MAX or text.count("[") + text.count("{") > 1_000:
            raise Closing(BAD_MESSAGE, "A message is JSON text of at most 64 KiB")
        try:
            decoded = json.loads(text)
            json.dumps(decoded, ensure_ascii=False).encode()  # half of a character can be named, and stored nowhere
        except (ValueError, RecursionError) as e:
            raise Closing(BAD_MESSAGE, "A message is JSON text") from e
        if not isinstance(decoded, dict):
            raise Closing(BAD_MESSAGE, "A message is an object")
        return decoded

    def _count(self) -> None:
        """End a flood."""
        now = asyncio.get_running_loop().time()
        begun, count = self._window
        self._window = (now, 1) if now - begun >= 1 else (begun, count + 1)
        if self._window[1] > MESSAGES_PER_SECOND:
            raise Closing(TOO_MUCH, "Too many messages")

    def _subscribe(self, message: dict[str, Any]) -> None:
        name, payload = message.get("id"), message.get("payload")
        if not isinstance(name, str) or not name or not isinstance(payload, dict):
            raise Closing(BAD_MESSAGE, "A subscribe message has an id and a payload")
        if name in self._running:
            raise Closing(DUPLICATE, f"Subscriber for {name[:60]} already exists")
        query, variables = payload.get("query"), payload.get("variables")
        operation_name = payload.get("operationName")
        is_well_formed = isinstance(query, str) and isinstance(variables, dict | None)
        if not is_well_formed or not isinstance(operation_name, str | None) or self._caller is None:
            raise Closing(BAD_MESSAGE, "The payload has a query, and may have variables and an operationName")
        request = Request(str(query), variables, operation_name, self._caller, self._new_trace_id())
        has_place = len(self._running) < self._subscriptions_max
        task = asyncio.create_task(self._stream(name, request) if has_place else self._refuse(name))
        task.add_done_callback(self._note_failure)
        self._running[name] = task

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _stream(self, name: str, request: Request) -> None:
        head = '{"id":' + json.dumps(name)
        errors: str | None = None
        try:
            self._rates.check(request.caller.client)
            self._rates.charge(request.caller.client, SUBSCRIBE_POINTS)
            async with aclosing(self._streams.listen(request)) as places:
                listener = await anext(places)
                async for payload in listener.messages():
                    await self._send(f'{head},"type":"next","payload":{payload}}}')
                if listener.is_cut_off:
                    raise Closing(RESTARTING, "The server restarts")
                errors = listener.errors
        except HauloutError as e:
            errors = _errors(e)
        await self._end(name, errors)

    async def _refuse(self, name: str) -> None:
        refused = TooManyStreams(what="subscriptions of this connection", count=self._subscriptions_max)
        await self._end(name, _errors(refused))

    async def _end(self, name: str, errors: str | None) -> None:
        """The last message of an id, which is free again before it is sent."""
        if self._running.get(name) is asyncio.current_task():
            del self._running[name]
        last = '"complete"' if errors is None else f'"error","payload":{errors}'
        await self._send(f'{{"id":{json.dumps(name)},"type":{last}}}')

    async def _ping(self) -> None:
        """All that is sent to a client that does not read waits for one thing: this message finds it out for all."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._send('{"type":"ping"}')
        except TimeoutError as e:
            raise Closing(TOO_MUCH, "The client does not read") from e

    async def _send(self, text: str) -> None:
        await self._websocket.send_text(text)


def _errors(error: HauloutError) -> str:
    return json.dumps([{"message": str(error), "extensions": extensions_of(error.code, cause=error)}])
