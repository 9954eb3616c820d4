"""What the node keeps in its store: keys, records, and the seal that each record carries.

    01                      FormatRow: layout of the store
    02                      TotalsRow: how much is held
    10 blob id              metadata (BCS)
    11 blob id              BlobRow: which slivers are held, in which files, what was promised
    12 blob id              StripedRow: which pieces of slivers in stripes are held, in which files
    20 shard blob id axis   SliverRow: where a sliver's bytes are, and their checksum
    21 shard blob id axis n PieceRow: where segment n of a sliver in stripes is, and its proof
    30 blob id              IncompleteRow: certified, but something is lacking
    31 blob id              GarbageRow: perhaps not needed any more
    40                      CursorRow: up to which block the ledger has been followed
    41                      SweepRow: where a sweep over all blobs stands
    50 epoch                SignedRow: the last checkpoint signed in that epoch
    51                      BarredRow: no checkpoint is signed, and until when
    52                      ConsentRow: what the owner lets the node vote for

Slivers are ordered by shard, so that a shard can be dropped or handed over in one pass. A sealed record is its
canonical bytes, then BLAKE2b-128 of key and bytes: damage and misplacement are both noticed when it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

from haulout import bcs
from haulout.bcs import U8, U16, U32, U64, Bytes32, Union, fixed
from haulout.errors import UndecodableBytes
from haulout.node.errors import CorruptRecord
from haulout.primitives import Axis, BlobId

T = TypeVar("T")
SliverName = tuple[int, Axis]  # shard index, axis

STORE_FORMAT = 3  # 1, 2: earlier checksums of slivers (`crypto.checksum`); read, and written as 3 from then on
ROW_VERSION = 1
CURSOR_VERSION = 2
INCOMPLETE_VERSION = 2
SEAL_BYTES = 16
Bytes8 = Annotated[bytes, fixed(8)]
Bytes16 = Annotated[bytes, fixed(16)]
Bytes64 = Annotated[bytes, fixed(64)]

FORMAT_KEY = b"\x01"
TOTALS_KEY = b"\x02"
METADATA = b"\x10"
BLOB = b"\x11"
STRIPED = b"\x12"
SLIVER = b"\x20"
PIECE = b"\x21"
INCOMPLETE = b"\x30"
GARBAGE = b"\x31"
CURSOR_KEY = b"\x40"
SWEEP_KEY = b"\x41"
SIGNED = b"\x50"
BARRED_KEY = b"\x51"
CONSENT_KEY = b"\x52"


@dataclass(frozen=True, slots=True)
class FormatRow:
    """Which release's layout this is."""

    version: U32


@dataclass(frozen=True, slots=True)
class TotalsRow:
    """How many slivers and bytes of them are held: for people and metrics, no rule reads it."""

    version: U8
    slivers: U64
    size_bytes: U64


@dataclass(frozen=True, slots=True)
class Promise:
    """The last storage confirmation that was signed for a blob.

    `height` is that of the ledger state it was signed in: nothing may be dropped by an older state.
    """

    epoch: U32
    object_id: Bytes32 | None
    height: U64


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of slivers of one blob; it is removed with the last of them."""

    name: Bytes8
    slivers: U16
    size_bytes: U64


@dataclass(frozen=True, slots=True)
class BlobRow:
    """What is held of one blob: bit `2 * shard + axis` of `held` (little-endian) says that a sliver is durable."""

    version: U8
    held: bytes
    files: tuple[FileRow, ...]
    promise: Promise | None

    def mask(self) -> int:
        return int.from_bytes(self.held, "little")


@dataclass(frozen=True, slots=True)
class Inline:
    """The sliver's bytes stand in its row."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class InFile:
    """The sliver's bytes stand in a file of its blob."""

    name: Bytes8
    offset: U64
    size_bytes: U64
    checksum: Bytes16  # `crypto.checksum`


@dataclass(frozen=True, slots=True)
class SliverRow:
    """Where one sliver is."""

    version: U8
    place: Annotated[Inline | InFile, Union({0: Inline, 1: InFile})]


@dataclass(frozen=True, slots=True)
class HeldPieces:
    """Pieces of one sliver: bit i of `segments` (little-endian) says that segment i is durable."""

    shard_index: U16
    axis: Axis
    segments: bytes

    def mask(self) -> int:
        return int.from_bytes(self.segments, "little")


@dataclass(frozen=True, slots=True)
class StripedRow:
    """What is held of a blob whose slivers come in pieces; a sliver is held when all of its segments are."""

    version: U8
    n_segments: U32
    held: tuple[HeldPieces, ...]
    files: tuple[FileRow, ...]  # `slivers` counts pieces here


@dataclass(frozen=True, slots=True)
class PieceRow:
    """Where the bytes of one segment of a sliver are, and what proves them against the metadata."""

    version: U8
    place: Annotated[Inline | InFile, Union({0: Inline, 1: InFile})]
    leaves: bytes  # 32 for each stripe: the leaf hashes of its root
    proof: tuple[Bytes32, ...]  # of these leaves in the sliver's tree


@dataclass(frozen=True, slots=True)
class IncompleteRow:
    """A certified blob that lacked something when it was looked at last."""

    version: U8  # INCOMPLETE_VERSION
    due_ms: U64  # not before, on the wall clock: a live upload may still be going on
    attempts: U16  # that failed so far
    certified_ms: U64  # by the ledger's clock; 0 where something else brought it here, or that is not known


@dataclass(frozen=True, slots=True)
class IncompleteRowV1:
    """Such a blob as earlier releases noted it."""

    version: U8
    due_ms: U64
    attempts: U16


@dataclass(frozen=True, slots=True)
class GarbageRow:
    """A blob that an event may have made superfluous; looked at from `due_ms` on, in a state of `height` or later."""

    version: U8
    due_ms: U64
    height: U64


@dataclass(frozen=True, slots=True)
class CursorRow:
    """The last block whose events were followed. Its digest says on which chain: after a ledger was restored to an
    older point, or a replica was taken from another one, a block of that height may be another block."""

    version: U8  # CURSOR_VERSION
    height: U64
    digest: Bytes32


@dataclass(frozen=True, slots=True)
class CursorRowV1:
    """A cursor as earlier releases left it: a height alone."""

    version: U8
    height: U64


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A sweep over all stored blobs for an epoch; `after` is the last one looked at."""

    version: U8
    epoch: U32
    after: Bytes32
    done: bool


@dataclass(frozen=True, slots=True)
class SignedRow:
    """The high-water mark of an epoch: durable before the signature is made, so nothing is ever signed twice."""

    version: U8
    height: U64
    digest: Bytes32  # of the checkpoint


@dataclass(frozen=True, slots=True)
class BarredRow:
    """The node has signed more than it remembers: it signs nothing until the next Done after this, and nothing new of
    epochs before."""

    version: U8
    epoch: U32
    in_sync: bool  # the epoch's own Done was still to come


@dataclass(frozen=True, slots=True)
class ConsentRow:
    """The owner's latest consent to a protocol version, as it was signed (`crypto.messages.ProtocolConsent`)."""

    version: U8
    message: bytes
    public_key: Bytes32  # of the account that governed the node
    signature: Bytes64


def signed_key(epoch: int) -> bytes:
    return SIGNED + epoch.to_bytes(4, "big")


def metadata_key(blob_id: bytes) -> bytes:
    return METADATA + blob_id


def blob_key(blob_id: bytes) -> bytes:
    return BLOB + blob_id


def sliver_key(shard_index: int, blob_id: bytes, axis: Axis) -> bytes:
    return SLIVER + shard_index.to_bytes(2, "big") + blob_id + bytes([axis])


def striped_key(blob_id: bytes) -> bytes:
    return STRIPED + blob_id


def piece_key(shard_index: int, blob_id: bytes, axis: Axis, segment: int) -> bytes:
    return PIECE + shard_index.to_bytes(2, "big") + blob_id + bytes([axis]) + segment.to_bytes(4, "big")


def piece_shard_range(shard_index: int, *, after: bytes | None = None) -> tuple[bytes, bytes]:
    """All pieces of one shard, or those of blobs behind one of them."""
    prefix = PIECE + shard_index.to_bytes(2, "big")
    start = prefix if after is None else prefix + after + b"\xff" * 6
    return start, prefix + b"\xff" * 38


def shard_range(shard_index: int) -> tuple[bytes, bytes]:
    """All slivers of one shard."""
    prefix = SLIVER + shard_index.to_bytes(2, "big")
    return prefix, prefix + b"\xff" * 34


def split_sliver_key(key: bytes) -> tuple[int, BlobId, Axis]:
    """Inverse of `sliver_key`."""
    return int.from_bytes(key[1:3], "big"), BlobId(key[3:35]), Axis(key[35])


def incomplete_key(blob_id: bytes) -> bytes:
    return INCOMPLETE + blob_id


def garbage_key(blob_id: bytes) -> bytes:
    return GARBAGE + blob_id


def table_range(prefix: bytes, *, after: bytes | None = None) -> tuple[bytes, bytes]:
    """All rows of a table keyed by blob id, or those behind one of them."""
    start = prefix if after is None else prefix + after + b"\x00"
    return start, bytes([prefix[0] + 1])


def bit_of(shard_index: int, axis: Axis) -> int:
    """A sliver's bit in `BlobRow.held`."""
    return 1 << (2 * shard_index + axis)


def names_in(mask: int) -> Iterator[SliverName]:
    """The slivers of a mask, by shard."""
    bit = 0
    while mask >> bit:
        if mask >> bit & 1:
            yield bit // 2, Axis(bit % 2)
        bit += 1


def mask_bytes(mask: int) -> bytes:
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def seal(key: bytes, value: bytes) -> bytes:
    """A value as it is stored under a key."""
    return value + hashlib.blake2b(key + value, digest_size=SEAL_BYTES).digest()


def unseal(key: bytes, sealed: bytes) -> bytes:
    """The value stored under a key.

    Raises:
        CorruptRecord: the bytes are not those that were sealed under this key.
    """
    value = sealed[:-SEAL_BYTES]
    if (
        len(sealed) < SEAL_BYTES
        or hashlib.blake2b(key + value, digest_size=SEAL_BYTES).digest() != sealed[-SEAL_BYTES:]
    ):
        raise CorruptRecord(what=f"row {key.hex()}")
    return value


def seal_row(key: bytes, row: object) -> bytes:
    return seal(key, bcs.encode(row))


def unseal_row(key: bytes, sealed: bytes, row_type: type[T], *, version: int = ROW_VERSION) -> T:
    """The record stored under a key.

    Raises:
        CorruptRecord: damaged, or of another version than the one asked for.
    """
    try:
        row: T = bcs.decode(row_type, unseal(key, sealed))
    except UndecodableBytes as e:
        raise CorruptRecord(what=f"row {key.hex()}") from e
    if getattr(row, "version", version) != version:
        raise CorruptRecord(what=f"row {key.hex()} (unknown version)")
    return row
