"""How fast shards move: a new node pulls its shards from the others over loopback, beside plain gRPC streaming.

    python -m benchmarks shard_sync [--mib 128] [--json]

A network of real processes holds blobs; one node more is added, and the next epoch gives it shards. Measured is the
time that it says it pulled: from the first request until everything is verified, on its disk and synced. To watch it
from outside, often enough, would cost it as much as the pull. The peer in the same run is a gRPC server in a process of
its own that streams as many bytes in messages of the same size, which nobody looks at. The exit code is 1 when shard
sync has less than half of its rate.

Beside the time stands the CPU that both ends took, which a busy machine changes little: of ours that of all nodes from
the epoch's beginning on, with the blocks they execute meanwhile, less what they take at rest in as long a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx

from benchmarks.bench_gateway import make_blob
from benchmarks.live import LiveNetwork, live_network, print_table
from haulout.wire.slivers import MESSAGE_BYTES

BLOB_BYTES = 16 << 20
LIMIT_RATIO = 0.5
LOOK_AGAIN_S = 1.0
REST_S = 5.0
PATIENCE_S = 900
PEER_ROUNDS = 3  # of which the quickest counts: it has to be beaten where it is undisturbed
TIMEOUT_S = 600.0
METHOD = "/peer.Bytes/Stream"
RECEIVED = "haulout_node_shard_sync_received_bytes_total"
REPAIRED = "haulout_node_repair_received_bytes_total"
REPORTS = "haulout_node_sync_done_reports_total"
SECONDS = "haulout_node_shard_sync_seconds_total"


# --- ours -------------------------------------------------------------------------------------------------------


def scrape(url: str) -> dict[str, float]:
    """The node's counters without labels, by name."""
    with urllib.request.urlopen(url) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.split() for line in lines if line.startswith("haulout_node_") and "{" not in line)
    return {name: float(value) for name, value in pairs}


def measure_sync(network: LiveNetwork, n_mib: int) -> dict[str, Any]:
    """Fill the network, add a node, and watch it get its shards."""
    with httpx.Client(timeout=TIMEOUT_S) as client:
        for number in range(max(1, (n_mib << 20) // BLOB_BYTES)):
            url = f"{network.addresses['gateway']}/v1/blobs?epochs=5"
            client.put(url, content=make_blob(BLOB_BYTES, number)).raise_for_status()
    name = network.ask("node", "add", "--stake", "2000WAL")["name"]
    network.wait_for_kernels()
    nodes = {process["name"]: process for process in network.processes() if process["role"] == "node"}
    url = nodes[name]["urls"]["metrics"]
    reports = scrape(url)[REPORTS]
    at_rest = cpu_of(nodes)
    time.sleep(REST_S)
    cpu_s, began = cpu_of(nodes), time.monotonic()
    at_rest = {node: (cpu_s[node] - before) / REST_S for node, before in at_rest.items()}
    network.ask("epoch", "advance", "--no-wait")
    deadline = time.monotonic() + PATIENCE_S
    while (counters := scrape(url))[REPORTS] <= reports:
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} does not have its shards after {PATIENCE_S} s")
        time.sleep(LOOK_AGAIN_S)
    after, lasted = cpu_of(nodes), time.monotonic() - began
    return {
        "bytes": int(counters[RECEIVED]),
        "rebuilt_bytes": int(counters[REPAIRED]),
        "seconds": counters[SECONDS],
        "cpu_seconds": {node: after[node] - cpu_s[node] - at_rest[node] * lasted for node in nodes},
        "at_rest": at_rest,
    }


def cpu_of(nodes: dict[str, Any]) -> dict[str, float]:
    """What each node's process has taken."""
    return {name: cpu_seconds(node["pid"]) for name, node in nodes.items()}


def cpu_seconds(pid: int | str = "self") -> float:
    """What a process has taken of all cores since it began."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


# --- the peer ---------------------------------------------------------------------------------------------------


async def serve_bytes() -> None:
    """Stream as many messages as a request asks for, until the standard input ends; prints the port."""
    message = bytes(MESSAGE_BYTES)

    async def stream(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield message

    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(stream)
    service, method = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


async def take_bytes(port: int, n_messages: int) -> float:
    """Seconds that so many messages take."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream(METHOD)
        async for _ in call(b"1"):  # connected
            pass
        start, n_bytes = time.perf_counter(), 0
        async for message in call(str(n_messages).encode()):
            n_bytes += len(message)
        assert n_bytes == n_messages * MESSAGE_BYTES
        return time.perf_counter() - start


def measure_peer(n_bytes: int) -> dict[str, Any]:
    """The same number of bytes, streamed and thrown away."""
    n_messages = max(1, n_bytes // MESSAGE_BYTES)
    command = [sys.executable, __file__, "--serve"]
    rounds = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for _ in range(PEER_ROUNDS):
            giver_s, taker_s = cpu_seconds(server.pid), cpu_seconds()
            seconds = asyncio.run(take_bytes(port, n_messages))
            cpu_s = {"giver": cpu_seconds(server.pid) - giver_s, "taker": cpu_seconds() - taker_s}
            rounds.append({"bytes": n_messages * MESSAGE_BYTES, "seconds": seconds, "cpu_seconds": cpu_s})
        server.communicate()
    return min(rounds, key=lambda row: row["seconds"])


def measure(n_mib: int) -> dict[str, Any]:
    """Both, and how they compare."""
    with live_network() as network:
        network.wait_for_kernels()
        ours = measure_sync(network, n_mib)
        peer = measure_peer(ours["bytes"])
    for row in (ours, peer):
        row["mib_per_s"] = row["bytes"] / row["seconds"] / 2**20
        row["mib_per_cpu_s"] = row["bytes"] / sum(row["cpu_seconds"].values()) / 2**20
    return {
        "shard sync": ours,
        "plain gRPC": peer,
        "ratio": ours["mib_per_s"] / peer["mib_per_s"],
        "cpu_ratio": ours["mib_per_cpu_s"] / peer["mib_per_cpu_s"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Shard sync on loopback, against plain gRPC streaming.")
    parser.add_argument("--mib", type=int, default=128, help="of blobs in the network")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve_bytes())
        return
    report = measure(arguments.mib)
    if arguments.json:
        print(json.dumps(report))
    else:
        print_table(
            ("", "MiB", "seconds", "MiB/s", "CPU seconds", "MiB per CPU second"),
            [
                (
                    name,
                    f"{row['bytes'] / 2**20:.1f}",
                    f"{row['seconds']:.2f}",
                    f"{row['mib_per_s']:.0f}",
                    " + ".join(f"{seconds:.2f}" for seconds in row["cpu_seconds"].values()),
                    f"{row['mib_per_cpu_s']:.0f}",
                )
                for name, row in report.items()
                if isinstance(row, dict)
            ],
        )
        print(f"shard sync has {report['ratio']:.1%} of the rate of bytes that nobody looks at")
        print(f"and moves {report['cpu_ratio']:.1%} as many of them per CPU second")
    if report["ratio"] < LIMIT_RATIO:
        raise SystemExit(f"shard sync has less than {LIMIT_RATIO:.0%} of the rate of plain streaming")


if __name__ == "__main__":
    main()
