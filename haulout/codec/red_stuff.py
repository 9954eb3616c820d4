"""Red Stuff, encoding RS2: a blob as a matrix, erasure-coded along both of its axes.

The blob fills a matrix of k1 rows and k2 columns of s-byte symbols, row by row. Every row is extended to n symbols by
the *secondary* code (any k2 of n), every column to n by the *primary* code (any k1 of n). Shard by shard one row and
one column are stored, cut to the symbols that the other code cannot give back: a pair of a *primary sliver* (row p)
and a *secondary sliver* (column n - 1 - p). The bottom right corner is never stored.

The worked example: n = 4, so f = 1, k1 = 2, k2 = 3; the 12 bytes `078a12951da028ab33b63ec1` make s = 2::

                 c0    c1    c2  |  c3             repair of a row: the XOR of its three symbols
        r0      078a  1295  1da0 | 08bf            repair of a column (a, b): 3 a + 2 b and 2 a + 3 b
        r1      28ab  33b6  3ec1 | 25dc
               ------------------+------
        r2      0fb1  83ad  e428 |  …              pair 0 = primary r0 `078a12951da0`, secondary c3 `08bf25dc`
        r3      2090  a28e  c749 |  …              pair 1 = primary r1 `28ab33b63ec1`, secondary c2 `1da03ec1` …

Two primary slivers (any k1) decode the blob, or three secondary ones (any k2). A lost primary sliver is rebuilt from
one symbol of each of k2 columns, so repairing costs a sliver's size and not a blob's: that is what the second axis
is for. And since a sliver's hash covers its whole expanded row or column, every symbol of the matrix is committed to
twice, and a writer who extends it wrongly is caught by whoever rebuilds.

Columns are expanded after rows, batch by batch, so that besides the slivers only a few MiB are in use.
Source: Walrus whitepaper, Red Stuff; `walrus-core`, `blob_encoding.rs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from haulout.codec import parallel, sizes
from haulout.codec.errors import BufferSizeMismatch, UnsupportedEncodingType
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import METADATA_VERSION, BlobMetadata, Sliver, SliverPair, SliverPairHashes
from haulout.codec.reed_solomon import Code, code_of
from haulout.codec.scratch import borrow, fresh
from haulout.codec.words import expanding
from haulout.crypto.batch import DIGEST_BYTES, compute_roots
from haulout.primitives import Axis, BlobId, Buffer, EncodingType, sliver_index_of_pair

WritableBuffer = bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Geometry:
    """Shape of a blob's matrix."""

    n_shards: int
    symbol_size_bytes: int

    @property
    def n_rows(self) -> int:
        """k1"""
        return sizes.n_source_symbols(Axis.PRIMARY, self.n_shards)

    @property
    def n_columns(self) -> int:
        """k2"""
        return sizes.n_source_symbols(Axis.SECONDARY, self.n_shards)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the blob with its padding."""
        return self.n_rows * self.n_columns * self.symbol_size_bytes

    def code(self, axis: Axis) -> Code:
        """The code over the slivers of an axis: the primary one extends columns, the secondary one rows."""
        return code_of(sizes.n_source_symbols(axis, self.n_shards), self.n_shards)

    def matrix(self, buffer: Buffer) -> Symbols:
        """The first bytes of a buffer as the message matrix (k1, k2, s)."""
        flat = np.frombuffer(buffer, np.uint8, self.matrix_bytes)
        return flat.reshape(self.n_rows, self.n_columns, self.symbol_size_bytes)

    def slivers(self, axis: Axis, buffer: Buffer) -> Symbols:
        """A buffer of all slivers of an axis as (n, symbols, s)."""
        return np.frombuffer(buffer, np.uint8).reshape(self.n_shards, -1, self.symbol_size_bytes)


def geometry_of(size_bytes: int, n_shards: int, encoding: EncodingType) -> Geometry:
    """The shape of a blob's matrix.

    Raises:
        UnsupportedEncodingType: not RS2.
        ShardCountOutOfRange: too few or too many shards.
        BlobTooLarge: with the limit.
    """
    if encoding is not EncodingType.RS2:
        raise UnsupportedEncodingType(encoding_type=int(encoding))
    sizes.check_shard_count(n_shards, encoding)
    return Geometry(n_shards, sizes.symbol_size_bytes(size_bytes, n_shards, encoding))


@dataclass(frozen=True, slots=True)
class SliverBuffers:
    """Where the slivers of a blob go: two buffers of the caller, of exactly `sizes.slivers_size_bytes(axis, …)` each.

    Slivers stand one after the other in order of their *sliver* index. The buffers may be maps of files (a
    `memoryview` of an `mmap`) and are reused by whoever encodes many blobs: fresh memory costs as much as encoding.
    """

    primary: WritableBuffer
    secondary: WritableBuffer

    @classmethod
    def allocate(cls, size_bytes: int, n_shards: int, encoding: EncodingType = EncodingType.RS2) -> SliverBuffers:
        """Fresh buffers for a blob of `size_bytes`, with arbitrary contents."""
        lengths = (sizes.slivers_size_bytes(axis, size_bytes, n_shards, encoding) for axis in Axis)
        return cls(*map(fresh, lengths))

    def of(self, axis: Axis) -> WritableBuffer:
        """The buffer of an axis."""
        return self.primary if axis is Axis.PRIMARY else self.secondary


@dataclass(frozen=True, slots=True)
class EncodedBlob:
    """All slivers of a blob, in buffers, and the metadata that commits to them."""

    blob_id: BlobId
    metadata: BlobMetadata
    buffers: SliverBuffers

    def sliver_data(self, axis: Axis, sliver_index: int) -> memoryview:
        """The raw bytes of a sliver; a view, not a copy."""
        size = self.metadata.sliver_size_bytes(axis)
        return memoryview(self.buffers.of(axis))[sliver_index * size : (sliver_index + 1) * size]

    def sliver(self, axis: Axis, sliver_index: int) -> Sliver:
        """A sliver whose data is a view into the buffers."""
        data = self.sliver_data(axis, sliver_index)
        return Sliver(data, self.metadata.symbol_size_bytes, sliver_index)

    def pair(self, pair_index: int) -> SliverPair:
        """What the shard of this pair stores; views into the buffers."""
        n_shards = self.metadata.n_shards
        return SliverPair(
            *(
                self.sliver(axis, sliver_index_of_pair(pair_index, axis, n_shards))
                for axis in (Axis.PRIMARY, Axis.SECONDARY)
            )
        )


def encode_blob(
    data: Buffer, n_shards: int, *, encoding: EncodingType = EncodingType.RS2, out: SliverBuffers | None = None
) -> EncodedBlob:
    """All slivers of a blob and its metadata.

    Args:
        data: the blob; may be empty.
        n_shards: 4 to 1000.
        out: buffers to write the slivers into; allocated if None.

    Raises:
        UnsupportedEncodingType: not RS2.
        ShardCountOutOfRange: too few or too many shards.
        BlobTooLarge: with the limit.
        BufferSizeMismatch: `out` does not fit this blob.
    """
    geometry = geometry_of(len(data), n_shards, encoding)
    buffers = SliverBuffers.allocate(len(data), n_shards, encoding) if out is None else out
    check_buffers(buffers, len(data), n_shards, encoding)
    return _encode_to_buffers(geometry, buffers, len(data), np.frombuffer(data, np.uint8))


def encode_in_place(geometry: Geometry, buffers: SliverBuffers, size_bytes: int) -> EncodedBlob:
    """Encode the blob that stands at the start of the buffer of primary slivers; what follows it is overwritten."""
    return _encode_to_buffers(geometry, buffers, size_bytes, None)


def _encode_to_buffers(
    geometry: Geometry, buffers: SliverBuffers, size_bytes: int, data: Symbols | None
) -> EncodedBlob:
    primary = geometry.slivers(Axis.PRIMARY, buffers.primary)
    primary.reshape(-1)[size_bytes : geometry.matrix_bytes] = 0
    secondary = geometry.slivers(Axis.SECONDARY, buffers.secondary)
    metadata = _encode(geometry, primary[: geometry.n_rows], secondary, size_bytes, repair_rows=primary, data=data)
    return EncodedBlob(metadata.blob_id(), metadata, buffers)


def compute_blob_id(
    data: Buffer, n_shards: int, *, encoding: EncodingType = EncodingType.RS2
) -> tuple[BlobId, BlobMetadata]:
    """Blob id and metadata without the slivers: half of the matrix's size in memory, and no time saved on hashing.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange, BlobTooLarge: as `encode_blob`.
    """
    geometry = geometry_of(len(data), n_shards, encoding)
    given = memoryview(data).cast("B")
    if len(given) == geometry.matrix_bytes:
        metadata = compute_metadata(geometry, given, len(given))
    else:
        with borrow(geometry.matrix_bytes) as padded:
            padded[: len(given)] = np.frombuffer(given, np.uint8)
            padded[len(given) :] = 0
            metadata = compute_metadata(geometry, padded.data, len(given))
    return metadata.blob_id(), metadata


def compute_metadata(geometry: Geometry, padded: Buffer, size_bytes: int) -> BlobMetadata:
    """The metadata of a blob of `size_bytes` that is already padded to `geometry.matrix_bytes`."""
    right = (geometry.n_shards - geometry.n_columns, geometry.n_rows, geometry.symbol_size_bytes)
    with borrow(*right) as columns:
        return _encode(geometry, geometry.matrix(padded), columns, size_bytes, repair_rows=None)


def check_buffers(buffers: SliverBuffers, size_bytes: int, n_shards: int, encoding: EncodingType) -> None:
    """Refuse buffers of another size than the slivers of this blob take.

    Raises:
        BufferSizeMismatch: with the size needed.
    """
    for axis in Axis:
        expected = sizes.slivers_size_bytes(axis, size_bytes, n_shards, encoding)
        found = memoryview(buffers.of(axis)).nbytes
        if found != expected:
            what = f"{axis.name.lower()} slivers"
            raise BufferSizeMismatch(what=what, size_bytes=found, expected_bytes=expected)


def _encode(
    geometry: Geometry,
    rows: Symbols,
    columns: Symbols,
    size_bytes: int,
    *,
    repair_rows: Symbols | None,
    data: Symbols | None = None,
) -> BlobMetadata:
    """Expand rows and then all n columns, hash every symbol of the matrix once, and build the trees of both axes.

    Args:
        rows: the matrix, (k1, k2, s).
        columns: gets the secondary slivers, (n, k1, s), or only those from k2 on.
        repair_rows: gets the primary slivers from k1 on, (n, k2, s); or None.
        data: the blob, if it is not in `rows` yet.
    """
    n, k1, k2 = geometry.n_shards, geometry.n_rows, geometry.n_columns
    across, along = geometry.code(Axis.SECONDARY), geometry.code(Axis.PRIMARY)
    right = columns[-(n - k2) :]
    copy = columns[:k2].transpose(1, 0, 2) if len(columns) == n else None
    keep = None if repair_rows is None else repair_rows[k1:]
    primary, secondary = np.empty((2, n, DIGEST_BYTES), np.uint8)

    row_bytes = k2 * geometry.symbol_size_bytes

    def expand_rows(some: slice) -> None:
        if data is not None:
            part = data[some.start * row_bytes : some.stop * row_bytes]
            rows[some].reshape(-1)[: part.size] = part
        across.encode_symbols(rows[some].transpose(1, 0, 2), right[:, some])

    def build_row_trees(some: slice) -> None:
        primary[some] = compute_roots(leaves[:, some].transpose(1, 0, 2))

    with borrow(n, n, DIGEST_BYTES) as leaves:
        parallel.run([partial(expand_rows, some) for some in across.batches(k1, geometry.symbol_size_bytes)])
        systematic = expanding(along, rows, secondary[:k2], keep=keep, copy=copy, leaves=leaves[:k2])
        others = expanding(along, right.transpose(1, 0, 2), secondary[k2:], leaves=leaves[k2:])
        parallel.run(systematic + others)
        parallel.run([partial(build_row_trees, slice(start, start + 64)) for start in range(0, n, 64)])
    return build_metadata(EncodingType.RS2, size_bytes, map(bytes, primary), map(bytes, secondary))


def build_metadata(
    encoding: EncodingType, size_bytes: int, primary: Iterable[bytes], secondary: Iterable[bytes]
) -> BlobMetadata:
    """Metadata of slivers whose hashes are given in order of their sliver indices."""
    mirrored = reversed(list(secondary))
    pairs = tuple(SliverPairHashes(p, s) for p, s in zip(primary, mirrored, strict=True))
    return BlobMetadata(METADATA_VERSION, encoding, size_bytes, pairs)
