"""Store and read through the gateway and 5 nodes, and what every process takes of memory meanwhile.

    python -m benchmarks gateway [--repeat 5] [--json]

The peer in the same run is this disk: the same number of encoded bytes (all slivers, both axes) written to one file
with one fsync, and read back, once into memory as a program does that wants them, and once through one small buffer
that is used again and again, which is the page cache at its best. The bytes of that file are in the page cache when it
is read, as are the nodes'. Blobs
never repeat and each is read once, so the gateway's cache of blobs has nothing to give. Memory is RssAnon:
page cache and mapped files are not counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.live import LiveNetwork, live_network, print_table, size_text
from haulout.codec import sizes
from haulout.primitives import Axis

N_SHARDS = 100
SIZES = (1 << 10, 1 << 20, 64 << 20)
MEMORY_BLOB_BYTES = 128 << 20
SAMPLE_PAUSE_S = 0.05
READ_BYTES = 1 << 20
TIMEOUT_S = 600.0


def make_blob(size_bytes: int, number: int) -> bytes:
    """Bytes that do not repeat."""
    return hashlib.shake_128(f"{size_bytes} {number} {time.time_ns()}".encode()).digest(size_bytes)


def encoded_bytes(size_bytes: int) -> int:
    """All slivers of a blob."""
    return sum(sizes.slivers_size_bytes(axis, size_bytes, N_SHARDS) for axis in Axis)


def put(client: httpx.Client, gateway: str, data: bytes) -> str:
    """Store; the blob id."""
    response = client.put(f"{gateway}/v1/blobs?epochs=2", content=data)
    response.raise_for_status()
    return str(response.json()["newlyCreated"]["blobObject"]["blobId"])


def time_blobs(network: LiveNetwork, size_bytes: int, repeat: int) -> dict[str, float]:
    """Median seconds of storing and of reading a blob of this size."""
    gateway = network.addresses["gateway"]
    stores, reads = [], []
    with httpx.Client(timeout=TIMEOUT_S) as client:
        for number in range(repeat):
            data = make_blob(size_bytes, number)
            start = time.perf_counter()
            blob_id = put(client, gateway, data)
            stores.append(time.perf_counter() - start)
            start = time.perf_counter()
            answer = client.get(f"{gateway}/v1/blobs/{blob_id}")
            reads.append(time.perf_counter() - start)
            if answer.content != data:
                raise SystemExit(f"{blob_id} came back wrong: {answer.status_code} {answer.text[:200]}")
    return {"store_s": statistics.median(stores), "read_s": statistics.median(reads)}


def time_disk(folder: Path, size_bytes: int, repeat: int) -> dict[str, float]:
    """Median seconds of writing a file of that size with one fsync, and of reading it in both ways."""
    writes, reads, passes = [], [], []
    data = os.urandom(size_bytes)
    buffer = bytearray(READ_BYTES)
    for number in range(repeat):
        path = folder / f"peer-{number}"
        start = time.perf_counter()
        with path.open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        writes.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = path.read_bytes()
        reads.append(time.perf_counter() - start)
        if found != data:
            raise SystemExit(f"{path} was read back wrong")
        del found
        start = time.perf_counter()
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        passes.append(time.perf_counter() - start)
        path.unlink()
    return {
        "store_s": statistics.median(writes),
        "read_s": statistics.median(reads),
        "pass_s": statistics.median(passes),
    }


def anonymous_bytes(pid: int) -> int:
    """RssAnon of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


def measure_memory(network: LiveNetwork) -> dict[str, Any]:
    """The peak of each process while a large blob is stored."""
    pids = {process["name"]: process["pid"] for process in network.processes()}
    before = {name: anonymous_bytes(pid) for name, pid in pids.items()}
    peaks = dict(before)
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_PAUSE_S):
            for name, pid in pids.items():
                peaks[name] = max(peaks[name], anonymous_bytes(pid))

    data = make_blob(MEMORY_BLOB_BYTES, 0)
    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            put(client, network.addresses["gateway"], data)
    finally:
        is_over.set()
        sampler.join()
    mib = {name: {"before_mib": before[name] / 2**20, "peak_mib": peaks[name] / 2**20} for name in pids}
    return {"processes": mib, "gateway_to_blob": peaks["gateway"] / MEMORY_BLOB_BYTES}


def measure(repeat: int) -> dict[str, Any]:
    """Everything, as plain numbers."""
    report: dict[str, Any] = {"sizes": {}}
    with live_network() as network, tempfile.TemporaryDirectory(dir=network.folder) as peer_folder:
        network.wait_for_kernels()
        time_blobs(network, 1 << 10, 2)  # connections are made, code is loaded
        for size_bytes in SIZES:
            count = repeat if size_bytes < 8 << 20 else min(repeat, 2)
            ours = time_blobs(network, size_bytes, count)
            disk = time_disk(Path(peer_folder), encoded_bytes(size_bytes), count)
            report["sizes"][size_text(size_bytes)] = {
                "size_bytes": size_bytes,
                "encoded_bytes": encoded_bytes(size_bytes),
                **ours,
                "disk_write_s": disk["store_s"],
                "disk_read_s": disk["read_s"],
                "disk_pass_s": disk["pass_s"],
                "store_ratio": disk["store_s"] / ours["store_s"],
                "read_ratio": disk["read_s"] / ours["read_s"],
                "pass_ratio": disk["pass_s"] / ours["read_s"],
            }
        report["memory"] = measure_memory(network)
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The gateway and 5 nodes, against this disk.")
    parser.add_argument("--repeat", type=int, default=5, help="blobs of each size; at most 2 of 64 MiB")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = measure(arguments.repeat)
    if arguments.json:
        print(json.dumps(report))
        return
    print_table(
        ("blob", "encoded MB", "store s", "disk s", "ratio", "read s", "disk s", "ratio", "one buffer s", "ratio"),
        [
            (
                name,
                f"{row['encoded_bytes'] / 1e6:.2f}",
                f"{row['store_s']:.3f}",
                f"{row['disk_write_s']:.3f}",
                f"{row['store_ratio']:.1%}",
                f"{row['read_s']:.3f}",
                f"{row['disk_read_s']:.3f}",
                f"{row['read_ratio']:.1%}",
                f"{row['disk_pass_s']:.3f}",
                f"{row['pass_ratio']:.1%}",
            )
            for name, row in report["sizes"].items()
        ],
    )
    memory = report["memory"]
    print()
    print_table(
        (f"{size_text(MEMORY_BLOB_BYTES)} upload", "before MiB", "peak MiB"),
        [(name, f"{row['before_mib']:.0f}", f"{row['peak_mib']:.0f}") for name, row in memory["processes"].items()],
    )
    print(f"the gateway takes {memory['gateway_to_blob']:.2f} times the blob")


if __name__ == "__main__":
    main()
