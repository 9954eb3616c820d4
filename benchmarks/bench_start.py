"""Ledger and node over a large state: seconds until they are ready, and what they take of memory at work.

    python -m benchmarks start [--objects 1000000] [--requests 2000] [--json]

A real network's folder is founded and its ledger filled with that many certified blobs, of which a node holds all
slivers on its shards. Then the real processes are started as `haulout up` starts them. Ready is what `/readyz` says.
Afterwards transactions are ordered and executed, rows are read with their proofs, and the node serves metadata and
slivers of blobs all over the state, while it sweeps all that it holds for expired ones. Memory is VmRSS, all
of it, and its peak. The limits stand beside what was measured; the exit code is 1 when one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.large_state import blob_of, load
from benchmarks.live import PORT_BASE, print_table
from haulout.account.wallet import read_secret
from haulout.embedded.folder import NetworkFolder
from haulout.embedded.founding import command_of, environment_of, found_network
from haulout.embedded.layout import Layout, choose_layout
from haulout.ledger import commands, keys
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.genesis import Genesis
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.primitives import Axis, pair_of_shard
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng

N_NODES, N_SHARDS = 5, 10  # two shards a node: what it holds of a million blobs are four million slivers
NODE = "node-0"
LIMIT_READY_S = 10.0
LIMIT_RSS_MIB = 400.0
PATIENCE_S = 120.0
IN_FLIGHT = 32


def build_folder(folder: NetworkFolder, layout: Layout, n_objects: int) -> None:
    """A network whose ledger, and the replica and store of one node, hold that many blobs."""
    found_network(folder, layout, n_shards=N_SHARDS, clock=SystemClock(), rng=SystemRng())
    ledger, node = folder.data_of("ledger") / "ledger.sqlite", folder.data_of(NODE)
    load("ledger", folder.genesis_file, ledger, n_objects)
    shutil.copyfile(ledger, node / "replica.sqlite")
    load("node", folder.genesis_file, node / "node.sqlite", n_objects)


@contextlib.contextmanager
def started(name: str, folder: NetworkFolder, layout: Layout) -> Iterator[tuple[int, dict[str, float]]]:
    """A process of the network until the block ends: its id, and what its start took."""
    start = time.perf_counter()
    with (folder.root / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command_of(name, folder, layout), env={**os.environ, **environment_of(name)}, stdout=log, stderr=log
        )
        try:
            while not is_ready(layout.metrics_address_of(name)):
                if process.poll() is not None or time.perf_counter() - start > PATIENCE_S:
                    raise SystemExit(f"{name} did not start:\n{(folder.root / f'{name}.log').read_text()}")
                time.sleep(0.01)
            ready_s = time.perf_counter() - start
            at_start = {
                "ready_s": ready_s,
                "cpu_s": cpu_s(process.pid),
                "rss_at_start_mib": memory_mib(process.pid)["rss_mib"],
            }
            yield process.pid, at_start
        finally:
            process.terminate()
            process.wait()


def is_ready(address: str) -> bool:
    """What `/readyz` says."""
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used: what its start costs, however busy the machine is."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> dict[str, float]:
    """Resident memory of a process, now and at its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    return {key: int(status.split(f"{field}:")[1].split()[0]) / 1024 for key, field in _FIELDS.items()}


_FIELDS = {"rss_mib": "VmRSS", "rss_peak_mib": "VmHWM"}


async def in_parallel(count: int, one: Callable[[int], Awaitable[None]]) -> float:
    """Seconds for `one(0)` to `one(count - 1)`, some at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - start


async def work(folder: NetworkFolder, layout: Layout, n_objects: int, n_requests: int) -> dict[str, float]:
    """Transactions, proofs and slivers, each that many; rates per second."""
    genesis = Genesis.from_json(folder.genesis_file.read_text())
    secret = read_secret(folder.wallet_file)
    ledger, transport = GrpcLedger(layout.address_of("ledger")), GrpcNodeTransport()
    node = transport.connect(layout.address_of(NODE))
    choice = random.Random(n_objects)
    blobs = [blob_of(choice.randrange(n_objects)) for _ in range(n_requests)]

    async def register(number: int) -> None:
        tag = hashlib.blake2b(b"tag%d" % number, digest_size=32).digest()
        script = (
            commands.ReserveSpace(size_bytes=8 << 20, start_epoch=0, end_epoch=3),
            commands.RegisterBlob(commands.Created(0, 0), derive_blob_id(1, 1000, tag), tag, 1000, 1, False),
        )
        valid_until_ms = time.time_ns() // 10**6 + 300_000
        signed = sign_transaction(secret, genesis.chain_id, script, nonce=tag[:16], valid_until_ms=valid_until_ms)
        result = await ledger.submit(encode_transaction(signed), wait_ms=60_000)
        if result is None or not result.is_ok:
            raise SystemExit(f"a registration came to nothing: {result}")

    async def prove(number: int) -> None:
        object_id, _, blob_id = blobs[number]
        read = await ledger.read([keys.blob(object_id), keys.blob_record(blob_id)])
        if any(entry.value is None for entry in read.entries):
            raise SystemExit(f"the ledger has lost {blob_id.hex()}")

    async def serve(number: int) -> None:
        _, _, blob_id = blobs[number]
        await node.read_metadata(epoch=1, blob_id=blob_id)
        targets = [(pair_of_shard(shard, blob_id, N_SHARDS), axis) for shard in health.shards for axis in Axis]
        slivers = [sliver async for sliver in node.read_slivers(epoch=1, blob_id=blob_id, targets=targets)]
        if len(slivers) != len(targets):
            raise SystemExit(f"the node has lost slivers of {blob_id.hex()}")

    try:
        health = await node.health()
        rates = {"transactions": n_requests / await in_parallel(n_requests, register)}
        height = (await ledger.status()).head.height
        while (health := await node.health()).height < height:  # noqa: ASYNC110 - another process's height
            await asyncio.sleep(0.02)
        rates["proofs"] = n_requests / await in_parallel(n_requests, prove)
        rates["blobs_served"] = n_requests / await in_parallel(n_requests, serve)
    finally:
        await ledger.close()
        await transport.close()
    return rates


def measure(n_objects: int, n_requests: int) -> dict[str, Any]:
    """Everything, as plain numbers."""
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as name:
        folder, layout = NetworkFolder(Path(name)), choose_layout(PORT_BASE + os.getpid() % 20 * 250, N_NODES)
        start = time.perf_counter()
        build_folder(folder, layout, n_objects)
        load_s = time.perf_counter() - start
        return {"load_s": load_s, **measure_folder(folder, layout, n_objects, n_requests)}


def measure_folder(folder: NetworkFolder, layout: Layout, n_objects: int, n_requests: int) -> dict[str, Any]:
    """Start the processes over what is there, let them work, and say how they are."""
    with started("ledger", folder, layout) as (ledger, of_ledger), started(NODE, folder, layout) as (node, of_node):
        rates = asyncio.run(work(folder, layout, n_objects, n_requests))
        processes = {"ledger": {**of_ledger, **memory_mib(ledger)}, "node": {**of_node, **memory_mib(node)}}
    return {
        "objects": n_objects,
        "requests": n_requests,
        "processes": processes,
        "rates_per_s": rates,
        "limit_ready_s": LIMIT_READY_S,
        "limit_rss_mib": LIMIT_RSS_MIB,
        "load_average": os.getloadavg()[0],
        "within_limits": all(
            figures["ready_s"] < LIMIT_READY_S and figures["rss_peak_mib"] < LIMIT_RSS_MIB
            for figures in processes.values()
        ),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Start and memory of ledger and node over a large state.")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=2_000, help="of each kind, before memory is looked at")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = measure(arguments.objects, arguments.requests)
    if arguments.json:
        print(json.dumps(report))
    else:
        print_report(report)
    return 0 if report["within_limits"] else 1


def print_report(report: dict[str, Any]) -> None:
    """Two tables for people."""
    print(f"{report['objects']:,} blobs; load average {report['load_average']:.1f}")
    print_table(
        ("process", "ready s", "of limit", "CPU s", "MiB at start", "after work", "peak", "of limit"),
        [
            (
                name,
                f"{row['ready_s']:.2f}",
                f"{row['ready_s'] / report['limit_ready_s']:.0%}",
                f"{row['cpu_s']:.2f}",
                f"{row['rss_at_start_mib']:.0f}",
                f"{row['rss_mib']:.0f}",
                f"{row['rss_peak_mib']:.0f}",
                f"{row['rss_peak_mib'] / report['limit_rss_mib']:.0%}",
            )
            for name, row in report["processes"].items()
        ],
    )
    print(", ".join(f"{name.replace('_', ' ')} {rate:,.0f}/s" for name, rate in report["rates_per_s"].items()))


if __name__ == "__main__":
    sys.exit(main())
