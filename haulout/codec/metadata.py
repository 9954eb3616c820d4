"""What travels and is kept of a blob, byte for byte: metadata, slivers, symbols and proofs.

Values and their canonical bytes only; who computes and checks them is elsewhere. An example of all of it, n = 4::

    metadata   00 | 01 | 0c00000000000000 | 04 | 01 <primary hash 0> 01 <secondary hash 3> | … three more pairs
               version, RS2, 12 bytes, 4 pairs; pair p holds the hashes of primary p and secondary n - 1 - p
    sliver     06 078a12951da0 | 0200 | 0000        bytes, symbol size, sliver index

Source: `walrus-core`, `metadata.rs`, `slivers.rs`, `symbols.rs`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated

from haulout import bcs
from haulout.bcs import U8, U16, U32, U64, Bytes32
from haulout.codec import sizes
from haulout.crypto import merkle
from haulout.crypto.hashing import blake2b256
from haulout.crypto.merkle import MerkleProof, Node
from haulout.primitives import Axis, BlobId, Buffer, Digest, EncodingType, pair_of_sliver_index

METADATA_VERSION = 0
LENGTH_BYTES_MAX = 5  # of a ULEB128 of 32 bits
SLIVER_TAIL = struct.Struct("<HH")  # symbol size and index

Data = Annotated[Buffer, bcs.codec(bytes)]  # read back as bytes, written from any buffer


@dataclass(frozen=True, slots=True)
class SliverPairHashes:
    """Hashes of the two slivers of a pair; None is Walrus's empty node, which no sliver has."""

    primary: Node
    secondary: Node

    def of(self, axis: Axis) -> bytes | None:
        """The hash of the pair's sliver on an axis."""
        return self.primary if axis is Axis.PRIMARY else self.secondary


@dataclass(frozen=True, slots=True)
class BlobMetadata:
    """The hashes of all slivers, in order of their pairs, and what is needed to name and to decode the blob."""

    version: U8
    encoding_type: EncodingType
    unencoded_length: U64
    pairs: tuple[SliverPairHashes, ...]

    def __post_init__(self) -> None:
        if self.version != METADATA_VERSION:
            raise ValueError(f"unknown version {self.version}")

    @property
    def n_shards(self) -> int:
        """Sliver pairs listed."""
        return len(self.pairs)

    @property
    def symbol_size_bytes(self) -> int:
        """Bytes of each symbol; raises `BlobTooLarge` for a length that no blob can have."""
        return sizes.symbol_size_bytes(self.unencoded_length, self.n_shards, self.encoding_type)

    def sliver_size_bytes(self, axis: Axis) -> int:
        """Raw bytes of each sliver of an axis."""
        return sizes.sliver_size_bytes(axis, self.unencoded_length, self.n_shards, self.encoding_type)

    def sliver_hash(self, axis: Axis, sliver_index: int) -> bytes | None:
        """The hash of a sliver: the Merkle root over all n symbols of its expansion."""
        return self.pairs[pair_of_sliver_index(sliver_index, axis, self.n_shards)].of(axis)

    def root_hash(self) -> Digest:
        """The Merkle root over the pairs of hashes."""
        empty = merkle.EMPTY
        leaves = [merkle.hash_leaf((pair.primary or empty) + (pair.secondary or empty)) for pair in self.pairs]
        return merkle.compute_root(leaves)

    def blob_id(self) -> BlobId:
        """The id that this metadata has: the hash of encoding type, length and root hash."""
        return compute_id(self.encoding_type, self.unencoded_length, self.root_hash())

    def to_bcs(self) -> bytes:
        """Canonical bytes, without the id."""
        return bcs.encode(self)


def compute_id(encoding_type: EncodingType, unencoded_length: int, root_hash: Digest) -> BlobId:
    """The blob id of a root hash; the ledger derives it the same way when a blob is registered."""
    return BlobId(blake2b256(bytes([encoding_type]) + unencoded_length.to_bytes(8, "little") + root_hash))


@dataclass(frozen=True, slots=True)
class BlobMetadataWithId:
    """Metadata as nodes hand it out."""

    blob_id: Bytes32
    metadata: BlobMetadata


@dataclass(frozen=True, slots=True)
class Sliver:
    """A row or a column of the expanded matrix, cut to its source symbols. Which of both, the context says."""

    data: Data  # n_sliver_symbols(axis) symbols
    symbol_size_bytes: U16
    index: U16

    def __post_init__(self) -> None:
        if self.symbol_size_bytes == 0:
            raise ValueError("a symbol has no bytes")

    def bcs_chunks(self) -> tuple[bytes, Buffer, bytes]:
        """Canonical bytes in three parts, so that whoever writes them need not copy the data."""
        head = bytearray()
        bcs.write_uleb(head, len(self.data))
        return bytes(head), self.data, bcs.encode((self.symbol_size_bytes, self.index), tuple[U16, U16])

    @classmethod
    def view(cls, raw: Buffer) -> Sliver:
        """The sliver with these canonical bytes; its data is a view of them and no copy.

        Raises:
            UndecodableBytes: as `bcs.decode`.
        """
        whole = memoryview(raw)
        try:
            length, start = bcs.read_uleb(bytes(whole[:LENGTH_BYTES_MAX]), 0)
            end = start + length
            return cls(whole[start:end], *SLIVER_TAIL.unpack(whole[end:]))
        except (ValueError, struct.error):
            return bcs.decode(cls, raw)  # says what is wrong


@dataclass(frozen=True, slots=True)
class SliverStripes:
    """Consecutive stripes of an RS8 sliver, with the proof that they are: how such slivers travel and are kept."""

    data: Data  # n_sliver_symbols(axis) symbols per stripe
    symbol_size_bytes: U16
    index: U16
    first_stripe: U32
    proof: tuple[Bytes32, ...]  # of the stripes' roots as leaves of the sliver's tree (`crypto.merkle_range`)

    def __post_init__(self) -> None:
        if self.symbol_size_bytes == 0:
            raise ValueError("a symbol has no bytes")


@dataclass(frozen=True, slots=True)
class SliverOnAxis:
    """A sliver that says itself of which axis it is."""

    axis: Axis
    sliver: Sliver


@dataclass(frozen=True, slots=True)
class SliverPair:
    """What one shard stores of a blob: primary sliver p and secondary sliver n - 1 - p."""

    primary: Sliver
    secondary: Sliver

    def of(self, axis: Axis) -> Sliver:
        """The sliver of an axis."""
        return self.primary if axis is Axis.PRIMARY else self.secondary


@dataclass(frozen=True, slots=True)
class SymbolId:
    """Where a symbol stands in the expanded matrix; written `row-column`."""

    row: U16  # index of the primary sliver
    column: U16  # index of the secondary sliver

    def __str__(self) -> str:
        return f"{self.row}-{self.column}"


@dataclass(frozen=True, slots=True)
class DecodingSymbol:
    """A symbol without a proof, to rebuild a sliver of `axis` from."""

    axis: Axis  # of the sliver that it rebuilds
    source_index: U16  # of the sliver of the other axis that it is from
    data: Data


@dataclass(frozen=True, slots=True)
class RecoverySymbol:
    """A symbol made from a sliver for a target on the other axis, with the path in the source sliver's tree.

    Walrus calls it the general recovery symbol.
    """

    axis: Axis  # of the target sliver
    source_index: U16  # of the sliver of the other axis that it is from, whose hash the proof leads to
    data: Data
    target_index: U16
    proof: MerkleProof

    @property
    def symbol_id(self) -> SymbolId:
        """Row and column of the symbol."""
        if self.axis is Axis.PRIMARY:
            return SymbolId(self.target_index, self.source_index)
        return SymbolId(self.source_index, self.target_index)


@dataclass(frozen=True, slots=True)
class ProvenSymbol:
    """A recovery symbol whose axis and target the context says: a part of an inconsistency proof."""

    source_index: U16
    data: Data
    proof: MerkleProof


@dataclass(frozen=True, slots=True)
class InconsistencyProof:
    """Proven symbols of one sliver, from which another sliver comes out than the metadata commits to."""

    target_index: U16
    symbols: tuple[ProvenSymbol, ...]
