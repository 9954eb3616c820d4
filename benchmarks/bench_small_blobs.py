"""What a small blob costs in CPU, process by process, while several are stored at a time.

    [HAULOUT_KERNELS=numpy] python -m benchmarks small_blobs [--blobs 200] [--clients 12] [--json]

Blobs of 0 to 20 kB through the gateway and 5 nodes of 25 shards. CPU time is that of whole processes, threads and
system included. The peer in the same run is the cryptography that nobody can leave out: five nodes sign a
confirmation, and everybody who executes the ledger verifies the certificate, eight in all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from benchmarks.bench_startup import cpu_s
from benchmarks.live import LiveNetwork, live_network, print_table
from haulout.crypto.bls import Bls12381

N_SHARDS = 25
SIZE_STEP, SIZE_LIMIT = 37, 20_000
N_SIGNERS, N_VERIFIERS = 5, 8
WARM_UP_BLOBS = 24
REPEAT = 50
TIMEOUT_S = 60.0


def store(network: LiveNetwork, n_blobs: int, n_clients: int) -> float:
    """Store blobs that do not repeat; seconds."""
    url = f"{network.addresses['gateway']}/v1/blobs?epochs=2"
    salt = time.time_ns()
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client, ThreadPoolExecutor(n_clients) as clients:

        def put(number: int) -> None:
            size_bytes = number * SIZE_STEP % SIZE_LIMIT
            client.put(
                url, content=hashlib.shake_128(f"{salt} {number}".encode()).digest(size_bytes)
            ).raise_for_status()

        start = time.perf_counter()
        list(clients.map(put, range(n_blobs)))
        return time.perf_counter() - start


def time_cryptography() -> float:
    """CPU seconds of all signatures of one blob."""
    secret = Bls12381().generate(bytes(32))
    public_key = Bls12381().public_key(secret)
    took = {"sign": 0.0, "verify": 0.0}
    for number in range(REPEAT):
        message = f"message {number}".encode()
        scheme = Bls12381()  # each time another: it remembers what it has seen
        start = time.process_time()
        signature = scheme.sign(secret, message)
        took["sign"] += time.process_time() - start
        scheme = Bls12381()
        scheme.validate_public_key(public_key)
        start = time.process_time()
        if not scheme.verify(public_key, message, signature):
            raise SystemExit("a signature does not verify")
        took["verify"] += time.process_time() - start
    return (N_SIGNERS * took["sign"] + N_VERIFIERS * took["verify"]) / REPEAT


def measure(n_blobs: int, n_clients: int) -> dict[str, Any]:
    """Everything, as plain numbers."""
    with live_network(n_shards=N_SHARDS) as network:
        if os.environ.get("HAULOUT_KERNELS") != "numpy":
            network.wait_for_kernels()
        store(network, WARM_UP_BLOBS, n_clients)  # connections are made, code is loaded
        pids = {process["name"]: process["pid"] for process in network.processes()}
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        elapsed_s = store(network, n_blobs, n_clients)
        cpu_ms = {name: (cpu_s(pid) - before[name]) * 1000 / n_blobs for name, pid in pids.items()}
        peer_ms = 1000 * time_cryptography()
    total_ms = sum(cpu_ms.values())
    return {
        "blobs_per_s": n_blobs / elapsed_s,
        "cpu_ms": cpu_ms,
        "total_ms": total_ms,
        "peer_ms": peer_ms,
        "ratio": peer_ms / total_ms,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU time of a small blob, process by process.")
    parser.add_argument("--blobs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = measure(arguments.blobs, arguments.clients)
    if arguments.json:
        print(json.dumps(report))
        return
    print_table(("process", "CPU ms per blob"), [(name, f"{ms:.1f}") for name, ms in report["cpu_ms"].items()])
    print(
        f"{report['total_ms']:.0f} ms in all, {report['blobs_per_s']:.1f} blobs/s; "
        f"signatures alone {report['peer_ms']:.0f} ms, {report['ratio']:.0%}"
    )


if __name__ == "__main__":
    main()
