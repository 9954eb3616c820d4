"""An ASGI application behind an HTTP port, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from haulout.errors import HauloutError
from haulout.observability.listening import bind_address, bound_address, split_address
from haulout.observability.traced_requests import TraceRequests
from haulout.observability.unread_bodies import CloseUnread


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the process that embeds it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve_http(app: ASGIApp, address: str, *, drain_s: int = 10, **options: object) -> AsyncIterator[str]:
    """Serve an ASGI application until the block ends, then let requests in flight finish.

    Yields the address that is really bound (port 0 asks for a free one).

    Raises:
        InvalidField: not an address.
        Unreachable: the address cannot be bound.
    """
    host, port = split_address(address)
    config = uvicorn.Config(
        TraceRequests(CloseUnread(app)),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_s,
        **options,  # type: ignore[arg-type]
    )
    server = QuietServer(config)
    listener = bind_address(address)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise HauloutError(f"the HTTP server on {address} ended at start")
            await asyncio.sleep(0.005)
        yield bound_address(address, listener)
    finally:
        server.should_exit = True
        await task
        listener.close()
