"""What every gRPC server of ours does around its servicers.

`Guard` stands before each call. It reads the request, bounds how many calls of a kind run and for how long, turns
errors into statuses by the one table (`status.py`), and lets nothing else out: an exception that nobody raised on
purpose is logged with a trace id, and the caller gets that id and no more. So servicers decode, call, encode, and
raise our errors.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from haulout.errors import DeadlineExceeded, HauloutError, InvalidField
from haulout.observability import tracing
from haulout.observability.logs import get_logger
from haulout.observability.metrics import LATENCY_BUCKETS_S
from haulout.ports import Clock, Rng
from haulout.wire.calls import COMMON_OPTIONS
from haulout.wire.errors import TooManyCalls
from haulout.wire.security import bind_port
from haulout.wire.status import code_of, to_status
from haulout.wire.streams import closing

T = TypeVar("T")
DRAIN_S = 10.0
Context = grpc.aio.ServicerContext[Any, Any]

SERVER_OPTIONS: tuple[tuple[str, str | int], ...] = (
    *COMMON_OPTIONS,
    ("grpc.so_reuseport", 0),  # a taken port is an error, not shared
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_concurrent_streams", 1_024),
)


@dataclass(eq=False)
class InternalError(HauloutError):
    """Something nobody foresaw; the log of the process has the rest under the trace id."""

    code = "INTERNAL_ERROR"
    template = "an internal error has occurred, please report it with trace id {trace_id}"
    trace_id: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server.

    Attributes:
        max_calls: calls of one method at once, where `per_method` does not say otherwise.
        per_method: the same by method name, such as `StoreSlivers`.
        call_ms: longest duration of a call with one answer.
        idle_ms: longest silence of a client in the middle of its stream.
    """

    max_calls: int = 512
    per_method: Mapping[str, int] | None = None
    call_ms: int = 90_000
    idle_ms: int = 20_000

    def of(self, method: str) -> int:
        return (self.per_method or {}).get(method, self.max_calls)


class MethodMetrics:
    """The figures of one method; looked up once, since looking them up costs more than counting."""

    def __init__(self, metrics: CallMetrics, method: str) -> None:
        self._calls = metrics.calls
        self._method = method
        self._by_status: dict[str, Counter] = {}
        self.seconds = metrics.seconds.labels(method)
        self.active = metrics.active.labels(method)

    def count(self, status: str) -> None:
        """A call was answered."""
        calls = self._by_status.get(status)
        if calls is None:
            calls = self._by_status[status] = self._calls.labels(self._method, status)
        calls.inc()


class CallMetrics:
    """Calls by method and status, their duration, and how many run."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "haulout_grpc_calls_total", "Calls answered, by method and status.", ["method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "haulout_grpc_call_seconds",
            "Duration of calls, by method.",
            ["method"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.active = Gauge(
            "haulout_grpc_active_calls", "Calls that run now, by method.", ["method"], registry=registry
        )


class _Method:
    """One method of a server: its name, its bound, how many of its calls run, its figures."""

    def __init__(self, name: str, limit: int, metrics: CallMetrics) -> None:
        self.name = name
        self.limit = limit
        self.active = 0
        self.metrics = MethodMetrics(metrics, name)


class Guard(grpc.aio.ServerInterceptor):
    """Stands before every call of a server; see the top of this file."""

    def __init__(self, *, clock: Clock, rng: Rng, limits: Limits, registry: CollectorRegistry) -> None:
        self._clock = clock
        self._rng = rng
        self._limits = limits
        self._metrics = CallMetrics(registry)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}  # by full name, once it was called
        self._log = get_logger("grpc")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler that a call is for."""
        name = handler_call_details.method
        guarded = self._handlers.get(name)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # unknown method: gRPC answers UNIMPLEMENTED
                return handler
            guarded = self._handlers[name] = self._guarded(name.rpartition("/")[2], handler)
        return guarded

    def _guarded(self, name: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        method = _Method(name, self._limits.of(name), self._metrics)
        parse = handler.request_deserializer
        if handler.unary_unary is not None:
            return _replace(handler, unary_unary=self._unary_unary(method, parse, handler.unary_unary))
        if handler.stream_unary is not None:
            return _replace(handler, stream_unary=self._stream_unary(method, parse, handler.stream_unary))
        if handler.unary_stream is not None:
            return _replace(handler, unary_stream=self._unary_stream(method, parse, handler.unary_stream))
        return handler  # reflection is the only one with streams both ways

    def _unary_unary(self, method: _Method, parse: Any, behaviour: Any) -> Any:
        async def call(raw: bytes, context: Context) -> Any:
            async def answer() -> Any:
                try:
                    async with asyncio.timeout(self._limits.call_ms / 1000):
                        return await behaviour(_parse(parse, raw), context)
                except TimeoutError as e:
                    raise DeadlineExceeded(operation=method.name, timeout_ms=self._limits.call_ms) from e

            return await self._run(method, context, answer)

        return call

    def _stream_unary(self, method: _Method, parse: Any, behaviour: Any) -> Any:
        async def requests(stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            iterator = aiter(stream)
            while True:
                try:
                    async with asyncio.timeout(self._limits.idle_ms / 1000):
                        raw = await anext(iterator)
                except StopAsyncIteration:
                    return
                except TimeoutError as e:
                    raise DeadlineExceeded(
                        operation=f"{method.name}: the next message", timeout_ms=self._limits.idle_ms
                    ) from e
                yield _parse(parse, raw)

        async def call(stream: AsyncIterator[bytes], context: Context) -> Any:
            async def answer() -> Any:
                async with closing(requests(stream)) as parsed:
                    return await behaviour(parsed, context)

            return await self._run(method, context, answer)

        return call

    def _unary_stream(self, method: _Method, parse: Any, behaviour: Any) -> Any:
        async def call(raw: bytes, context: Context) -> None:
            async def answer() -> None:
                answers = behaviour(_parse(parse, raw), context)
                if not hasattr(answers, "__aiter__"):  # gRPC's own health service writes by itself
                    await answers
                    return
                async with closing(answers) as stream:
                    async for answer in stream:
                        await context.write(answer)

            await self._run(method, context, answer)

        return call

    async def _run(self, method: _Method, context: Context, answer: Callable[[], Awaitable[T]]) -> T:
        """Count the call, bound it, and end it with the right status; a caller's trace goes on in it."""
        if not tracing.is_on():
            return await self._run_counted(method, context, answer)
        with tracing.serve(method.name, context.invocation_metadata() or ()):
            return await self._run_counted(method, context, answer)

    async def _run_counted(self, method: _Method, context: Context, answer: Callable[[], Awaitable[T]]) -> T:
        started_us = self._clock.monotonic_us()
        status = "OK"
        method.active += 1
        method.metrics.active.set(method.active)
        try:
            if method.active > method.limit:
                raise TooManyCalls(what=method.name, limit=method.limit)
            return await answer()
        except HauloutError as e:
            status = code_of(e).name
            return await self._abort(context, e)
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        except grpc.aio.AbortError:  # a servicer that is not ours has ended the call itself
            status = "ABORTED"
            raise
        except Exception as e:  # noqa: BLE001 - the edge: logged here, and nothing of it leaves
            status = "INTERNAL"
            trace_id = tracing.trace_id() or self._rng.random_bytes(16).hex()
            self._log.exception("internal error", method=method.name, trace_id=trace_id, error=repr(e))
            return await self._abort(context, InternalError(trace_id=trace_id))
        finally:
            method.active -= 1
            method.metrics.active.set(method.active)
            method.metrics.count(status)
            duration_us = self._clock.monotonic_us() - started_us
            method.metrics.seconds.observe(duration_us / 1e6, tracing.exemplar())
            if tracing.is_on():
                self._log.debug("call answered", method=method.name, status=status, duration_us=duration_us)

    async def _abort(self, context: Context, error: HauloutError) -> NoReturn:
        code, message, metadata = to_status(error)
        await context.abort(code, message, metadata)
        raise AssertionError("an aborted call raises")


def build_server(guard: Guard) -> grpc.aio.Server:
    """A server with our limits; add servicers to it, then `serving` it."""
    return grpc.aio.server(interceptors=[guard], options=list(SERVER_OPTIONS))


@contextlib.asynccontextmanager
async def serving(
    server: grpc.aio.Server, address: str, *, allow_plaintext: bool = False, drain_s: float = DRAIN_S
) -> AsyncIterator[str]:
    """Serve until the block ends, then refuse new calls and let those that run finish; yields the bound address.

    Raises:
        PlaintextRefused, InvalidField, Unreachable: see `security.bind_port`.
    """
    bound = bind_port(server, address, allow_plaintext=allow_plaintext)
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(drain_s)


def _parse(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError as e:
        raise InvalidField(field="request", problem="not a protobuf message of this call") from e


def _replace(handler: grpc.RpcMethodHandler[Any, Any], **behaviour: Any) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler with another behaviour that reads the raw request itself; an answer may come as bytes already."""
    serialize = handler.response_serializer

    def write(answer: Any) -> bytes:
        if isinstance(answer, bytes) or serialize is None:
            return answer  # type: ignore[no-any-return]
        return serialize(answer)

    fields: Sequence[str] = ("unary_unary", "unary_stream", "stream_unary")
    make = {
        "unary_unary": grpc.unary_unary_rpc_method_handler,
        "unary_stream": grpc.unary_stream_rpc_method_handler,
        "stream_unary": grpc.stream_unary_rpc_method_handler,
    }
    name = next(field for field in fields if field in behaviour)
    made: grpc.RpcMethodHandler[Any, Any] = make[name](
        behaviour[name], request_deserializer=None, response_serializer=write
    )
    return made
