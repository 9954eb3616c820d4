"""From a transaction to an answer, in one process: sequencer, replica that executes again, read model, API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from graphql_api import ledger_watch
from graphql_api.read_model.database import Database, HistoryNotKept
from graphql_api.records.database import Records
from graphql_api.service import Service, run_service
from haulout import bcs
from haulout.chain.checkpoint import CheckpointSignature
from haulout.crypto import messages
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import Unreachable
from haulout.ledger import commands as c
from haulout.ledger import queries
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.genesis import build_development_network
from haulout.ledger.transactions import sign_transaction
from haulout.primitives import FROST_PER_WAL, blob_id_text
from haulout.replica.checkpoints import find_checkpoint
from haulout.sequencer.sequencer import Sequencer
from haulout.world.clock import SystemClock
from haulout.world.memory_store import MemoryStore
from haulout.world.rng import SystemRng
from haulout.world.workers import InlineWorkers, ThreadWorkers

SCHEME = KeyedHash()
ISSUE_QUERY = "{ blobs(first: 5) { nodes { blobId certificate { weight quorumThreshold verified } } } }"


class NoNodes:
    """A transport on which nobody answers."""

    def connect(self, address: str) -> Any:
        class Nobody:
            async def health(self) -> Any:
                raise Unreachable(peer=address, problem="there are no nodes here")

        return Nobody()

    async def close(self) -> None:
        return None


class Town:
    """A ledger in this process, and someone who stores blobs."""

    def __init__(self) -> None:
        self.network = build_development_network(
            node_addresses={f"node-{i}": (f"127.0.0.1:{9 + i}",) for i in range(4)},
            n_shards=10,
            stake_frost=1_000 * FROST_PER_WAL,
            account_funds_frost={"alice": 1_000_000 * FROST_PER_WAL},
            genesis_time_ms=time.time_ns() // 1_000_000,
            seed=bytes(32),
            scheme=SCHEME,
        )
        self.sequencer: Sequencer
        self.n_sent = 0

    async def submit(self, *commands: Any) -> Any:
        self.n_sent += 1
        signed = sign_transaction(
            self.network.account_secrets["alice"],
            self.network.genesis.chain_id,
            commands,
            nonce=self.n_sent.to_bytes(16, "big"),
            valid_until_ms=time.time_ns() // 1_000_000 + 60_000,
        )
        result = await self.sequencer.submit(bcs.encode(signed), wait_ms=5_000)
        assert result is not None and result.is_ok, result
        return result

    async def store_blob(self, number: int) -> bytes:
        """Register and certify; returns the blob id."""
        root = number.to_bytes(32, "big")
        blob_id = derive_blob_id(1, 500, root)
        reserve = c.ReserveSpace(1 << 20, 0, 5)
        result = await self.submit(reserve, c.RegisterBlob(c.Created(0, 0), blob_id, root, 500, 1, True))
        object_id = result.created[1][0]
        message = messages.storage_confirmation(1, blob_id, object_id)
        members = queries.committee(self.sequencer.store.view).members
        secrets = {node.node_id: node.bls_secret for node in self.network.nodes}
        signature = SCHEME.aggregate([SCHEME.sign(secrets[member.node_id], message) for member in members])
        await self.submit(c.CertifyBlob(c.Existing(object_id), message, signature, bitmap_of(range(len(members)))))
        return blob_id


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    town = Town()
    town.sequencer = await Sequencer.open(
        store=MemoryStore(),
        genesis=town.network.genesis,
        scheme=SCHEME,
        clock=SystemClock(),
        workers=InlineWorkers(),
        engine="memory",
    )
    running = asyncio.create_task(town.sequencer.run())
    yield town
    town.sequencer.stop()
    await running
    await town.sequencer.close()


@asynccontextmanager
async def api(town: Town, path: Path) -> AsyncIterator[tuple[Service, httpx.AsyncClient, CollectorRegistry]]:
    """The service over this ledger; the read model survives between two of them, the replica does not."""
    readers, writers, registry = ThreadWorkers(2), ThreadWorkers(1), CollectorRegistry()
    database, records = Database(f"sqlite:///{path}"), Records(f"sqlite:///{path}.records", readers)
    async with run_service(
        genesis=town.network.genesis,
        scheme=SCHEME,
        ledger=town.sequencer,
        transport=NoNodes(),
        store=MemoryStore(),
        database=database,
        clock=SystemClock(),
        rng=SystemRng(),
        readers=readers,
        writers=writers,
        registry=registry,
        gateway_url="http://127.0.0.1:31415",
        records=records,
    ) as service:
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            yield service, http, registry
    records.close()
    database.close()
    readers.close()
    writers.close()


async def ask(town: Town, http: httpx.AsyncClient, query: str) -> Any:
    """An answer that contains everything submitted so far."""
    sequence = queries.system(town.sequencer.store.view).next_sequence - 1
    response = await http.post("/graphql", json={"query": query}, headers={"x-min-sequence": str(sequence)})
    body = response.json()
    assert "errors" not in body, body
    assert body["extensions"]["watermark"]["sequence"] >= sequence
    return body["data"]


async def test_a_stored_blob_is_shown_with_its_verified_certificate(town: Town, tmp_path: Path) -> None:
    async with api(town, tmp_path / "read_model.sqlite") as (service, http, registry):
        blob_ids = [await town.store_blob(number) for number in range(3)]
        data = await ask(town, http, ISSUE_QUERY)
        assert data["blobs"]["nodes"] == [
            {
                "blobId": blob_id_text(blob_id),
                "certificate": {"weight": 10, "quorumThreshold": 7, "verified": True},
            }
            for blob_id in reversed(blob_ids)
        ]
        nodes = await ask(town, http, "{ storageNodes { nodes { name phase weight } } }")
        assert {node["phase"] for node in nodes["storageNodes"]["nodes"]} == {"UNREACHABLE"}
        assert sum(node["weight"] for node in nodes["storageNodes"]["nodes"]) == 10
        assert service.why_not_ready() == []
        n_blocks = town.sequencer.head.height
        within = registry.get_sample_value("haulout_read_model_delay_seconds_bucket", {"le": "2.5"}) or 0
        assert within >= n_blocks - 1  # the first blocks may have come before the service was live


async def test_goes_on_after_a_restart_and_catches_up_with_what_it_missed(town: Town, tmp_path: Path) -> None:
    path = tmp_path / "read_model.sqlite"
    async with api(town, path) as (_, http, _registry):
        first = await town.store_blob(1)
        assert len((await ask(town, http, ISSUE_QUERY))["blobs"]["nodes"]) == 1
    second = await town.store_blob(2)
    async with api(town, path) as (service, http, _registry):
        assert service.follower.progress.height > 0
        nodes = (await ask(town, http, ISSUE_QUERY))["blobs"]["nodes"]
        assert [node["blobId"] for node in nodes] == [blob_id_text(second), blob_id_text(first)]


class LostLedger:
    """A ledger that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: Any, **__: Any) -> Any:
            raise Unreachable(peer="the ledger", problem="it is down")

        return fail


class HangingLedger(LostLedger):
    """A ledger that answers nothing, not even an error."""

    def __getattr__(self, name: str) -> Any:
        async def hang(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(60)

        return hang


async def test_is_not_ready_before_it_has_seen_the_ledger_and_stays_ready_when_that_goes_away(
    town: Town, tmp_path: Path
) -> None:
    real = town.sequencer
    town.sequencer = LostLedger()  # type: ignore[assignment]
    async with api(town, tmp_path / "1.sqlite") as (service, http, _registry):
        async with asyncio.timeout(5):
            while not service.why_not_ready()[0].startswith("LEDGER_UNREACHABLE"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        body = (await http.post("/graphql", json={"query": "{ system { nodesTotal } }"})).json()
        assert body["data"]["system"]["nodesTotal"] == 4
        assert body["extensions"]["watermark"]["height"] == 0
    town.sequencer = real
    async with api(town, tmp_path / "2.sqlite") as (service, http, _registry):
        await town.store_blob(1)
        await ask(town, http, ISSUE_QUERY)
        assert service.why_not_ready() == []
        service.replica.problem = Unreachable(peer="the ledger", problem="it went down")
        assert service.why_not_ready() == []


async def attest_head(town: Town) -> int:
    """Every node signs the checkpoint that the ledger wants; returns its height."""
    wanted = (await town.sequencer.attestation()).wanted_height
    checkpoint = find_checkpoint(town.sequencer.store, wanted)
    assert checkpoint is not None
    for node in town.network.nodes:
        signature = SCHEME.sign(node.bls_secret, checkpoint.message())
        await town.sequencer.attest(CheckpointSignature(node.node_id, checkpoint, signature))
    return wanted


async def test_an_answer_says_how_far_the_nodes_have_attested_the_ledger(town: Town, tmp_path: Path) -> None:
    async with api(town, tmp_path / "read_model.sqlite") as (_, http, _registry):

        async def watermark() -> Any:
            return (await http.post("/graphql", json={"query": "{ __typename }"})).json()["extensions"]["watermark"]

        await town.store_blob(1)
        assert (await watermark())["attestedHeight"] == 0
        height = await attest_head(town)
        assert height > 0
        async with asyncio.timeout(10):
            while (await watermark())["attestedHeight"] < height:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await watermark())["ledgerSilentMs"] == 0


@pytest.mark.parametrize("away", [LostLedger, HangingLedger])
async def test_an_answer_says_for_how_long_the_ledger_has_been_away(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: type[LostLedger]
) -> None:
    monkeypatch.setattr(ledger_watch, "WATCH_MS", 20)
    monkeypatch.setattr(ledger_watch, "LATE_MS", 20)
    town.sequencer, real = away(), town.sequencer  # type: ignore[assignment]
    async with api(town, tmp_path / "read_model.sqlite") as (_, http, _registry), asyncio.timeout(10):
        silent = 0
        while silent < 50:
            await asyncio.sleep(0.02)
            answer = (await http.post("/graphql", json={"query": "{ __typename }"})).json()
            silent = answer["extensions"]["watermark"]["ledgerSilentMs"]
    town.sequencer = real


async def test_a_read_model_whose_blocks_are_pruned_says_so(town: Town, tmp_path: Path) -> None:
    for number in range(2):
        await town.store_blob(number)
    assert await town.sequencer.store.prune(below_height=3) == 3
    async with api(town, tmp_path / "read_model.sqlite") as (service, _, _):
        with pytest.raises(HistoryNotKept, match="needs block 1 next, and the oldest that the ledger keeps is 3"):
            await asyncio.wait_for(service.tasks[0], 5)
