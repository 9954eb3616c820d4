"""Slivers in messages: whatever the sizes, what comes out is what went in, and messages stay bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout.errors import InvalidField
from haulout.ports import SliverUpload
from haulout.primitives import Axis, SliverPairIndex
from haulout.wire.slivers import LEAST_PIECE_BYTES, SliverAssembler, pack_slivers
from haulout.wire.v1 import storage_pb2 as pb

uploads = st.builds(
    SliverUpload,
    pair_index=st.integers(0, 65_535).map(SliverPairIndex),
    axis=st.sampled_from(Axis),
    bcs=st.one_of(st.binary(max_size=40), st.integers(0, 40_000).map(lambda n: bytes(i % 253 for i in range(n)))),
)


async def stream(slivers: list[SliverUpload]) -> AsyncIterator[SliverUpload]:
    for sliver in slivers:
        yield sliver


def packed(slivers: list[SliverUpload], message_bytes: int) -> list[list[pb.SliverPart]]:
    async def story() -> list[list[pb.SliverPart]]:
        return [parts async for parts in pack_slivers(stream(slivers), message_bytes)]

    return asyncio.run(story())


def assembled(messages: list[list[pb.SliverPart]]) -> list[SliverUpload]:
    assembler = SliverAssembler(lambda header: None)
    found = [assembler.add(part) for parts in messages for part in parts]
    assembler.check_complete()
    return [sliver for sliver in found if sliver is not None]


@given(st.lists(uploads, max_size=12), st.integers(LEAST_PIECE_BYTES + 1, 30_000))
def test_what_is_packed_comes_out_the_same(slivers: list[SliverUpload], message_bytes: int) -> None:
    messages = packed(slivers, message_bytes)
    assert assembled(messages) == slivers
    for parts in messages:
        assert 0 < pb.ReadSliversResponse(parts=parts).ByteSize() <= message_bytes + LEAST_PIECE_BYTES


def test_many_small_slivers_share_a_message() -> None:
    slivers = [SliverUpload(SliverPairIndex(i), Axis.PRIMARY, bytes(100)) for i in range(1_000)]
    assert len(packed(slivers, 1 << 20)) == 1


def test_a_large_sliver_is_cut_into_full_messages() -> None:
    messages = packed([SliverUpload(SliverPairIndex(0), Axis.PRIMARY, bytes(10 << 20))], 1 << 20)
    assert [sum(len(part.data) for part in parts) for parts in messages] == [1 << 20] * 10


def test_a_sliver_that_fits_into_a_message_is_not_cut() -> None:
    sizes = [600_000, 500_000, 500_000, 2_000_000, 900_000]
    slivers = [SliverUpload(SliverPairIndex(i), Axis.PRIMARY, bytes(size)) for i, size in enumerate(sizes)]
    messages = packed(slivers, 1 << 20)
    whole = [len(part.data) for parts in messages for part in parts if part.header.size_bytes == len(part.data)]
    assert whole == [600_000, 500_000, 500_000, 900_000]
    assert len(messages) == 5


def part(data: bytes, header: tuple[int, int, int] | None = None) -> pb.SliverPart:
    if header is None:
        return pb.SliverPart(data=data)
    pair, axis, size = header
    return pb.SliverPart(header=pb.SliverHeader(pair_index=pair, axis=axis, size_bytes=size), data=data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([part(b"abc")], "without its header"),
        ([part(b"abc", (1, 1, 2))], "more than its 2 bytes"),
        ([part(b"ab", (1, 1, 3)), part(b"cd")], "more than its 3 bytes"),
        ([part(b"ab", (1, 1, 3)), part(b"x", (2, 1, 1))], "ends after 2 of 3 bytes"),
        ([part(b"ab", (1, 1, 3))], "ends after 2 of 3 bytes"),
        ([part(b"ab", (1, 1, 2)), part(b"c")], "without its header"),
        ([part(b"", (70_000, 1, 0))], "above 65535"),
        ([part(b"", (1, 0, 0))], "not an axis"),
        ([part(b"", (1, 3, 0))], "not an axis"),
    ],
)
def test_parts_that_do_not_add_up_are_refused(parts: list[pb.SliverPart], problem: str) -> None:
    with pytest.raises(InvalidField, match=problem):
        assembled([parts])


def test_no_memory_is_taken_for_a_size_that_is_refused() -> None:
    def refuse(header: pb.SliverHeader) -> None:
        raise InvalidField(field="size_bytes", problem="too large")

    with pytest.raises(InvalidField, match="too large"):
        SliverAssembler(refuse).add(part(b"", (1, 1, 1 << 60)))


@settings(max_examples=4 * settings.default.max_examples)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_refused(raw: bytes) -> None:
    """Fuzz: nothing but our error comes out of bytes that happen to be a protobuf message."""
    try:
        message = pb.StoreSliversRequest.FromString(raw)
    except DecodeError:
        return
    assembler = SliverAssembler(_bounded)
    try:
        for one in message.parts:
            assembler.add(one)
        assembler.check_complete()
    except InvalidField:
        pass


def _bounded(header: pb.SliverHeader) -> None:
    if header.size_bytes > 1_000:
        raise InvalidField(field="size_bytes", problem="too large")
