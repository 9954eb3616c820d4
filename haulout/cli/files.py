"""Files as blobs: read without copying, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from haulout.errors import DiskFull, InvalidField

WRITE_BYTES = 8 << 20


@contextlib.contextmanager
def map_file(path: Path) -> Iterator[memoryview]:
    """The bytes of a file, paged in as they are used.

    Raises:
        InvalidField: it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            size_bytes = os.fstat(file.fileno()).st_size
            if not size_bytes:
                yield memoryview(b"")
                return
            mapped = mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as e:
            raise InvalidField(field="file", problem=f"{path} cannot be read: {_reason(e)}") from e
        stack.callback(_unmap, mapped)
        view = memoryview(mapped)
        stack.callback(view.release)
        yield view


def _unmap(mapped: mmap.mmap) -> None:
    """Close a map; arrays over it that are still alive keep it until they are collected."""
    with contextlib.suppress(BufferError):
        mapped.close()


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def write_file(path: Path, data: memoryview) -> None:
    """Make `path` hold `data`; readers see the old file or the new one, never a part.

    Raises:
        DiskFull: the old file, if any, is untouched.
        InvalidField: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            for start in range(0, len(data), WRITE_BYTES):
                file.write(data[start : start + WRITE_BYTES])
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise DiskFull(path=str(path.parent)) from e
        raise InvalidField(field="out", problem=f"{path} cannot be written: {_reason(e)}") from e
    finally:
        draft.unlink(missing_ok=True)
