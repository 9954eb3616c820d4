"""Load limits: so many requests are served, so many more wait, and the rest is told to come again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

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

    @contextlib.asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Serve a request within the block, waiting for a slot.

        Raises:
            TooManyRequests: at once, when too many are waiting already.
        """
        if self.admitted >= self._admitted_max:
            raise TooManyRequests(role=self._role)
        self.admitted += 1
        try:
            async with self._slots:
                yield
        finally:
            self.admitted -= 1
