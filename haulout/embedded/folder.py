"""The network folder: everything of one local network lives under it, and only one supervisor at a time.

::

    network.json      what the network is: format, size, ports
    genesis.json      block 0, the same for every process
    client.json       where a client finds the network and its funded key
    wallet.json       that key (0600)
    supervisor.json   while it runs: who supervises and where it listens
    lock              held by the supervisor
    ledger/ gateway/ graphql/ nodes/node-0/ …   each process's own data
    logs/NAME.log
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from haulout.errors import Corrupt, DiskFull, InvalidInput, NotFound, Rejected
from haulout.primitives import ObjectId, parse_object_id

FOLDER_FORMAT = 1
LOCK_PATIENCE_S = 0.25
DEFAULT_FOLDER = Path(".haulout")


@dataclass(eq=False)
class FolderOfAnotherVersion(Rejected):
    """The folder was made by a version this one cannot read."""

    code = "FOLDER_VERSION"
    template = "{path} has format {found}, this version reads {supported}"
    hint = "use the version that made it, or another --dir"
    path: str
    found: str
    supported: int


@dataclass(eq=False)
class NetworkRunning(Rejected):
    """Another supervisor holds the folder."""

    code = "NETWORK_RUNNING"
    template = "a network is already running in {path} (process {pid})"
    hint = "see `haulout status`, stop it with `haulout down`, or use another --dir"
    path: str
    pid: int


@dataclass(eq=False)
class NoNetwork(NotFound):
    """There is no network in the folder."""

    code = "NO_NETWORK"
    template = "there is no network in {path}"
    hint = "start one with `haulout up`, or name its folder with --dir or HAULOUT_DIR"
    path: str


@dataclass(eq=False)
class FolderDamaged(Corrupt):
    """A file of the folder cannot be read as what it should be."""

    code = "FOLDER_DAMAGED"
    template = "{path} cannot be read: {problem}"
    hint = "restore the file, or start afresh with another --dir"
    path: str
    problem: str


@dataclass(eq=False)
class FolderUnusable(InvalidInput):
    """A network cannot be kept there."""

    code = "FOLDER_UNUSABLE"
    template = "{path} cannot be used as a network's folder: {problem}"
    hint = "name another --dir"
    path: str
    problem: str


@dataclass(eq=False)
class ShapeChanged(InvalidInput):
    """Asked for another size than the network in the folder has."""

    code = "NETWORK_SHAPE_FIXED"
    template = "the network in {path} has {have} {what}, not {asked}"
    hint = "leave the option out, or use another --dir for another network"
    path: str
    what: str
    have: int
    asked: int


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What is fixed when a network is founded, who has joined and left since, and the ports it got last."""

    format: int
    chain_id: str
    n_nodes: int  # that ever were
    n_shards: int
    port_base: int
    removed: tuple[str, ...] = ()  # nodes that have left for good


@dataclass(frozen=True, slots=True)
class NetworkFolder:
    """Paths of a network folder and safe reading and writing of its small files."""

    root: Path

    @property
    def network_file(self) -> Path:
        return self.root / "network.json"

    @property
    def genesis_file(self) -> Path:
        return self.root / "genesis.json"

    @property
    def client_file(self) -> Path:
        return self.root / "client.json"

    @property
    def wallet_file(self) -> Path:
        return self.root / "wallet.json"

    @property
    def supervisor_file(self) -> Path:
        return self.root / "supervisor.json"

    def data_of(self, name: str) -> Path:
        """Where a process keeps its data."""
        return self.root / "nodes" / name if name.startswith("node-") else self.root / name

    def log_of(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def load_shape(self) -> NetworkShape | None:
        """The network in the folder, or None when there is none yet.

        Raises:
            FolderOfAnotherVersion, FolderDamaged: with the way out.
        """
        document = read_json(self.network_file)
        if document is None:
            return None
        if document.get("format") != FOLDER_FORMAT:
            raise FolderOfAnotherVersion(
                path=str(self.root), found=str(document.get("format")), supported=FOLDER_FORMAT
            )
        try:
            shape = NetworkShape(**{**document, "removed": tuple(document.get("removed", ()))})
        except TypeError as e:
            raise FolderDamaged(path=str(self.network_file), problem=str(e)) from e
        if not all(isinstance(name, str) for name in shape.removed):
            raise FolderDamaged(path=str(self.network_file), problem="removed does not hold names")
        for field in fields(shape):
            if field.name == "removed":
                continue
            value, wanted = getattr(shape, field.name), str if field.name == "chain_id" else int
            if type(value) is not wanted:
                problem = f"{field.name} is {value!r}, not {'a text' if wanted is str else 'a whole number'}"
                raise FolderDamaged(path=str(self.network_file), problem=problem)
        return shape

    def identity_of(self, node: str) -> tuple[ObjectId, bytes]:
        """Id of a node of this machine, and the secret of the account that governs it.

        Raises:
            FolderDamaged: its keys cannot be read.
        """
        path = self.keys_file_of(node)
        document = read_json(path) or {}
        try:
            return parse_object_id(document["nodeId"]), bytes.fromhex(document["governanceSecret"])
        except (KeyError, ValueError) as e:
            raise FolderDamaged(path=str(path), problem=f"{type(e).__name__}: {e}") from e

    def keys_file_of(self, node: str) -> Path:
        """Where a node's keys are."""
        return self.data_of(node) / "keys.json"

    def governance_secrets(self) -> list[bytes]:
        """Secrets of the accounts that govern the registered nodes of this machine; none where it has no network.

        Raises:
            FolderDamaged: as `identity_of`.
        """
        shape = self.load_shape()
        names = [] if shape is None else [f"node-{i}" for i in range(shape.n_nodes)]
        registered = [name for name in names if "nodeId" in (read_json(self.keys_file_of(name)) or {})]
        return [self.identity_of(name)[1] for name in registered]

    def save_shape(self, shape: NetworkShape) -> None:
        write_json(self.network_file, asdict(shape))

    def require_shape(self) -> NetworkShape:
        """The network in the folder.

        Raises:
            NoNetwork: there is none.
        """
        shape = self.load_shape()
        if shape is None:
            raise NoNetwork(path=str(self.root))
        return shape

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one supervisor, whose process id the lock tells as long as it does.

        Raises:
            NetworkRunning: another one holds it.
            FolderUnusable: it cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            raise FolderUnusable(path=str(self.root), problem=e.strerror or str(e)) from e
        try:
            deadline_s = time.monotonic() + LOCK_PATIENCE_S
            while not _lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline_s:
                    raise NetworkRunning(path=str(self.root), pid=self.holder_pid())
                time.sleep(0.01)  # `is_locked` of somebody who asks holds it for a moment
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            try:
                yield
            finally:
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether a supervisor holds the folder now."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not _lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def holder_pid(self) -> int:
        """The process that holds the folder, known from its first moment on; 0 when nobody does."""
        try:
            text = self._lock_file.read_text()
        except OSError:
            return 0
        return int(text) if text.isascii() and text.isdigit() and self.is_locked() else 0

    @property
    def _lock_file(self) -> Path:
        return self.root / "lock"


def _lock(descriptor: int, how: int) -> bool:
    """Lock an open file if that is possible now."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_folder(option: Path | None) -> NetworkFolder:
    """The folder a command means: `--dir`, else `$HAULOUT_DIR`, else `./.haulout`."""
    chosen = option or Path(os.environ.get("HAULOUT_DIR") or DEFAULT_FOLDER)
    return NetworkFolder(chosen.expanduser().absolute())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, or None when there is no file.

    Raises:
        FolderDamaged: it is not a JSON object.
    """
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise FolderDamaged(path=str(path), problem=str(e)) from e
    if not isinstance(document, dict):
        raise FolderDamaged(path=str(path), problem="not a JSON object")
    return document


def write_json(path: Path, document: dict[str, Any] | list[Any], *, mode: int = 0o644) -> None:
    """Replace a JSON file durably, readable to nobody else from the first byte when `mode` says so.

    Raises:
        DiskFull, FolderUnusable: the file is as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(document, indent=2, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            draft.unlink()
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path=str(path.parent)) from e
        raise FolderUnusable(path=str(path.parent), problem=e.strerror or str(e)) from e
