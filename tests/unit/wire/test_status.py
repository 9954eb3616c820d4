"""The table of errors and statuses, in both directions."""

from __future__ import annotations

import base64

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from haulout import errors
from haulout.codec.errors import SliverSizeMismatch
from haulout.errors import HauloutError
from haulout.node.errors import InvalidSliver
from haulout.wire.errors import MalformedAnswer, PlaintextRefused, TooManyCalls, UnknownCall
from haulout.wire.status import DETAILS_KEY, from_status, to_status

HEADER_LIMIT_BYTES = 8 << 10


def over_the_wire(error: HauloutError) -> HauloutError:
    code, message, metadata = to_status(error)
    return from_status(code, message, metadata, peer="there:1", operation="Call", timeout_ms=10)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidField(field="f", problem="p"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.UndecodableBytes(type_name="Block", problem="p"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.BlobTooLarge(size_bytes=3, limit_bytes=2, n_shards=10), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.WrongEpoch(request_epoch=1, server_epoch=2), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.DiskFull(path="/x"), grpc.StatusCode.UNAVAILABLE),
        (errors.Unreachable(peer="p:1", problem="no"), grpc.StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded(operation="o", timeout_ms=7), grpc.StatusCode.DEADLINE_EXCEEDED),
        (TooManyCalls(what="uploads", limit=64), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (PlaintextRefused(address="1.2.3.4:5"), grpc.StatusCode.PERMISSION_DENIED),
        (MalformedAnswer(peer="p", operation="o", problem="q"), grpc.StatusCode.DATA_LOSS),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_leaves_cross_as_themselves(error: HauloutError, code: grpc.StatusCode) -> None:
    assert to_status(error)[0] is code
    arrived = over_the_wire(error)
    assert type(arrived) is type(error)
    assert arrived.details() == error.details()


@pytest.mark.parametrize(
    "error",
    [
        SliverSizeMismatch(axis="primary", index=3, size_bytes=4, expected_bytes=5),
        InvalidSliver(blob_id="b", pair_index=1, axis="primary", problem="p"),
    ],
)
def test_leaves_that_share_a_code_are_told_apart_by_their_fields(error: HauloutError) -> None:
    assert error.code == "INVALID_SLIVER"
    assert type(over_the_wire(error)) is type(error)


@pytest.mark.parametrize("kind", [*errors.KINDS.values(), HauloutError])
def test_a_code_nobody_knows_keeps_its_class_code_message_and_fields(kind: type[HauloutError]) -> None:
    unknown = errors.from_wire(kind.kind, "NEWER_THAN_US", "what it said", {"size": "12"})
    once = over_the_wire(unknown)
    twice = over_the_wire(once)
    for arrived in (once, twice):
        assert isinstance(arrived, kind)
        assert arrived.code == "NEWER_THAN_US"
        assert str(arrived) == "what it said"
        assert arrived.details()["metadata"] == {"size": "12"}


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unreachable),
        (grpc.StatusCode.CANCELLED, errors.Unreachable),
        (grpc.StatusCode.INTERNAL, errors.Unreachable),
        (grpc.StatusCode.UNIMPLEMENTED, UnknownCall),
        (grpc.StatusCode.NOT_FOUND, errors.Unreachable),  # not ours, so it says nothing about a blob
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, MalformedAnswer),
    ],
)
def test_statuses_of_grpc_itself_name_the_peer(code: grpc.StatusCode, cls: type[HauloutError]) -> None:
    error = from_status(code, "words", (), peer="there:1", operation="Call", timeout_ms=10)
    assert type(error) is cls
    assert "there:1" in str(error)


def test_details_of_somebody_else_are_not_ours() -> None:
    status = Status(code=5)
    status.details.add().Pack(ErrorInfo(reason="NOT_FOUND", domain="elsewhere.example"))
    for details in (status.SerializeToString(), b"\xff\xff", b""):
        error = from_status(
            grpc.StatusCode.NOT_FOUND, "", [(DETAILS_KEY, details)], peer="p:1", operation="Call", timeout_ms=10
        )
        assert type(error) is errors.Unreachable


@given(st.text(max_size=20_000), st.text(max_size=3_000))
def test_a_status_fits_into_headers_whatever_is_in_it(field: str, problem: str) -> None:
    _, message, metadata = to_status(errors.InvalidField(field=field, problem=problem))
    escaped = sum(1 if 0x20 <= byte < 0x7F else 3 for byte in message.encode())
    assert escaped + len(base64.b64encode(metadata[0][1])) < HEADER_LIMIT_BYTES - 1024


def test_many_long_fields_are_cut_off_at_the_end() -> None:
    many = errors.from_wire("NOT_FOUND", "MANY", "m", {f"field_{i}": "ü" * 400 for i in range(100)})
    _, _, metadata = to_status(many)
    assert len(metadata[0][1]) < 3_000
    assert over_the_wire(many).code == "MANY"


def test_lone_surrogates_do_not_break_a_status() -> None:
    arrived = over_the_wire(errors.InvalidField(field="name", problem="\ud800"))
    assert isinstance(arrived, errors.InvalidField)
    assert arrived.problem == "?"
