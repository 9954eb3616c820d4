"""What the real ports raise beside the common leaves of `haulout.errors`."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Corrupt, InvalidInput, NotFound, Unavailable


@dataclass(eq=False)
class NoSuchFile(NotFound):
    """There is no file under this path."""

    code = "NO_SUCH_FILE"
    template = "there is no file {path}"
    path: str


@dataclass(eq=False)
class UnsafePath(InvalidInput):
    """A path that would leave the folder, or that no disk here accepts."""

    code = "UNSAFE_PATH"
    template = "{path!r} is not a path below the folder"
    hint = "use relative paths of plain names, separated by /"
    path: str


@dataclass(eq=False)
class StorageFailed(Unavailable):
    """The medium failed, or a sync did: what was written last may be gone, so nothing more may be promised.

    After a failed sync the operating system may already have dropped the dirty pages; trying again would report
    success over lost bytes. The process stops and starts from what is really there.
    """

    code = "STORAGE_FAILED"
    template = "{operation} failed on {path}: {problem}"
    hint = "check the volume, then restart the process; it resumes from what is durable"
    path: str
    operation: str
    problem: str


@dataclass(eq=False)
class StoreLocked(Unavailable):
    """Another process has this store open."""

    code = "STORE_LOCKED"
    template = "{path} is in use by another process"
    hint = "stop the other process first; two writers on one store would destroy each other's work"
    path: str


@dataclass(eq=False)
class StoreCorrupt(Corrupt):
    """The store's file is damaged or is no store."""

    code = "STORE_CORRUPT"
    template = "{path} is damaged: {problem}"
    hint = "restore it from a copy, or remove it and let it be rebuilt from the network"
    path: str
    problem: str
