"""What a resolver may ask: the request's snapshot and loaders, and the services of the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import strawberry

from graphql_api.read_model.reading import Reading
from haulout.ledger.state import Params, View

if TYPE_CHECKING:
    from graphql_api.health import HealthBoard
    from graphql_api.holdings import HoldingsBoard
    from graphql_api.inspection import Inspector
    from graphql_api.ledger_watch import Finality
    from graphql_api.limits import Bounds
    from graphql_api.loaders import Loaders
    from haulout.client.network import Network


@dataclass(frozen=True, slots=True)
class Services:
    """What lives as long as the process; handed in by its composition root."""

    params: Params
    cursor_key: bytes
    gateway_url: str
    health: HealthBoard
    finality: Finality
    network: Network
    holdings: HoldingsBoard
    inspector: Inspector
    view: Callable[[], View]  # the ledger's state as executed here, at its head
    bounds: Bounds
    version: str


@dataclass(slots=True)
class Context:
    """What lives as long as one request."""

    services: Services
    reading: Reading
    loaders: Loaders
    trace_id: str
    cost: int = 0

    async def epoch(self) -> int:
        """The current epoch in the request's snapshot."""
        return (await self.reading.snapshot()).epoch


Info = strawberry.Info[Context, None]
