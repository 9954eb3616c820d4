"""A large blob in stripes (RS8) through the gateway and 5 nodes, and what every process takes of memory meanwhile.

    python -m benchmarks large [--size-mib 2048] [--json]

Its bytes are made as they are sent and hashed as they come back, so that the client takes no memory either. The peer in
the same run is this disk: as many encoded bytes (all slivers, both axes) written to one file with one fsync, and the
blob's own bytes read back from it. Memory is the whole resident set (VmRSS), sampled while the blob is on its way. Room
is needed for nine times the blob.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.live import LiveNetwork, live_network, print_table, size_text
from haulout.codec import sizes
from haulout.primitives import Axis, EncodingType

N_SHARDS = 100
CHUNK_BYTES = 1 << 20
SAMPLE_PAUSE_S = 0.1
TIMEOUT_S = 3600.0
RANGE_BYTES = 1 << 20


def chunks_of(size_bytes: int, seed: bytes, digest: Any) -> Iterator[bytes]:
    """Bytes that do not repeat, and their digest."""
    for start in range(0, size_bytes, CHUNK_BYTES):
        chunk = hashlib.shake_128(seed + start.to_bytes(8, "little")).digest(min(CHUNK_BYTES, size_bytes - start))
        digest.update(chunk)
        yield chunk


def encoded_bytes(size_bytes: int) -> int:
    """All slivers of a blob."""
    return sum(sizes.slivers_size_bytes(axis, size_bytes, N_SHARDS, EncodingType.RS8) for axis in Axis)


def resident_bytes(pid: int) -> int:
    """What a process has in memory; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


class PeakMemory:
    """Samples the resident sets of a network's processes within a `with` block."""

    def __init__(self, network: LiveNetwork) -> None:
        self._pids = {process["name"]: process["pid"] for process in network.processes() if process.get("pid")}
        self.peak_bytes = dict.fromkeys(self._pids, 0)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_PAUSE_S):
            for name, pid in self._pids.items():
                self.peak_bytes[name] = max(self.peak_bytes[name], resident_bytes(pid))


def time_disk(size_bytes: int) -> tuple[float, float]:
    """Seconds to write the encoded bytes with one fsync, and to read as many as the blob has."""
    block = os.urandom(CHUNK_BYTES)
    with tempfile.TemporaryFile() as file:
        started = time.perf_counter()
        for _ in range(-(-encoded_bytes(size_bytes) // CHUNK_BYTES)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter() - started
        file.seek(0)
        started = time.perf_counter()
        for _ in range(-(-size_bytes // CHUNK_BYTES)):
            file.read(CHUNK_BYTES)
        return written, time.perf_counter() - started


def measure(size_bytes: int) -> dict[str, Any]:
    """Store, read, and read a range of one blob."""
    disk_write_s, disk_read_s = time_disk(size_bytes)
    with live_network() as network, httpx.Client(timeout=TIMEOUT_S) as client, PeakMemory(network) as memory:
        gateway = network.addresses["gateway"]
        sent, received = hashlib.blake2b(), hashlib.blake2b()
        started = time.perf_counter()
        body = chunks_of(size_bytes, os.urandom(16), sent)
        answer = client.put(f"{gateway}/v1/blobs?epochs=2&encoding_type=RS8", content=body)
        answer.raise_for_status()
        store_s = time.perf_counter() - started
        url = f"{gateway}/v1/blobs/{answer.json()['newlyCreated']['blobObject']['blobId']}"
        started = time.perf_counter()
        with client.stream("GET", url) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes(CHUNK_BYTES):
                received.update(chunk)
        read_s = time.perf_counter() - started
        assert sent.digest() == received.digest(), "what came back is not what was stored"
        start = size_bytes // 2
        started = time.perf_counter()
        client.get(url, headers={"range": f"bytes={start}-{start + RANGE_BYTES - 1}"}).raise_for_status()
        range_s = time.perf_counter() - started
    return {
        "size_bytes": size_bytes,
        "store_s": store_s,
        "read_s": read_s,
        "range_s": range_s,
        "disk_write_s": disk_write_s,
        "disk_read_s": disk_read_s,
        "peak_rss_bytes": memory.peak_bytes,
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="A large blob through the gateway, and the memory it takes.")
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.size_mib << 20)
    if arguments.json:
        print(json.dumps(found))
        return
    mib = arguments.size_mib
    rows = [
        [what, f"{found[key]:.1f} s", f"{mib / found[key]:.0f} MiB/s", f"{found[peer] / found[key]:.0%}"]
        for what, key, peer in (("store", "store_s", "disk_write_s"), ("read", "read_s", "disk_read_s"))
    ]
    print_table([size_text(mib << 20), "time", "rate", "of this disk"], rows)
    print(f"a range of {size_text(RANGE_BYTES)} in its middle: {found['range_s'] * 1000:.0f} ms\n")
    print_table(
        ["process", "peak resident set"],
        [[name, size_text(peak)] for name, peak in found["peak_rss_bytes"].items()],
    )


if __name__ == "__main__":
    main()
