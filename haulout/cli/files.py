"""Files as blobs: read without copying, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from haulout.client.blob_file import BlobFile
from haulout.errors import DiskFull, InvalidField
from haulout.ports import Buffer

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
            size_bytes = os.fstat(file.fileno()).st_size
            file.peek(1)  # a folder opens, and says so when it is read
        except OSError as e:
            raise InvalidField(field="file", problem=f"{path} cannot be read: {_reason(e)}") from e
        yield BlobFile(file.fileno(), size_bytes)


def _reason(error: OSError) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def write_draft(path: Path) -> Iterator[Callable[[Buffer], None]]:
    """Gives what takes the bytes that `path` is to hold; readers see the old file or the whole new one, never a part.

    Raises:
        DiskFull: the old file, if any, is untouched.
        InvalidField: it cannot be written.
    """
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


@contextlib.contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise DiskFull(path=str(path.parent)) from e
        raise InvalidField(field="out", problem=f"{path} cannot be written: {_reason(e)}") from e
