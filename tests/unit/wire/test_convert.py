"""Messages and domain values: there and back, and what is refused on the way."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout.errors import InvalidField
from haulout.ports import (
    BlobHoldings,
    IncompleteBlob,
    IncompletePage,
    NodeHealth,
    Outcome,
    PartialSliver,
    SignedMessage,
)
from haulout.primitives import Axis
from haulout.wire import convert
from haulout.wire.v1 import storage_pb2 as pb

ids = st.binary(min_size=32, max_size=32)
u16 = st.integers(0, (1 << 16) - 1)
u32 = st.integers(0, (1 << 32) - 1)
u64 = st.integers(0, (1 << 64) - 1)
targets = st.lists(st.tuples(u16, st.sampled_from(Axis)), unique=True, max_size=9).map(tuple)
stripes = st.builds(lambda first, count: range(first, first + count), st.integers(0, 1 << 30), st.integers(1, 1 << 30))
partial = st.builds(
    PartialSliver,
    pair_index=st.integers(0, 999),
    axis=st.sampled_from(Axis),
    missing=st.lists(stripes, max_size=3).map(tuple),
)
holdings = st.builds(
    BlobHoldings,
    is_registered=st.booleans(),
    has_metadata=st.booleans(),
    missing=targets,
    partial=st.lists(partial, max_size=3).map(tuple),
)
healths = st.builds(
    NodeHealth,
    node_id=ids,
    name=st.text(max_size=20),
    epoch=u32,
    status=st.text(max_size=20),
    uptime_ms=u64,
    height=u64,
    block_digest=ids,
    head_height=u64,
    shards=st.lists(u16, max_size=9).map(tuple),
    incomplete_blobs=u64,
    corrupt_slivers=u64,
    stored_slivers=u64,
    stored_bytes=u64,
)
pages = st.builds(
    IncompletePage,
    height=u64,
    blobs=st.lists(
        st.builds(IncompleteBlob, blob_id=ids, lacks_metadata=st.booleans(), missing_slivers=u32),
        unique_by=lambda blob: blob.blob_id,
        max_size=5,
    ).map(lambda blobs: tuple(sorted(blobs, key=lambda blob: blob.blob_id))),
    next_after=st.none() | ids,
)
signed = st.builds(
    SignedMessage, message=st.binary(min_size=1, max_size=99), signature=st.binary(min_size=1, max_size=96)
)


def over_the_wire(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


@given(holdings, healths, pages, signed)
def test_values_come_back_as_they_were(
    have: BlobHoldings, health: NodeHealth, page: IncompletePage, signature: SignedMessage
) -> None:
    assert convert.read_holdings(over_the_wire(convert.write_holdings(have))) == have
    assert convert.read_health(over_the_wire(convert.write_health(health))) == health
    assert convert.read_incomplete(over_the_wire(convert.write_incomplete(page))) == page
    assert convert.read_signed(over_the_wire(convert.write_signed(signature))) == signature


def test_every_axis_and_outcome_has_its_number() -> None:
    for axis in Axis:
        assert convert.read_axis(convert.write_axis(axis)) is axis
    for outcome in Outcome:
        assert convert.read_outcome(convert.write_outcome(outcome)) is outcome
    for unknown in (0, 3, -1):
        with pytest.raises(InvalidField):
            convert.read_axis(unknown)
        with pytest.raises(InvalidField):
            convert.read_outcome(unknown)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_ids_of_another_length_are_refused_by_name(size: int) -> None:
    with pytest.raises(InvalidField) as caught:
        convert.read_blob_id(bytes(size))
    assert (caught.value.field, caught.value.problem) == ("blob_id", f"{size} bytes, must be 32")


def test_a_sliver_named_twice_is_refused() -> None:
    twice = [pb.SliverTarget(pair_index=1, axis=pb.AXIS_PRIMARY)] * 2
    with pytest.raises(InvalidField, match="named twice"):
        convert.read_targets(twice)


def test_a_page_out_of_order_is_refused() -> None:
    blobs = [pb.IncompleteBlob(blob_id=bytes([i]) * 32) for i in (2, 1)]
    with pytest.raises(InvalidField, match="order"):
        convert.read_incomplete(pb.ListIncompleteResponse(blobs=blobs))


def test_one_outcome_per_sliver() -> None:
    answer = pb.StoreSliversResponse(outcomes=[pb.OUTCOME_STORED])
    assert convert.read_outcomes(answer, 1) == [Outcome.STORED]
    with pytest.raises(InvalidField, match="1 outcomes for 2 slivers"):
        convert.read_outcomes(answer, 2)


def test_fields_of_a_newer_peer_are_tolerated() -> None:
    unknown = b"\xfa\x7f\x05extra"  # field 2047, length-delimited
    raw = convert.write_holdings(BlobHoldings(True, False, ())).SerializeToString() + unknown
    assert convert.read_holdings(pb.HoldingsResponse.FromString(raw)).is_registered


@settings(max_examples=4 * settings.default.max_examples)
@given(st.binary(max_size=120))
def test_random_bytes_are_a_value_or_refused(raw: bytes) -> None:
    """Fuzz: reading raises `InvalidField` or gives a value, for every message and any bytes."""
    for message, read in (
        (pb.HoldingsResponse, convert.read_holdings),
        (pb.HealthResponse, convert.read_health),
        (pb.ListIncompleteResponse, convert.read_incomplete),
        (pb.ConfirmBlobResponse, convert.read_signed),
    ):
        try:
            read(message.FromString(raw))  # type: ignore[operator]
        except (DecodeError, InvalidField):
            continue
