"""The codec: whole blobs and the bare codes, beside other implementations and beside what this machine allows.

    python benchmarks/bench_codec.py [--shards 10,100] [--sizes 1M,64M] [--threads 1] [--operations encode,recover]
                                     [--no-peers] [--json]

One thread is measured in CPU time, more of them in time on the wall; the fastest of some repeats counts, since what
disturbs a run only ever adds. Buffers are kept between repeats, except where an operation says "fresh".

The limit of an operation is the time to read its input and write its output at the bandwidth of memory, plus one pass
of BLAKE2b over what it has to hash, both measured in the same run, with hashing at the speed of data in the cache.
Peers: Walrus's own encoder as WASM for blobs; for the bare codes the Rust crate that Walrus uses, Go's
klauspost/reedsolomon, zfec and reedsolo (`codec_peers.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import codec_peers
import numpy as np
from codec_peers import Missing

from haulout import codec
from haulout.codec import ConsistencyCheck, SliverBuffers, parallel, sizes
from haulout.codec.gf8 import MatrixCode, matrix_code
from haulout.codec.kernels import choice
from haulout.codec.reed_solomon import code_of
from haulout.codec.scratch import fresh
from haulout.crypto import batch
from haulout.errors import BlobTooLarge
from haulout.primitives import Axis
from haulout.world.kernels import KernelSettings, load_kernels
from haulout.world.workers import Helpers, usable_cpus

MIB = 1 << 20
SIZES = {"4K": 4096, "64K": 64 << 10, "1M": MIB, "16M": 16 * MIB, "64M": 64 * MIB}
SHARDS = (10, 100, 300, 1000)
WASM_OPERATIONS = {"encode": "encode", "blob-id": "blob-id", "decode, f lost": "decode"}
CODES = (
    *(("RS2", k, n) for k, n in ((7, 10), (34, 100), (67, 100), (334, 1000), (667, 1000))),
    *(("RS8", k, n) for k, n in ((7, 10), (34, 100), (67, 100))),
)
SYMBOL_SIZES = {"RS2": (64, 320, 1024, 16384), "RS8": (16384, MIB)}
CODE_BYTES = 16 * MIB  # of source symbols per measurement of a bare code
ENOUGH_SECONDS, REPEATS_MIN, REPEATS_MAX = 0.6, 3, 25


@dataclass(frozen=True)
class Row:
    """One line of the tables; rates in MiB of the blob, or of source symbols, per second."""

    operation: str
    n: str
    size: str
    threads: int
    milliseconds: float
    rate: float
    peer: str = ""
    peer_rate: float | None = None
    of_limit: float | None = None  # share of what the machine allows

    @property
    def ratio(self) -> float | None:
        """How many times faster than the peer."""
        return self.rate / self.peer_rate if self.peer_rate else None


def seconds_of(function: Callable[[], object], threads: int) -> float:
    """The fastest of some repeats."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    function()
    best, started, repeats = float("inf"), time.perf_counter(), 0
    while repeats < REPEATS_MIN or (time.perf_counter() - started < ENOUGH_SECONDS and repeats < REPEATS_MAX):
        start = clock()
        function()
        best = min(best, clock() - start)
        repeats += 1
    return best


def set_threads(threads: int) -> None:
    """Let so many threads compute from now on."""
    parallel.use(Helpers(threads - 1).run if threads > 1 else None)


# --- what the machine allows --------------------------------------------------------------------------------


@dataclass
class Limits:
    """Bandwidth of memory and speed of hashing with a number of threads."""

    threads: int

    def __post_init__(self) -> None:
        set_threads(self.threads)
        source, target = np.ones((2, 256 * MIB), np.uint8)
        step = 256 * MIB // self.threads
        slices = [slice(i * step, (i + 1) * step) for i in range(self.threads)]

        def copy() -> None:
            parallel.run([partial(np.copyto, target[part], source[part]) for part in slices])

        self.bytes_per_second = 512 * MIB / seconds_of(copy, self.threads)
        nodes = np.zeros((32, 128, 32), np.uint8)
        node_seconds = seconds_of(lambda: self._in_threads(lambda: batch.compute_roots(nodes)), self.threads)
        self.node_seconds = node_seconds / (self.threads * 32 * 127)
        self._leaf_seconds: dict[int, float] = {}

    def leaf_seconds(self, size: int) -> float:
        """Seconds per symbol of `size` bytes to hash symbols that are in the cache."""
        if size not in self._leaf_seconds:
            count = max(8, (256 << 10) // size // 8 * 8)
            symbols, digests = np.zeros((1, count, size), np.uint8), np.empty((1, count, 32), np.uint8)
            turns = max(1, 4000 // count)

            def hash_all() -> None:
                for _ in range(turns):
                    batch.hash_leaves(symbols, digests)

            taken = seconds_of(lambda: self._in_threads(hash_all), self.threads)
            self._leaf_seconds[size] = taken / (self.threads * turns * count)
        return self._leaf_seconds[size]

    def seconds(self, moved_bytes: int, n_leaves: int, size: int, n_nodes: int) -> float:
        """The limit of an operation."""
        hashing = (n_leaves * self.leaf_seconds(size) if n_leaves else 0) + n_nodes * self.node_seconds
        return moved_bytes / self.bytes_per_second + hashing

    def _in_threads(self, function: Callable[[], object]) -> None:
        parallel.run([function] * self.threads)


# --- whole blobs --------------------------------------------------------------------------------------------


class BlobBench:
    """All operations on one blob."""

    def __init__(self, n: int, size_bytes: int) -> None:
        self.n, self.size_bytes = n, size_bytes
        self.f = (n - 1) // 3
        self.data = codec_peers.wasm_blob(size_bytes)
        self.buffers = SliverBuffers.allocate(size_bytes, n)
        self.encoded = codec.encode_blob(self.data, n, out=self.buffers)
        self.metadata = self.encoded.metadata
        self.out = fresh(codec.padded_size_bytes(self.metadata))
        self.symbol_size = self.metadata.symbol_size_bytes

    def operations(self) -> dict[str, tuple[Callable[[], object], tuple[int, int, int, int] | None]]:
        """By name: what to do, and for the limit the bytes moved, symbols hashed, their size, and nodes hashed."""
        n, f, s, length = self.n, self.f, self.symbol_size, self.size_bytes
        k1, k2 = n - 2 * f, n - f
        stored = n * (k1 + k2) * s
        slivers = [self.encoded.sliver(Axis.PRIMARY, index) for index in range(n)]
        secondary = [self.encoded.sliver(Axis.SECONDARY, index) for index in range(n)]
        first, lost, parity = slivers[:k1], slivers[f : f + k1], slivers[n - k1 :]
        bare = [codec.recovery_symbol(self.metadata, Axis.SECONDARY, one, 0, with_proof=False) for one in secondary]
        proven = [codec.recovery_symbol(self.metadata, Axis.SECONDARY, one, 0) for one in secondary[:k2]]

        def decode(some: list[codec.Sliver], check: ConsistencyCheck) -> Callable[[], object]:
            return lambda: codec.decode_blob(
                self.metadata, some, Axis.PRIMARY, check=check, verified=True, out=self.out
            )

        def recover_proven() -> None:
            codec.verify_recovery_symbols(self.metadata, proven, 0, Axis.PRIMARY)
            sliver = codec.recover_sliver(proven, self.metadata, 0, Axis.PRIMARY)
            codec.verify_sliver(self.metadata, Axis.PRIMARY, sliver)

        everything = (n * n, s, 2 * n * (n - 1))
        skip, default, strict = ConsistencyCheck
        return {
            "encode": (
                lambda: codec.encode_blob(self.data, n, out=self.buffers),
                (length + stored, *everything),
            ),
            "encode, fresh memory": (lambda: codec.encode_blob(self.data, n), (length + stored, *everything)),
            "blob-id": (lambda: codec.compute_blob_id(self.data, n), (length, *everything)),
            "verify n slivers": (
                lambda: codec.verify_slivers(self.metadata, Axis.PRIMARY, slivers),
                (n * k2 * s, n * n, s, n * (n - 1)),
            ),
            "decode, none lost": (decode(first, skip), (2 * length, 0, s, 0)),
            "decode, f lost": (decode(lost, skip), (2 * length, 0, s, 0)),
            "decode, parity only": (decode(parity, skip), (2 * length, 0, s, 0)),
            "… and default check": (decode(lost, default), (2 * length, f * n, s, f * (n - 1))),
            "… and strict check": (decode(lost, strict), (2 * length, *everything)),
            "recover a sliver": (
                lambda: codec.recover_sliver(bare[f : f + k2], self.metadata, 0, Axis.PRIMARY),
                None,
            ),
            "recover, proofs and root": (recover_proven, None),
            "symbol with proof": (
                lambda: codec.recovery_symbol(self.metadata, Axis.SECONDARY, secondary[0], n - 1),
                None,
            ),
        }


def bench_blobs(options: argparse.Namespace, limits: dict[int, Limits], notes: list[str]) -> list[Row]:
    """A row per operation, n, size and number of threads."""
    rows = []
    for n in options.shards:
        for size_name in options.sizes:
            size_bytes = SIZES[size_name]
            try:
                sizes.symbol_size_bytes(size_bytes, n)
            except BlobTooLarge as e:
                notes.append(f"n = {n}, {size_name}: {e}")
                continue
            set_threads(1)
            bench = BlobBench(n, size_bytes)
            for name, (function, work) in bench.operations().items():
                if options.operations and not any(word in name for word in options.operations):
                    continue
                peer_rate = wasm_rate(name, bench, notes) if options.peers else None
                for threads in options.threads:
                    set_threads(threads)
                    taken = seconds_of(function, threads)
                    of_limit = limits[threads].seconds(*work) / taken if work else None
                    peer = "walrus-wasm" if peer_rate else ""
                    rate = size_bytes / MIB / taken
                    rows.append(Row(name, str(n), size_name, threads, taken * 1e3, rate, peer, peer_rate, of_limit))
                    show(options, rows[-1])
    return rows


def wasm_rate(name: str, bench: BlobBench, notes: list[str]) -> float | None:
    """MiB/s of Walrus's WASM, which has to find the same blob id."""
    if name not in WASM_OPERATIONS:
        return None
    try:
        taken, blob_id = codec_peers.blob_seconds(WASM_OPERATIONS[name], bench.n, bench.size_bytes)
    except Missing as e:
        notes.append(str(e))
        return None
    assert blob_id == bench.encoded.blob_id, "Walrus computes another blob id"
    return bench.size_bytes / MIB / taken


# --- bare codes ---------------------------------------------------------------------------------------------


def bench_codes(options: argparse.Namespace, limits: Limits, notes: list[str]) -> list[Row]:
    """Repair symbols of many words, and missing symbols when min(k, n - k) are lost, on one core."""
    rows = []
    set_threads(1)
    for encoding, k, n in CODES:
        code = code_of(k, n) if encoding == "RS2" else matrix_code(k, n)
        for size in SYMBOL_SIZES[encoding]:
            n_words, lost = max(1, CODE_BYTES // (k * size)), min(k, n - k)
            words = np.random.default_rng(1).integers(0, 256, (n_words, n, size), dtype=np.uint8).transpose(1, 0, 2)
            found = np.empty((lost, n_words, size), np.uint8)
            decoder = code.decoder(range(lost, k + lost))
            source, repair, received = words[:k], words[k:], words[lost : k + lost]
            if isinstance(code, MatrixCode):
                source, repair, received, found = list(source), list(repair), list(received), list(found)
            code.encode_symbols(source, repair)
            functions = {
                "encode": partial(code.encode_symbols, source, repair),
                "decode": partial(decoder.decode_symbols, list(received), list(found)),
            }
            for operation, function in functions.items():
                name = f"{encoding} code, {operation}"
                if options.operations and not any(word in name for word in options.operations):
                    continue
                taken, mib = seconds_of(function, 1), k * size * n_words / MIB
                moved = (n if operation == "encode" else k + lost) * size * n_words
                of_limit = limits.seconds(moved, 0, size, 0) / taken
                peers = peer_rates(encoding, operation, k, n, size, n_words, notes) if options.peers else {}
                for peer, rate in (peers or {"": None}).items():
                    rows.append(Row(name, f"{k}/{n}", f"{size} B", 1, taken * 1e3, mib / taken, peer, rate, of_limit))
                    show(options, rows[-1])
    return rows


def peer_rates(
    encoding: str, operation: str, k: int, n: int, size: int, n_words: int, notes: list[str]
) -> dict[str, float | None]:
    """MiB/s of those that can do it."""
    rates: dict[str, float | None] = {}
    for peer in ("reed-solomon-simd", "klauspost") if encoding == "RS2" else ("klauspost", "zfec", "reedsolo"):
        try:
            taken = codec_peers.code_seconds(peer, operation, k, n, size, n_words)
        except Missing as e:
            notes.append(str(e))
            continue
        rates[peer] = (k if peer == "reedsolo" else k * size * n_words) / MIB / taken
    return rates


# --- the report ---------------------------------------------------------------------------------------------


def describe_machine() -> dict[str, str]:
    """What the figures are of."""
    model = platform.processor() or platform.machine()
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    memory = ""
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    if meminfo.exists():
        memory = f"{int(meminfo.read_text().split()[1]) // 1024 / 1024:.0f} GiB"
    return {
        "cpu": model,
        "cpus": str(usable_cpus()),
        "memory": memory,
        "kernels": str(choice.describe()),
        "python": platform.python_version(),
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def figures(rate: float) -> str:
    """Three of them are enough."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def show(options: argparse.Namespace, row: Row) -> None:
    """A row as soon as it is there: of a Markdown table."""
    if options.json:
        return
    limit = f"{row.of_limit:.0%}" if row.of_limit is not None else ""
    peer = f"{row.peer} {figures(row.peer_rate)}" if row.peer_rate else ""
    ratio = f"{row.ratio:.1f}×" if row.ratio else ""
    cells = [
        row.operation,
        row.n,
        row.size,
        row.threads,
        f"{row.milliseconds:,.2f}",
        figures(row.rate),
        peer,
        ratio,
        limit,
    ]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=lambda text: [int(n) for n in text.split(",")], default=list(SHARDS))
    parser.add_argument("--sizes", type=lambda text: text.split(","), default=list(SIZES))
    parser.add_argument(
        "--threads", type=lambda text: [int(n) for n in text.split(",")], default=sorted({1, min(2, usable_cpus())})
    )
    parser.add_argument("--operations", type=lambda text: text.split(","), default=[], help="names or parts of them")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for."""
    options = parse_options()
    load_kernels(KernelSettings.of(os.environ))
    machine = describe_machine()
    limits = {threads: Limits(threads) for threads in sorted({1, *options.threads})}
    notes: list[str] = []
    for threads, limit in limits.items():
        machine[f"memory bandwidth, {threads} thread(s)"] = f"{limit.bytes_per_second / 2**30:.1f} GiB/s moved"
        machine[f"hash of a tree node, {threads} thread(s)"] = f"{limit.node_seconds * 1e9:.1f} ns"
    if not options.json:
        for name, value in machine.items():
            print(f"- {name}: {value}")
        print("\n| Operation | n | Size | Threads | ms | MiB/s | Peer, MiB/s | Ratio | Of the limit |")
        print("|---|---|---|---:|---:|---:|---|---:|---:|", flush=True)
    rows = bench_blobs(options, limits, notes) + bench_codes(options, limits[1], notes)
    if options.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows], "notes": sorted(set(notes))}))
    else:
        print("\n" + "\n".join(f"- {note}" for note in sorted(set(notes))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
