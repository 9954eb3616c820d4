"""The processes of a ledger and a storage node over real gRPC on loopback: started, asked, killed, lied to, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from haulout import bcs
from haulout.chain.block import Block, BlockHeader
from haulout.codec import EncodedBlob, encode_blob
from haulout.crypto import messages
from haulout.crypto.bls import Bls12381
from haulout.errors import HauloutError, Unavailable, WrongEpoch
from haulout.ledger import commands as c
from haulout.ledger.apply import apply_block
from haulout.ledger.genesis import build_development_network, build_genesis
from haulout.ledger.transactions import sign_transaction
from haulout.ports import SliverUpload
from haulout.primitives import FROST_PER_WAL, Axis, SliverPairIndex, sliver_index_of_pair
from haulout.sequencer.sequencer import Sequencer
from haulout.wire.ledger import GrpcLedger
from haulout.wire.serving import Guard, Limits, build_server, serving
from haulout.wire.transport import GrpcNodeTransport
from haulout.wire.v1.ledger_pb2_grpc import add_LedgerServicer_to_server
from haulout.world.clock import SystemClock
from haulout.world.memory_store import MemoryStore
from haulout.world.rng import SystemRng
from haulout.world.workers import InlineWorkers
from node_grpc.ledger_servicer import LedgerServicer

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "HAULOUT_KERNELS": "numpy"}  # a process that lives for seconds loads nothing
SCHEME = Bls12381()
NODE_SERVICE = "haulout.wire.v1.StorageNode"
LEDGER_SERVICE = "haulout.wire.v1.Ledger"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Processes:
    """A network of four nodes, of which the first runs, and its ledger, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger_at, self.ledger_metrics, self.node_at, self.node_metrics = (
            f"127.0.0.1:{free_port()}" for _ in range(4)
        )
        self.network = build_development_network(
            node_addresses={f"node-{i}": (self.node_at,) for i in range(4)},
            n_shards=10,
            stake_frost=1_000 * FROST_PER_WAL,
            account_funds_frost={"alice": 1_000_000 * FROST_PER_WAL},
            genesis_time_ms=time.time_ns() // 1_000_000,
            seed=os.urandom(32),
            scheme=SCHEME,
        )
        self.genesis = folder / "genesis.json"
        self.genesis.write_text(self.network.genesis.to_json())
        self.keys = folder / "keys.json"
        secrets = self.network.nodes[0]
        self.keys.write_text(json.dumps({"name": secrets.name, "blsSecret": secrets.bls_secret.hex()}))
        self.keys.chmod(0o600)
        self.running: list[asyncio.subprocess.Process] = []
        self.n_sent = 0

    async def start(self, name: str, *command: str) -> asyncio.subprocess.Process:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-X", "faulthandler", "-m", *command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    async def start_ledger(self, *more: str) -> asyncio.subprocess.Process:
        return await self.start(
            "ledger", "haulout.cli", "ledger", "--dir", str(self.folder / "ledger"), "--genesis", str(self.genesis),
            "--listen", self.ledger_at, "--metrics", self.ledger_metrics, "--log-format", "json", *more,
        )  # fmt: skip

    async def start_node(self, *more: str) -> asyncio.subprocess.Process:
        return await self.start(
            "node", "node_grpc", "--dir", str(self.folder / "node"), "--genesis", str(self.genesis),
            "--ledger", self.ledger_at, "--listen", self.node_at, "--metrics", self.node_metrics,
            "--keys", str(self.keys), "--log-format", "json", *more,
        )  # fmt: skip

    async def reasons(self, address: str, *, until: str | None = None) -> list[str]:
        """What `/readyz` gives as reasons: once it is ready, or once a reason starts with `until`."""
        async with asyncio.timeout(30), httpx.AsyncClient() as http:
            while True:
                try:
                    answer = await http.get(f"http://{address}/readyz")
                    found: list[str] = answer.json()["reasons"]
                    assert (answer.status_code == 200) == (not found)
                    if (not found) if until is None else any(reason.startswith(until) for reason in found):
                        return found
                except httpx.TransportError:
                    pass
                ended = [process.returncode for process in self.running if (process.returncode or 0) > 0]
                assert not ended, "".join(self.log_of(path.stem) for path in self.folder.glob("*.log"))
                await asyncio.sleep(0.05)

    def sign(self, *commands: Any) -> bytes:
        self.n_sent += 1
        signed = sign_transaction(
            self.network.account_secrets["alice"],
            self.network.genesis.chain_id,
            commands,
            nonce=self.n_sent.to_bytes(16, "big"),
            valid_until_ms=time.time_ns() // 1_000_000 + 60_000,
        )
        return bcs.encode(signed)

    def register(self, blob: EncodedBlob) -> bytes:
        metadata = blob.metadata
        return self.sign(
            c.ReserveSpace(1 << 20, 0, 5),
            c.RegisterBlob(c.Created(0, 0), blob.blob_id, metadata.root_hash(), metadata.unencoded_length, 1, False),
        )

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    for process in processes.running:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def clients(processes: Processes) -> AsyncIterator[tuple[GrpcLedger, Any]]:
    ledger, transport = GrpcLedger(processes.ledger_at), GrpcNodeTransport()
    try:
        yield ledger, transport.connect(processes.node_at)
    finally:
        await transport.close()
        await ledger.close()


def uploads(blob: EncodedBlob, targets: Sequence[tuple[SliverPairIndex, Axis]]) -> list[SliverUpload]:
    return [
        SliverUpload(pair, axis, bcs.encode(blob.sliver(axis, sliver_index_of_pair(pair, axis, 10))))
        for pair, axis in targets
    ]


async def stream(items: Sequence[SliverUpload]) -> AsyncIterator[SliverUpload]:
    for item in items:
        yield item


async def stop(process: asyncio.subprocess.Process) -> int:
    """Its exit code; one that does not end within the time is made to write into its log where all threads are."""
    process.send_signal(signal.SIGTERM)
    try:
        return await asyncio.wait_for(process.wait(), 12)
    except TimeoutError:
        process.send_signal(signal.SIGABRT)
        return await process.wait()


async def test_a_node_keeps_what_it_confirmed_through_a_kill(processes: Processes) -> None:
    ledger_process = await processes.start_ledger()
    node_process = await processes.start_node()
    await processes.reasons(processes.ledger_metrics)
    await processes.reasons(processes.node_metrics)
    blob = encode_blob(bytes(i * 7 % 251 for i in range(200_000)), 10)
    async with clients(processes) as (ledger, node):
        result = await ledger.submit(processes.register(blob), wait_ms=10_000)
        assert result is not None and result.is_ok, result

        assert (await node.store_metadata(epoch=1, blob_id=blob.blob_id, metadata=bcs.encode(blob.metadata))).name
        lacking = (await node.holdings(epoch=1, blob_id=blob.blob_id)).missing
        assert lacking
        sent = uploads(blob, lacking)
        await node.store_slivers(epoch=1, blob_id=blob.blob_id, slivers=stream(sent))
        signed = await node.confirm_blob(epoch=1, blob_id=blob.blob_id, object_id=None, wait_ms=1_000)
        assert signed.message == messages.storage_confirmation(1, blob.blob_id, None)
        public_key = SCHEME.public_key(processes.network.nodes[0].bls_secret)
        assert SCHEME.verify(public_key, signed.message, signed.signature)
        with pytest.raises(WrongEpoch):
            await node.holdings(epoch=2, blob_id=blob.blob_id)

        node_process.kill()
        await node_process.wait()
        with pytest.raises(Unavailable):
            await node.health()
        node_process = await processes.start_node()
        await processes.reasons(processes.node_metrics)
        holdings = await patiently(lambda: node.holdings(epoch=1, blob_id=blob.blob_id))
        assert holdings.has_metadata and not holdings.missing
        found = [s async for s in node.read_slivers(epoch=1, blob_id=blob.blob_id, targets=lacking)]
        assert {(s.pair_index, s.axis): bytes(s.bcs) for s in found} == {(s.pair_index, s.axis): s.bcs for s in sent}
        assert (await node.health()).stored_slivers == len(sent)

        following = asyncio.ensure_future(_last_of(ledger.blocks(0)))
        assert await stop(ledger_process) == 0, processes.log_of("ledger")  # also while a reader and a node follow
        assert isinstance(await following, Unavailable)
        assert await processes.reasons(processes.node_metrics) == []  # no ledger is no reason to leave service
    assert await stop(node_process) == 0, processes.log_of("node")
    for name in ("ledger", "node"):
        assert "Traceback" not in processes.log_of(name)


async def patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call until the peer is reached: a connection that failed is tried again a moment later."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.05)


async def _last_of(items: AsyncIterator[Any]) -> HauloutError | None:
    try:
        async for _ in items:
            pass
    except HauloutError as e:
        return e
    return None


async def test_health_reflection_and_metrics_are_served(processes: Processes) -> None:
    node_process = await processes.start_node()  # without a ledger
    await processes.reasons(processes.node_metrics)
    async with grpc.aio.insecure_channel(processes.node_at) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", NODE_SERVICE, LEDGER_SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = reflection.ServerReflectionInfo(iter([asked]))
        listed = {service.name for service in (await call.read()).list_services_response.service}
        assert {NODE_SERVICE, LEDGER_SERVICE, "grpc.health.v1.Health"} <= listed
        call.cancel()
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://{processes.node_metrics}/metrics")).text
        assert 'haulout_grpc_calls_total{method="Check",status="OK"} 3.0' in text
        assert (await http.get(f"http://{processes.node_metrics}/healthz")).status_code == 200
    assert await stop(node_process) == 0, processes.log_of("node")


class LyingLedger:
    """A sequencer whose first block claims another state than its transactions lead to."""

    def __init__(self, honest: Sequencer, lie: Block) -> None:
        self._honest = honest
        self._lie = lie

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    async def blocks(self, from_height: int) -> AsyncIterator[Block]:
        if from_height <= 1:
            yield self._lie
        await asyncio.Event().wait()


async def test_a_node_that_is_lied_to_says_so_and_signs_nothing_more(processes: Processes) -> None:
    genesis = processes.network.genesis
    store = MemoryStore()
    clock = SystemClock()
    sequencer = await Sequencer.open(
        store=store, genesis=genesis, scheme=SCHEME, clock=clock, workers=InlineWorkers(), engine="memory"
    )
    blob = encode_blob(b"some bytes", 10)
    raw = processes.register(blob)
    parent = build_genesis(genesis, SCHEME).header
    honest = apply_block(sequencer.store.view, parent, clock.now_ms(), [raw], SCHEME).header
    assert honest.state_root != bytes(32)
    fields = {name: getattr(honest, name) for name in honest.__slots__} | {"state_root": bytes(32)}
    lie = Block(BlockHeader(**fields), (raw,))

    server = build_server(Guard(clock=clock, rng=SystemRng(), limits=Limits(), registry=CollectorRegistry()))
    add_LedgerServicer_to_server(LedgerServicer(LyingLedger(sequencer, lie)), server)  # type: ignore[arg-type]
    async with serving(server, processes.ledger_at, drain_s=0.2):
        node_process = await processes.start_node()
        reasons = await processes.reasons(processes.node_metrics, until="LEDGER_DIVERGED")
        assert len(reasons) == 1
        transport = GrpcNodeTransport()
        node = transport.connect(processes.node_at)
        health = await node.health()
        assert (health.status, health.height) == ("Diverged", 0)
        with pytest.raises(HauloutError) as caught:
            await node.confirm_blob(epoch=1, blob_id=blob.blob_id, object_id=None, wait_ms=0)
        assert caught.value.code in ("LEDGER_DIVERGED", "NOT_REGISTERED")
        async with grpc.aio.insecure_channel(processes.node_at) as channel:
            checker: Any = health_pb2_grpc.HealthStub(channel)
            async with asyncio.timeout(5):
                watching = checker.Watch(health_pb2.HealthCheckRequest())
                while (await watching.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                    continue
                watching.cancel()
        await transport.close()
    assert await stop(node_process) == 0, processes.log_of("node")
    await sequencer.close()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda p: p.keys.chmod(0o644), "chmod 600"),
        (lambda p: p.keys.write_text("{"), "not JSON"),
        (
            lambda p: p.keys.write_text('{"name": "node-0", "blsSecret": "' + "07" * 32 + '"}'),
            "not the key that node-0",
        ),
        (lambda p: p.genesis.unlink(), "cannot be read"),
        (lambda p: setattr(p, "node_at", "0.0.0.0:4711"), "PLAINTEXT_REFUSED"),
    ],
    ids=["readable keys", "no json", "foreign key", "no genesis", "plaintext beyond this machine"],
)
async def test_what_keeps_a_node_from_starting_is_told_in_a_line(processes: Processes, spoil: Any, code: str) -> None:
    spoil(processes)
    node_process = await processes.start_node()
    assert await asyncio.wait_for(node_process.wait(), 30) == 1
    log = processes.log_of("node")
    assert code in log
    assert "Traceback" not in log


def test_usage_names_every_flag() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "node_grpc", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for flag in ("--dir", "--genesis", "--ledger", "--listen", "--metrics", "--keys", "--log-format", "--log-level"):
        assert flag in shown


async def test_beyond_this_machine_plaintext_is_spoken_only_where_it_is_allowed(processes: Processes) -> None:
    everywhere = f"0.0.0.0:{processes.ledger_at.rpartition(':')[2]}"
    refused = await processes.start_ledger("--listen", everywhere)
    assert await asyncio.wait_for(refused.wait(), 30) == 3
    assert "PLAINTEXT_REFUSED" in processes.log_of("ledger")
    processes.running.clear()
    await processes.start_ledger("--listen", everywhere, "--allow-plaintext")
    await processes.reasons(processes.ledger_metrics)
    async with clients(processes) as (ledger, _):
        assert (await ledger.status()).head.height == 0
