"""Tests on a real Kubernetes: `make e2e` runs them, `make test` does not."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

_spec = importlib.util.spec_from_file_location("haulout_testbed", Path(__file__).with_name("testbed.py"))
assert _spec is not None and _spec.loader is not None
testbed = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = testbed
_spec.loader.exec_module(testbed)

collect_ignore_glob = [] if os.environ.get("HAULOUT_E2E") else ["test_*.py"]

NAMESPACE = "haulout-e2e"
ATTEMPTS, ATTEMPT_S = 5, 30.0


class Installation:
    """One namespace of one cluster, with the chart in it."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.namespace = NAMESPACE

    def kubectl(self, *arguments: str, check: bool = True, timeout: float = 300, text: str | None = None) -> str:
        return self.cluster.run("kubectl", "-n", self.namespace, *arguments, check=check, timeout=timeout, text=text)

    def helm(self, *arguments: str, timeout: float = 700) -> str:
        return self.cluster.run("helm", "-n", self.namespace, *arguments, timeout=timeout)

    def install(self, *more: str) -> float:
        """helm install --wait; seconds."""
        started = time.monotonic()
        values = ["--set", "network.spec.epoch.manual=true", *testbed.install_arguments(self.cluster)]
        waiting = ["--take-ownership", "--wait", "--timeout", "10m"]
        self.helm("install", "haulout", str(testbed.CHART), *values, *more, *waiting)
        return time.monotonic() - started

    def upgrade(self, *more: str) -> None:
        """helm upgrade with the values of the installation and some more."""
        self.helm("upgrade", "haulout", str(testbed.CHART), "--reuse-values", *more)

    def is_installed(self) -> bool:
        return "haulout" in self.helm("list", "--short").split()

    def address(self, service: str, port: int) -> str:
        """A Service as the machine of a testbed reaches it: not by way of the API server, which a test may stop."""
        return f"http://{self.get('svc', service)['spec']['clusterIP']}:{port}"

    def get(self, kind: str, name: str = "") -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.kubectl("get", kind, *([name] if name else []), "-o", "json"))
        return document

    def nodes(self) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.get("sn")["items"])

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == type_), {"status": "", "reason": "", "message": ""})

    def wait(self, what: str, holds: Any, timeout_s: float = 300) -> None:
        """Wait for what is expected, and show how things are when it does not come."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                state = self.kubectl("get", "snet,snp,sn,ept,pods")
                raise AssertionError(f"{what} did not come in {timeout_s} s:\n{state}")
            time.sleep(1)

    def epoch(self) -> int:
        return int(self.get("snet", "main")["status"]["epoch"]["number"])

    def advance_epoch(self) -> None:
        """The next epoch, from request to all hand-overs done."""
        epoch = self.epoch()
        self.kubectl("annotate", "--overwrite", "snet/main", f"haulout.dev/advance-epoch={epoch}")
        name = f"ept/main-{epoch + 1}"
        self.wait(name, lambda: f"main-{epoch + 1}" in self.kubectl("get", "ept", "-o", "name"))
        self.kubectl("wait", "--for=condition=Complete", name, "--timeout=240s")
        self.kubectl("wait", "--for=condition=HandedOver", name, "--timeout=240s")

    @contextlib.contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """A port of the cluster on this machine."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local = probe.getsockname()[1]
        command = ["kubectl", "-n", self.namespace, "port-forward", target, f"{local}:{port}"]
        process = subprocess.Popen(
            command, env=self.cluster.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), timeout=1):
                    break
                assert time.monotonic() < deadline and process.poll() is None, f"{target} cannot be reached"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{local}"
        finally:
            process.terminate()
            process.wait()


class Load:
    """Writes and reads that go on while something happens; bytes are compared here, outside the cluster."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._kept: dict[str, str] = {}
        self.operations = self.retries = 0
        self.failed: list[str] = []
        self.seconds: list[float] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Finish what has begun; asking again is fine."""
        self._stop.set()
        self._thread.join(ATTEMPTS * ATTEMPT_S)

    def report(self, scenario: str) -> str:
        p99 = sorted(self.seconds)[int(len(self.seconds) * 0.99)] if self.seconds else 0
        counts = f"{self.operations} operations, {len(self.failed)} failed, {self.retries} retries"
        return f"{scenario}: {counts}, p99 {p99:.2f} s"

    def _run(self) -> None:
        rng = random.Random(7)
        while not self._stop.is_set():
            content = rng.randbytes(rng.choice((100, 4_000, 60_000)))
            blob_id = self._attempt("store", lambda content=content: self._store(content))
            if blob_id is not None:
                self._kept[blob_id] = hashlib.sha256(content).hexdigest()
            for known in rng.sample(list(self._kept), min(4, len(self._kept))):
                self._attempt("read", lambda known=known: self._read(known))

    def _attempt(self, what: str, operation: Any) -> Any:
        started = time.monotonic()
        problem = ""
        for attempt in range(ATTEMPTS):
            try:
                answer = operation()
            except (httpx.HTTPError, AssertionError, KeyError, ValueError) as e:
                problem = f"{what}: {type(e).__name__} {e}"
                self.retries += 1
                time.sleep(0.5 * (attempt + 1))
            else:
                self.operations += 1
                self.seconds.append(time.monotonic() - started)
                return answer
        self.failed.append(problem)
        return None

    def _store(self, content: bytes) -> str:
        with httpx.Client(timeout=ATTEMPT_S, trust_env=False) as client:  # a fresh connection
            answer = client.put(f"{self._gateway}/v1/blobs", params={"epochs": "20"}, content=content)
            assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
            document = answer.json()
        found = document.get("newlyCreated", {}).get("blobObject") or document["alreadyCertified"]
        return str(found["blobId"])

    def _read(self, blob_id: str) -> None:
        with httpx.Client(timeout=ATTEMPT_S, trust_env=False) as client:
            answer = client.get(f"{self._gateway}/v1/blobs/{blob_id}")
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
        assert hashlib.sha256(answer.content).hexdigest() == self._kept[blob_id], "other bytes"


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaves_this_machine() -> None:
    """Here things do: to the API server of a cluster, and to the addresses of its Services."""


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """The chart in a namespace of its own; gone afterwards."""
    made = Installation(testbed.find_cluster(nodes=3))
    made.cluster.run("kubectl", "create", "namespace", NAMESPACE)
    label = "pod-security.kubernetes.io/enforce=restricted"
    made.cluster.run("kubectl", "label", "namespace", NAMESPACE, label)
    yield made
    made.cluster.run("helm", "-n", NAMESPACE, "uninstall", "haulout", check=False)
    made.cluster.run("kubectl", "delete", "namespace", NAMESPACE, "--timeout=180s", check=False, timeout=200)


@pytest.fixture
def load_on() -> Any:
    """Makes a load against a URL."""
    return Load
