"""What a resolver may ask: the caller, the request's snapshot and loaders, and the services of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import strawberry

from graphql_api.loaders import Loaders
from graphql_api.read_model.reading import Reading, ReadModel
from haulout.ledger.state import Params, View

if TYPE_CHECKING:
    from graphql_api.access import Access, Caller
    from graphql_api.gateway import Gateway
    from graphql_api.health import HealthBoard
    from graphql_api.holdings import HoldingsBoard
    from graphql_api.inspection import Inspector
    from graphql_api.ledger_watch import Finality
    from graphql_api.limits import Bounds
    from graphql_api.operation_keeper import OperationKeeper
    from graphql_api.rates import Rates
    from graphql_api.read_model.follow import Follower
    from graphql_api.records.database import Records
    from graphql_api.retention_keeper import RetentionKeeper
    from haulout.account.wallet import Wallet
    from haulout.client.network import Network
    from haulout.ports import Clock, Ledger, Rng


@dataclass(frozen=True, slots=True)
class Services:
    """What lives as long as the process; handed in by its composition root."""

    params: Params
    cursor_key: bytes
    public_gateway_url: str  # without a slash at its end
    health: HealthBoard
    finality: Finality
    network: Network
    holdings: HoldingsBoard
    inspector: Inspector
    view: Callable[[], View]  # the ledger's state as executed here, at its head
    bounds: Bounds
    version: str
    records: Records
    access: Access
    clock: Clock
    rng: Rng
    ledger: Ledger
    wallet: Wallet | None  # of the account that this server holds
    follower: Follower
    gateway: Gateway
    operations: OperationKeeper
    retention: RetentionKeeper
    rates: Rates


class Context:
    """What lives as long as one request, or as one event of a subscription."""

    def __init__(self, services: Services, read_model: ReadModel, caller: Caller, trace_id: str) -> None:
        self.services = services
        self.caller = caller
        self.trace_id = trace_id
        self.cost = 0
        self.is_stream = False  # whether the answer may go on
        self.item: object = None  # what the next result of a stream is about; None when it replaces no other
        self.told: dict[object, str] = {}  # the last result of each item of a stream
        self.limit: asyncio.Timeout | None = None
        self._read_model = read_model
        self._n_queries = 0
        self.reading: Reading = read_model.open()
        self.loaders = Loaders(self.reading, services.records)

    @property
    def n_queries(self) -> int:
        """SQL queries so far."""
        return self._n_queries + self.reading.n_queries

    async def epoch(self) -> int:
        """The current epoch in the request's snapshot."""
        return (await self.reading.snapshot()).epoch

    async def renew(self) -> None:
        """Let go of the snapshot: what is read from here on is as of a later one."""
        self._n_queries += self.reading.n_queries
        await self.close()
        self.reading = self._read_model.open()
        self.loaders = Loaders(self.reading, self.services.records)

    def allow_ms(self, duration_ms: int) -> None:
        """Let the request take so long from now on."""
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + duration_ms / 1000)

    async def close(self) -> None:
        """Let go of the snapshot for good."""
        self.loaders.close()
        await self.reading.close()


Info = strawberry.Info[Context, None]
