"""Writes and reads that go on while something happens; bytes are compared here, outside the cluster."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from tests import fresh_http

ATTEMPTS, ATTEMPT_S = 5, 30.0
N_CLIENTS = 2
SIZES = (100, 4_000, 60_000)
READS_PER_WRITE = 6
LONG, SHORT = 1_000, 200  # operations that a scenario must have seen
RATE_MIN = 5.0
PATIENCE_S = 240.0  # for those operations, when the scenario itself is over
LIFE_EPOCHS = 20  # of a blob; scenarios may be longer than that

T = TypeVar("T")


class Load:
    """Clients that store and read what was stored, each operation over a connection of its own."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(N_CLIENTS)]
        self._lock = threading.Lock()
        self._digests: dict[str, str] = {}
        self._ends: dict[str, int] = {}  # first epoch in which a blob is not stored any more
        self._epoch = 0  # the latest that an answer told
        self._started = self._ended = 0.0
        self.operations = self.retries = 0
        self.failed: list[str] = []
        self.seconds: list[float] = []

    def __enter__(self) -> Load:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Finish what has begun; asking again is fine."""
        self._stop.set()
        for thread in self._threads:
            thread.join(ATTEMPTS * ATTEMPT_S)
        self._ended = self._ended or time.monotonic()

    def finish(self, scenario: str, *, least: int = LONG) -> None:
        """The scenario is over: go on until enough was seen, say what it was, and fail if anything was lost."""
        deadline = time.monotonic() + PATIENCE_S
        while self.operations < least and not self.failed and time.monotonic() < deadline:
            time.sleep(0.2)
        self.stop()
        print(f"\n[e2e] {scenario}: {self.report()}", flush=True)
        assert not self.failed, self.failed
        assert self.operations >= least
        assert self.rate >= RATE_MIN

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / max(0.001, (self._ended or time.monotonic()) - self._started)

    def report(self) -> str:
        """Counts and times, for people."""
        p99 = sorted(self.seconds)[int(len(self.seconds) * 0.99)] if self.seconds else 0
        counts = f"{self.operations} operations, {len(self.failed)} failed, {self.retries} retries"
        return f"{counts}, {self.rate:.1f}/s, p99 {p99:.2f} s"

    def _run(self, number: int) -> None:
        rng = random.Random(number)
        while not self._stop.is_set():
            content = rng.randbytes(rng.choice(SIZES))
            stored = self._attempt("store", lambda content=content: self._store(content))
            with self._lock:
                if stored is not None:
                    blob_id, end_epoch = stored
                    self._digests[blob_id] = hashlib.sha256(content).hexdigest()
                    self._ends[blob_id] = end_epoch
                    self._epoch = max(self._epoch, end_epoch - LIFE_EPOCHS)
                known = [one for one, end in self._ends.items() if end > self._epoch + 1]
            for one in rng.sample(known, min(READS_PER_WRITE, len(known))):
                self._attempt("read", lambda one=one: self._read(one))

    def _attempt(self, what: str, operation: Callable[[], T]) -> T | None:
        started, problem = time.monotonic(), ""
        for attempt in range(ATTEMPTS):
            try:
                answer = operation()
            except (httpx.HTTPError, AssertionError, KeyError, ValueError) as e:
                problem = f"{what}: {type(e).__name__} {e}"
                with self._lock:
                    self.retries += 1
                time.sleep(0.5 * (attempt + 1))
            else:
                with self._lock:
                    self.operations += 1
                    self.seconds.append(time.monotonic() - started)
                return answer
        with self._lock:
            self.failed.append(problem)
        return None

    def _store(self, content: bytes) -> tuple[str, int]:
        return store_until(self._gateway, content, timeout=ATTEMPT_S)

    def _read(self, blob_id: str) -> None:
        content = read(self._gateway, blob_id, timeout=ATTEMPT_S)
        assert hashlib.sha256(content).hexdigest() == self._digests[blob_id], "other bytes"


def store(gateway: str, content: bytes, *, timeout: float = 60) -> str:
    """The id of a blob that was stored by HTTP."""
    return store_until(gateway, content, timeout=timeout)[0]


def store_until(gateway: str, content: bytes, *, timeout: float) -> tuple[str, int]:
    """The id of a blob that was stored by HTTP, and the epoch in which it ends."""
    answer = fresh_http.put(
        f"{gateway}/v1/blobs", params={"epochs": str(LIFE_EPOCHS)}, content=content, timeout=timeout, trust_env=False
    )
    assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
    document = answer.json()
    if "alreadyCertified" in document:
        return str(document["alreadyCertified"]["blobId"]), int(document["alreadyCertified"]["endEpoch"])
    made = document["newlyCreated"]["blobObject"]
    return str(made["blobId"]), int(made["storage"]["endEpoch"])


def read(gateway: str, blob_id: str, *, timeout: float = 60) -> bytes:
    """A blob by HTTP."""
    answer = fresh_http.get(f"{gateway}/v1/blobs/{blob_id}", timeout=timeout)
    assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
    return answer.content
