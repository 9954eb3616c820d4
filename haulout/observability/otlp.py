"""Spans by OpenTelemetry, sent by OTLP over gRPC: the one module that imports it, and only where traces are wanted.

Sampling, limits, batches, endpoint, headers and certificates are the SDK's, by its own OTEL_* variables. Spans are sent
by a thread of its own; what a collector does not take in time is dropped, and the log says so.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import threading
from collections.abc import Mapping
from types import TracebackType

from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import haulout
from haulout.errors import HauloutError
from haulout.observability.tracing import OFF, Attributes, Headers, Kind, Span

CLOSE_S = 2.0  # for the last spans of a process that ends

KINDS = {
    Kind.INTERNAL: trace.SpanKind.INTERNAL,
    Kind.SERVER: trace.SpanKind.SERVER,
    Kind.CLIENT: trace.SpanKind.CLIENT,
}
PROPAGATOR = TraceContextTextMapPropagator()


class OtlpSpan(Span):
    """A span that is sent when it has ended."""

    __slots__ = ("_is_current", "_span", "_token")

    def __init__(self, made: trace.Span, *, is_current: bool) -> None:
        self._span = made
        self._is_current = is_current
        self._token: contextvars.Token[Context] | None = None

    def __enter__(self) -> OtlpSpan:
        if self._is_current:
            self._token = current.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            current.detach(self._token)
            self._token = None
        self.end(error)

    def note(self, **attributes: str | int | bool) -> None:
        self._span.set_attributes({f"haulout.{name}": value for name, value in attributes.items()})

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def rename(self, name: str, attributes: Attributes) -> None:
        self._span.update_name(name)
        self._span.set_attributes(attributes)

    def end(self, error: BaseException | None = None) -> None:
        if not self._span.is_recording():  # nobody records it, or it has ended already
            return
        if isinstance(error, asyncio.CancelledError | GeneratorExit):  # somebody else was quicker, or has gone
            self._span.set_attribute("haulout.cancelled", True)
        elif error is not None:
            code = error.code if isinstance(error, HauloutError) else type(error).__name__
            self._span.set_attribute("error.type", code)
            self._span.set_status(trace.StatusCode.ERROR, str(error))
        self._span.end()

    @property
    def headers(self) -> Headers:
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return tuple(carrier.items())


class OtlpTracer:
    """Implements `tracing.Tracer`."""

    def __init__(self, role: str) -> None:
        """Begin to send; the process is named as in logs."""
        identity: dict[str, str] = {
            "service.namespace": "haulout",
            "host.name": socket.gethostname(),
            "service.instance.id": os.environ.get("HAULOUT_PROCESS", role),
            "service.version": haulout.__version__,
        }
        if not os.environ.get("OTEL_SERVICE_NAME"):
            identity["service.name"] = f"haulout-{role}"
        self._provider = TracerProvider(resource=Resource.create(identity), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("haulout", haulout.__version__)

    def close(self) -> None:
        """Send what is left, for a moment; a collector that does not answer holds nobody up."""
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def inside(self, name: str, attributes: Attributes) -> Span:
        if not _has_span():
            return OFF
        return OtlpSpan(self._tracer.start_span(name, attributes=attributes), is_current=True)

    def aside(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        if not _has_span():
            return OFF
        return OtlpSpan(self._tracer.start_span(name, kind=KINDS[kind], attributes=attributes), is_current=False)

    def enter(self, name: str, headers: Mapping[str, str], *, begins: bool) -> Span:
        parent = PROPAGATOR.extract(headers, Context())
        if not begins and not trace.get_current_span(parent).get_span_context().is_valid:
            return OFF
        return OtlpSpan(self._tracer.start_span(name, context=parent, kind=trace.SpanKind.SERVER), is_current=True)

    def ids(self) -> tuple[str, str, bool] | None:
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled

    def apart(self) -> contextvars.Context:
        copied = contextvars.copy_context()
        copied.run(current.attach, Context())
        return copied


def _has_span() -> bool:
    return trace.get_current_span().get_span_context().is_valid
