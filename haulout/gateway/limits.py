"""Load limits: so many requests are served, so many more wait, and the rest is told to come again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from haulout.gateway.errors import TooManyRequests


class LoadLimit:
    """A gate for one kind of request.

    Args:
        role: `aggregator` or `publisher`, for the message.
        served: at once.
        admitted: served and waiting together.
    """

    def __init__(self, role: str, *, served: int, admitted: int) -> None:
        self._role = role
        self._slots = asyncio.Semaphore(served)
        self._admitted_max = admitted
        self.admitted = 0

    async def enter(self) -> None:
        """Take a slot, waiting for one; `leave` gives it back.

        Raises:
            TooManyRequests: at once, when too many are waiting already.
        """
        if self.admitted >= self._admitted_max:
            raise TooManyRequests(role=self._role)
        self.admitted += 1
        try:
            await self._slots.acquire()
        except BaseException:
            self.admitted -= 1
            raise

    def leave(self) -> None:
        """Give a slot back."""
        self.admitted -= 1
        self._slots.release()

    @contextlib.asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Serve a request within the block."""
        await self.enter()
        try:
            yield
        finally:
            self.leave()

    async def serve(self, handle: Callable[[], Awaitable[Response]]) -> Response:
        """Answer a request; its slot is taken until the whole answer was sent, which bounds what is being sent."""
        await self.enter()
        try:
            response = await handle()
        except BaseException:
            self.leave()
            raise
        return _Slotted(response, self.leave)


class _Slotted(Response):
    """An answer that gives its slot back when it was sent or the client is gone."""

    def __init__(self, response: Response, leave: Callable[[], None]) -> None:
        self._response = response
        self._leave = leave
        self.status_code = response.status_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._leave()
