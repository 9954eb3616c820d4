"""What becomes of a connection when a request is answered before its body was read.

A client that sent `Expect: 100-continue` and gets its answer instead of a go may leave the body out, or send it all
the same; the bytes that follow could be either a body or the next request. So that connection is closed (RFC 9110,
10.1.1). A client that did not ask is sending already: its body is read and thrown away, because closing on it would
destroy the answer before it is seen.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CloseUnread:
    """Wraps an application: an answer instead of a go ends the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or Headers(scope=scope).get("expect", "").lower() != "100-continue":
            await self._app(scope, receive, send)
            return
        was_read = False

        async def read() -> Message:
            nonlocal was_read
            was_read = True
            return await receive()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not was_read:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, read, answer)
