"""Files in one folder, durable when told so.

The order that makes a file safe: write it under a temporary name, sync it, rename it, sync its folder. Whoever
finds the name finds the whole file; a crash leaves at most a temporary name, removed at the next start. New folders
are synced from the root down, because a file is lost with the folder that holds its name.

    blobs/ab/x        the file
    blobs/ab/x.~3     being written; never listed
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import errno
import functools
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from haulout.errors import DiskFull, HauloutError
from haulout.primitives import Buffer
from haulout.world.errors import NoSuchFile, StorageFailed, UnsafePath

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 4
MAX_PATH_CHARS = 1024
TEMPORARY_MARK = ".~"
FULL_ERRNOS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR))


class FileDisk:
    """A folder of this machine. All calls run in a few threads, so the loop never waits for the medium."""

    def __init__(self, root: Path | str, *, on_error: Callable[[str], None] = lambda operation: None) -> None:
        """`on_error` is told the operation that the medium refused, in a thread of the disk's own."""
        self._root = Path(root)
        self._on_error = on_error
        make_folder(self._root)
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="haulout-disk")
        self._serial = itertools.count()
        for left_over in self._root.rglob(f"*{TEMPORARY_MARK}*"):
            if left_over.is_file():
                left_over.unlink()

    async def write(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Make or replace a file, not yet durable; returns its size in bytes. Folders are made as needed.

        Raises:
            UnsafePath: the path leaves the folder.
            DiskFull: nothing is left of the new file; one that was there before still is.
            StorageFailed: the medium refused.
        """
        return await self._run(self._write, path, chunks, durable=False)

    async def sync(self, paths: Sequence[str]) -> None:
        """Make these files, their names and their folders durable, as one batch.

        Raises:
            NoSuchFile: one of them is not there.
            StorageFailed: fatal to the caller's process; nothing may be promised about these files.
        """
        await self._run(self._sync, tuple(paths))

    async def write_atomic(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Replace a file durably: after a crash it is wholly the old or wholly the new one. Raises as `write`."""
        return await self._run(self._write, path, chunks, durable=True)

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file or a part of it; short at its end.

        Raises:
            NoSuchFile: no such file.
            StorageFailed: the medium refused.
        """
        return await self._run(self._read, path, offset, length)

    async def size(self, path: str) -> int | None:
        """Bytes in a file, or None when there is none."""
        return await self._run(self._size, path)

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error. Folders stay."""
        await self._run(self._remove, tuple(paths))

    async def list(self, prefix: str) -> list[str]:
        """Paths of all files below a folder, sorted; an empty prefix is the root."""
        return await self._run(self._list, prefix)

    async def free_bytes(self) -> int:
        """Bytes that this user can still write."""
        return await self._run(lambda: shutil.disk_usage(self._root).free)

    def close(self) -> None:
        """Wait for running calls and end the threads."""
        self._pool.shutdown(wait=True)

    # --- in a thread ----------------------------------------------------------------------------------------

    async def _run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, functools.partial(function, *args, **kwargs)
        )

    def _locate(self, path: str) -> Path:
        parts = path.split("/")
        if len(path) > MAX_PATH_CHARS or "\0" in path or "\\" in path or TEMPORARY_MARK in path:
            raise UnsafePath(path=path)
        if any(part in ("", ".", "..") for part in parts):
            raise UnsafePath(path=path)
        return self._root.joinpath(*parts)

    def _write(self, path: str, chunks: Iterable[Buffer], *, durable: bool) -> int:
        target = self._locate(path)
        temporary = target.with_name(f"{target.name}{TEMPORARY_MARK}{next(self._serial)}")
        size_bytes = 0
        try:
            make_folder(target.parent)
            with temporary.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    size_bytes += len(memoryview(chunk).cast("B"))
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(target)
            if durable:
                _sync_folder(target.parent)
        except BaseException as e:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if isinstance(e, OSError):
                raise self._ours(e, "write", path) from e
            raise
        return size_bytes

    def _sync(self, paths: tuple[str, ...]) -> None:
        folders: dict[Path, None] = {}
        for path in paths:
            target = self._locate(path)
            try:
                _sync_file(target)
            except OSError as e:
                raise self._ours(e, "sync", path) from e
            folders[target.parent] = None
        for folder in folders:
            try:
                _sync_folder(folder)
            except OSError as e:
                raise self._ours(e, "sync", str(folder.relative_to(self._root))) from e

    def _read(self, path: str, offset: int, length: int | None) -> bytes:
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length are not negative")
        try:
            descriptor = os.open(self._locate(path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                end = os.fstat(descriptor).st_size
                return _read_exactly(descriptor, offset, max(0, end - offset) if length is None else length)
            finally:
                os.close(descriptor)
        except OSError as e:
            raise self._ours(e, "read", path) from e

    def _size(self, path: str) -> int | None:
        target = self._locate(path)
        try:
            return target.stat().st_size if target.is_file() else None
        except OSError as e:
            raise self._ours(e, "stat", path) from e

    def _remove(self, paths: tuple[str, ...]) -> None:
        for path in paths:
            try:
                self._locate(path).unlink(missing_ok=True)
            except OSError as e:
                raise self._ours(e, "remove", path) from e

    def _list(self, prefix: str) -> builtins.list[str]:
        base = self._locate(prefix.rstrip("/")) if prefix.rstrip("/") else self._root
        found = []
        for folder, _, names in os.walk(base):
            relative = Path(folder).relative_to(self._root)
            found += [(relative / name).as_posix() for name in names if TEMPORARY_MARK not in name]
        return sorted(found)

    def _ours(self, error: OSError, operation: str, path: str) -> HauloutError:
        if error.errno in _ABSENT:
            return NoSuchFile(path=path)
        if error.errno == errno.ENAMETOOLONG:
            return UnsafePath(path=path)
        self._on_error(operation)
        if error.errno in FULL_ERRNOS:
            return DiskFull(path=str(self._root))
        return StorageFailed(path=path, operation=operation, problem=error.strerror or str(error))


def make_folder(folder: Path) -> None:
    """Make a folder, and make its name durable from the root down: what is synced inside it must not hang in the air.

    Raises:
        OSError: by the medium.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(descriptor, min(length, 1 << 24), offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
