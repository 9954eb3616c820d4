"""What the supervisor learns from `/readyz`, of our processes and of whatever else may hold their port."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from haulout.embedded.readiness import ask_ready
from haulout.errors import Unreachable
from haulout.observability.health_server import serve_health
from haulout.observability.metrics import build_registry


async def test_reasons_are_those_of_the_process() -> None:
    reasons = ["CATCHING_UP: block 1 of 2"]
    async with serve_health("127.0.0.1:0", build_registry("node"), ready=lambda: reasons) as address:
        assert await ask_ready(address, timeout_s=5) == ("CATCHING_UP: block 1 of 2",)
        reasons.clear()
        assert await ask_ready(address, timeout_s=5) == ()
    with pytest.raises(Unreachable, match="ConnectionRefusedError"):
        await ask_ready(address, timeout_s=5)


@contextlib.asynccontextmanager
async def somebody(answer: bytes):
    """A server of somebody else, which answers one client with these bytes."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await served.wait()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
    ],
)
async def test_who_is_none_of_ours_does_not_answer(answer: bytes) -> None:
    async with somebody(answer) as address:
        with pytest.raises(Unreachable, match=address):
            await ask_ready(address, timeout_s=5)


async def test_who_is_silent_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable, match="TimeoutError"):
        await ask_ready(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05)


async def test_a_status_without_a_reason_is_no_yes() -> None:
    async with somebody(b'HTTP/1.1 503 No\r\n\r\n{"ok": false, "reasons": []}') as address:
        assert await ask_ready(address, timeout_s=5) == ("NOT_READY: status 503",)
