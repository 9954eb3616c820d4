"""Decoded pieces of a blob that wait for a slow reader: in a file without a name, so that they take no memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from haulout.client.network import disk_full_is_ours

CHUNK_BYTES = 1 << 20


class Spool:
    """Two slots that are written and read in turn; without a folder they are in memory."""

    def __init__(self, folder: Path | None, slot_bytes: int, stack: contextlib.ExitStack) -> None:
        """Open it until `stack` is closed.

        Raises:
            DiskFull: there is no room for the file.
        """
        self._slot_bytes = slot_bytes
        self._folder = folder
        self._kept: dict[int, bytes] = {}
        self._descriptor: int | None = None
        if folder is not None:
            with disk_full_is_ours(folder):
                folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(tempfile.TemporaryFile(dir=folder, prefix="spool-"))  # noqa: SIM115 - the stack's
            self._descriptor = file.fileno()

    def write(self, number: int, data: memoryview) -> None:
        """Keep the data of a piece; that of the piece before the last one is overwritten.

        Raises:
            DiskFull: there is no room for it.
        """
        if self._descriptor is None or self._folder is None:
            self._kept[number % 2] = bytes(data)
            return
        written = 0
        with disk_full_is_ours(self._folder):
            while written < len(data):
                offset = number % 2 * self._slot_bytes + written
                written += os.pwrite(self._descriptor, data[written:], offset)

    def chunks(self, number: int, size_bytes: int) -> Iterator[bytes]:
        """The data of a piece, about a MiB at a time."""
        for start in range(0, size_bytes, CHUNK_BYTES):
            count = min(CHUNK_BYTES, size_bytes - start)
            if self._descriptor is None:
                yield self._kept[number % 2][start : start + count]
            else:
                yield os.pread(self._descriptor, count, number % 2 * self._slot_bytes + start)
