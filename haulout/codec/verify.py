"""Metadata against a blob id, slivers against metadata: what a node does before it keeps anything.

Source: `walrus-core`, `metadata.rs`, `slivers.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from haulout.codec import sizes
from haulout.codec.errors import (
    MetadataMismatch,
    PairCountMismatch,
    SliverHashMismatch,
    SliverIndexOutOfRange,
    SliverSizeMismatch,
    SymbolSizeMismatch,
)
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import BlobMetadata, Sliver
from haulout.codec.red_stuff import Geometry, geometry_of
from haulout.codec.words import hash_separate_words
from haulout.primitives import Axis, BlobId, blob_id_text


def verify_metadata(metadata: BlobMetadata, blob_id: BlobId, n_shards: int) -> None:
    """Check that metadata is that of a blob id in a network. The hashes in it cannot be checked by themselves.

    Raises:
        PairCountMismatch: not one pair per shard.
        ShardCountOutOfRange: too few or too many shards for its encoding.
        BlobTooLarge: a length that no blob can have.
        MetadataMismatch: it hashes to another id.
    """
    if metadata.n_shards != n_shards:
        raise PairCountMismatch(n_pairs=metadata.n_shards, n_shards=n_shards)
    check_size(metadata)
    computed = metadata.blob_id()
    if computed != blob_id:
        raise MetadataMismatch(blob_id=blob_id_text(blob_id), computed_blob_id=blob_id_text(computed))


def verify_sliver(metadata: BlobMetadata, axis: Axis, sliver: Sliver) -> None:
    """Check a sliver against metadata that is itself verified.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        SliverIndexOutOfRange, SliverSizeMismatch, SymbolSizeMismatch: its shape is wrong, in this order.
        SliverHashMismatch: its expansion does not hash to what the metadata says.
    """
    verify_slivers(metadata, axis, (sliver,))


def verify_slivers(metadata: BlobMetadata, axis: Axis, slivers: Sequence[Sliver]) -> None:
    """Check many slivers of an axis at once, which for small ones is several times faster than one by one.

    Raises:
        As `verify_sliver`: the shape of all is looked at first, then the hashes in order.
    """
    for sliver in slivers:
        check_sliver_shape(metadata, axis, sliver)
    for sliver, root in zip(slivers, compute_sliver_hashes(metadata, axis, slivers), strict=True):
        if root != metadata.sliver_hash(axis, sliver.index):
            raise SliverHashMismatch(axis=axis.name.lower(), index=sliver.index)


def check_sliver_shape(metadata: BlobMetadata, axis: Axis, sliver: Sliver) -> None:
    """Check everything of a sliver but its hash.

    Raises:
        SliverIndexOutOfRange, SliverSizeMismatch, SymbolSizeMismatch: in this order.
    """
    check_size(metadata)
    check_index(axis, sliver.index, metadata.n_shards)
    size_bytes, expected_bytes = memoryview(sliver.data).nbytes, metadata.sliver_size_bytes(axis)
    if size_bytes != expected_bytes:
        raise SliverSizeMismatch(
            axis=axis.name.lower(), index=sliver.index, size_bytes=size_bytes, expected_bytes=expected_bytes
        )
    if sliver.symbol_size_bytes != metadata.symbol_size_bytes:
        raise SymbolSizeMismatch(size_bytes=sliver.symbol_size_bytes, expected_bytes=metadata.symbol_size_bytes)


def check_size(metadata: BlobMetadata) -> None:
    """Refuse metadata of a blob that its encoding cannot hold.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: there is no such blob.
    """
    sizes.check_shard_count(metadata.n_shards, metadata.encoding_type)
    sizes.symbol_size_bytes(metadata.unencoded_length, metadata.n_shards, metadata.encoding_type)


def check_index(axis: Axis, sliver_index: int, n_shards: int) -> None:
    """Refuse sliver indices that do not exist.

    Raises:
        SliverIndexOutOfRange: not below the number of shards.
    """
    if not 0 <= sliver_index < n_shards:
        raise SliverIndexOutOfRange(what=f"{axis.name.lower()} sliver", index=sliver_index, limit=n_shards)


def compute_sliver_hashes(metadata: BlobMetadata, axis: Axis, slivers: Sequence[Sliver]) -> list[bytes]:
    """Merkle roots over the expansions of slivers of the right shape."""
    if not slivers:
        return []
    shape = shape_of(metadata)
    words = [symbols_of(sliver, shape) for sliver in slivers]
    return [root.tobytes() for root in hash_separate_words(shape.code(axis.other), words)]


def symbols_of(sliver: Sliver, shape: Geometry) -> Symbols:
    """A sliver of the right length as symbols (count, s); a view."""
    return np.frombuffer(sliver.data, np.uint8).reshape(-1, shape.symbol_size_bytes)


def shape_of(metadata: BlobMetadata) -> Geometry:
    """The matrix of the metadata's blob.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange, BlobTooLarge: there is no such blob.
    """
    return geometry_of(metadata.unencoded_length, metadata.n_shards, metadata.encoding_type)
