"""Traces: what one request did, here and in the processes that it asked.

A trace begins at an HTTP request, or with the W3C `traceparent` that a client sends; calls to nodes, ledger and gateway
take it along, and who answers goes on with it. Work that nobody asked for just now (following the ledger, repair,
scrubbing) has none.

Off, which is the default, a span costs one call: nothing is sent along, and OpenTelemetry is not even imported. What
turns it on are the standard OTEL_* variables, which `otlp.py` reads.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import TracebackType
from typing import Protocol

from haulout.errors import InvalidField

Attributes = Mapping[str, str | int | bool]
Headers = tuple[tuple[str, str], ...]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Kind(Enum):
    """Where a span stands between processes."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


class Span:
    """A piece of work with a beginning and an end. This one is what everybody gets while tracing is off."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)

    def note(self, **attributes: str | int | bool) -> None:
        """Say more about the work; names are ours, without their prefix `haulout.`."""

    def event(self, name: str) -> None:
        """Something happened in between."""

    def rename(self, name: str, attributes: Attributes) -> None:
        """What the work is has become known, with attributes under their full names."""

    def end(self, error: BaseException | None = None) -> None:
        """The work is over; a second time is nothing."""

    @property
    def headers(self) -> Headers:
        """What takes the trace along, as gRPC metadata or HTTP headers."""
        return ()


class Tracer(Protocol):
    """What makes spans while tracing is on; `otlp.OtlpTracer`."""

    def inside(self, name: str, attributes: Attributes) -> Span:
        """A part of the current span that becomes the current one in its `with` block."""

    def aside(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        """A part of the current span that never becomes current itself."""

    def enter(self, name: str, headers: Mapping[str, str], *, begins: bool) -> Span:
        """A request from elsewhere; without a trace in `headers` it begins one, or is none."""

    def ids(self) -> tuple[str, str, bool] | None:
        """Of the current span: trace id and span id in hex, and whether it is recorded."""

    def apart(self) -> contextvars.Context:
        """The present context without a span."""


OFF = Span()
_tracer: Tracer | None = None


@contextlib.contextmanager
def tracing(role: str) -> Iterator[None]:
    """Trace while the block lasts, if the environment says so; what is left is sent at its end.

    Args:
        role: what the process is, such as `node`.

    Raises:
        InvalidField: as `is_wanted`.
    """
    global _tracer
    if not is_wanted(os.environ):
        yield
        return
    from haulout.observability.otlp import OtlpTracer

    tracer = OtlpTracer(role)
    _tracer = tracer
    try:
        yield
    finally:
        _tracer = None
        tracer.close()


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables turn tracing on: an endpoint for OTLP does, or OTEL_TRACES_EXPORTER=otlp.

    Raises:
        InvalidField: another exporter is asked for, or another protocol than gRPC.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    if not exporter and not any(environment.get(name) for name in ENDPOINTS):
        return False
    if exporter not in ("", "otlp"):
        raise InvalidField(field="OTEL_TRACES_EXPORTER", problem=f"{exporter!r} is neither otlp nor none")
    for name in PROTOCOLS:
        protocol = environment.get(name, "").strip().lower()
        if protocol not in ("", "grpc"):
            problem = f"{protocol!r} is not spoken here; say grpc, and name the collector's port for it, often 4317"
            raise InvalidField(field=name, problem=problem)
        if protocol:
            break
    return True


def variables_for(endpoint: str) -> dict[str, str]:
    """The variables that turn it on.

    Args:
        endpoint: of a collector that speaks OTLP over gRPC: `http://host:4317`, or `https://…` with TLS.

    Raises:
        InvalidField: not such a URL.
    """
    if not re.fullmatch(r"https?://[^/\s]+/?", endpoint):
        raise InvalidField(field="traces", problem=f"{endpoint!r} is no URL of a collector, as http://127.0.0.1:4317")
    return {"OTEL_TRACES_EXPORTER": "otlp", ENDPOINTS[0]: endpoint}


def is_on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def span(name: str, attributes: Attributes | None = None) -> Span:
    """A part of the current trace, current itself in its `with` block; nothing outside a trace."""
    return OFF if _tracer is None else _tracer.inside(name, attributes or {})


def aside(name: str, attributes: Attributes | None = None) -> Span:
    """The same for work that ends elsewhere than where it began: whoever ends it calls `end`."""
    return OFF if _tracer is None else _tracer.aside(name, Kind.INTERNAL, attributes or {})


def call(name: str, address: str) -> Span:
    """A call to another process; send `headers` with it."""
    return OFF if _tracer is None else _tracer.aside(name, Kind.CLIENT, {"server.address": address})


def serve(name: str, headers: Iterable[tuple[str, str | bytes]], *, begins: bool = False) -> Span:
    """A request from another process; `begins` a trace where it brings none."""
    if _tracer is None:
        return OFF
    wanted = {key: value for key, value in headers if key in ("traceparent", "tracestate") and isinstance(value, str)}
    return _tracer.enter(name, wanted, begins=begins)


def trace_id(traceparent: str = "") -> str:
    """The id of the current trace, else the one that a `traceparent` names, else nothing: 32 hex digits or none."""
    ids = None if _tracer is None else _tracer.ids()
    if ids is not None:
        return ids[0]
    named = TRACEPARENT.fullmatch(traceparent)
    return "" if named is None else named[1]


def span_ids() -> tuple[str, str] | None:
    """Trace id and span id of the current span, in hex."""
    ids = None if _tracer is None else _tracer.ids()
    return None if ids is None else ids[:2]


def exemplar() -> dict[str, str] | None:
    """What a latency histogram remembers an observation by: the trace, where it is recorded."""
    ids = None if _tracer is None else _tracer.ids()
    return None if ids is None or not ids[2] else {"trace_id": ids[0], "span_id": ids[1]}


def apart() -> contextvars.Context | None:
    """For a task that outlives the request which starts it: a context outside its trace."""
    return None if _tracer is None else _tracer.apart()
