"""`/metrics`, `/healthz` and `/readyz` of a process, by HTTP beside its own port.

Live means that the process is worth keeping; ready, that it can do its work. Both are asked at the time of the
request, as a list of reasons why not: an empty list is yes. A reason starts with a stable word in capitals
(`LEDGER_DIVERGED: …`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from haulout.errors import HauloutError, InvalidField, Unreachable
from haulout.observability.unread_bodies import CloseUnread

Reasons = Callable[[], Sequence[str]]


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the process that embeds it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        InvalidField: not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidField(field="address", problem=f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


@contextlib.asynccontextmanager
async def serve_http(app: ASGIApp, address: str, *, drain_s: int = 10, **options: object) -> AsyncIterator[str]:
    """Serve an ASGI application until the block ends, then let requests in flight finish.

    Yields the address that is really bound (port 0 asks for a free one).

    Raises:
        Unreachable: the address cannot be bound.
    """
    host, port = split_address(address)
    config = uvicorn.Config(
        CloseUnread(app),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_s,
        **options,  # type: ignore[arg-type]
    )
    server = QuietServer(config)
    listener = _bind(host, port)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise HauloutError(f"the HTTP server on {address} ended at start")
            await asyncio.sleep(0.005)
        yield f"{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def _bind(host: str, port: int) -> socket.socket:
    """A socket at an address of our own, which nobody else listens at."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as e:
        listener.close()
        problem = f"the port cannot be bound ({e.strerror or e}); another process may hold it"
        raise Unreachable(peer=f"{host}:{port}", problem=problem) from e
    return listener


def build_health_app(registry: CollectorRegistry, *, live: Reasons, ready: Reasons) -> Starlette:
    """The three routes, also for processes that mount them elsewhere."""

    async def metrics(request: Request) -> Response:
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(registry), media_type=content_type)

    def answer(reasons: Sequence[str]) -> Response:
        status = 503 if reasons else 200
        return JSONResponse({"ok": not reasons, "reasons": list(reasons)}, status, {"cache-control": "no-store"})

    async def healthz(_: Request) -> Response:
        return answer(live())

    async def readyz(_: Request) -> Response:
        return answer(ready())

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)])


@contextlib.asynccontextmanager
async def serve_health(
    address: str, registry: CollectorRegistry, *, live: Reasons = tuple, ready: Reasons
) -> AsyncIterator[str]:
    """Serve metrics and health on `address` until the block ends; yields the bound address."""
    async with serve_http(build_health_app(registry, live=live, ready=ready), address, drain_s=1) as bound:
        yield bound
