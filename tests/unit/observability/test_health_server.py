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
from haulout.observability.health_server import serve_health
from haulout.observability.http_server import serve_http
from haulout.observability.listening import split_address
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


async def exchange(address: str, request: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /healthz?x=1 HTTP/1.1\r\nconnection: close\r\n\r\n", b"200"),
        (b"POST /healthz HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", b"405"),
        (b"GET /healthz HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", b"200"),
        (b"\x16\x03\x01 no HTTP at all\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 20_000, b"431"),
    ],
)
async def test_every_client_gets_an_answer(request_: bytes, status: bytes) -> None:
    async with serve_health("127.0.0.1:0", build_registry("node"), ready=tuple) as address:
        answer = await exchange(address, request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close\r\n" in answer


async def test_requests_come_in_pieces_and_one_after_the_other() -> None:
    async with serve_health("127.0.0.1:0", build_registry("node"), ready=tuple) as address:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for piece in (b"GET /hea", b"lthz HTTP/1.1\r\n\r", b"\nHEAD /readyz HTTP/1.1\r\n\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert b" 200 OK" in await reader.readline()
        rest = await reader.readuntil(b"HTTP/1.1 ")
        assert rest.count(b"content-length: 27") == 1 and b'{"ok": true, "reasons": []}' in rest
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"200 OK") and b"content-length: 27" in head
    assert await reader.read() == b""
    writer.close()


async def test_a_client_that_falls_silent_is_let_go(monkeypatch) -> None:
    monkeypatch.setattr("haulout.observability.health_server.IDLE_S", 0.05)
    async with serve_health("127.0.0.1:0", build_registry("node"), ready=tuple) as address:
        assert await exchange(address, b"GET /heal") == b""


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
