"""Canonical bytes: one value, one encoding, and nothing else is read."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulout import bcs
from haulout.bcs import U8, U16, U32, U64, U128, U256, Bytes32, Union
from haulout.errors import UndecodableBytes


@dataclass(frozen=True, slots=True)
class Storage:
    start_epoch: U32
    size_bytes: U64
    note: str | None
    holders: tuple[Bytes32, ...]


class Colour(enum.IntEnum):
    RED = 0
    BLUE = 300


@dataclass(frozen=True, slots=True)
class Circle:
    radius: U16


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


Shape = Annotated[Circle | Nothing, Union({0: Circle, 130: Nothing})]


@dataclass(frozen=True, slots=True)
class Everything:
    small: U8
    flag: bool
    key: Bytes32
    huge: U256
    middle: U128
    number: U64
    colour: Colour
    shape: Shape
    inner: Storage
    pair: tuple[U8, str]
    table: Mapping[U32, str]
    raw: bytes
    last: U16


def test_the_example_of_the_module_is_true() -> None:
    assert bcs.encode(Storage(7, 100, None, ())).hex() == "07000000" + "6400000000000000" + "00" + "00"


def test_every_kind_of_field_has_its_bytes() -> None:
    value = Everything(
        1,
        True,
        bytes(range(32)),
        2,
        3,
        4,
        Colour.BLUE,
        Nothing(),
        Storage(5, 6, "é", (bytes(32),)),
        (7, "x"),
        {256: "b", 1: "a"},
        b"\xff",
        8,
    )
    expected = (
        "01" + "01" + bytes(range(32)).hex() + "02" + "00" * 31 + "03" + "00" * 15 + "04" + "00" * 7 + "ac02" + "8201"
        + "05000000" + "0600000000000000" + "01" + "02c3a9" + "01" + "00" * 32 + "07" + "0178"
        + "02" + "00010000" + "0162" + "01000000" + "0161" + "01ff" + "0800"
    )  # fmt: skip
    assert bcs.encode(value).hex() == expected
    assert bcs.decode(Everything, bytes.fromhex(expected)) == value


@dataclass(frozen=True, slots=True)
class Range:
    start: U8
    end: U8

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError("it ends before it starts")


def test_what_a_type_refuses_is_not_read() -> None:
    assert bcs.decode(Range, bytes((1, 2))) == Range(1, 2)
    with pytest.raises(UndecodableBytes, match="it ends before it starts"):
        bcs.decode(Range, bytes((2, 1)))


@pytest.mark.parametrize(
    ("hint", "data", "problem"),
    [
        (Storage, "0700000064", "truncated"),
        (Storage, "07000000" + "6400000000000000" + "00" + "00" + "ff", "1 trailing bytes"),
        (Storage, "07000000" + "6400000000000000" + "02" + "00", "a boolean is 0 or 1"),
        (Storage, "07000000" + "6400000000000000" + "0101ff" + "00", "text is not UTF-8"),
        (Storage, "07000000" + "6400000000000000" + "00" + "05" + "00" * 32, "truncated"),
        (Storage, "07000000" + "6400000000000000" + "00" + "8000", "length is not in its shortest form"),
        (Storage, "07000000" + "6400000000000000" + "00" + "ffffffffff", "length out of range"),
        (Shape, "05", "unknown variant 5"),
        (Colour, "01", "1 is not a Colour"),
        (Mapping[U32, str], "02" + "01000000" + "0161" + "01000000" + "0161", "map keys are not strictly ascending"),
        (Mapping[U32, str], "02" + "02000000" + "0161" + "01000000" + "0161", "map keys are not strictly ascending"),
    ],
)
def test_refuses_what_is_not_canonical(hint: Any, data: str, problem: str) -> None:
    with pytest.raises(UndecodableBytes) as caught:
        bcs.decode(hint, bytes.fromhex(data))
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    "value",
    [
        Storage(1 << 32, 0, None, ()),
        Storage(-1, 0, None, ()),
        Storage(0, 1 << 64, None, ()),
        Storage(0, 0, None, (bytes(31),)),
        Circle(1 << 16),
    ],
)
def test_refuses_to_write_what_does_not_fit(value: Any) -> None:
    with pytest.raises(OverflowError):
        bcs.encode(value)


@dataclass(frozen=True, slots=True)
class Keyed:
    before: U8
    key: Bytes32
    after: U8


@pytest.mark.parametrize("size", [0, 31, 33])
def test_bytes_of_another_length_are_neither_padded_nor_cut(size: int) -> None:
    with pytest.raises(OverflowError, match=f"{size} bytes where 32 belong"):
        bcs.encode(Keyed(1, bytes(size), 2))


storages = st.builds(
    Storage,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.none() | st.text(max_size=5),
    st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
)


@given(storages)
def test_reads_back_what_it_wrote(value: Storage) -> None:
    assert bcs.decode(Storage, bcs.encode(value)) == value


@given(st.binary(max_size=60))
def test_whatever_is_read_is_written_as_the_same_bytes(data: bytes) -> None:
    try:
        value: Storage = bcs.decode(Storage, data)
    except UndecodableBytes:
        return
    assert bcs.encode(value) == data
