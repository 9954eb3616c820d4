"""A network of real processes for a benchmark, and a table for what it found."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PORT_BASE = 19_000
KERNEL_PATIENCE_S, KERNEL_PAUSE_S = 120, 0.5
IN_USE = 'haulout_codec_kernels{kernels="native"} 1'


@dataclass(frozen=True, slots=True)
class LiveNetwork:
    """A running network and where it listens."""

    folder: Path
    addresses: dict[str, str]  # of client.json

    def ask(self, name: str, *options: str) -> dict[str, Any]:
        """What a command of the network answers."""
        command = _command(name, self.folder, *options, "--json")
        answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return answer

    def processes(self) -> list[dict[str, Any]]:
        """As `haulout status --json` has them."""
        processes: list[dict[str, Any]] = self.ask("status")["processes"]
        return processes

    def wait_for_kernels(self) -> None:
        """Until everything that encodes does so with the kernels it was told to use: they are loaded one by one."""
        deadline = time.monotonic() + KERNEL_PATIENCE_S
        for process in self.processes():
            url = process["urls"]["metrics"]
            while process["role"] in ("node", "gateway"):
                with urllib.request.urlopen(url) as answer:
                    if any(line.startswith(IN_USE) for line in answer.read().decode().splitlines()):
                        break
                if time.monotonic() > deadline:
                    raise SystemExit(f"{process['name']} computes with numpy after {KERNEL_PATIENCE_S} s")
                time.sleep(KERNEL_PAUSE_S)

    def start(self) -> None:
        """Start it again; returns when a store would succeed."""
        subprocess.run(_command("up", self.folder, "--detach"), check=True, capture_output=True)

    def stop(self) -> None:
        """End its processes; the data stays."""
        subprocess.run(_command("down", self.folder), check=True, capture_output=True)


def _command(name: str, folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "haulout.cli", name, *options, "--dir", str(folder)]


@contextlib.contextmanager
def live_network(place: Path | None = None, *, n_shards: int = 100) -> Iterator[LiveNetwork]:
    """Five nodes in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="haulout-bench-", dir=place) as name:
        folder = Path(name) / "net"
        port_base = PORT_BASE + os.getpid() % 20 * 250
        up = _command("up", folder, "--detach", f"--port-base={port_base}", f"--shards={n_shards}")
        try:
            subprocess.run(up, check=True, capture_output=True)
            yield LiveNetwork(folder, json.loads((folder / "client.json").read_text()))
        finally:
            subprocess.run(_command("down", folder), check=False, capture_output=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns to the right, the first to the left."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )


def size_text(size_bytes: int) -> str:
    """1 KiB, 64 MiB."""
    return f"{size_bytes >> 20} MiB" if size_bytes >= 1 << 20 else f"{size_bytes >> 10} KiB"
