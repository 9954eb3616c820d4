"""Scalars of the schema and how they are written as text."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from strawberry.types.scalar import ScalarDefinition

from haulout.errors import InvalidField
from haulout.primitives import U64_MAX, blob_id_text, hex_id_text, parse_address, parse_blob_id, parse_object_id

BigInt = NewType("BigInt", int)
Base64 = NewType("Base64", bytes)
BlobID = NewType("BlobID", bytes)
ObjectID = NewType("ObjectID", bytes)
Address = NewType("Address", bytes)

DATE_TIME_MAX_MS = 253_402_300_799_999  # the end of the year 9999


def at(time_ms: int) -> datetime:
    """A time of the ledger, in UTC."""
    return datetime.fromtimestamp(min(time_ms, DATE_TIME_MAX_MS) / 1000, UTC)


def _text(value: Any, *, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidField(field=field, problem="is written as a string")
    return value


def _parse_big_int(value: Any) -> int:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, field="BigInt")
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > U64_MAX:
        raise InvalidField(field="BigInt", problem=f"{text[:40]!r} is not a number from 0 to 2^64 - 1")
    return int(text)


def _parse_base64(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value, field="Base64"), validate=True)
    except binascii.Error as e:
        raise InvalidField(field="Base64", problem="is not padded base64 of the standard alphabet") from e


def _parse_blob_id(value: Any) -> bytes:
    return parse_blob_id(_text(value, field="blobId"), field="blobId")


def _parse_object_id(value: Any) -> bytes:
    return parse_object_id(_text(value, field="objectId"), field="objectId")


def _parse_address(value: Any) -> bytes:
    return parse_address(_text(value, field="address"), field="address")


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description='A whole number beyond 32 bits, as a decimal string: `"1048576"`.',
        serialize=str,
        parse_value=_parse_big_int,
    ),
    Base64: strawberry.scalar(
        name="Base64",
        description='Bytes in padded base64 of the standard alphabet: `"AQID"`.',
        serialize=lambda value: base64.b64encode(value).decode(),
        parse_value=_parse_base64,
    ),
    BlobID: strawberry.scalar(
        name="BlobID",
        description="A blob's id, computed from its content: 43 characters of base64url without padding.",
        serialize=blob_id_text,
        parse_value=_parse_blob_id,
    ),
    ObjectID: strawberry.scalar(
        name="ObjectID",
        description="The id of an object on the ledger: `0x` and 64 hex digits; leading zeros may be left out.",
        serialize=hex_id_text,
        parse_value=_parse_object_id,
    ),
    Address: strawberry.scalar(
        name="Address",
        description="An account's address: `0x` and 64 hex digits; leading zeros may be left out in input.",
        serialize=hex_id_text,
        parse_value=_parse_address,
    ),
}
