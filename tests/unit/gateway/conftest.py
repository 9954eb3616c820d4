"""The gateway's application over a real ledger and the nodes of memory that the client's tests use."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from haulout.gateway.aggregator import Aggregator
from haulout.gateway.app import build_app
from haulout.gateway.cache import BlobCache
from haulout.gateway.metrics import GatewayMetrics
from haulout.gateway.publisher import Publisher


def _client_world() -> Any:
    path = Path(__file__).parents[1] / "client" / "conftest.py"
    spec = importlib.util.spec_from_file_location("client_world", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.World


class Gateway:
    """The application, called without sockets; time passes whenever everybody waits for it."""

    def __init__(self, world: Any, spill: Path, *, account: str = "client", ledger: Any = None) -> None:
        self.world = world
        self.spill = spill
        self.registry = CollectorRegistry()
        self.metrics = GatewayMetrics(self.registry)
        self.cache = BlobCache(1 << 20)
        self.not_ready: list[str] = []
        network = world.make_network(spill=spill)
        self.app = build_app(
            network,
            Aggregator(network, self.cache, self.metrics),
            Publisher(network, world.make_wallet(account, ledger), spill, self.metrics),
            self.metrics,
            why_not_ready=lambda: self.not_ready,
        )

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            return await self.world.run(http.request(method, path, **options))

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.call("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def put(self, data: Any, query: str = "epochs=5", **options: Any) -> httpx.Response:
        return await self.call("PUT", f"/v1/blobs?{query}", content=data, **options)

    async def store(self, data: bytes, query: str = "epochs=5") -> str:
        """Store; the blob's path."""
        answer = await self.put(data, query)
        assert answer.status_code == 200, answer.text
        return answer.headers["location"]

    @property
    def inflight_bytes(self) -> float:
        return self.registry.get_sample_value("haulout_http_inflight_bytes")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and reason of an error, when it has the shape that every error has."""
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["message"]
    (detail,) = error["details"]
    assert detail["@type"] == "ErrorInfo"
    assert detail["domain"] == "haulout.dev"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, detail["reason"]


@pytest.fixture(name="refusal")
def refusal_fixture() -> Any:
    return refusal


@pytest.fixture
async def world() -> Any:
    world = await _client_world()().start()
    yield world
    await world.stop()


@pytest.fixture
def gateway(world: Any, tmp_path: Path) -> Gateway:
    return Gateway(world, tmp_path / "spill")


@pytest.fixture
def make_gateway(world: Any, tmp_path: Path) -> Any:
    return lambda **options: Gateway(world, tmp_path / "spill", **options)


@pytest.fixture
def make_data() -> Any:
    return lambda size, seed=0: random.Random(seed).randbytes(size)
