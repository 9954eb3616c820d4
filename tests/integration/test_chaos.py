"""A thousand blobs while nodes and ledger are killed every few seconds; then one node is away and another's disk rots.

Every blob that was certified is read back byte for byte by a gateway that has no cache and has just started, and the
node whose bytes were flipped is named by its metrics. Some blobs came while one node was away already: only the others
hold them, the one whose disk rots among them, and its flips hit each.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import fresh_http

pytestmark = pytest.mark.timeout(900)

N_BLOBS = 1_000
N_LATE_BLOBS = 40  # stored while a node is away
WRITERS = 12
KILL_EVERY_S = 4.5
PATIENCE_S = 120

LiveNetwork = Any  # of conftest.py, which cannot be imported


def blob_of(number: int) -> bytes:
    """Mostly small, some empty, a few large enough for files of their own."""
    size = 400_000 if number % 100 == 50 else number * 37 % 20_000
    return hashlib.shake_128(number.to_bytes(8, "big")).digest(size)


def store(network: LiveNetwork, number: int) -> str:
    """Store until it is certified; every refusal on the way must be one that says: try again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            response = network.put(blob_of(number))
            if response.status_code == 200:
                document = response.json()
                created = document.get("newlyCreated")
                return str(created["blobObject"]["blobId"] if created else document["alreadyCertified"]["blobId"])
            assert response.status_code in (429, 503, 504), response.text
        except httpx.TransportError as e:
            problem = e
        else:
            problem = None
        assert time.monotonic() < deadline, f"blob {number}: {problem or response.text}"
        time.sleep(0.2)


@contextmanager
def killing(network: LiveNetwork) -> Iterator[list[str]]:
    """Kill a node or the ledger again and again; the supervisor starts them anew."""
    chance = random.Random(7)
    killed: list[str] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(KILL_EVERY_S):
            name = chance.choice(["ledger", *(f"node-{i}" for i in range(5))])
            pid = network.status()[name]["pid"]
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                killed.append(name)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def flip(data: bytes) -> bytes:
    damaged = bytearray(data)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


def flip_bytes(folder: Path, thoroughly: list[str]) -> tuple[int, set[str]]:
    """Flip a bit of every file of slivers, and of the rows that hold small ones: all of some blobs, and a sample of
    the rest. How many were flipped, and which of these blobs they hit in a row."""
    named = {base64.urlsafe_b64decode(blob_id + "="): blob_id for blob_id in thoroughly}
    flipped, hit = 0, set()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "sliver" in str(path.relative_to(folder)) and path.suffix not in (".sqlite", ".db"):
            data = path.read_bytes()
            if len(data) > 100:
                path.write_bytes(flip(data))
                flipped += 1
    for path in (p for p in folder.rglob("*.sqlite") if "replica" not in p.name):
        with closing(sqlite3.connect(path)) as database:
            [table] = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
            rows = database.execute(f"select k, v from {table} where length(v) > 200").fetchall()
            sample = {key for key, _ in rows[:: max(1, len(rows) // 200)]}
            for key, value in rows:
                blob_id = named.get(key[-33:-1])  # a sliver's key ends with blob id and axis
                if blob_id is not None or key in sample:
                    database.execute(f"update {table} set v = ? where k = ?", (flip(value), key))
                    flipped += 1
                    hit |= {blob_id} - {None}
            database.commit()
    return flipped, hit


@contextmanager
def fresh_gateway(network: LiveNetwork, tmp_path: Path, port: int) -> Iterator[str]:
    """A second gateway that remembers nothing."""
    options = {
        "--dir": tmp_path / "gateway",
        "--genesis": network.folder / "genesis.json",
        "--ledger": network.status()["ledger"]["urls"]["grpc"],
        "--listen": f"127.0.0.1:{port}",
        "--metrics": f"127.0.0.1:{port + 1}",
        "--wallet": network.folder / "wallet.json",
        "--cache": 0,
    }
    arguments = [str(part) for part in itertools.chain.from_iterable(options.items())]
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "haulout.cli", "gateway", *arguments]
        environment = {**os.environ, "HAULOUT_KERNELS": "numpy"}  # as the network's own processes
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if fresh_http.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def corrupt_slivers(network: LiveNetwork, name: str) -> float:
    """How many corrupt slivers a node has found in what it keeps, as its metrics say."""
    metrics = fresh_http.get(network.status()[name]["urls"]["metrics"], timeout=30).text
    [line] = [line for line in metrics.splitlines() if line.startswith("haulout_node_corrupt_slivers_total ")]
    return float(line.split()[1])


def test_a_thousand_blobs_survive_kills_and_rot(start_network: Callable[..., LiveNetwork], tmp_path: Path) -> None:
    network = start_network("--shards=25")
    with killing(network) as killed, ThreadPoolExecutor(WRITERS) as writers:
        ids = list(writers.map(lambda number: store(network, number), range(N_BLOBS)))
    assert len(killed) >= 5
    network.wait(lambda: all(p["state"] == "ready" for p in network.status().values()))
    network.wait_complete()

    network.stop("node-1")
    with ThreadPoolExecutor(WRITERS) as writers:
        late = list(writers.map(lambda number: store(network, number), range(N_BLOBS, N_BLOBS + N_LATE_BLOBS)))
    ids += late
    network.stop("node-2")
    flipped, hit = flip_bytes(network.folder / "nodes" / "node-2", late)
    assert flipped > 50
    assert len(hit) >= N_LATE_BLOBS - 2  # an empty or a very large one has no row of that size
    network.start("node-2")

    port = int(network.gateway.rpartition(":")[2]) + 5
    with fresh_gateway(network, tmp_path, port) as gateway, httpx.Client(timeout=60, trust_env=False) as client:

        def read(number: int) -> str | None:
            """What is wrong with the answer."""
            answer = client.get(f"{gateway}/v1/blobs/{ids[number]}")
            if answer.status_code != 200:
                return f"blob {number}: {answer.status_code} {answer.text[:300]}"
            return None if answer.content == blob_of(number) else f"blob {number}: other bytes"

        with ThreadPoolExecutor(8) as readers:
            wrong = [problem for problem in readers.map(read, range(len(ids))) if problem]
        assert wrong == []
    corrupt = {name: corrupt_slivers(network, name) for name in ("node-0", "node-2", "node-3")}
    assert corrupt["node-2"] > 0
    assert corrupt["node-0"] == corrupt["node-3"] == 0
    network.start("node-1")
    network.wait_complete()
