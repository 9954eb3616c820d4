"""Messages of slivers written and read by hand: the bytes are those of generated code, and damage is refused."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout.errors import InvalidField
from haulout.wire.sliver_parts import Part, read_parts, read_sync_parts, write_parts, write_sync_parts
from haulout.wire.v1 import storage_pb2 as pb

headers = st.builds(
    pb.SliverHeader,
    pair_index=st.integers(0, 2**32 - 1),
    axis=st.sampled_from([0, 1, 2]),
    size_bytes=st.integers(0, 2**64 - 1),
    first_stripe=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
)
datas = st.one_of(st.binary(max_size=300), st.integers(100, 40_000).map(lambda n: bytes(i % 251 for i in range(n))))
parts_of = st.lists(
    st.builds(Part, st.one_of(st.none(), headers), datas, st.one_of(st.none(), st.binary(min_size=32, max_size=32))),
    max_size=8,
)


def sliver_part(part: Part) -> pb.SliverPart:
    return pb.SliverPart(header=part.header, data=bytes(part.data))


def sync_message(parts: list[Part]) -> pb.SyncShardsResponse:
    return pb.SyncShardsResponse(parts=[pb.SyncPart(blob_id=p.blob_id, part=sliver_part(p)) for p in parts])


def plain(parts) -> list[tuple[pb.SliverHeader | None, bytes, bytes | None]]:
    return [(part.header, bytes(part.data), part.blob_id) for part in parts]


@given(parts_of)
def test_bytes_are_those_of_generated_code_both_ways(parts: list[Part]) -> None:
    raw = write_sync_parts(parts)
    assert raw == sync_message(parts).SerializeToString()
    assert plain(read_sync_parts(raw)) == plain(parts)

    without = [Part(part.header, part.data) for part in parts]
    raw = write_parts(without)
    assert raw == pb.ReadSliversResponse(parts=[sliver_part(p) for p in parts]).SerializeToString()
    assert plain(read_parts(memoryview(raw))) == plain(without)


def test_data_are_views_of_the_message() -> None:
    raw = bytearray(write_parts([Part(None, b"before")]))
    (part,) = read_parts(raw)
    raw[-6:] = b"after!"
    assert bytes(part.data) == b"after!"


def test_fields_of_a_later_release_are_skipped_and_of_two_the_last_counts() -> None:
    later = bytes.fromhex("18 96 0121 01020304050607082d 0102030432 03 616263")
    first, second = write_sync_parts([Part(None, b"one", b"\x01" * 32)]), write_parts([])
    assert second == b""
    raw = later + first + later
    assert plain(read_sync_parts(raw)) == [(None, b"one", b"\x01" * 32)]
    twice = bytes.fromhex("0a 0812 02 616112 02 6262")
    assert plain(read_parts(twice)) == [(None, b"bb", None)]
    assert pb.ReadSliversResponse.FromString(twice).parts[0].data == b"bb"


@pytest.mark.parametrize(
    "raw",
    [
        "0a",
        "0a05",
        "0a03 1205",
        "08 01",
        "0a02 0a",
        "0b",
        "0a 80",
        "02 00",
        "0a" + "ff" * 11,
        "19 0102",
        "0a04 0a02 08ff",
    ],
)
def test_what_is_no_message_is_refused(raw: str) -> None:
    with pytest.raises(InvalidField):
        list(read_parts(bytes.fromhex(raw)))
    with pytest.raises(DecodeError):
        pb.ReadSliversResponse.FromString(bytes.fromhex(raw)) if raw != "08 01" else _refuse()


def _refuse() -> None:
    raise DecodeError("generated code takes it for an unknown field")


@settings(max_examples=4 * settings.default.max_examples)
@given(st.binary(max_size=120))
def test_random_bytes_are_parts_or_refused(raw: bytes) -> None:
    for read in (read_parts, read_sync_parts):
        with contextlib.suppress(InvalidField):
            list(read(raw))
