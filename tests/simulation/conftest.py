"""The API in a virtual network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from graphql_api.read_model.database import Database
from graphql_api.records.database import Records
from graphql_api.records.tokens import digest_of, make_token, secret_text
from graphql_api.service import Service, run_service
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import queries
from haulout.sim.clock import VirtualClock
from haulout.sim.ledger import SimLedger
from haulout.sim.loop import run
from haulout.sim.network import SimNodeTransport
from haulout.sim.processes import LEDGER
from haulout.sim.rng import SeededRng
from haulout.sim.world import World
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

API = "graphql"


class Api:
    """An API over a world; called with a query it gives the data of an answer without errors."""

    def __init__(self, world: World, service: Service, records: Records) -> None:
        self.world = world
        self.service = service
        self.records = records
        self._n_tokens = 0
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://api")

    async def __call__(self, query: str, **variables: Any) -> Any:
        sequencer = self.world.hosts[LEDGER].sequencer
        assert sequencer is not None
        headers = {"x-min-sequence": str(queries.system(sequencer.store.view).next_sequence - 1)}
        return self._data(await self.http.post("/graphql", json=_body(query, variables), headers=headers))

    async def mutate(self, query: str, **variables: Any) -> Any:
        """What the only mutation of a document answers to a caller who may do everything."""
        body, headers = _body(query, variables), await self.token("ADMIN")
        data = self._data(await self.http.post("/graphql", json=body, headers=headers))
        (payload,) = data.values()
        return payload

    async def token(self, *scopes: str) -> dict[str, str]:
        """Headers of a caller with these scopes."""
        secret = secret_text(f"{self._n_tokens}".encode())
        self._n_tokens += 1
        now_ms = VirtualClock().now_ms()
        await self.records.write(make_token, digest_of(secret), "test", scopes, now_ms, None)
        return {"authorization": f"Bearer {secret}"}

    def _data(self, response: httpx.Response) -> Any:
        answer = response.json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


def _body(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    return {"query": query, "variables": variables}


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., None]:
    """Runs a story in a world, made with the options that are given, with an API that holds the account `alice`."""

    def tell(story: Callable[[World, Api], Awaitable[None]], **options: Any) -> None:
        async def scene() -> None:
            async with World(11, **options) as world:
                database = Database(f"sqlite:///{tmp_path / 'read_model.sqlite'}")
                workers = InlineWorkers()
                records = Records(f"sqlite:///{tmp_path / 'records.sqlite'}", workers)
                async with run_service(
                    genesis=world.network.genesis,
                    scheme=KeyedHash(),
                    ledger=SimLedger(world.fabric, API, LEDGER),
                    transport=SimNodeTransport(world.fabric, API),
                    store=MemoryStore(),
                    database=database,
                    clock=VirtualClock(),
                    rng=SeededRng(11, API),
                    readers=workers,
                    writers=workers,
                    registry=CollectorRegistry(),
                    gateway_url="http://127.0.0.1:31415",
                    records=records,
                    wallet_secret=world.network.account_secrets["alice"],
                ) as service:
                    await story(world, Api(world, service, records))
                records.close()
                database.close()

        run(scene(), seed=11)

    return tell
