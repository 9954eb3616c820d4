"""Asking a process whether it is ready: `/readyz` in one short exchange, without an HTTP library to load at start."""

from __future__ import annotations

import asyncio
import json

from haulout.errors import Unreachable
from haulout.observability.listening import split_address


async def ask_ready(address: str, *, timeout_s: float) -> tuple[str, ...]:
    """Why the process at `host:port` is not ready; empty when it is.

    Raises:
        Unreachable: it does not answer in time, or not as our processes do.
    """
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _get(address)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        reasons = tuple(str(reason) for reason in json.loads(body)["reasons"])
    except (OSError, TimeoutError, ValueError, LookupError, TypeError) as e:
        raise Unreachable(peer=address, problem=type(e).__name__) from e
    return reasons if reasons or status == 200 else (f"NOT_READY: status {status}",)


async def _get(address: str) -> bytes:
    """The whole answer; the server closes the connection behind it, as HTTP/1.0 has it."""
    host, port = split_address(address)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET /readyz HTTP/1.0\r\nhost: {address}\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()
