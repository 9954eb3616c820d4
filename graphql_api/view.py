"""GraphQL over HTTP: one snapshot per request, negotiated media types, coded errors, a watermark on every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from cross_web import AsyncHTTPRequestAdapter, HTTPException
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.schema import BaseSchema
from strawberry.types import ExecutionResult

from graphql_api import access
from graphql_api.access import Caller, Unauthenticated
from graphql_api.caching import CHANGING_S, max_age_s, tagged
from graphql_api.cluster_tokens import TokenReviewUnavailable
from graphql_api.context import Context, Services
from graphql_api.errors import extensions_of
from graphql_api.limits import refusal
from graphql_api.persisted import BadDocumentHash, Documents, check, named_hash
from graphql_api.rates import BAD_TOKEN_POINTS, SUBSCRIBE_POINTS, RateLimited, client_at, headers_of
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.reading import Reading, ReadModel
from graphql_api.records.database import RecordsUnavailable
from graphql_api.streams import Listener, Streams
from graphql_api.streams import Request as StreamRequest
from graphql_api.websocket import Connection
from haulout.errors import HauloutError
from haulout.observability import tracing
from haulout.observability.metrics import LATENCY_BUCKETS_S
from haulout.ports import Clock, Rng

BODY_BYTES_MAX = 256 * 1024
MIN_SEQUENCE_WAIT_MS = 5_000
MEDIA_JSON = "application/json"
MEDIA_GRAPHQL = "application/graphql-response+json"
MEDIA_EVENTS = "text/event-stream"
HEARTBEAT_S = 15
CALLER = "haulout.caller"  # where a request's ASGI scope carries them
TRACE = "haulout.trace"
REFUSALS = ("INVALID_ARGUMENT", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "QUERY_TOO_COMPLEX", "INTERNAL")

# The JSON parser recurses in C, where too deep a nesting ends the process instead of raising.
MAX_BRACKETS = 5_000


class View(GraphQL[Context, None]):
    """`POST /graphql`, and `GET /graphql` for documents that were sent before."""

    def __init__(
        self,
        schema: BaseSchema,
        services: Services,
        read_model: ReadModel,
        follower: Follower,
        *,
        clock: Clock,
        rng: Rng,
        registry: CollectorRegistry,
    ) -> None:
        super().__init__(schema, graphql_ide=None, allow_queries_via_get=True, subscription_protocols=())
        self._services = services
        self._read_model = read_model
        self._follower = follower
        self._clock = clock
        self._rng = rng
        self._documents = Documents()
        self._metrics = _Metrics(registry)
        self.streams = Streams(schema, services.bounds, self._build_context, self._encode_result, registry)

    # --- one request ----------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_websocket(WebSocket(scope, receive, send))
            return
        request = Request(scope, receive)
        started_us = self._clock.monotonic_us()
        response = await self._answer(request)
        self._metrics.seconds.observe((self._clock.monotonic_us() - started_us) / 1e6, tracing.exemplar())
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        trace_id = request.scope[TRACE] = self._trace_of(request)
        if request.method not in ("GET", "POST"):
            text = "send the query by POST with Content-Type: application/json"
            return self._error(trace_id, 405, "METHOD_NOT_ALLOWED", text, {"allow": "GET, POST"})
        if request.method == "GET" and not {"documentId", "extensions"} & set(request.query_params):
            text = "a GET names a document by its hash (documentId=sha256:…); send the text itself by POST"
            return self._error(trace_id, 400, "PERSISTED_QUERY_REQUIRED", text)
        try:
            body = await read_body(request)
            if body is None:
                text = f"a request body has at most {BODY_BYTES_MAX} bytes"
                return self._error(trace_id, 413, "REQUEST_TOO_LARGE", text)
            caller = await self._caller_of(request.headers, client_at(request.client and request.client.host))
            self._services.rates.check(caller.client)
            if request.method == "POST" and wants_events(request.headers.get("accept", "")):
                return await self._stream_events(Request(request.scope, _replay(body)), caller)
            response = await self.run(Request({**request.scope, CALLER: caller}, _replay(body)))
            if response.headers.get("cache-control") == "no-store":  # what a cache hands to others is no one client's
                response.headers.update(headers_of(self._services.rates.allowance(caller.client)))
                return response
            return tagged(response, request.headers.get("if-none-match", ""))
        except RateLimited as e:
            used_up = {"retry-after": str(e.retry_after_s), "cache-control": "no-store"}
            return self._error(trace_id, 429, e.code, str(e), used_up)
        except Unauthenticated as e:
            return self._error(trace_id, 401, e.code, str(e), {"www-authenticate": "Bearer"})
        except (RecordsUnavailable, TokenReviewUnavailable) as e:
            return self._error(trace_id, 503, e.code, str(e), {"retry-after": "1"}, cause=e)
        except HTTPException as e:
            return self._error(trace_id, e.status_code, "INVALID_ARGUMENT", e.reason)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it

    async def _caller_of(self, headers: Headers, client: str, authorization: str | None = None) -> Caller:
        """Who asks; nobody is answered who may not even read, and trying out tokens is dear."""
        sent = headers.get("authorization", "") if authorization is None else authorization
        origin, host = headers.get("origin"), headers.get("host")
        try:
            caller = await self._services.access.caller_of(sent, origin=origin, host=host, client=client)
            caller.check(access.Scope.READ)
        except Unauthenticated:
            self._services.rates.check(client)
            self._services.rates.charge(client, BAD_TOKEN_POINTS)
            raise
        return caller

    def _error(
        self,
        trace_id: str,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        cause: HauloutError | None = None,
    ) -> Response:
        self._metrics.rejections.labels(code=code).inc()
        extensions = {**extensions_of(code, trace_id, cause=cause), "http": status}
        errors = [{"message": message, "extensions": extensions}]
        return JSONResponse({"errors": errors}, status, {"cache-control": "no-store", **(headers or {})})

    async def execute_single(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Response,
        context: Context,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        await self._wait_for_min_sequence(request)
        context = Context(self._services, self._read_model, request.scope[CALLER], request.scope[TRACE])
        try:
            result = await self._execute(request, request_adapter, sub_response, context, root_value, request_data)
            self._metrics.queries.observe(context.n_queries)
            self._metrics.cost.observe(context.cost)
            for error in result.errors or ():
                self._metrics.rejections.labels(code=str((error.extensions or {}).get("code", "NONE"))).inc()
            if sub_response.headers.get("cache-control") != "no-store":
                age_s = max_age_s(request_data.query or "", result.data)
                sub_response.headers["cache-control"] = f"public, max-age={age_s}"
            result.extensions = {**(result.extensions or {}), "watermark": self._watermark(context.reading)}
            return result
        finally:
            await context.close()

    async def _execute(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Response,
        context: Context,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        bounds = self._services.bounds
        digest = named_hash(request_data.extensions, None)
        size = len((request_data.query or "").encode("utf-8", "surrogatepass"))
        if request_data.query is None and digest is not None:
            # What Apollo's clients wait for.
            error = refusal("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound", traceId=context.trace_id)
            return ExecutionResult(data=None, errors=[error])
        if size > bounds.query_bytes:
            text = f"the query has {size} bytes, at most {bounds.query_bytes} are allowed"
            error = refusal("QUERY_TOO_COMPLEX", text, traceId=context.trace_id)
            return ExecutionResult(data=None, errors=[error])
        try:
            async with asyncio.timeout(bounds.timeout_ms / 1000) as limit:
                context.limit = limit
                result = await super().execute_single(
                    request, request_adapter, sub_response, context, root_value, request_data
                )
        except TimeoutError:
            text = "the request took longer than `serviceConfig` allows"
            error = refusal("TIMEOUT", text, traceId=context.trace_id)
            result = ExecutionResult(data=None, errors=[error])
        if digest is not None and request_data.query is not None and result.data is not None:
            self._documents.keep(digest, request_data.query)
        return result

    # --- answers that go on ---------------------------------------------------------------------------------

    async def _serve_websocket(self, websocket: WebSocket) -> None:
        await Connection(
            websocket,
            self.streams,
            lambda authorization: self._caller_of(
                websocket.headers, client_at(websocket.client and websocket.client.host), authorization
            ),
            self._services.rates,
            lambda: self._rng.random_bytes(16).hex(),
            subscriptions_max=self._services.bounds.subscriptions,
        ).serve()

    async def _stream_events(self, request: Request, caller: Caller) -> Response:
        """Server-sent events, one operation per request: `next` for each result, `complete` at the end."""
        trace_id = request.scope[TRACE]
        data = await self.parse_http_body(self.request_adapter_class(request))
        if isinstance(data, list) or data.query is None:
            text = "server-sent events answer one document, sent as its text"
            return self._error(trace_id, 400, "INVALID_ARGUMENT", text)
        self._services.rates.charge(caller.client, SUBSCRIBE_POINTS)
        await self._wait_for_min_sequence(request)
        places = self.streams.listen(StreamRequest(data.query, data.variables, data.operation_name, caller, trace_id))
        try:
            listener = await anext(places)
        except HauloutError as e:
            return self._error(trace_id, 503, e.code, str(e), {"retry-after": "5"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}

        async def why_not() -> str | None:
            """What a caller is told whose token has ended."""
            try:
                await self._caller_of(request.headers, caller.client)
            except (Unauthenticated, RateLimited, TokenReviewUnavailable) as e:
                refused = {"message": str(e), "extensions": extensions_of(e.code, trace_id, cause=e)}
                return self.encode_json([refused])
            return None

        return StreamingResponse(event_stream(places, listener, why_not), headers=headers, media_type=MEDIA_EVENTS)

    def _trace_of(self, request: Request) -> str:
        """Under which id errors, the log and the audit have a request."""
        return tracing.trace_id(request.headers.get("traceparent", "")) or self._rng.random_bytes(16).hex()

    def _build_context(self, caller: Caller, trace_id: str) -> Context:
        return Context(self._services, self._read_model, caller, trace_id)

    def _encode_result(self, context: Context, result: ExecutionResult) -> str:
        """A result of a stream as JSON, with the block that it is as of."""
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [error.formatted for error in result.errors]
        answer["extensions"] = {**(result.extensions or {}), "watermark": self._watermark(context.reading)}
        return self.encode_json(answer)

    # --- reading what was written ---------------------------------------------------------------------------

    async def _wait_for_min_sequence(self, request: Request) -> None:
        """Let a client read what it has just written: `X-Min-Sequence: <event number>` waits up to 5 s for it."""
        text = request.headers.get("x-min-sequence", "")
        if text:
            if not (text.isascii() and text.isdigit() and len(text) < 19):
                raise HTTPException(400, "X-Min-Sequence is the number of an event, in decimal digits")
            await self._follower.wait_for_sequence(int(text), timeout_ms=MIN_SEQUENCE_WAIT_MS)

    def _watermark(self, reading: Reading) -> dict[str, Any]:
        """How far the answer's snapshot is, and for how long the ledger has been away."""
        finality = self._services.finality
        progress = reading.progress or self._follower.progress
        return {
            "height": progress.height,
            "attestedHeight": finality.attested_height,
            "sequence": progress.sequence,
            "epoch": progress.epoch,
            "ledgerSilentMs": finality.silence_ms(),
        }

    # --- transport ------------------------------------------------------------------------------------------

    def should_render_graphql_ide(self, request: Any) -> bool:
        return False

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        data = await super().parse_http_body(request)
        if isinstance(data, list):
            return data
        if not isinstance(data.operation_name, str | None):
            raise HTTPException(400, "The GraphQL operation's `operationName` must be a string or null, if provided.")
        document_id: object = request.query_params.get("documentId")
        if request.method == "POST" and data.query is None:
            body = self.parse_json(await request.get_body())
            document_id = body.get("documentId") if isinstance(body, dict) else None
        try:
            digest = named_hash(data.extensions, document_id)
            if digest is None:
                return data
            if data.query is not None:
                check(digest, data.query)
        except BadDocumentHash as e:
            raise HTTPException(400, str(e)) from e
        extensions = {**(data.extensions or {}), "persistedQuery": {"version": 1, "sha256Hash": digest}}
        return replace(data, query=data.query or self._documents.find(digest), extensions=extensions)

    def decode_json(self, data: str | bytes) -> object:
        text = data if isinstance(data, bytes) else data.encode()
        if text.count(b"[") + text.count(b"{") > MAX_BRACKETS:
            raise HTTPException(400, "Unable to parse request body as JSON")
        try:
            decoded = super().decode_json(data)
            json.dumps(decoded, ensure_ascii=False).encode()  # JSON can name half of a character; nothing can store it
        except (ValueError, RecursionError) as e:  # numbers of thousands of digits among them
            raise HTTPException(400, "Unable to parse request body as JSON") from e
        if isinstance(data, bytes) and not isinstance(decoded, dict | list):
            raise HTTPException(400, "A request is a JSON object")
        return decoded

    def encode_json(self, data: object) -> str:
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False)

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        response = await super().get_sub_response(request)
        response.media_type = negotiate(request.headers.get("accept", ""))
        is_get = isinstance(request, Request) and request.method == "GET"
        is_public = is_get and "authorization" not in request.headers
        response.headers["cache-control"] = f"public, max-age={CHANGING_S}" if is_public else "no-store"
        return response

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        answer = await super().process_result(request, result)
        if result.data is None and result.errors and all(error.path is None for error in result.errors):
            answer.pop("data", None)  # a request error: nothing was executed
        return answer

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        media = sub_response.media_type or MEDIA_JSON
        if isinstance(response_data, dict) and "data" not in response_data and media == MEDIA_GRAPHQL:
            sub_response.status_code = 400
        if isinstance(response_data, list) or "errors" in response_data:
            sub_response.headers["cache-control"] = "no-store"
        response = super().create_response(response_data, sub_response)
        response.headers["content-type"] = f"{media}; charset=utf-8"
        response.headers["vary"] = "Accept, X-Min-Sequence, Authorization"
        return response


def negotiate(accept: str) -> str:
    """The media type of the answer: the GraphQL one only when it is named and nothing is preferred to it."""
    weights = {MEDIA_JSON: 0.0, MEDIA_GRAPHQL: 0.0}
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if name.lower() in weights:
            weights[name.lower()] = weight
    best = weights[MEDIA_GRAPHQL]
    return MEDIA_GRAPHQL if best > 0 and best >= weights[MEDIA_JSON] else MEDIA_JSON


def wants_events(accept: str) -> bool:
    """Whether a client asks for server-sent events."""
    return any(part.split(";")[0].strip().lower() == MEDIA_EVENTS for part in accept.split(","))


async def event_stream(
    places: AsyncGenerator[Listener, None], listener: Listener, why_not: Callable[[], Awaitable[str | None]]
) -> AsyncIterator[str]:
    """What a listener is given, as server-sent events; a comment now and then shows that the line is alive.

    `why_not` is asked now and then: errors as JSON once the listener may hear no more.
    """
    messages, now = listener.messages(), asyncio.get_running_loop().time
    async with aclosing(places):
        waiting = asyncio.ensure_future(anext(messages, None))
        look_at = now() + HEARTBEAT_S
        try:
            while True:
                done, _ = await asyncio.wait([waiting], timeout=max(0, look_at - now()))
                if now() >= look_at:
                    look_at = now() + HEARTBEAT_S
                    refused = await why_not()
                    if refused is not None:
                        yield f'event: next\ndata: {{"errors":{refused}}}\n\n'
                        break
                    yield ":\n\n"
                if not done:
                    continue
                payload = waiting.result()
                if payload is None:
                    break
                yield f"event: next\ndata: {payload}\n\n"
                waiting = asyncio.ensure_future(anext(messages, None))
        finally:
            waiting.cancel()
        if listener.errors is not None:
            yield f'event: next\ndata: {{"errors":{listener.errors}}}\n\n'
        if not listener.is_cut_off:
            yield "event: complete\ndata:\n\n"


async def read_body(request: Request) -> bytes | None:
    """The whole body, or None when it is too large; never more than the limit in memory."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _replay(body: bytes) -> Receive:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class _Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "haulout_graphql_request_seconds", "Time to answer.", buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self.queries = Histogram(
            "haulout_graphql_sql_queries",
            "SQL queries per request.",
            buckets=(0, 1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.cost = Histogram(
            "haulout_graphql_cost",
            "Upper bound of field resolutions per request.",
            buckets=(10, 100, 1_000, 5_000, 10_000, 100_000),
            registry=registry,
        )
        self.rejections = Counter(
            "haulout_graphql_rejections_total", "Errors in answers, by code.", ["code"], registry=registry
        )
        for code in REFUSALS:
            self.rejections.labels(code=code)
