"""Messages of slivers, written and read where the bytes stand: `SyncShardsResponse` and `ReadSliversResponse`.

The same bytes as generated code makes and takes. That code copies each MiB into a message, out of it again and once
more between, at both ends, which costs more than proving the slivers. Here a message is joined once from the slivers,
and its parts are views of what arrived::

    SyncShardsResponse    0a n SyncPart …
    ReadSliversResponse   0a n SliverPart …
    SyncPart              [0a 20 blob id] 12 n SliverPart
    SliverPart            [0a n SliverHeader] [12 n data]

Unknown fields are skipped, as protobuf has it; of a field that comes twice the last counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from haulout.errors import InvalidField
from haulout.primitives import Buffer
from haulout.wire.v1 import storage_pb2 as pb

_SHIFTS = tuple(range(0, 70, 7))  # of the bytes of a number, ten at the most
_FIRST, _SECOND = 0x0A, 0x12  # tags of fields 1 and 2 with a length


@dataclass(frozen=True, slots=True)
class Part:
    """The next bytes of a sliver; `blob_id` is that of a `SyncPart`."""

    header: pb.SliverHeader | None
    data: Buffer
    blob_id: bytes | None = None


def write_parts(parts: Sequence[Part]) -> bytes:
    """A `ReadSliversResponse`."""
    chunks: list[Buffer] = []
    for part in parts:
        head, size = _sliver_part(part)
        chunks += [_field(_FIRST, size), head, part.data]
    return b"".join(chunks)


def write_sync_parts(parts: Sequence[Part]) -> bytes:
    """A `SyncShardsResponse`."""
    chunks: list[Buffer] = []
    for part in parts:
        head, size = _sliver_part(part)
        blob_id = b"" if part.blob_id is None else _field(_FIRST, len(part.blob_id)) + part.blob_id
        head = blob_id + _field(_SECOND, size) + head
        chunks += [_field(_FIRST, len(head) + len(part.data)), head, part.data]
    return b"".join(chunks)


def read_parts(message: Buffer) -> Iterator[Part]:
    """The parts of a `ReadSliversResponse`; their data are views of it.

    Raises:
        InvalidField: it is none.
    """
    return (_read_sliver_part(raw, None) for _, raw in _fields(message, 1))


def read_sync_parts(message: Buffer) -> Iterator[Part]:
    """The parts of a `SyncShardsResponse`; their data are views of it.

    Raises:
        InvalidField: it is none.
    """
    for _, raw in _fields(message, 1):
        blob_id, part = _pair(raw)
        yield _read_sliver_part(part or b"", None if blob_id is None else bytes(blob_id))


def _sliver_part(part: Part) -> tuple[bytes, int]:
    """What stands before the data, and the length of both."""
    head = b""
    if part.header is not None:
        header = part.header.SerializeToString()
        head = _field(_FIRST, len(header)) + header
    if len(part.data):
        head += _field(_SECOND, len(part.data))
    return head, len(head) + len(part.data)


def _read_sliver_part(raw: Buffer, blob_id: bytes | None) -> Part:
    header, data = _pair(raw)
    try:
        parsed = None if header is None else pb.SliverHeader.FromString(bytes(header))
    except DecodeError as e:
        raise _malformed("a header that is none") from e
    return Part(parsed, b"" if data is None else data, blob_id)


def _field(tag: int, size: int) -> bytes:
    """A tag and a length."""
    out = bytearray((tag,))
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _pair(message: Buffer) -> tuple[memoryview | None, memoryview | None]:
    """The values of fields 1 and 2; of one that comes twice the last."""
    first = second = None
    for number, value in _fields(message, 2):
        if number == 1:
            first = value
        else:
            second = value
    return first, second


def _fields(message: Buffer, n_known: int) -> Iterator[tuple[int, memoryview]]:
    """Numbers and values of the fields 1 to `n_known`, all of which have a length; others are skipped.

    There are two messages in each part, and thousands of parts in a second: numbers of one byte, which nearly all are,
    are read without a call.
    """
    view = memoryview(message)
    at, end = 0, len(view)
    try:
        while at < end:
            tag, at = view[at], at + 1
            if tag >= 0x80:
                tag, at = _read_varint(view, at - 1)
            number, kind = tag >> 3, tag & 7
            if number == 0:
                raise _malformed("a field without a number")
            if kind == 2:
                size, at = view[at], at + 1
                if size >= 0x80:
                    size, at = _read_varint(view, at - 1)
                if size > end - at:
                    raise _malformed("a field that is cut off")
                if number <= n_known:
                    yield number, view[at : at + size]
                at += size
            elif number <= n_known:
                raise _malformed(f"field {number} of another type")
            else:
                at = _skip[kind](view, at) if kind in _skip else _refuse(kind)
    except IndexError as e:
        raise _malformed("a number that does not end") from e
    if at > end:
        raise _malformed("a field that is cut off")


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in _SHIFTS:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _malformed("a number that does not end")


def _refuse(kind: int) -> int:
    raise _malformed(f"a field of type {kind}")


_skip: dict[int, Callable[[memoryview, int], int]] = {
    0: lambda view, at: _read_varint(view, at)[1],
    1: lambda _, at: at + 8,
    5: lambda _, at: at + 4,
}


def _malformed(problem: str) -> InvalidField:
    return InvalidField(field="parts", problem=problem)
