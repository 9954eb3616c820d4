"""Other codecs to measure ours against, in the same run. What is not installed here is skipped and says why.

Programs under `peers/` are built once, in the user's cache folder, by their own toolchains, which fetch what they
need from their public registries. All of them use one core, reuse their buffers and report CPU time.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

SOURCES = Path(__file__).resolve().parent / "peers"
BUILD_SECONDS, RUN_SECONDS = 900, 600


class Missing(Exception):
    """A peer that cannot run here; the message says why."""


@dataclass(frozen=True)
class Program:
    """A small program under `peers/`."""

    name: str
    tool: str  # what builds it
    build: tuple[tuple[str, ...], ...]
    start: tuple[str, ...]

    def run(self, *arguments: object) -> list[str]:
        """The words that it prints; raises `Missing`."""
        folder = _build(self)
        command = [*self.start, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        if done.returncode != 0:
            raise Missing(f"{self.name} failed: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout.split()


RUST = Program("reed-solomon-simd", "cargo", (("cargo", "build", "--release", "--quiet"),), ("target/release/peer",))
GO = Program("klauspost", "go", (("go", "mod", "tidy"), ("go", "build", "-o", "peer", ".")), ("./peer",))
WASM = Program("walrus-wasm", "npm", (("npm", "install", "--no-audit", "--no-fund"),), ("node", "main.js"))


@cache
def _build(program: Program) -> Path:
    """The folder where a program was built from its sources."""
    if shutil.which(program.tool) is None:
        raise Missing(f"{program.name} skipped: there is no {program.tool} here")
    source = SOURCES / program.name
    state = blake2b(digest_size=8)
    for path in sorted(source.rglob("*")):
        if path.is_file():
            state.update(path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = home / "haulout" / "peers" / f"{program.name}-{state.hexdigest()}"
    if not (folder / "built").exists():
        shutil.copytree(source, folder, dirs_exist_ok=True)
        for command in program.build:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
            )
            if done.returncode != 0:
                raise Missing(f"{program.name} skipped: {' '.join(command)} failed: {done.stderr.strip()[-200:]}")
        (folder / "built").touch()
    return folder


def code_seconds(peer: str, operation: str, k: int, n: int, symbol_size: int, n_words: int) -> float:
    """CPU seconds to encode or decode words one by one; raises `Missing`."""
    if peer in ("zfec", "reedsolo"):
        if operation != "encode":
            raise Missing(f"{peer} is measured for encoding only")
        return _zfec(k, n, symbol_size * n_words) if peer == "zfec" else _reedsolo(k, n)
    program = {"reed-solomon-simd": RUST, "klauspost": GO}[peer]
    if program is GO and operation != "encode":
        raise Missing("klauspost is measured for encoding only")
    return float(program.run(operation, k, n, symbol_size, n_words, 5)[0])


def blob_seconds(operation: str, n_shards: int, size_bytes: int) -> tuple[float, bytes]:
    """CPU seconds that Walrus's WASM takes for a blob (`wasm_blob`), and its blob id; raises `Missing`."""
    repeats = 3 if size_bytes <= 1 << 20 else 1
    seconds, blob_id = WASM.run(operation, n_shards, size_bytes, repeats)
    return float(seconds), bytes.fromhex(blob_id)


def wasm_blob(size_bytes: int) -> bytes:
    """The blob that the WASM program encodes."""
    positions = np.arange(size_bytes, dtype=np.uint32)
    return (positions * 31 + (positions >> 8)).astype(np.uint8).tobytes()


def _module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise Missing(f"{name} skipped: not installed ({sys.executable} -m pip install {name})") from e


def _zfec(k: int, n: int, row_bytes: int) -> float:
    encoder = _module("zfec").Encoder(k, n)  # type: ignore[attr-defined]
    rows = [os.urandom(row_bytes) for _ in range(k)]
    repair = list(range(k, n))
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        encoder.encode(rows, repair)
        best = min(best, time.process_time() - start)
    return best


def _reedsolo(k: int, n: int) -> float:
    """Seconds for one byte of each symbol: pure Python, so the caller scales it."""
    codec = _module("reedsolo").RSCodec(n - k, nsize=n)  # type: ignore[attr-defined]
    word, repeats = os.urandom(k), 200
    start = time.process_time()
    for _ in range(repeats):
        codec.encode(word)
    return (time.process_time() - start) / repeats
