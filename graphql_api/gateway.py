"""The gateway, as this service asks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from haulout.errors import Unreachable, from_wire
from haulout.observability import tracing

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 5


class Gateway:
    """Asks the gateway. Its client is loaded when the first upload is announced."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Let go of all connections."""
        if self._http is not None:
            await self._http.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        """The client of its connections."""
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False)
        return self._http

    async def ask(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, **parameters: str
    ) -> dict[str, Any]:
        """The document that a request is answered with.

        Args:
            body: sent as JSON.
            parameters: of the query.

        Raises:
            Unreachable: no answer, or none of a gateway.
            InvalidInput, Rejected, NotFound, Unavailable: as the gateway refuses, under its code.
        """
        import httpx

        try:
            with tracing.call(method, self.url) as span:
                response = await self.http.request(
                    method,
                    self.url + path,
                    params=parameters,
                    content=None if body is None else json.dumps(body),
                    headers={"content-type": "application/json", **dict(span.headers)},
                    timeout=TIMEOUT_S,
                )
            document = response.json()
        except (httpx.HTTPError, ValueError) as e:
            raise Unreachable(peer="the gateway", problem=type(e).__name__) from e
        if response.is_success and isinstance(document, dict):
            return document
        try:
            error = document["error"]
            raise from_wire(error["status"], error["details"][0]["reason"], error["message"], {})
        except (KeyError, TypeError, IndexError) as e:
            raise Unreachable(peer="the gateway", problem=f"it answers {response.status_code}") from e
