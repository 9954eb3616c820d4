"""The network changes hands under load: nodes join, shards move, nodes leave, a dead one is replaced, nobody notices.

Real processes, about a dozen of them. Here epochs are advanced by hand, processes are killed in the middle of one, and
one node dies for good; with `make soak` they go by the clock, a minute each, and one node dies after the other.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from haulout.errors import HauloutError
from tests import fresh_http

IS_SOAK = "HAULOUT_SOAK" in os.environ
pytestmark = pytest.mark.timeout(3_600 if IS_SOAK else 600)

N_SHARDS = 20
MAX_ATTEMPTS = 5
ATTEMPT_TIMEOUT_S = 30
PAUSE_S = 0.4  # of each thread between two requests
WRITERS, READERS = (2, 6) if IS_SOAK else (1, 2)

LiveNetwork = Any  # of conftest.py, which cannot be imported


def blob_of(number: int) -> bytes:
    return hashlib.shake_128(number.to_bytes(8, "big")).digest(number * 613 % 30_000)


@dataclass
class Load:
    """Writes and reads that go on all the time; each is given a few attempts, and failing them is a failure."""

    stored: dict[str, int] = field(default_factory=dict)  # blob id -> number
    failures: list[str] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: {"write": [], "read": []})
    started_s: float = field(default_factory=time.monotonic)

    def attempt(self, kind: str, what: str, work: Callable[[], httpx.Response]) -> httpx.Response | None:
        """Do it until it succeeds."""
        for attempt in range(MAX_ATTEMPTS):
            started = time.monotonic()
            try:
                response = work()
                problem = f"{response.status_code}: {response.text[:300]}" if response.status_code != 200 else ""
            except httpx.HTTPError as e:
                problem = f"{type(e).__name__}: {e}"
            if not problem:
                self.latencies_s[kind].append(time.monotonic() - started)
                return response
            self.retries.append(f"{kind} {what}, attempt {attempt + 1}: {problem}")
            time.sleep(1)
        self.failures.append(self.retries[-1])
        return None

    def write(self, network: LiveNetwork, number: int) -> None:
        url = f"{network.gateway}/v1/blobs?epochs=20"
        data = blob_of(number)
        response = self.attempt(
            "write", f"blob {number}", lambda: fresh_http.put(url, content=data, timeout=ATTEMPT_TIMEOUT_S)
        )
        if response is not None:
            document = response.json()
            created = document.get("newlyCreated")
            found = created["blobObject"]["blobId"] if created else document["alreadyCertified"]["blobId"]
            self.stored[str(found)] = number

    def read(self, network: LiveNetwork, turn: int) -> None:
        known = list(self.stored)
        if not known:
            return
        blob_id = known[turn * 7919 % len(known)]
        url = f"{network.gateway}/v1/blobs/{blob_id}"
        response = self.attempt("read", blob_id, lambda: fresh_http.get(url, timeout=ATTEMPT_TIMEOUT_S))
        if response is not None and response.content != blob_of(self.stored[blob_id]):
            self.failures.append(f"read {blob_id}: other bytes")

    def summary(self) -> str:
        lines = []
        for kind, values in self.latencies_s.items():
            p99 = statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0
            lines.append(f"{len(values)} {kind}s, p99 {p99 * 1000:.0f} ms")
        rate = sum(map(len, self.latencies_s.values())) / (time.monotonic() - self.started_s)
        return f"{'; '.join(lines)}; {rate:.1f}/s; {len(self.retries)} retries, {len(self.failures)} failures"


@contextmanager
def load_on(network: LiveNetwork) -> Iterator[Load]:
    """Write and read in the background until the block ends."""
    load, stop = Load(), threading.Event()

    def repeat(work: Callable[[int], None]) -> None:
        for turn in itertools.count():
            if stop.wait(PAUSE_S):
                return
            work(turn)

    threads = []
    for writer in range(WRITERS):
        work = lambda turn, writer=writer: load.write(network, turn * WRITERS + writer)  # noqa: E731 - bound to its writer
        threads.append(threading.Thread(target=repeat, args=(work,)))
    for reader in range(READERS):
        work = lambda turn, reader=reader: load.read(network, turn * READERS + reader)  # noqa: E731 - bound to its reader
        threads.append(threading.Thread(target=repeat, args=(work,)))
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Town:
    """A network whose epochs move on by hand, or by the clock in a soak.

    Attributes:
        stored: what the stories so far have stored: blob id -> number.
    """

    def __init__(self, network: LiveNetwork) -> None:
        self.network = network
        self.stored: dict[str, int] = {}

    def pass_epochs(self, *killed: str, in_soak: int = 2) -> None:
        """Into the next epoch, or some of them in a soak, each until every shard is where it belongs.

        Processes that are killed as shards begin to move are started again by the supervisor.
        """
        for _ in range(in_soak if IS_SOAK else 1):
            before = self.network.ask("status")["epoch"]["epoch"]
            self.pass_epoch(before)
            if not IS_SOAK:
                self.network.kill(*killed)
            self.network.wait(lambda before=before: self.is_settled(before), timeout_s=240)

    def pass_epoch(self, before: int) -> None:
        if IS_SOAK:
            self.network.wait(lambda: self.network.ask("status")["epoch"]["epoch"] > before, timeout_s=150)
        else:
            self.network.ask("epoch", "advance", "--no-wait")

    def is_settled(self, before: int) -> bool:
        """An epoch later no shard is on its way, and whoever was killed is back."""
        status = self.network.ask("status")
        nodes = [process for process in status["processes"] if process["role"] == "node"]
        epoch = status.get("epoch")  # absent while the ledger is away
        are_back = all("node" in node or node["state"] == "stopped" for node in nodes)
        if epoch is None or epoch["epoch"] <= before:  # it takes a moment until a death or an advance shows
            return False
        return are_back and epoch["phase"] != "Sync" and epoch["movingShards"] == 0

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {name: p["node"] for name, p in self.network.status().items() if p["role"] == "node"}

    def shards(self) -> dict[str, int]:
        return {name: node["shards"] for name, node in self.nodes().items()}

    def holds_exactly_what_it_should(self) -> bool:
        """Every node has both slivers of every blob on each of its shards, and nothing else."""
        return all(
            node["storedSlivers"] == 2 * node["shards"] * len(self.stored) and node["incompleteBlobs"] == 0
            for node in self.nodes().values()
        )

    def check_all_is_there(self) -> None:
        self.network.wait(self.holds_exactly_what_it_should, timeout_s=120)
        assert sum(self.shards().values()) == N_SHARDS
        for blob_id, number in self.stored.items():
            response = self.network.read(blob_id)
            assert response.status_code == 200, response.text
            assert response.content == blob_of(number)


@pytest.fixture(scope="module")
def town(start_network: Callable[..., LiveNetwork]) -> Town:
    clock = ("--epoch-duration", "1m") if IS_SOAK else ()
    return Town(start_network("--nodes", "5", f"--shards={N_SHARDS}", *clock))


def test_five_nodes_become_seven_and_then_four_and_nobody_notices(
    town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    network = town.network
    with load_on(network) as load:
        network.wait(lambda: len(load.stored) > 5)
        for unpayable in ("5", "9000000WAL"):
            with pytest.raises(HauloutError):
                network.ask("node", "add", "--stake", unpayable)
        joined = [network.ask("node", "add", "--stake", "2000WAL")["name"] for _ in range(2)]
        assert joined == ["node-5", "node-6"]
        town.pass_epochs("ledger", "node-5", "node-0", in_soak=3)  # who orders, who gains, who loses
        shards = town.shards()
        assert sum(shards.values()) == N_SHARDS
        assert all(shards[name] >= 2 for name in joined)

        leaving = ("node-0", "node-2", "node-4")
        for name in leaving:
            assert network.ask("node", "drain", name, "--no-wait")["done"] is False
        town.pass_epochs(in_soak=3)
        for name in leaving:
            gone = network.ask("node", "drain", name)
            assert (gone["shards"], gone["handingOver"], gone["done"]) == (0, 0, True)
        network.wait(lambda: len(load.stored) > (200 if IS_SOAK else 20), timeout_s=300)
    with capsys.disabled():
        print(f"\n  5 → 7 → 4 nodes: {load.summary()}")
    assert load.failures == []
    town.stored = load.stored
    assert sorted(town.nodes()) == ["node-1", "node-3", "node-5", "node-6"]
    town.check_all_is_there()


def test_a_dead_node_is_replaced_and_what_it_had_is_rebuilt(town: Town) -> None:
    network = town.network
    assert town.stored, "the story before has to be told"
    for dead in ("node-1", "node-3", "node-5") if IS_SOAK else ("node-1",):
        with pytest.raises(HauloutError, match="is alive"):
            network.ask("node", "remove", dead)
        network.kill(dead)
        network.stop(dead)
        new = network.ask("node", "add", "--stake", "2000WAL")["name"]
        assert network.ask("node", "remove", dead, "--no-wait")["done"] is False
        town.pass_epochs()
        assert network.ask("node", "remove", dead)["done"] is True
        assert town.shards()[new] >= 2
        assert dead not in town.nodes()
        town.check_all_is_there()
