"""Traces: off they are nothing, on they are one from the first request to the last."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import grpc
import httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.exposition import generate_latest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from haulout.errors import InvalidField, Rejected
from haulout.observability import tracing
from haulout.observability.http_server import serve_http
from haulout.observability.logs import configure_logs, get_logger
from haulout.observability.tracing import is_wanted
from haulout.wire.calls import Peer, Timeouts
from haulout.wire.serving import Guard, Limits, build_server, serving
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng

CALLER = f"00-{'ab' * 16}-{'cd' * 8}-01"

UNTRACED = """
import sys
from haulout.observability import tracing

with tracing.tracing("node"):
    assert tracing.serve("PUT", [("traceparent", "{caller}")], begins=True) is tracing.OFF
    with tracing.span("sync"), tracing.call("StoreSlivers", "127.0.0.1:1") as call:
        assert (call.headers, tracing.exemplar(), tracing.span_ids(), tracing.apart()) == ((), None, None, None)
print("loaded:", *(name for name in sys.modules if name.startswith("opentelemetry")))
"""


@pytest.fixture
def traced(collector: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `tracing` needs to be on in this process; after its block all spans have been sent."""
    monkeypatch.setattr("haulout.observability.otlp.CLOSE_S", 60)
    for name, value in tracing.variables_for(collector.endpoint).items():
        monkeypatch.setenv(name, value)
    return collector


def test_a_process_that_does_not_trace_never_imports_opentelemetry() -> None:
    """Beyond what it imports at its start, which `architecture/test_light_start.py` looks at."""
    program = [sys.executable, "-c", UNTRACED.format(caller=CALLER)]
    result = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": " OTLP "}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, True),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            True,
        ),
    ],
)
def test_standard_variables_turn_it_on(environment: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environment) is wanted


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    ],
)
def test_what_is_not_spoken_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidField):
        is_wanted(environment)
    with pytest.raises(InvalidField):
        tracing.variables_for("collector:4317")


def test_a_trace_id_comes_from_the_caller_when_it_is_one() -> None:
    assert tracing.trace_id(CALLER) == "ab" * 16
    assert tracing.trace_id(f"01-{'0a' * 16}-{'cd' * 8}-01-more") == "0a" * 16
    wrong = ("", "00-xyz-1-01", f"00-{'00' * 16}-{'cd' * 8}-01", f"00-{'AB' * 16}-{'cd' * 8}-01", f"00-{'ab' * 16}")
    assert {tracing.trace_id(text) for text in wrong} == {""}


def answering(behaviour: Any) -> Any:
    """A gRPC server of one method, with what every server of ours has."""
    registry = CollectorRegistry()
    guard = Guard(clock=SystemClock(), rng=SystemRng(), limits=Limits(), registry=registry)
    server = build_server(guard)
    handler = grpc.unary_unary_rpc_method_handler(behaviour, bytes, bytes)
    server.add_registered_method_handlers("x.X", {"Do": handler})
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.X", {"Do": handler}),))
    return server, registry


async def ask(address: str) -> bytes:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/x.X/Do", request_serializer=bytes, response_deserializer=bytes)
        answer: bytes = await Peer(address, Timeouts()).unary("Do", call, b"?")
        return answer


async def test_one_trace_goes_from_http_through_grpc_into_histograms_and_logs(
    traced: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = []

    async def work(request: bytes, context: Any) -> bytes:
        with tracing.span("keep sliver") as span:
            span.note(axis="primary")
            get_logger("test").info("kept")
        kept.append(tracing.aside("transaction"))
        return b"!"

    with tracing.tracing("test"):
        configure_logs(log_format="json")
        server, registry = answering(work)
        async with serving(server, "127.0.0.1:0") as address:

            async def put(request: Any) -> Any:
                return PlainTextResponse(await ask(address))

            app = Starlette(routes=[Route("/v1/blobs/{blob_id}", put, methods=["PUT"])])
            async with serve_http(app, "127.0.0.1:0") as http, httpx.AsyncClient(trust_env=False) as client:
                assert (await client.put(f"http://{http}/v1/blobs/xyz", headers={"traceparent": CALLER})).text == "!"
                await client.get(f"http://{http}/nowhere/xyz")
        kept[0].end(Rejected())
    structlog.reset_defaults()
    spans = {span.name: span for _, span in traced.trace("ab" * 16)}
    assert set(spans) == {"PUT /v1/blobs/{blob_id}", "Do", "keep sliver", "transaction"}
    request, sliver, transaction = spans["PUT /v1/blobs/{blob_id}"], spans["keep sliver"], spans["transaction"]
    both = {span.kind: span for _, span in traced.trace("ab" * 16) if span.name == "Do"}
    client_side, server_side = both[3], both[2]
    assert request.parent_span_id.hex() == "cd" * 8
    assert client_side.parent_span_id == request.span_id
    assert server_side.parent_span_id == client_side.span_id
    assert {sliver.parent_span_id, transaction.parent_span_id} == {server_side.span_id}
    assert {a.key: a.value.string_value for a in sliver.attributes} == {"haulout.axis": "primary"}
    assert (request.status.code, transaction.status.code) == (0, 2)
    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines() if '"kept"' in text]
    assert (line["trace_id"], line["span_id"]) == ("ab" * 16, sliver.span_id.hex())
    (remembered,) = [text for text in generate_latest(registry).decode().splitlines() if " # {" in text]
    assert f'trace_id="{"ab" * 16}"' in remembered and f'span_id="{server_side.span_id.hex()}"' in remembered
    elsewhere = [span for _, span in traced.spans if span.trace_id != request.trace_id]
    assert [span.name for span in elsewhere] == ["GET"]  # nothing of the path of what is nowhere


async def test_what_nobody_asked_for_has_no_trace(traced: Any) -> None:
    before = len(traced.spans)

    async def work(request: bytes, context: Any) -> bytes:
        with tracing.span("sync"):
            return b"!"

    with tracing.tracing("test"):
        server, registry = answering(work)
        async with serving(server, "127.0.0.1:0") as address:
            await ask(address)
            with tracing.serve("PUT", (), begins=True):
                loose = asyncio.create_task(asyncio.sleep(0, tracing.trace_id()), context=tracing.apart())
                assert await loose == tracing.trace_id() != ""
                found = asyncio.get_running_loop().create_future()
                context = tracing.apart()
                assert context is not None
                context.run(lambda: found.set_result(tracing.trace_id()))
                assert await found == ""
    assert [span.name for _, span in traced.spans[before:]] == ["PUT"]
    assert "# {" not in generate_latest(registry).decode()


async def test_a_trace_that_is_not_recorded_leaves_no_exemplar_and_is_passed_on(traced: Any) -> None:
    histogram = Histogram("things_seconds", "Things.", registry=CollectorRegistry())
    before = len(traced.spans)
    with tracing.tracing("test"), tracing.serve("PUT", [("traceparent", CALLER[:-1] + "0")], begins=True):
        histogram.observe(0.1, tracing.exemplar())
        with tracing.call("Do", "127.0.0.1:1") as call:
            assert dict(call.headers)["traceparent"][:36] == CALLER[:36]
            assert dict(call.headers)["traceparent"].endswith("-00")
        assert tracing.trace_id() == "ab" * 16
    assert len(traced.spans) == before


async def test_a_stream_of_events_is_over_when_it_begins(traced: Any, caplog: pytest.LogCaptureFixture) -> None:
    before = len(traced.spans)
    go = asyncio.Event()

    async def events(request: Any) -> Any:
        async def lines() -> Any:
            yield "data: 1\n\n"
            await go.wait()

        return StreamingResponse(lines(), media_type="text/event-stream")

    with tracing.tracing("test"):
        app = Starlette(routes=[Route("/events", events)])
        async with (
            serve_http(app, "127.0.0.1:0") as http,
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("GET", f"http://{http}/events") as response,
        ):
            await anext(response.aiter_lines())
            answered_ns = time.time_ns()
            go.set()
    (span,) = [span for _, span in traced.spans[before:]]
    assert span.name == "GET /events"
    assert span.end_time_unix_nano < answered_ns
    assert not caplog.records  # OpenTelemetry has nothing against what was done with it


def test_a_collector_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haulout.observability.otlp.CLOSE_S", 0.01)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in {**tracing.variables_for(url), "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}.items():
            monkeypatch.setenv(name, value)
        with tracing.tracing("test"), tracing.serve("PUT", (), begins=True):
            pass
        (closing,) = [thread for thread in threading.enumerate() if thread.name == "last spans"]
        assert closing.daemon  # it tries on, and a process that ends does not wait for it
        closing.join()
