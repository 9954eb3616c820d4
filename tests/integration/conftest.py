"""Live networks of real processes for the tests of this folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from haulout.cli.main import app
from tests import fresh_http

# Far from the usual ports and below those that the system gives away; each network of each worker has its own range.
FIRST_PORT_BASE = 12_000 + os.getpid() % 16 * 1_000
_bases = itertools.count(FIRST_PORT_BASE, 250)

# Loading native kernels costs each process seconds of CPU, and here processes come and go all the time.
ENVIRONMENT = {**os.environ, "HAULOUT_KERNELS": "numpy"}
_asking = threading.Lock()  # standard output is one

# An epoch of its own for each place where something is killed: `make soak` asks for it.
collect_ignore = [] if "HAULOUT_SOAK" in os.environ else ["test_epoch_kills.py"]


def random_bytes(size: int, seed: int) -> bytes:
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


class LiveNetwork:
    """A network under one folder, driven through the command line as a person would."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**ENVIRONMENT, **environment}

    def run(self, *arguments: str, check: bool = True, timeout: int = 180) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "haulout.cli", *arguments, "--dir", str(self.folder)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=self.environment
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def ask(self, *arguments: str) -> Any:
        """The same in this process: to start one costs a second of CPU, and some things are asked again and again."""
        with _asking, contextlib.redirect_stdout(io.StringIO()) as output:
            app([*arguments, "--json", "--dir", str(self.folder)], standalone_mode=False)
        return json.loads(output.getvalue())

    def status(self) -> dict[str, dict[str, Any]]:
        return {process["name"]: process for process in self.ask("status")["processes"]}

    @property
    def gateway(self) -> str:
        return str(json.loads((self.folder / "client.json").read_text())["gateway"])

    @property
    def graphql(self) -> str:
        return str(json.loads((self.folder / "client.json").read_text())["graphql"])

    def kill(self, *names: str) -> None:
        """`kill -9`, and keep them down."""
        status = self.status()
        for name in names:
            os.kill(status[name]["pid"], signal.SIGKILL)

    def stop(self, *names: str) -> None:
        for name in names:
            self.run("node", "stop", name)

    def start(self, *names: str) -> None:
        for name in names:
            self.run("node", "start", name)
        self.wait(lambda: all(self.status()[name]["state"] == "ready" for name in names))

    def wait(self, condition: Callable[[], bool], *, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s; status: {json.dumps(self.status(), indent=1)}")
            time.sleep(0.2)

    def put(self, data: bytes, *, epochs: int = 5, timeout_s: float = 60) -> httpx.Response:
        return fresh_http.put(f"{self.gateway}/v1/blobs?epochs={epochs}", content=data, timeout=timeout_s)

    def store(self, data: bytes) -> str:
        """Store through the gateway; the blob id."""
        response = self.put(data)
        assert response.status_code == 200, response.text
        document = response.json()
        created = document.get("newlyCreated")
        return str(created["blobObject"]["blobId"] if created else document["alreadyCertified"]["blobId"])

    def read(self, blob_id: str) -> httpx.Response:
        return fresh_http.get(f"{self.gateway}/v1/blobs/{blob_id}", timeout=60)

    def wait_complete(self) -> None:
        """Until no node lacks anything."""

        def complete() -> bool:
            nodes = [process for process in self.status().values() if process["role"] == "node"]
            return all(node.get("node", {}).get("incompleteBlobs") == 0 for node in nodes)

        self.wait(complete)


@pytest.fixture(scope="module")
def start_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LiveNetwork]]:
    """Starts networks that end with the module."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, **environment: str) -> LiveNetwork:
            live = LiveNetwork(tmp_path_factory.mktemp("network") / "net", environment)
            stack.callback(live.run, "down", check=False)
            live.run("up", "--detach", f"--port-base={next(_bases)}", *options)
            return live

        yield start


@pytest.fixture(scope="session")
def make_bytes() -> Callable[[int, int], bytes]:
    """Bytes of a size that look random, the same for the same seed."""
    return random_bytes
