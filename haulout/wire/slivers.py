"""Slivers in messages of about a MiB: many small ones in one message, a large one over several.

A sliver is a header (pair, axis, size) and then parts whose bytes add up to that size; the first part carries the
header. One that fits into a message of its own is not cut, so that whoever reads it need not put it together. With
messages of 100 bytes, slivers of 30, 30, 50 and 150 bytes travel as::

    [header 30 bytes | header 30 bytes]  [header 50 bytes | header, 50 of 150]  [the other 100]

Large messages matter: a message costs about as much as copying 200 KiB. What nodes
answer with is written and read without copies (`sliver_parts`).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import replace
from typing import TypeVar

from haulout.errors import InvalidField
from haulout.ports import SliverUpload, SyncedSliver
from haulout.primitives import Buffer
from haulout.wire.convert import read_axis, read_pair_index, write_axis
from haulout.wire.sliver_parts import Part, write_parts, write_sync_parts
from haulout.wire.streams import closing
from haulout.wire.v1 import storage_pb2 as pb

T = TypeVar("T")

MESSAGE_BYTES = 1 << 20
PART_OVERHEAD_BYTES = 24  # header, tags and lengths of a part
LEAST_PIECE_BYTES = 4096  # a smaller rest of a message is not worth cutting a sliver for


async def pack_slivers(
    slivers: AsyncIterable[SliverUpload], message_bytes: int = MESSAGE_BYTES
) -> AsyncIterator[list[pb.SliverPart]]:
    """Cut and gather slivers into the parts of one message at a time; takes the next sliver only when it has room."""
    async with closing(_pack(slivers, lambda sliver: sliver, message_bytes)) as messages:
        async for parts in messages:
            yield [pb.SliverPart(header=part.header, data=bytes(part.data)) for _, part in parts]


async def pack_answers(slivers: AsyncIterable[SliverUpload]) -> AsyncIterator[bytes]:
    """As `pack_slivers`, as `ReadSliversResponse` messages that are already written."""
    async with closing(_pack(slivers, lambda sliver: sliver, MESSAGE_BYTES)) as messages:
        async for parts in messages:
            yield write_parts([part for _, part in parts])


async def pack_synced(slivers: AsyncIterable[SyncedSliver]) -> AsyncIterator[bytes]:
    """Slivers of many blobs in a row, as `SyncShardsResponse` messages that are already written."""
    last: bytes | None = None
    async with closing(_pack(slivers, lambda synced: synced.upload, MESSAGE_BYTES)) as messages:
        async for parts in messages:
            message = []
            for synced, part in parts:
                message.append(part if synced.blob_id == last else replace(part, blob_id=synced.blob_id))
                last = synced.blob_id
            yield write_sync_parts(message)


async def _pack(
    items: AsyncIterable[T], upload_of: Callable[[T], SliverUpload], message_bytes: int
) -> AsyncIterator[list[tuple[T, Part]]]:
    """The parts of one message at a time, each with the item it is of."""
    parts: list[tuple[T, Part]] = []
    room = message_bytes
    async with closing(items) as source:
        async for item in source:
            sliver = upload_of(item)
            size = len(sliver.bcs)
            view = memoryview(sliver.bcs)
            header: pb.SliverHeader | None = pb.SliverHeader(
                pair_index=sliver.pair_index,
                axis=write_axis(sliver.axis),
                size_bytes=size,
                first_stripe=sliver.first_stripe,
            )
            if parts and room < size <= message_bytes:
                yield parts
                parts, room = [], message_bytes
            at = 0
            while header is not None or at < size:
                piece = view[at : at + room]
                parts.append((item, Part(header, piece)))
                header = None
                at += len(piece)
                room -= len(piece) + PART_OVERHEAD_BYTES
                if room < LEAST_PIECE_BYTES:
                    yield parts
                    parts, room = [], message_bytes
    if parts:
        yield parts


class SliverAssembler:
    """Puts slivers together from their parts, in order; holds at most one that is not whole."""

    def __init__(self, check_header: Callable[[pb.SliverHeader], None]) -> None:
        """`check_header` refuses a sliver, by its size above all, before memory is spent on it."""
        self._check_header = check_header
        self._header: pb.SliverHeader | None = None
        self._buffer = bytearray()
        self._filled = 0

    def add(self, part: pb.SliverPart) -> SliverUpload | None:
        """As `take`, for a part as generated code reads it."""
        return self.take(part.header if part.HasField("header") else None, part.data)

    def take(self, header: pb.SliverHeader | None, data: Buffer) -> SliverUpload | None:
        """Take the next part; returns the sliver that it completes, which is `data` itself if that is all of it.

        Raises:
            InvalidField: the parts do not add up.
        """
        if header is not None:
            self.check_complete()
            read_pair_index(header.pair_index)
            read_axis(header.axis)
            self._check_header(header)
            if len(data) == header.size_bytes:
                return _sliver(header, data)
            if len(data) > header.size_bytes:
                raise _surplus(header)
            self._header, self._buffer, self._filled = header, bytearray(header.size_bytes), 0
        elif self._header is None:
            raise InvalidField(field="parts", problem="bytes of a sliver without its header")
        assert self._header is not None
        end = self._filled + len(data)
        if end > self._header.size_bytes:
            raise _surplus(self._header)
        self._buffer[self._filled : end] = data
        self._filled = end
        if end < self._header.size_bytes:
            return None
        sliver = _sliver(self._header, self._buffer)
        self._header, self._buffer = None, bytearray()
        return sliver

    def check_complete(self) -> None:
        """No sliver is cut off.

        Raises:
            InvalidField: with what it has and what is missing.
        """
        if self._header is not None:
            raise InvalidField(
                field="parts",
                problem=f"sliver of pair {self._header.pair_index} ends after {self._filled} of "
                f"{self._header.size_bytes} bytes",
            )


def _sliver(header: pb.SliverHeader, data: Buffer) -> SliverUpload:
    return SliverUpload(
        pair_index=read_pair_index(header.pair_index),
        axis=read_axis(header.axis),
        bcs=data,
        first_stripe=header.first_stripe if header.HasField("first_stripe") else None,
    )


def _surplus(header: pb.SliverHeader) -> InvalidField:
    return InvalidField(
        field="parts", problem=f"sliver of pair {header.pair_index} has more than its {header.size_bytes} bytes"
    )
