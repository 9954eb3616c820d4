"""Native kernels for a process: what its environment asks for, and where compiled code is kept.

    HAULOUT_KERNELS        native (the default) or numpy
    NUMBA_CACHE_DIR        where compiled code goes, else $XDG_CACHE_HOME/haulout/kernels or ~/.cache/haulout/kernels

Below that folder there is one for every version of the kernels' sources, place of them, version of numba and CPU, which
is what numba keys its code by; so what is warm is never compiled again. Compiling takes about eight seconds, so a
service lets a process of its own do it, at low priority and one at a time on a machine, and serves with numpy until it
can load the result. `python -m haulout.world.kernels` compiles beforehand, for instance into an image.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from haulout.codec import parallel
from haulout.codec.kernels import choice
from haulout.codec.kernels.choice import Kernels, Status
from haulout.world.workers import Helpers, usable_cpus

SOURCES = (
    "haulout.crypto.simd",
    "haulout.crypto.blake2b_lanes",
    "haulout.codec.kernels.gf16",
    "haulout.codec.kernels.strips",
    "haulout.codec.gf8",
    "haulout.codec.kernels.gf8",
)
WARM_FILE = "warm"  # in the cache folder once everything is compiled: what the kernels are, for people
NICENESS = 10
# From how many bytes of a blob on it pays to load kernels for one command, and to compile them for it. However small
# the blob is, three hashes per pair of shards are computed, which take numpy as long as so many bytes.
WORTH_LOADING_BYTES = 16 << 20
WORTH_COMPILING_BYTES = 512 << 20
_BYTES_PER_PAIR = 20


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """What the environment says."""

    kernels: Kernels
    cache_folder: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> KernelSettings:
        """From environment variables.

        Raises:
            UnknownKernels: `HAULOUT_KERNELS` is something else.
        """
        kernels = choice.parse_kernels(environment.get("HAULOUT_KERNELS", Kernels.NATIVE.value))
        told = environment.get("NUMBA_CACHE_DIR")
        home = environment.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
        folder = Path(told) if told else Path(home) / "haulout" / "kernels"
        digest = kernels_digest()
        return cls(kernels, folder if folder.name == digest else folder / digest)  # told by a process that knows it

    @property
    def is_warm(self) -> bool:
        """Whether everything was compiled before."""
        return (self.cache_folder / WARM_FILE).exists()


def kernels_digest() -> str:
    """What compiled code depends on: sources of the kernels, where they are, the version of numba, and the CPU."""
    state = blake2b(_describe_cpu(), digest_size=8)
    with contextlib.suppress(PackageNotFoundError):
        state.update(version("numba").encode())
    for name in SOURCES:
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        state.update(spec.origin.encode() + Path(spec.origin).read_bytes())
    return state.hexdigest()


def _describe_cpu() -> bytes:
    """The model and what it can do, where the system tells; else the kind of processor."""
    telling = (b"model name", b"flags", b"Features", b"CPU part")
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n\n", 1)[0].splitlines()
        return b"\n".join(line for line in lines if line.startswith(telling))
    return f"{platform.machine()} {platform.processor()}".encode()


def load_kernels(settings: KernelSettings) -> Status:
    """Use what the settings ask for, compiling now what is not in the cache: blocks for one to ten seconds.

    Raises:
        KernelsDisagree: a kernel computes something wrong; numpy goes on serving.
    """
    if settings.kernels is Kernels.NUMPY:
        return choice.use_numpy("as HAULOUT_KERNELS says")
    if not choice.is_available():
        return choice.use_numpy("numba is not installed")
    try:
        if settings.is_warm:
            return _share(choice.warm_up(str(settings.cache_folder)))
        settings.cache_folder.mkdir(parents=True, exist_ok=True)
        with _alone(settings.cache_folder):
            status = choice.warm_up(str(settings.cache_folder))
        if status.kernels is Kernels.NATIVE:
            (settings.cache_folder / WARM_FILE).write_text(str(status))
        return _share(status)
    except OSError as e:
        return choice.use_numpy(f"no folder for compiled kernels: {e}")


def _share(status: Status) -> Status:
    """Let native kernels use all CPUs; numpy would mostly wait for the interpreter lock."""
    if status.kernels is Kernels.NATIVE and usable_cpus() > 1:
        parallel.use(_helpers().run)
    return status


@cache
def _helpers() -> Helpers:
    return Helpers(usable_cpus() - 1)


def load_kernels_for(settings: KernelSettings, size_bytes: int, n_shards: int) -> Status:
    """The kernels for a command that encodes or decodes so much and ends: numpy, unless native ones are worth it.

    Raises:
        KernelsDisagree: as `load_kernels`.
    """
    if size_bytes + _BYTES_PER_PAIR * n_shards**2 >= (
        WORTH_LOADING_BYTES if settings.is_warm else WORTH_COMPILING_BYTES
    ):
        return load_kernels(settings)
    return choice.describe()


def describe_kernels(settings: KernelSettings) -> str:
    """What services here compute with, without loading it."""
    if settings.kernels is Kernels.NUMPY:
        return "numpy (as HAULOUT_KERNELS says)"
    if not choice.is_available():
        return "numpy (numba is not installed)"
    try:
        return (settings.cache_folder / WARM_FILE).read_text()
    except OSError:
        return "native (not compiled yet; services do it when they start)"


async def compile_kernels(settings: KernelSettings) -> None:
    """Fill the cache by a process of its own, unless it is full; when this is cancelled that process ends.

    That process says on standard error what goes wrong; whoever loads the kernels afterwards finds out as well.
    """
    if settings.kernels is Kernels.NUMPY or settings.is_warm or not choice.is_available():
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "haulout.world.kernels",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time compiles; the next ones find its results. Where locks are unknown all of them compile."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def turn_to_load(settings: KernelSettings) -> Iterator[bool]:
    """Whether it is this process's turn to load kernels: one at a time does on a machine, where locks are known.

    Loading takes a core for seconds, and all processes of a network on one machine start together.
    """
    try:
        import fcntl

        settings.cache_folder.mkdir(parents=True, exist_ok=True)
        file = (settings.cache_folder / "turn").open("a")
    except (ImportError, OSError):  # no locks, or no folder, which `load_kernels` says
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def main() -> int:
    """Compile what this machine needs and say what came of it."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    status = load_kernels(KernelSettings.of(os.environ))
    sys.stdout.write(f"{status}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
