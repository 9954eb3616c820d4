"""Files as blobs: read without copying, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader, FileIO
from pathlib import Path

from haulout.client.blob_file import BlobFile
from haulout.errors import DiskFull, InvalidField
from haulout.primitives import Buffer

WRITE_BYTES = 8 << 20


@contextlib.contextmanager
def open_blob(path: Path) -> Iterator[BlobFile]:
    """A file as a blob, read as it is used.

    Raises:
        InvalidField: it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            size_bytes = measure(file, path)
        except OSError as e:
            raise InvalidField(field="file", problem=f"{path} cannot be read: {_reason(e)}") from e
        yield BlobFile(file.fileno(), size_bytes)


def measure(file: BufferedReader, path: Path) -> int:
    """Bytes of an open file.

    Raises:
        InvalidField: it has content and no size, as pipes and devices have: a blob of 0 bytes would be another blob.
        OSError: it cannot be read; a folder says so only now.
    """
    size_bytes = os.fstat(file.fileno()).st_size
    if file.peek(1) and not size_bytes:
        raise InvalidField(field="file", problem=f"{path} does not say how long it is; copy it into a file first")
    return size_bytes


def _reason(error: OSError) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def write_draft(path: Path) -> Iterator[Callable[[Buffer], None]]:
    """Gives what takes the bytes that `path` is to hold; readers see the old file or the whole new one, never a part.

    A pipe or a device (`/dev/null`) is written to as it is: it must not be replaced by a file.

    Raises:
        DiskFull: the old file, if any, is untouched.
        InvalidField: it cannot be written.
    """
    path = path.resolve()  # what a link names is replaced, not the link
    if is_special(path):
        with _our_errors(path):
            special = path.open("wb", buffering=0)
        with special:
            yield lambda data: _write_all(special, path, data)
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _our_errors(path):
            file = draft.open("wb")
        with file:

            def write(data: Buffer) -> None:
                with _our_errors(path):
                    for start in range(0, len(data), WRITE_BYTES):
                        file.write(memoryview(data)[start : start + WRITE_BYTES])

            yield write
            with _our_errors(path):
                file.flush()
                os.fsync(file.fileno())
        with _our_errors(path):
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def is_special(path: Path) -> bool:
    """Whether there is a pipe, a socket or a device, which a rename would take away from everybody."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_all(file: FileIO, path: Path, data: Buffer) -> None:
    left = memoryview(data)
    with _our_errors(path):
        while left:
            left = left[file.write(left) :]


@contextlib.contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise DiskFull(path=str(path.parent)) from e
        raise InvalidField(field="out", problem=f"{path} cannot be written: {_reason(e)}") from e
