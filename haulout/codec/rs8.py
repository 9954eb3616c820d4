"""RS8: Red Stuff in stripes over GF(2^8), for blobs that RS2 cannot hold and for blobs larger than memory.

A blob is cut into T stripes of equal size. Each is a k1 x k2 matrix of s-byte symbols, filled row by row and extended
along both axes as in `red_stuff`, with the code of `gf8`. A sliver is its part of stripe 0, then of stripe 1, … and its
hash is the root of a tree of trees::

    sliver hash            tree over the T stripe roots as leaves, also when T = 1
      ├─ root of stripe 0  tree over the n symbols of the sliver's expansion in that stripe
      ├─ root of stripe 1
      …

So stripes are independent: one can be encoded, sent, verified, decoded and read by itself, given the path of its root.
With n = 4 (k1 = 2, k2 = 3, s at most 16384) a stripe holds 98,304 bytes, and a blob of one byte more has two stripes
with s = 8194. Arrays here: rows of a stripe are (k1, k2, s), roots of all slivers are (2, n, T, 32) by axis and sliver
index. Why it is so: `docs/decisions/rs8.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from haulout.codec import sizes
from haulout.codec.errors import UnsupportedEncodingType
from haulout.codec.gf8 import MatrixCode, matrix_code
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import BlobMetadata
from haulout.codec.red_stuff import EncodedBlob, SliverBuffers, build_metadata, check_buffers
from haulout.codec.streams import BlobSource, BytesSource, Progress, SliverSink, ignore_progress
from haulout.crypto.batch import DIGEST_BYTES, Digests, compute_roots, hash_leaves
from haulout.primitives import Axis, Buffer, EncodingType

BLOCK_BYTES = 2 << 20  # of expanded columns that are hashed together: they should stay in the cache
RS8 = EncodingType.RS8


@dataclass(frozen=True, slots=True)
class Striping:
    """How a blob lies in its stripes. Made by `striping_of`."""

    size_bytes: int
    n_shards: int
    symbol_size_bytes: int
    n_stripes: int

    @property
    def n_rows(self) -> int:
        """k1"""
        return sizes.n_source_symbols(Axis.PRIMARY, self.n_shards)

    @property
    def n_columns(self) -> int:
        """k2"""
        return sizes.n_source_symbols(Axis.SECONDARY, self.n_shards)

    @property
    def stripe_bytes(self) -> int:
        """Bytes of the blob in a stripe, the last one's padding included."""
        return self.n_rows * self.n_columns * self.symbol_size_bytes

    @property
    def segment_stripes(self) -> int:
        """Stripes in a segment; the last one of a blob may have fewer."""
        return sizes.segment_stripes(self.n_shards, self.symbol_size_bytes)

    @property
    def n_segments(self) -> int:
        return -(-self.n_stripes // self.segment_stripes)

    def segment(self, index: int) -> range:
        """The stripes of a segment."""
        first = index * self.segment_stripes
        return range(first, min(first + self.segment_stripes, self.n_stripes))

    def bytes_of(self, stripes: range) -> range:
        """Which bytes of the blob stand in consecutive stripes."""
        return range(
            min(stripes.start * self.stripe_bytes, self.size_bytes),
            min(stripes.stop * self.stripe_bytes, self.size_bytes),
        )

    def part_bytes(self, axis: Axis) -> int:
        """Bytes of a sliver in one stripe."""
        return sizes.n_sliver_symbols(axis, self.n_shards) * self.symbol_size_bytes

    def code(self, axis: Axis) -> MatrixCode:
        """The code over the slivers of an axis: the primary one extends columns, the secondary one rows."""
        return matrix_code(sizes.n_source_symbols(axis, self.n_shards), self.n_shards)


def striping_of(size_bytes: int, n_shards: int) -> Striping:
    """The stripes of a blob.

    Raises:
        ShardCountOutOfRange: too few or too many shards.
    """
    sizes.check_shard_count(n_shards, RS8)
    symbol_size = sizes.symbol_size_bytes(size_bytes, n_shards, RS8)
    return Striping(size_bytes, n_shards, symbol_size, sizes.n_stripes(size_bytes, n_shards, RS8))


def striping_of_blob(metadata: BlobMetadata) -> Striping:
    """The stripes of the metadata's blob.

    Raises:
        UnsupportedEncodingType: it is not encoded as RS8.
        ShardCountOutOfRange: there is no such blob.
    """
    if metadata.encoding_type is not RS8:
        raise UnsupportedEncodingType(encoding_type=int(metadata.encoding_type))
    return striping_of(metadata.unencoded_length, metadata.n_shards)


# --- stripes ------------------------------------------------------------------------------------------------


def read_stripes(source: BlobSource, striping: Striping, stripes: range, out: Symbols | None = None) -> Symbols:
    """Consecutive stripes of a blob as (stripes, k1, k2, s), padded with zeros; in `out` if it is given."""
    shape = (len(stripes), striping.n_rows, striping.n_columns, striping.symbol_size_bytes)
    matrices = np.empty(shape, np.uint8) if out is None else out[: len(stripes)]
    wanted = striping.bytes_of(stripes)
    flat = matrices.reshape(-1)
    if wanted:
        source.read_into(wanted.start, flat.data[: len(wanted)])
    flat[len(wanted) :] = 0
    return matrices


def encode_stripe(striping: Striping, rows: Symbols, primary: Symbols | None, secondary: Symbols) -> None:
    """The parts of the repair slivers in one stripe, without their hashes. Those of the systematic ones are its rows
    and columns.

    Args:
        rows: (k1, k2, s).
        primary: where the parts of primary slivers from k1 on go, (n - k1, k2, s); None to leave them out.
        secondary: where the parts of secondary slivers from k2 on go, (n - k2, k1, s).
    """
    striping.code(Axis.SECONDARY).encode_symbols(list(rows.transpose(1, 0, 2)), list(secondary))
    if primary is not None:
        striping.code(Axis.PRIMARY).encode_symbols(list(rows), list(primary))


def hash_stripe(striping: Striping, rows: Symbols, secondary: Symbols | None = None) -> Digests:
    """The roots (2, n, 32) of all slivers in one stripe.

    Args:
        rows: (k1, k2, s).
        secondary: the parts of secondary slivers from k2 on, (n - k2, k1, s), if they were computed already.
    """
    n, k1, k2, size = striping.n_shards, striping.n_rows, striping.n_columns, striping.symbol_size_bytes
    if secondary is None:
        secondary = np.empty((n - k2, k1, size), np.uint8)
        encode_stripe(striping, rows, None, secondary)
    leaves = np.empty((n, n, DIGEST_BYTES), np.uint8)  # (column, row, 32)
    code = striping.code(Axis.PRIMARY)
    leaves[:k2] = expand_and_hash(code, rows.transpose(1, 0, 2))
    leaves[k2:] = expand_and_hash(code, secondary)
    return np.stack([compute_roots(leaves.transpose(1, 0, 2)), compute_roots(leaves)])


def expand_and_hash(code: MatrixCode, words: Symbols) -> Digests:
    """The leaf hashes (words, n, 32) of the expansions of words (words, k, s)."""
    n_words, k, size = words.shape
    leaves = np.empty((n_words, code.n_symbols, DIGEST_BYTES), np.uint8)
    step = max(1, min(n_words, BLOCK_BYTES // (code.n_symbols * size)))
    block = np.empty((step, code.n_symbols, size), np.uint8)
    for start in range(0, n_words, step):
        expanded = block[: min(step, n_words - start)]
        expanded[:, :k] = words[start : start + step]
        symbols = list(expanded.transpose(1, 0, 2))
        code.encode_symbols(symbols[:k], symbols[k:])
        hash_leaves(expanded, leaves[start : start + step])
    return leaves


def stripe_roots(striping: Striping, axis: Axis, parts: Symbols) -> Digests:
    """The roots (count, 32) of consecutive stripes of one sliver, given as (count, symbols, s)."""
    return compute_roots(expand_and_hash(striping.code(axis.other), parts))


def sliver_hashes(roots: Digests) -> Digests:
    """The hashes (…, 32) of slivers from the roots (…, T, 32) of all their stripes."""
    trees = np.ascontiguousarray(roots).reshape(-1, *roots.shape[-2:])
    leaves = np.empty_like(trees)
    hash_leaves(trees, leaves)
    return compute_roots(leaves).reshape(*roots.shape[:-2], DIGEST_BYTES)


# --- whole blobs --------------------------------------------------------------------------------------------


class StripeHasher:
    """Computes the roots of one stripe after the other in the same buffers; not for two threads at once."""

    def __init__(self, source: BlobSource, striping: Striping) -> None:
        self._source = source
        self._striping = striping
        self._rows = np.empty((1, striping.n_rows, striping.n_columns, striping.symbol_size_bytes), np.uint8)
        n_repair = striping.n_shards - striping.n_columns
        self._secondary = np.empty((n_repair, striping.n_rows, striping.symbol_size_bytes), np.uint8)

    def roots(self, stripes: range) -> Digests:
        """The roots (2, n, stripes, 32) of all slivers in consecutive stripes."""
        striping = self._striping
        roots = np.empty((2, striping.n_shards, len(stripes), DIGEST_BYTES), np.uint8)
        for i, stripe in enumerate(stripes):
            read_stripes(self._source, striping, range(stripe, stripe + 1), self._rows)
            encode_stripe(striping, self._rows[0], None, self._secondary)
            roots[:, :, i] = hash_stripe(striping, self._rows[0], self._secondary)
        return roots


def metadata_of(striping: Striping, roots: Digests) -> BlobMetadata:
    """The metadata that commits to the roots of all stripes."""
    primary, secondary = sliver_hashes(roots)
    return build_metadata(RS8, striping.size_bytes, map(bytes, primary), map(bytes, secondary))


def compute_metadata(
    source: BlobSource, size_bytes: int, n_shards: int, *, on_progress: Progress = ignore_progress
) -> BlobMetadata:
    """The metadata of a blob of any size.

    Raises:
        ShardCountOutOfRange: too few or too many shards.
    """
    striping = striping_of(size_bytes, n_shards)
    hasher = StripeHasher(source, striping)
    roots = np.empty((2, n_shards, striping.n_stripes, DIGEST_BYTES), np.uint8)
    for stripe in range(striping.n_stripes):
        stripes = range(stripe, stripe + 1)
        roots[:, :, stripe : stripe + 1] = hasher.roots(stripes)
        on_progress(striping.bytes_of(stripes).stop)
    return metadata_of(striping, roots)


def encode_to_sink(
    source: BlobSource, size_bytes: int, n_shards: int, sink: SliverSink, *, on_progress: Progress = ignore_progress
) -> BlobMetadata:
    """Write all slivers of a blob of any size and return its metadata; one encoded stripe is in memory at a time.

    Raises:
        ShardCountOutOfRange: too few or too many shards.
    """
    striping = striping_of(size_bytes, n_shards)
    n, size = n_shards, striping.symbol_size_bytes
    roots = np.empty((2, n, striping.n_stripes, DIGEST_BYTES), np.uint8)
    primary = np.empty((n, striping.n_columns, size), np.uint8)
    secondary = np.empty((n, striping.n_rows, size), np.uint8)
    rows = primary[: striping.n_rows]
    for stripe in range(striping.n_stripes):
        stripes = range(stripe, stripe + 1)
        read_stripes(source, striping, stripes, rows[None])
        secondary[: striping.n_columns] = rows.transpose(1, 0, 2)
        encode_stripe(striping, rows, primary[striping.n_rows :], secondary[striping.n_columns :])
        roots[:, :, stripe] = hash_stripe(striping, rows, secondary[striping.n_columns :])
        for axis, parts in zip(Axis, (primary, secondary), strict=True):
            offset = stripe * striping.part_bytes(axis)
            for index in range(n):
                sink.write(axis, index, offset, memoryview(parts[index].reshape(-1)))
        on_progress(striping.bytes_of(stripes).stop)
    return metadata_of(striping, roots)


def encode_blob(data: Buffer, n_shards: int, *, out: SliverBuffers | None = None) -> EncodedBlob:
    """All slivers of a blob in memory; for large blobs see `encode_to_sink`.

    Raises:
        ShardCountOutOfRange: too few or too many shards.
        BufferSizeMismatch: `out` does not fit this blob.
    """
    size_bytes = memoryview(data).nbytes
    sizes.check_shard_count(n_shards, RS8)
    buffers = SliverBuffers.allocate(size_bytes, n_shards, RS8) if out is None else out
    check_buffers(buffers, size_bytes, n_shards, RS8)
    metadata = encode_to_sink(BytesSource(data), size_bytes, n_shards, _BufferSink(buffers, size_bytes, n_shards))
    return EncodedBlob(metadata.blob_id(), metadata, buffers)


class _BufferSink:
    """All slivers of an axis one after the other in a buffer."""

    def __init__(self, buffers: SliverBuffers, size_bytes: int, n_shards: int) -> None:
        self._views = {axis: memoryview(buffers.of(axis)).cast("B") for axis in Axis}
        self._sliver_bytes = {axis: sizes.sliver_size_bytes(axis, size_bytes, n_shards, RS8) for axis in Axis}

    def write(self, axis: Axis, sliver_index: int, offset: int, data: memoryview) -> None:
        start = sliver_index * self._sliver_bytes[axis] + offset
        self._views[axis][start : start + len(data)] = data


# --- segments for the wire ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EncodedSegment:
    """The parts of all slivers in the stripes of one segment."""

    stripes: range
    rows: Symbols  # (stripes, k1, k2, s)
    primary: Symbols  # of primary slivers from k1 on, (n - k1, stripes, k2, s)
    secondary: Symbols  # of secondary slivers from k2 on, (n - k2, stripes, k1, s)

    def part(self, axis: Axis, sliver_index: int) -> Symbols:
        """The parts (stripes, symbols, s) of a sliver, contiguous."""
        repair = self.primary if axis is Axis.PRIMARY else self.secondary
        n_systematic = self.rows.shape[1 + axis]
        if sliver_index >= n_systematic:
            found: Symbols = repair[sliver_index - n_systematic]
            return found
        part = self.rows[:, sliver_index] if axis is Axis.PRIMARY else self.rows[:, :, sliver_index]
        return np.ascontiguousarray(part)


class SegmentEncoder:
    """Encodes one segment after the other into the same buffers, without hashing anything.

    What it returned is overwritten by its next call: fresh memory costs more than encoding.
    """

    def __init__(self, source: BlobSource, striping: Striping) -> None:
        self._source = source
        self._striping = striping
        n, k1, k2, size = striping.n_shards, striping.n_rows, striping.n_columns, striping.symbol_size_bytes
        count = min(striping.segment_stripes, striping.n_stripes)
        self._rows = np.empty((count, k1, k2, size), np.uint8)
        self._primary = np.empty((n - k1) * count * k2 * size, np.uint8)
        self._secondary = np.empty((n - k2) * count * k1 * size, np.uint8)

    @staticmethod
    def memory_bytes(striping: Striping) -> int:
        """Size of the buffers."""
        count = min(striping.segment_stripes, striping.n_stripes)
        n, k1, k2 = striping.n_shards, striping.n_rows, striping.n_columns
        return count * (k1 * k2 + (n - k1) * k2 + (n - k2) * k1) * striping.symbol_size_bytes

    def encode(self, segment_index: int) -> EncodedSegment:
        """Encode the stripes of a segment."""
        striping = self._striping
        stripes = striping.segment(segment_index)
        n, k1, k2 = striping.n_shards, striping.n_rows, striping.n_columns
        count, size = len(stripes), striping.symbol_size_bytes
        primary = self._primary[: (n - k1) * count * k2 * size].reshape(n - k1, count, k2, size)
        secondary = self._secondary[: (n - k2) * count * k1 * size].reshape(n - k2, count, k1, size)
        rows = read_stripes(self._source, striping, stripes, self._rows)
        for i in range(count):
            encode_stripe(striping, rows[i], primary[:, i], secondary[:, i])
        return EncodedSegment(stripes, rows, primary, secondary)


def segments_of(striping: Striping, stripes: range) -> Iterator[tuple[int, range]]:
    """The segments that consecutive stripes lie in, with those of the stripes that are in each."""
    for index in range(stripes.start // striping.segment_stripes, striping.n_segments):
        segment = striping.segment(index)
        part = range(max(segment.start, stripes.start), min(segment.stop, stripes.stop))
        if not part:
            return
        yield index, part


def stripes_of_bytes(striping: Striping, start: int, length: int) -> range:
    """The stripes that bytes of a blob stand in."""
    return range(start // striping.stripe_bytes, -(-(start + length) // striping.stripe_bytes))


def as_parts(striping: Striping, axis: Axis, data: Buffer) -> Symbols:
    """Raw bytes of consecutive stripes of a sliver as (stripes, symbols, s); a view."""
    flat = np.frombuffer(data, np.uint8)
    return flat.reshape(-1, sizes.n_sliver_symbols(axis, striping.n_shards), striping.symbol_size_bytes)


def as_matrices(striping: Striping, buffer: Buffer) -> Symbols:
    """Whole stripes of a blob as (stripes, k1, k2, s); a view."""
    flat = np.frombuffer(buffer, np.uint8)
    return flat.reshape(-1, striping.n_rows, striping.n_columns, striping.symbol_size_bytes)
