"""The real process over a real ledger on loopback: ready, killed, started again, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from haulout import bcs
from haulout.crypto import messages
from haulout.crypto.bls import Bls12381
from haulout.crypto.certificate import bitmap_of
from haulout.ledger import commands as c
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.genesis import build_development_network
from haulout.ledger.transactions import sign_transaction
from haulout.primitives import FROST_PER_WAL, blob_id_text
from haulout.wire.ledger import GrpcLedger

ROOT = Path(__file__).parents[2]
QUERY = "{ blobs(first: 5) { nodes { blobId certificate { weight quorumThreshold verified } } } }"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Processes:
    """A ledger and a GraphQL process in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheme = Bls12381()
        self.network = build_development_network(
            node_addresses={f"node-{i}": (f"127.0.0.1:{free_port()}",) for i in range(4)},
            n_shards=10,
            stake_frost=1_000 * FROST_PER_WAL,
            account_funds_frost={"alice": 1_000_000 * FROST_PER_WAL},
            genesis_time_ms=time.time_ns() // 1_000_000,
            seed=os.urandom(32),
            scheme=self.scheme,
        )
        self.genesis = folder / "genesis.json"
        self.genesis.write_text(self.network.genesis.to_json())
        self.ledger_at, self.ledger_metrics, self.api_at, self.api_metrics = (
            f"127.0.0.1:{free_port()}" for _ in range(4)
        )
        self.running: list[asyncio.subprocess.Process] = []
        self.n_sent = 0

    async def start(self, *command: str, name: str) -> asyncio.subprocess.Process:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *command, cwd=ROOT, stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    async def start_ledger(self) -> asyncio.subprocess.Process:
        return await self.start(
            "haulout.cli", "ledger", "--dir", str(self.folder / "ledger"), "--genesis", str(self.genesis),
            "--listen", self.ledger_at, "--metrics", self.ledger_metrics, name="ledger",
        )  # fmt: skip

    async def start_api(self, *more: str) -> asyncio.subprocess.Process:
        return await self.start(
            "graphql_api", "--dir", str(self.folder / "graphql"), "--genesis", str(self.genesis),
            "--ledger", self.ledger_at, "--listen", self.api_at, "--metrics", self.api_metrics,
            "--gateway-url", "http://127.0.0.1:31415", "--log-format", "json", *more, name="graphql",
        )  # fmt: skip

    async def ready(self, address: str) -> None:
        async with asyncio.timeout(60), httpx.AsyncClient() as http:
            while True:
                try:
                    if (await http.get(f"http://{address}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    async def submit(self, ledger: GrpcLedger, *commands: Any) -> Any:
        self.n_sent += 1
        signed = sign_transaction(
            self.network.account_secrets["alice"],
            self.network.genesis.chain_id,
            commands,
            nonce=self.n_sent.to_bytes(16, "big"),
            valid_until_ms=time.time_ns() // 1_000_000 + 60_000,
        )
        result = await ledger.submit(bcs.encode(signed), wait_ms=10_000)
        assert result is not None and result.is_ok, result
        return result

    async def store_blob(self, ledger: GrpcLedger, number: int) -> bytes:
        """Register and certify with all nodes; returns the blob id."""
        root = number.to_bytes(32, "big")
        blob_id = derive_blob_id(1, 500, root)
        reserve = c.ReserveSpace(1 << 20, 0, 5)
        result = await self.submit(ledger, reserve, c.RegisterBlob(c.Created(0, 0), blob_id, root, 500, 1, True))
        object_id = result.created[1][0]
        message = messages.storage_confirmation(1, blob_id, object_id)
        signature = self.scheme.aggregate([self.scheme.sign(n.bls_secret, message) for n in self.network.nodes])
        certify = c.CertifyBlob(c.Existing(object_id), message, signature, bitmap_of(range(4)))
        await self.submit(ledger, certify)
        return blob_id

    async def certified(self, blob_ids: Sequence[bytes]) -> None:
        """These blobs are shown, newest first, with verified certificates; the time is for a busy machine."""
        expected = [
            {"blobId": blob_id_text(b), "certificate": {"weight": 10, "quorumThreshold": 7, "verified": True}}
            for b in blob_ids
        ]
        async with httpx.AsyncClient() as http:
            deadline = time.monotonic() + 15
            while True:
                answer = (await http.post(f"http://{self.api_at}/graphql", json={"query": QUERY})).json()
                assert "errors" not in answer, answer
                if answer["data"]["blobs"]["nodes"] == expected or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.02)
        assert answer["data"]["blobs"]["nodes"] == expected


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    for process in processes.running:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_process_follows_survives_a_kill_and_stops_when_told(processes: Processes) -> None:
    ledger_process = await processes.start_ledger()
    api = await processes.start_api()
    await processes.ready(processes.ledger_metrics)
    await processes.ready(processes.api_metrics)
    ledger = GrpcLedger(processes.ledger_at)
    first = await processes.store_blob(ledger, 1)
    await processes.certified([first])

    api.kill()
    await api.wait()
    second = await processes.store_blob(ledger, 2)
    api = await processes.start_api()
    await processes.ready(processes.api_metrics)
    await processes.certified([second, first])

    async with httpx.AsyncClient() as http:
        metrics = (await http.get(f"http://{processes.api_metrics}/metrics")).text
        assert "haulout_read_model_height" in metrics
        assert 'haulout_graphql_request_seconds_bucket{le="0.1"}' in metrics

    await ledger.close()
    for process in (api, ledger_process):
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_a_missing_genesis_is_told_without_a_stack_trace(processes: Processes) -> None:
    processes.genesis.unlink()
    api = await processes.start_api()
    assert await asyncio.wait_for(api.wait(), 30) == 1
    log = (processes.folder / "graphql.log").read_text()
    assert "MALFORMED_REQUEST" in log
    assert "Traceback" not in log
