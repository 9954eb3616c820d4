"""`/metrics`, `/healthz` and `/readyz` of a process, by HTTP beside its own port.

Live means that the process is worth keeping; ready, that it can do its work. Both are asked at the time of the
request, as a list of reasons why not: an empty list is yes. A reason starts with a stable word in capitals
(`LEDGER_DIVERGED: …`).

Ledger and nodes speak no other HTTP, so this is a protocol of its own on httptools: a web framework and its server
would double what they import at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import cast

import httptools
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder

from haulout.observability.listening import bind_address, bound_address

Reasons = Callable[[], Sequence[str]]

TEXT = "text/plain; charset=utf-8"
REQUEST_BYTES_MAX = 16 << 10
IDLE_S = 75.0
DRAIN_S = 1.0


class HealthRoutes:
    """What each path answers: a status, a content type and a body."""

    def __init__(self, registry: CollectorRegistry, *, live: Reasons, ready: Reasons) -> None:
        self._registry = registry
        self._live = live
        self._ready = ready

    def answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """The answer to a GET; `accept` chooses the format of metrics."""
        match path:
            case "/metrics":
                encoder, content_type = choose_encoder(accept)
                return HTTPStatus.OK, content_type, encoder(self._registry)
            case "/healthz":
                return self._say(self._live())
            case "/readyz":
                return self._say(self._ready())
            case _:
                return HTTPStatus.NOT_FOUND, TEXT, b"Not Found"

    @staticmethod
    def _say(reasons: Sequence[str]) -> tuple[HTTPStatus, str, bytes]:
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return status, "application/json", json.dumps({"ok": not reasons, "reasons": list(reasons)}).encode()


class HealthConnection(asyncio.Protocol):
    """One client: request after request, each answered as soon as its end is read."""

    def __init__(self, routes: HealthRoutes, connections: set[HealthConnection]) -> None:
        self._routes = routes
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._idle: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        """Forget the request before."""
        self._url = b""
        self._accept = b""
        self._received_bytes = 0

    def close(self) -> None:
        """End the connection; what was written still goes out."""
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio
        self._connections.add(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self.lost.set()
        self.close()

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if self._received_bytes > REQUEST_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()  # answered already: nothing else is spoken here
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)

    # --- what the parser calls ------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"accept":
            self._accept = value

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        if method in (b"GET", b"HEAD"):
            path, accept = self._url.partition(b"?")[0].decode("latin-1"), self._accept.decode("latin-1")
            status, content_type, body = self._routes.answer(path, accept)
        else:
            status, content_type, body = (
                HTTPStatus.METHOD_NOT_ALLOWED,
                TEXT,
                b"Method Not Allowed",
            )
        self._write(status, content_type, body, keep_alive=keep_alive, with_body=method != b"HEAD")
        self._begin()

    # --- answering ------------------------------------------------------------------------------------------

    def _refuse(self, status: HTTPStatus) -> None:
        self._write(status, TEXT, status.phrase.encode(), keep_alive=False, with_body=True)

    def _write(self, status: HTTPStatus, content_type: str, body: bytes, *, keep_alive: bool, with_body: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"content-type: {content_type}\r\n"
            f"content-length: {len(body)}\r\n"
            "cache-control: no-store\r\n"
            f"connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
        )
        self._transport.write(head.encode("latin-1") + (body if with_body else b""))
        if keep_alive:
            self._wait()
        else:
            self.close()

    def _wait(self) -> None:
        """Give the client so long for its next request."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)


@contextlib.asynccontextmanager
async def serve_health(
    address: str, registry: CollectorRegistry, *, live: Reasons = tuple, ready: Reasons
) -> AsyncIterator[str]:
    """Serve metrics and health on `address` until the block ends; yields the bound address.

    Raises:
        InvalidField: not an address.
        Unreachable: the address cannot be bound.
    """
    is_ready = Gauge("haulout_ready", "1 while `/readyz` says yes.", registry=registry)
    is_ready.set_function(lambda: not ready())
    routes = HealthRoutes(registry, live=live, ready=ready)
    connections: set[HealthConnection] = set()
    listener = bind_address(address)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HealthConnection(routes, connections), sock=listener)
    try:
        yield bound_address(address, listener)
    finally:
        server.close()
        await _end(connections)


async def _end(connections: set[HealthConnection]) -> None:
    """Close connections; one whose client does not read its answer is cut off."""
    for connection in list(connections):
        connection.close()
    waiting = [connection.lost.wait() for connection in connections]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*waiting), DRAIN_S)
    for connection in list(connections):
        connection.abort()
