"""The guard of `tests/conftest.py`: tests reach this machine and nothing else."""

from __future__ import annotations

import asyncio
import socket

import pytest

ELSEWHERE = "192.0.2.1"  # a block that documentation may use and nobody has


@pytest.mark.parametrize("host", [ELSEWHERE, "2001:db8::1", "haulout.example"])
async def test_nothing_else_is_reached(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="beyond this machine"):
        await asyncio.open_connection(host, 80)
    with pytest.raises(pytest.fail.Exception, match="beyond this machine"):
        socket.create_connection((host, 80))


def test_nothing_is_sent_without_a_connection_either() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        with pytest.raises(pytest.fail.Exception, match="beyond this machine"):
            sender.sendto(b"x", (ELSEWHERE, 9))
        with pytest.raises(pytest.fail.Exception, match="beyond this machine"):
            sender.connect_ex((ELSEWHERE, 9))


async def test_this_machine_is_reached() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "localhost", 0, family=socket.AF_INET)
    async with server:
        for host in ("127.0.0.1", "localhost"):
            reader, writer = await asyncio.open_connection(host, server.sockets[0].getsockname()[1])
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
