"""Answers that go on: one execution per document, variables and scopes, however many listen.

Each result is executed and turned into JSON once, then given to every listener. A listener has a short queue of its
own: one that is too slow misses states that a later one replaces, or is cut off where nothing may be missed (events);
the others never wait for it. Who comes later is told first how things are.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode, GraphQLError, OperationDefinitionNode, OperationType, parse
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as CounterMetric
from strawberry.schema import BaseSchema
from strawberry.types.execution import PreExecutionError

from graphql_api.access import Caller, Scope
from graphql_api.context import Context
from graphql_api.errors import label_error
from graphql_api.limits import Bounds, refusal
from haulout.errors import HauloutError, Unavailable
from haulout.observability import tracing
from haulout.observability.logs import get_logger

QUEUE_MAX = 256
TOLD_MAX = 1_000
STREAMS_MAX = 500
LISTENERS_MAX = 2_000
CLIENT_SHARE = 0.75  # of all places; whatever one client opens, others find some
LOSSLESS = frozenset({"events"})

log = get_logger("streams")

Key = tuple[str, str | None, str, frozenset[Scope]]


@dataclass(eq=False)
class TooManyStreams(Unavailable):
    """More subscriptions than this process carries."""

    code = "TOO_MANY_SUBSCRIPTIONS"
    template = "{count} {what} are open, which is the limit"
    hint = "close some, or try again later"
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for, and who it is."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    caller: Caller
    trace_id: str

    def key(self) -> Key:
        """Requests that are alike in this are answered alike."""
        variables = json.dumps(self.variables or {}, sort_keys=True)
        return (self.query, self.operation_name, variables, self.caller.scopes)


class Listener:
    """One client's place at a stream.

    Attributes:
        errors: once `messages` has ended: why, as JSON; None when the stream came to its end.
        is_cut_off: whether it was this process that ended it.
    """

    def __init__(self, *, lossless: bool) -> None:
        self.errors: str | None = None
        self.is_cut_off = False
        self._lossless = lossless
        self._waiting: OrderedDict[object, str] = OrderedDict()
        self._ended = False
        self._changed = asyncio.Event()

    def begin(self, told: Mapping[object, str]) -> None:
        """Hand over how things are."""
        self._waiting.update(told)
        self._changed.set()

    def offer(self, payload: str, item: object = None) -> bool:
        """Hand a result over, in place of one about the same item that waits; False when it costs this listener one."""
        if self._ended:
            return True
        key = object() if item is None else item
        is_full = len(self._waiting) >= QUEUE_MAX and key not in self._waiting
        if is_full and self._lossless:
            self._waiting.clear()
            text = "this client is too slow for the events; resume with afterSequence"
            self.end([refusal("SLOW_CONSUMER", text)])
            return False
        if is_full:
            self._waiting.popitem(last=False)
        self._waiting[key] = payload
        self._changed.set()
        return not is_full

    def end(self, errors: Sequence[GraphQLError] = (), *, cut_off: bool = False) -> None:
        """Nothing more comes."""
        if not self._ended:
            self._ended, self.is_cut_off = True, cut_off
            self.errors = json.dumps([error.formatted for error in errors]) if errors else None
            self._changed.set()

    async def messages(self) -> AsyncIterator[str]:
        """Results as JSON, until the end."""
        while True:
            while self._waiting:
                yield self._waiting.popitem(last=False)[1]
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()


class Streams:
    """All streams of the process."""

    def __init__(
        self,
        schema: BaseSchema,
        bounds: Bounds,
        build_context: Callable[[Caller, str], Context],
        encode: Callable[[Context, Any], str],
        registry: CollectorRegistry,
    ) -> None:
        """`encode` makes the JSON of a result as of a context."""
        self._schema = schema
        self._bounds = bounds
        self._build_context = build_context
        self._encode = encode
        self._shared: dict[Key, _Stream] = {}
        self._all: set[_Stream] = set()
        self._listening: Counter[str] = Counter()  # places of each client
        self.n_executions = CounterMetric(
            "haulout_graphql_stream_results_total", "Results of subscriptions, executed once each.", registry=registry
        )
        self.n_slow = CounterMetric(
            "haulout_graphql_slow_listeners_total", "Results that a slow listener missed.", registry=registry
        )
        gauge = Gauge("haulout_graphql_listeners", "Open subscriptions.", registry=registry)
        gauge.set_function(lambda: self.n_listeners)
        gauge = Gauge("haulout_graphql_streams", "Executions behind the open subscriptions.", registry=registry)
        gauge.set_function(lambda: len(self._all))

    @property
    def n_listeners(self) -> int:
        """Places that are taken."""
        return sum(len(stream.listeners) for stream in self._all)

    async def listen(self, request: Request) -> AsyncGenerator[Listener, None]:
        """One listener, for as long as the generator is open; close it with `aclosing`.

        Raises:
            TooManyStreams: nothing was begun.
        """
        client = request.caller.client
        _check_place("subscriptions", self.n_listeners, self._listening[client], LISTENERS_MAX)
        key = request.key()
        stream = self._shared.get(key)
        if stream is None:
            opened = sum(stream.client == client for stream in self._all)
            _check_place("different subscriptions", len(self._all), opened, STREAMS_MAX)
            stream = self._open(request, key)
        listener = stream.add()
        self._listening[client] += 1
        try:
            yield listener
        finally:
            self._listening -= Counter((client,))  # who has none left is forgotten
            stream.listeners.discard(listener)
            if not stream.listeners:
                await self._close(stream)

    def end_all(self) -> None:
        """Let go of all listeners, before the server stops."""
        for stream in list(self._all):
            stream.end(cut_off=True)

    def _open(self, request: Request, key: Key) -> _Stream:
        shape = _shape_of(request, self._bounds)
        stream = _Stream(key, shape, request.caller.client)
        self._all.add(stream)
        if shape.is_shared:
            self._shared[key] = stream
        stream.task = asyncio.create_task(self._run(stream, request), name="stream", context=tracing.apart())
        return stream

    async def _close(self, stream: _Stream) -> None:
        self._forget(stream)
        if stream.task is not None:
            stream.task.cancel()
            await asyncio.wait([stream.task])

    def _forget(self, stream: _Stream) -> None:
        self._all.discard(stream)
        if self._shared.get(stream.key) is stream:
            del self._shared[stream.key]

    async def _run(self, stream: _Stream, request: Request) -> None:
        context = self._build_context(request.caller, request.trace_id)
        context.is_stream = True
        try:
            await self._follow(stream, request, context)
        except GraphQLError as e:  # a document that does not parse
            label_error(e, request.trace_id)
            stream.end([e])
        except TimeoutError:
            text = "the request took longer than `serviceConfig` allows"
            stream.end([refusal("TIMEOUT", text, traceId=request.trace_id)])
        except HauloutError as e:
            error = GraphQLError(str(e), original_error=e)
            label_error(error, request.trace_id)
            stream.end([error])
        except Exception as e:
            log.error("a subscription failed", trace_id=request.trace_id, exc_info=e)
            error = refusal("INTERNAL", "Internal error.", traceId=request.trace_id)
            stream.end([error])
        finally:
            self._forget(stream)
            await context.close()
        stream.end()

    async def _follow(self, stream: _Stream, request: Request, context: Context) -> None:
        if len(request.query.encode("utf-8", "surrogatepass")) > self._bounds.query_bytes:
            stream.end([refusal("QUERY_TOO_COMPLEX", f"at most {self._bounds.query_bytes} bytes are allowed")])
            return
        limit_s = None if stream.shape.is_subscription else self._bounds.timeout_ms / 1000
        async with asyncio.timeout(limit_s) as limit:
            context.limit = limit if limit_s is not None else None
            source = await self._schema.stream(
                request.query,
                variable_values=request.variables,
                context_value=context,
                operation_name=request.operation_name,
            )
            async with aclosing(source):
                async for result in source:
                    if isinstance(result, PreExecutionError):
                        stream.end(result.errors or ())
                        return
                    self.n_executions.inc()
                    payload = self._encode(context, result)
                    self.n_slow.inc(stream.publish(payload, context))


def _check_place(what: str, taken: int, by_client: int, most: int) -> None:
    if taken >= most:
        raise TooManyStreams(what=what, count=most)
    if by_client >= int(most * CLIENT_SHARE):
        raise TooManyStreams(what=f"{what} of one client", count=int(most * CLIENT_SHARE))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is known of a document before it runs; one that does not parse is refused when it does."""

    is_subscription: bool
    is_shared: bool
    is_lossless: bool


def _shape_of(request: Request, bounds: Bounds) -> _Shape:
    try:
        document = parse(request.query, max_tokens=bounds.tokens)
    except GraphQLError:
        return _Shape(is_subscription=False, is_shared=False, is_lossless=True)
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if request.operation_name is not None:
        operations = [o for o in operations if o.name is not None and o.name.value == request.operation_name]
    if len(operations) != 1 or operations[0].operation is not OperationType.SUBSCRIPTION:
        return _Shape(is_subscription=False, is_shared=False, is_lossless=True)
    roots = [node for node in operations[0].selection_set.selections if isinstance(node, FieldNode)]
    # Who resumes begins somewhere else than who is there already; so may who asks through a fragment.
    is_plain = len(roots) == len(operations[0].selection_set.selections)
    resumes = any(argument.name.value == "afterSequence" for root in roots for argument in root.arguments or ())
    is_lossless = len(roots) != 1 or roots[0].name.value in LOSSLESS
    return _Shape(is_subscription=True, is_shared=is_plain and not resumes, is_lossless=is_lossless)


class _Stream:
    """An execution and who listens to it."""

    def __init__(self, key: Key, shape: _Shape, client: str) -> None:
        self.key = key
        self.client = client  # who opened it
        self.shape = shape
        self.listeners: set[Listener] = set()
        self.task: asyncio.Task[None] | None = None
        self._told: Mapping[object, str] = {}

    def add(self) -> Listener:
        """A new listener; what has been told of how things are, it gets at once."""
        listener = Listener(lossless=self.shape.is_lossless)
        listener.begin(self._told)
        self.listeners.add(listener)
        return listener

    def publish(self, payload: str, context: Context) -> int:
        """Give a result to all; how many of them were too slow."""
        self._told, item = context.told, context.item
        if item is not None:
            context.told[item] = payload
            while len(context.told) > TOLD_MAX:
                del context.told[next(iter(context.told))]
        return sum(not listener.offer(payload, item) for listener in list(self.listeners))

    def end(self, errors: Sequence[GraphQLError] = (), *, cut_off: bool = False) -> None:
        for listener in list(self.listeners):
            listener.end(errors, cut_off=cut_off)
