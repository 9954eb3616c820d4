"""A blob's slivers as files, written and read in pieces; and files for blobs and for intermediate results.

::

    metadata.bcs          blob id and metadata (BCS)
    primary/0000.bcs …    the primary sliver of each pair (BCS), named by pair index
    secondary/0000.bcs …  the secondary sliver of each pair

A sliver's canonical bytes are its length, its bytes, its symbol size and its index; the piece at an offset stands that
much behind the length. Nothing here is kept in memory but what the caller gives.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Protocol

from haulout import bcs
from haulout.bcs import U16
from haulout.codec import sizes
from haulout.errors import InvalidField
from haulout.primitives import Axis, EncodingType, pair_of_sliver_index, sliver_index_of_pair

METADATA_FILE = "metadata.bcs"
_SLIVER_FILE = re.compile(r"([0-9]{4})\.bcs")
_TAIL_BYTES = 4


class RawFile(Protocol):
    """An open file without a buffer of its own."""

    def seek(self, offset: int, /) -> int: ...
    def readinto(self, out: memoryview, /) -> int | None: ...
    def write(self, data: memoryview, /) -> int | None: ...


class PositionedFile:
    """A file read and written by position. A blob to encode, or one that is being decoded (`codec.streams`)."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self._path = path
        self._file = path.open("w+b" if writable else "rb", buffering=0)

    def __enter__(self) -> PositionedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill `out`.

        Raises:
            InvalidField: the file is too short by now.
        """
        _read(self._file, self._path, offset, out)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data`."""
        _write(self._file, offset, data)


class SliverFolder:
    """The slivers of one blob in a folder (`codec.streams.SliverStore`)."""

    def __init__(self, folder: Path, size_bytes: int, n_shards: int, encoding: EncodingType) -> None:
        self._folder, self._n_shards = folder, n_shards
        self.symbol_size_bytes = sizes.symbol_size_bytes(size_bytes, n_shards, encoding)
        self._sizes = {axis: sizes.sliver_size_bytes(axis, size_bytes, n_shards, encoding) for axis in Axis}
        self._heads = {axis: _head(length) for axis, length in self._sizes.items()}
        self._begun: set[tuple[Axis, int]] = set()

    def path(self, axis: Axis, sliver_index: int) -> Path:
        """The file of a sliver."""
        return self._folder / sliver_path(axis, pair_of_sliver_index(sliver_index, axis, self._n_shards))

    def read_into(self, axis: Axis, sliver_index: int, offset: int, out: memoryview) -> None:
        """Fill `out` with bytes of a sliver.

        Raises:
            InvalidField: the file is too short by now.
        """
        path = self.path(axis, sliver_index)
        with path.open("rb", buffering=0) as file:
            _read(file, path, len(self._heads[axis]) + offset, out)

    def write(self, axis: Axis, sliver_index: int, offset: int, data: memoryview) -> None:
        """Write bytes of a sliver; what stands around them in the file comes with the first ones."""
        head, is_first = self._heads[axis], (axis, sliver_index) not in self._begun
        with self.path(axis, sliver_index).open("wb" if is_first else "r+b", buffering=0) as file:
            _write(file, len(head) + offset, data)
            if is_first:
                _write(file, 0, memoryview(head))
                _write(file, len(head) + self._sizes[axis], memoryview(self._tail(sliver_index)))
                self._begun.add((axis, sliver_index))

    def problem_of(self, axis: Axis, sliver_index: int) -> str | None:
        """What is wrong with the shape of a sliver's file, or None.

        Raises:
            OSError: it cannot be read.
        """
        head = self._heads[axis]
        with self.path(axis, sliver_index).open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            expected = len(head) + self._sizes[axis] + _TAIL_BYTES
            if length != expected:
                return f"damaged: {length} bytes, {expected} belong there"
            if file.read(len(head)) != head:
                return "damaged: it begins with another length"
            file.seek(-_TAIL_BYTES, os.SEEK_END)
            tail: tuple[int, int] = bcs.decode(tuple[U16, U16], file.read())
            symbol_size, index = tail
        if symbol_size != self.symbol_size_bytes:
            return f"damaged: symbols of {symbol_size} bytes, the blob's have {self.symbol_size_bytes}"
        if index != sliver_index:
            known = index < self._n_shards
            name = sliver_path(axis, pair_of_sliver_index(index, axis, self._n_shards)) if known else "of another blob"
            return f"it says that it is {name}"
        return None

    def _tail(self, sliver_index: int) -> bytes:
        return bcs.encode((self.symbol_size_bytes, sliver_index), tuple[U16, U16])


class ScratchFile:
    """Slivers of an axis in a file without a name that is gone when this is left (`codec.streams.SliverStore`)."""

    def __init__(self, size_bytes: int, n_shards: int, encoding: EncodingType) -> None:
        self._sizes = {axis: sizes.sliver_size_bytes(axis, size_bytes, n_shards, encoding) for axis in Axis}
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - this class is its context

    def __enter__(self) -> ScratchFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def read_into(self, axis: Axis, sliver_index: int, offset: int, out: memoryview) -> None:
        """Fill `out` with what was written there."""
        at = sliver_index * self._sizes[axis] + offset
        _read(self._file, Path(tempfile.gettempdir()), at, out)

    def write(self, axis: Axis, sliver_index: int, offset: int, data: memoryview) -> None:
        """Keep bytes of a sliver."""
        _write(self._file, sliver_index * self._sizes[axis] + offset, data)


def sliver_path(axis: Axis, pair_index: int) -> str:
    """Where a sliver stands in the folder."""
    return f"{axis.name.lower()}/{pair_index:04d}.bcs"


def sliver_files(folder: Path, axis: Axis, n_shards: int) -> tuple[list[int], list[str]]:
    """Indices of the slivers of an axis that have a file, ascending, and files that are none of this blob."""
    room = folder / axis.name.lower()
    names = sorted(path.name for path in room.iterdir()) if room.is_dir() else []
    indices, others = [], []
    for name in names:
        match = _SLIVER_FILE.fullmatch(name)
        if match is None or int(match[1]) >= n_shards:
            others.append(f"{room.name}/{name}")
        else:
            indices.append(int(sliver_index_of_pair(int(match[1]), axis, n_shards)))
    return sorted(indices), others


def _head(length: int) -> bytes:
    head = bytearray()
    bcs.write_uleb(head, length)
    return bytes(head)


def _read(file: RawFile, path: Path, offset: int, out: memoryview) -> None:
    filled = 0
    while filled < len(out):
        file.seek(offset + filled)
        count = file.readinto(out[filled:])
        if not count:
            raise InvalidField(field="file", problem=f"{path} ended at byte {offset + filled} while it was read")
        filled += count


def _write(file: RawFile, offset: int, data: memoryview) -> None:
    written = 0
    while written < len(data):
        file.seek(offset + written)
        written += file.write(data[written:]) or 0
