"""Health and metrics over real HTTP."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from haulout.errors import InvalidField, Unreachable
from haulout.observability.health_server import serve_health, serve_http, split_address
from haulout.observability.metrics import build_registry


@pytest.fixture
async def http():
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def test_metrics_tell_who_it_is_and_what_it_counted(http) -> None:
    registry = build_registry("gateway")
    Counter("haulout_things_total", "Things.", registry=registry).inc(3)
    async with serve_health("127.0.0.1:0", registry, ready=tuple) as address:
        answer = await http.get(f"http://{address}/metrics")
    lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/plain")
    assert "haulout_things_total 3.0" in lines
    assert any(line.startswith("haulout_build_info{") and 'role="gateway"' in line for line in lines)
    assert any(line.startswith("haulout_process_resident_memory_bytes ") for line in lines)
    assert not any(line.startswith("haulout_things_created") for line in lines)


async def test_openmetrics_for_those_who_ask(http) -> None:
    async with serve_health("127.0.0.1:0", build_registry("node"), ready=tuple) as address:
        answer = await http.get(f"http://{address}/metrics", headers={"accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_ready_and_live_are_asked_at_every_request(http) -> None:
    dead: list[str] = []
    unready = ["CATCHING_UP: block 1 of 2"]
    async with serve_health("127.0.0.1:0", build_registry("node"), live=lambda: dead, ready=lambda: unready) as address:
        ready = await http.get(f"http://{address}/readyz")
        assert (ready.status_code, ready.json()) == (503, {"ok": False, "reasons": ["CATCHING_UP: block 1 of 2"]})
        assert (await http.get(f"http://{address}/healthz")).status_code == 200
        unready.clear()
        ready = await http.get(f"http://{address}/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ok": True, "reasons": []})
        assert ready.headers["cache-control"] == "no-store"
        dead.append("STORAGE_FAILED")
        assert (await http.get(f"http://{address}/healthz")).status_code == 503
        assert (await http.get(f"http://{address}/other")).status_code == 404
    with pytest.raises(httpx.ConnectError):
        await http.get(f"http://{address}/healthz")


async def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=address):
            async with serve_health(address, build_registry("node"), ready=tuple):
                pass


async def test_requests_in_flight_are_answered_before_the_server_ends(http) -> None:
    inside = asyncio.Event()

    async def slow(_):
        inside.set()
        await asyncio.sleep(0.2)
        return PlainTextResponse("done")

    async with serve_http(Starlette(routes=[Route("/", slow)]), "127.0.0.1:0", drain_s=5) as address:
        asking = asyncio.create_task(http.get(f"http://{address}/"))
        await inside.wait()
    assert (await asking).text == "done"


async def test_a_body_is_asked_for_only_when_it_is_wanted() -> None:
    """`Expect: 100-continue`: who reads the body says so first, who refuses the request never does."""

    async def put(request):
        if request.headers["content-length"] == "999":
            return PlainTextResponse("too large", 413)
        return PlainTextResponse(await request.body())

    async def ask(address: str, length: int) -> bytes:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n"
        writer.write(head.encode() + b"\r\n")
        first = await reader.readuntil(b"\r\n")
        if first.startswith(b"HTTP/1.1 100"):
            writer.write(b"x" * length)
        rest = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
        return first + rest

    async with serve_http(Starlette(routes=[Route("/", put, methods=["PUT"])]), "127.0.0.1:0") as address:
        assert (await ask(address, 4)).endswith(b"xxxx")
        assert (await ask(address, 999)).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("text", "wanted"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("a:0", ("a", 0))]
)
def test_addresses(text, wanted) -> None:
    assert split_address(text) == wanted


@pytest.mark.parametrize("text", ["", "80", ":80", "host:", "host:x", "host:65536", "host:-1", "host:²"])
def test_what_is_no_address(text) -> None:
    with pytest.raises(InvalidField, match="address"):
        split_address(text)
