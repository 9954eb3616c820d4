"""A blob in a file, read by position: what passes through is not counted as this process's memory."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator

from haulout.errors import InvalidField
from haulout.primitives import Buffer


class BlobFile:
    """An open file that does not change while it is stored. Implements `codec.streams.BlobSource`."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return self.size_bytes

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes from `offset` on.

        Raises:
            InvalidField: the file has become shorter.
        """
        filled = 0
        while filled < len(out):
            count = os.preadv(self._descriptor, [out[filled:]], offset + filled)
            if not count:
                raise InvalidField(field="file", problem=f"it ended at byte {offset + filled} of {self.size_bytes}")
            filled += count

    @contextlib.contextmanager
    def mapped(self) -> Iterator[memoryview]:
        """All of it as a buffer; for blobs of a size that may be counted as memory."""
        if not self.size_bytes:
            yield memoryview(b"")
            return
        mapping = mmap.mmap(self._descriptor, self.size_bytes, access=mmap.ACCESS_READ)
        view = memoryview(mapping)
        try:
            yield view
        finally:
            view.release()
            with contextlib.suppress(BufferError):  # arrays over it that are still alive keep it
                mapping.close()


@contextlib.contextmanager
def buffer_of(data: Buffer | BlobFile) -> Iterator[Buffer]:
    """A blob as a buffer, wherever it is."""
    if isinstance(data, BlobFile):
        with data.mapped() as view:
            yield view
    else:
        yield data
