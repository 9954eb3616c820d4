"""The gateway behind a real HTTP server and real sockets: what ASGI in memory cannot show."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from haulout import codec
from haulout.gateway.aggregator import Aggregator
from haulout.gateway.app import build_app
from haulout.gateway.cache import BlobCache
from haulout.gateway.metrics import GatewayMetrics
from haulout.gateway.publisher import Publisher
from haulout.observability.http_server import serve_http
from haulout.world.clock import SystemClock

_spec = importlib.util.spec_from_file_location(
    "client_world", Path(__file__).parents[1] / "unit" / "client" / "conftest.py"
)
assert _spec is not None and _spec.loader is not None
client_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client_world)

LIMIT = codec.sizes.max_blob_size_bytes(10)
DATA = random.Random(1).randbytes(1_500_000)


class Served:
    """A gateway on a port of this machine."""

    def __init__(self, address: str, world: Any, spill: Path, registry: CollectorRegistry) -> None:
        self.host, _, port = address.partition(":")
        self.port = int(port)
        self.url = f"http://{address}"
        self.world = world
        self.spill = spill
        self.registry = registry

    async def talk(self, text: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send the head of a request by hand."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(text.replace("\n", "\r\n").encode())
        await writer.drain()
        return reader, writer

    async def idle(self) -> None:
        """Until nothing is being taken in or sent, and nothing is left of it."""
        async with asyncio.timeout(5):
            while self.registry.get_sample_value("haulout_http_inflight_bytes") or any(self.spill.glob("*")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    world = await client_world.World(clock=SystemClock()).start()
    registry, spill = CollectorRegistry(), tmp_path / "spill"
    network, metrics = world.make_network(spill=spill), GatewayMetrics(registry)
    app = build_app(
        network,
        Aggregator(network, BlobCache(0), metrics),
        Publisher(network, world.make_wallet("client"), spill, metrics),
        metrics,
        ledger=world.sequencer,
        why_not_ready=tuple,
    )
    async with serve_http(app, "127.0.0.1:0", drain_s=1) as address:
        yield Served(address, world, spill, registry)
    await world.stop()


async def put(served: Served, data: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as http:
        return await http.put(f"{served.url}/v1/blobs?epochs=5", content=data)


async def test_bytes_go_in_and_come_out(served) -> None:
    answer = await put(served, DATA)
    assert answer.status_code == 200, answer.text
    async with httpx.AsyncClient(timeout=20) as http:
        url = served.url + answer.headers["location"]
        assert (await http.get(url)).content == DATA
        assert (await http.get(url, headers={"range": "bytes=-5"})).content == DATA[-5:]
        head = await http.head(url)
        assert (head.headers["content-length"], head.content) == (str(len(DATA)), b"")
    await served.idle()


async def test_a_client_that_waits_for_a_go_gets_one(served) -> None:
    """As curl does with bodies over a MiB."""
    reader, writer = await served.talk(
        "PUT /v1/blobs?epochs=5 HTTP/1.1\nhost: x\ncontent-length: 5\nexpect: 100-continue\n\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("query", "size", "status"),
    [
        ("epochs=5&encoding_type=RS2", LIMIT + 1, b"413"),
        ("epochs=54", 5, b"400"),
        ("epochs=0", 5, b"400"),
        ("epochs=5&encoding_type=RS9", 5, b"400"),
        ("colour=red", 5, b"400"),
    ],
)
async def test_a_client_that_waits_for_a_go_is_refused_without_sending_the_body(served, query, size, status) -> None:
    """The connection is closed: what would come next on it could be the body or another request."""
    reader, writer = await served.talk(
        f"PUT /v1/blobs?{query} HTTP/1.1\nhost: x\ncontent-length: {size}\nexpect: 100-continue\n\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in head.lower()
    async with asyncio.timeout(5):
        assert b"error" in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_did_not_ask_for_a_go_sees_why_it_is_refused_and_can_ask_again(served) -> None:
    reader, writer = await served.talk("PUT /v1/blobs?epochs=54 HTTP/1.1\nhost: x\ncontent-length: 3000000\n\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    await reader.readexactly(int(re.search(rb"content-length: (\d+)", head).group(1)))
    writer.write(bytes(3_000_000) + b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n")
    await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_stream_over_the_maximum_is_refused_while_it_is_sent(served) -> None:
    target = "/v1/blobs?epochs=5&encoding_type=RS2"
    reader, writer = await served.talk(f"PUT {target} HTTP/1.1\nhost: x\ntransfer-encoding: chunked\n\n")
    answer = asyncio.ensure_future(reader.readline())
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    try:
        for _ in range(LIMIT // (1 << 16) + 200):
            writer.write(chunk)
            await writer.drain()
            if answer.done():
                break
    except ConnectionError:
        pass
    assert (await answer).startswith(b"HTTP/1.1 413")
    writer.close()
    await served.idle()


async def test_an_uploader_who_hangs_up_leaves_nothing(served) -> None:
    before = served.world.balance()
    _, writer = await served.talk("PUT /v1/blobs?epochs=5 HTTP/1.1\nhost: x\ncontent-length: 1000000\n\n")
    writer.write(bytes(500_000))
    await writer.drain()
    writer.transport.abort()
    await asyncio.sleep(0.05)
    await served.idle()
    assert served.world.balance() == before


async def test_a_reader_who_hangs_up_leaves_nothing(served) -> None:
    path = (await put(served, DATA)).headers["location"]
    reader, writer = await served.talk(f"GET {path} HTTP/1.1\nhost: x\n\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.transport.abort()
    await served.idle()


@pytest.mark.parametrize(
    "head",
    [
        "PUT /v1/blobs HTTP/1.1\nhost: x\ncontent-length: -5\n\n",
        "PUT /v1/blobs HTTP/1.1\nhost: x\ncontent-length: many\n\n",
        "GET /v1/blobs/\x01 HTTP/1.1\nhost: x\n\n",
        "NONSENSE\n\n",
        "GET /v1/blobs/" + "A" * 100_000 + " HTTP/1.1\nhost: x\n\n",
    ],
)
async def test_requests_that_are_no_http_are_refused(served, head) -> None:
    reader, writer = await served.talk(head)
    line = await reader.readline()
    assert line.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 431"))
    writer.close()
    await served.idle()


async def test_many_at_once(served) -> None:
    path = (await put(served, DATA[:100_000])).headers["location"]

    async def one(http: httpx.AsyncClient, index: int) -> bool:
        if index % 5 == 0:
            return (await http.put(f"{served.url}/v1/blobs?epochs=5", content=DATA[index : index + 5_000])).is_success
        return (await http.get(served.url + path)).content == DATA[:100_000]

    limits = httpx.Limits(max_connections=12)
    async with httpx.AsyncClient(timeout=30, limits=limits) as http:
        assert all(await asyncio.gather(*(one(http, index) for index in range(60))))
    await served.idle()
