"""Where the bytes of blobs too large for memory come from and go to: files, or whatever can be read by position.

Encoders and decoders of streams hold some batches in memory and ask for the rest piece by piece, in whatever order
suits the code: never assume that offsets ascend. All buffers belong to the caller, who reuses them after the call.
To cancel, raise: what is raised here, or by `Progress`, ends the work and reaches the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from haulout.primitives import Axis, Buffer

Progress = Callable[[int], None]  # gets the bytes of the blob that are done, ascending to its length


class BlobSource(Protocol):
    """A blob to encode."""

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the blob's bytes from `offset` on; all of them are below its length."""


class BytesSource:
    """A blob in memory, or in a mapped file."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data).cast("B")

    def read_into(self, offset: int, out: memoryview) -> None:
        """Copy."""
        out[:] = self._data[offset : offset + len(out)]


class BlobSink(Protocol):
    """Where a decoded blob goes."""

    def write(self, offset: int, data: memoryview) -> None:
        """Keep bytes of the blob."""


class SliverSource(Protocol):
    """Slivers to decode from, by sliver index."""

    def read_into(self, axis: Axis, sliver_index: int, offset: int, out: memoryview) -> None:
        """Fill `out` with raw bytes of a sliver from `offset` on; all of them are below its length."""


class SliverSink(Protocol):
    """Where the slivers of a blob go, by sliver index."""

    def write(self, axis: Axis, sliver_index: int, offset: int, data: memoryview) -> None:
        """Keep raw bytes of a sliver."""


class SliverStore(SliverSource, SliverSink, Protocol):
    """A sink that gives back what it was given: what an encoder needs that makes one axis from the other."""


def ignore_progress(done_bytes: int) -> None:
    """Nobody watches."""
