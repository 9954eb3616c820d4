"""The shared nouns: identifiers, indices, amounts, quorums, and how they are written as text.

Knows nothing of encodings, signatures or the ledger. An index, a count and a size are three types; every quorum
has a name here and is never written out in line.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from typing import NewType

from haulout.errors import InvalidField

BlobId = NewType("BlobId", bytes)  # 32 bytes
ObjectId = NewType("ObjectId", bytes)  # 32 bytes; also node ids
Address = NewType("Address", bytes)  # 32 bytes
Digest = NewType("Digest", bytes)  # 32 bytes, BLAKE2b-256
Epoch = NewType("Epoch", int)  # u32
ShardIndex = NewType("ShardIndex", int)  # u16
SliverIndex = NewType("SliverIndex", int)  # u16
SliverPairIndex = NewType("SliverPairIndex", int)  # u16
Frost = NewType("Frost", int)  # u64; 1 WAL = 10**9 FROST

Buffer = bytes | bytearray | memoryview  # bytes, wherever they stand

FROST_PER_WAL = 1_000_000_000
STORAGE_UNIT_BYTES = 1 << 20
BASIS_POINTS = 10_000
U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1


class Axis(enum.IntEnum):
    """Primary belongs to rows, secondary to columns of the message matrix."""

    PRIMARY = 0
    SECONDARY = 1

    @property
    def other(self) -> Axis:
        return Axis(1 - self)


class EncodingType(enum.IntEnum):
    """Code of an encoding, as it stands in metadata and in the blob id."""

    RS2 = 1
    RS8 = 8

    @classmethod
    def parse(cls, text: str) -> EncodingType:
        """Read a name as people write it; `rs2`, `reed-solomon` and `redstuff/reed-solomon` all mean RS2."""
        name = text.strip().lower()
        if name in ("rs2", "reed-solomon", "redstuff/reed-solomon"):
            return cls.RS2
        if name == "rs8":
            return cls.RS8
        raise InvalidField(field="encoding_type", problem=f"{text!r} is not an encoding; use RS2 or RS8")


# Quorums. Weight is counted in shards, never in nodes.


def max_faulty(n_shards: int) -> int:
    """f: how many shards may be lost or lying."""
    return (n_shards - 1) // 3


def smallest_committee(n_shards: int) -> int:
    """How few nodes can hold all shards when none may hold more than f."""
    return -(-n_shards // max(1, max_faulty(n_shards)))


def min_correct(n_shards: int) -> int:
    """n - f: the weight that certifies a write, and the source symbols of the secondary encoding."""
    return n_shards - max_faulty(n_shards)


def min_decodable(n_shards: int) -> int:
    """n - 2f: primary slivers that decode a blob, and the source symbols of the primary encoding."""
    return n_shards - 2 * max_faulty(n_shards)


def min_one_correct(n_shards: int) -> int:
    """f + 1: among this weight at least one shard is correct."""
    return max_faulty(n_shards) + 1


def is_quorum(weight: int, n_shards: int) -> bool:
    """Enough weight to certify: the ledger's rule 3w >= 2n + 1, which equals w >= n - f."""
    return 3 * weight >= 2 * n_shards + 1


def is_one_correct(weight: int, n_shards: int) -> bool:
    """Enough weight to invalidate a blob: the ledger's rule 3w >= n + 1."""
    return 3 * weight >= n_shards + 1


def storage_units(encoded_bytes: int) -> int:
    """Started MiB, the unit in which storage is sold."""
    return (encoded_bytes + STORAGE_UNIT_BYTES - 1) // STORAGE_UNIT_BYTES


# Where a sliver pair lives.


def shard_of_pair(pair_index: int, blob_id: BlobId, n_shards: int) -> ShardIndex:
    """The shard that stores a sliver pair: the pair index rotated by the blob id read big-endian."""
    return ShardIndex((pair_index + int.from_bytes(blob_id, "big")) % n_shards)


def pair_of_shard(shard_index: int, blob_id: BlobId, n_shards: int) -> SliverPairIndex:
    """The sliver pair that a shard stores; inverse of `shard_of_pair`."""
    return SliverPairIndex((shard_index - int.from_bytes(blob_id, "big")) % n_shards)


def sliver_index_of_pair(pair_index: int, axis: Axis, n_shards: int) -> SliverIndex:
    """Index of the pair's sliver on an axis: the pair's own on the primary, mirrored on the secondary."""
    return SliverIndex(pair_index if axis is Axis.PRIMARY else n_shards - 1 - pair_index)


def pair_of_sliver_index(sliver_index: int, axis: Axis, n_shards: int) -> SliverPairIndex:
    """Pair that holds the sliver; inverse of `sliver_index_of_pair`."""
    return SliverPairIndex(sliver_index if axis is Axis.PRIMARY else n_shards - 1 - sliver_index)


# Text forms.

_BLOB_ID_TEXT = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_HEX_ID_TEXT = re.compile(r"0x[0-9a-fA-F]{1,64}")
_AMOUNT_TEXT = re.compile(r"(\d+)(?:\.(\d{1,9}))?\s*(WAL|FROST)?", re.IGNORECASE)


def blob_id_text(blob_id: bytes) -> str:
    """Base64url without padding, 43 characters."""
    return base64.urlsafe_b64encode(blob_id).rstrip(b"=").decode()


def parse_blob_id(text: str, *, field: str = "blob_id") -> BlobId:
    """Read a blob id strictly: 43 characters of base64url whose last one carries no stray bits.

    Raises:
        InvalidField: with what is wrong about it.
    """
    if not _BLOB_ID_TEXT.fullmatch(text):
        raise InvalidField(
            field=field, problem=f"{text[:80]!r} is not a blob id (43 characters, base64url without padding)"
        )
    try:
        return BlobId(base64.urlsafe_b64decode(text + "="))
    except binascii.Error as e:
        raise InvalidField(field=field, problem=f"{text!r} is not base64url") from e


def hex_id_text(value: bytes) -> str:
    """`0x` and 64 lower-case hex digits: object ids, node ids, addresses."""
    return "0x" + value.hex()


def parse_object_id(text: str, *, field: str = "object_id") -> ObjectId:
    """Read an object id; leading zeros may be left out.

    Raises:
        InvalidField: with what is wrong about it.
    """
    if not _HEX_ID_TEXT.fullmatch(text):
        raise InvalidField(field=field, problem=f"{text[:80]!r} is not 0x and up to 64 hex digits")
    return ObjectId(bytes.fromhex(text[2:].rjust(64, "0")))


def parse_address(text: str, *, field: str = "address") -> Address:
    """Read an address; same form as an object id.

    Raises:
        InvalidField: with what is wrong about it.
    """
    return Address(parse_object_id(text, field=field))


def parse_frost(text: str, *, field: str = "amount") -> Frost:
    """Read an amount: a bare integer is FROST, `2000WAL`, `0.5WAL` and `5000FROST` are understood.

    Raises:
        InvalidField: not an amount, a fraction of a FROST, or beyond 64 bits.
    """
    match = _AMOUNT_TEXT.fullmatch(text.strip())
    if match is None:
        raise InvalidField(field=field, problem=f"{text[:80]!r} is not an amount; write 5000, 5000FROST or 2WAL")
    whole, fraction, unit = match.group(1), match.group(2) or "", (match.group(3) or "FROST").upper()
    if unit == "FROST" and fraction:
        raise InvalidField(field=field, problem="a FROST cannot be divided")
    amount = int(whole) * FROST_PER_WAL + int(fraction.ljust(9, "0")) if unit == "WAL" else int(whole)
    if amount > U64_MAX:
        raise InvalidField(field=field, problem="more than 2^64 - 1 FROST")
    return Frost(amount)


def frost_text(amount: int) -> str:
    """An amount for people: whole WAL where they are whole, else WAL with a fraction, small ones in FROST."""
    if amount < FROST_PER_WAL // 1000:
        return f"{amount:,} FROST"
    whole, fraction = divmod(amount, FROST_PER_WAL)
    return f"{whole:,}.{fraction:09d}".rstrip("0").rstrip(".") + " WAL"
