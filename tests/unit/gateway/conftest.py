"""The gateway's application over the client tests' network: a real ledger, nodes of memory, time that jumps."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from haulout.client.metrics import ClientMetrics
from haulout.gateway.aggregator import Aggregator
from haulout.gateway.app import build_app
from haulout.gateway.cache import BlobCache
from haulout.gateway.metrics import GatewayMetrics
from haulout.gateway.publisher import Publisher

_spec = importlib.util.spec_from_file_location("client_world", Path(__file__).parents[1] / "client" / "conftest.py")
assert _spec is not None and _spec.loader is not None
client_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client_world)

make_data = client_world.make_data
SPILL_BYTES = 1_000


class Gateway:
    """One gateway, asked as over HTTP."""

    def __init__(self, world: Any, spill: Path, *, cache_bytes: int, account: str, ledger: Any) -> None:
        self.world = world
        self.registry = CollectorRegistry()
        self.spill = spill
        self.network = world.make_network(spill=spill, metrics=ClientMetrics(self.registry))
        self.not_ready: list[str] = []
        metrics = GatewayMetrics(self.registry)
        self.app = build_app(
            self.network,
            Aggregator(self.network, BlobCache(cache_bytes), metrics),
            Publisher(self.network, world.make_wallet(account, ledger), spill, metrics),
            metrics,
            ledger=ledger or world.sequencer,
            why_not_ready=lambda: self.not_ready,
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://gateway")

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        response: httpx.Response = await self.world.run(self.http.request(method, path, **options))
        return response

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.ask("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def put(self, data: Any, query: str = "epochs=5") -> httpx.Response:
        return await self.ask("PUT", f"/v1/blobs?{query}", content=data)

    async def stored(self, data: bytes) -> str:
        """Store; the path to read it."""
        response = await self.put(data)
        assert response.status_code == 200, response.text
        return response.headers["location"]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0

    def node_calls(self) -> int:
        return sum(len(node.calls) for node in self.world.nodes)


def reason(response: httpx.Response) -> str:
    """The reason of an error, whose body has to be of the known shape."""
    error = response.json()["error"]
    assert error["code"] == response.status_code
    assert error["message"]
    assert response.headers["cache-control"] == "no-store"
    [detail] = [detail for detail in error["details"] if detail["@type"] == "ErrorInfo"]
    assert detail["domain"] in ("haulout.dev", "global")
    return detail["reason"]


@pytest.fixture
def reason_of() -> Any:
    return reason


@pytest.fixture
async def world() -> AsyncIterator[Any]:
    world = await client_world.World().start()
    yield world
    await world.stop()


@pytest.fixture
async def make_gateway(world, tmp_path, monkeypatch) -> AsyncIterator[Any]:
    for place in ("client.network.SPILL", "gateway.publisher.SPILL", "client.read.READ_SPILL"):
        monkeypatch.setattr(f"haulout.{place}_THRESHOLD_BYTES", SPILL_BYTES)
    made: list[Gateway] = []

    def make(*, cache_bytes: int = 0, account: str = "client", ledger: Any = None) -> Gateway:
        made.append(Gateway(world, tmp_path / "spill", cache_bytes=cache_bytes, account=account, ledger=ledger))
        return made[-1]

    yield make
    for gateway in made:
        await gateway.http.aclose()


@pytest.fixture
def gateway(make_gateway) -> Gateway:
    return make_gateway()
