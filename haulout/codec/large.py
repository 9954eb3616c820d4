"""One entry for blobs larger than memory: RS2 goes to `red_stuff_streams`, RS8 stripe by stripe to `rs8` and `stripes`.

The same as `encodings` with sources and sinks (`streams`) in the place of buffers; memory stays within a few hundred
MiB whatever the size of the blob.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from haulout.codec import red_stuff_streams, rs8, sizes
from haulout.codec.consistency import ConsistencyCheck
from haulout.codec.errors import InconsistentBlob, NotEnoughSlivers
from haulout.codec.metadata import BlobMetadata, SliverStripes
from haulout.codec.scratch import fresh
from haulout.codec.streams import BlobSink, BlobSource, Progress, SliverSource, SliverStore, ignore_progress
from haulout.codec.stripes import RowCheck, decode_stripes
from haulout.codec.verify import check_index, shape_of
from haulout.codec.words import hash_separate_words
from haulout.crypto.batch import DIGEST_BYTES
from haulout.primitives import Axis, EncodingType, blob_id_text

BATCH_BYTES: Final = 128 << 20


def encode_to_store(
    source: BlobSource,
    size_bytes: int,
    n_shards: int,
    store: SliverStore,
    *,
    encoding: EncodingType = EncodingType.RS2,
    on_progress: Progress = ignore_progress,
) -> BlobMetadata:
    """Write all slivers of a blob and return its metadata.

    Raises:
        ShardCountOutOfRange: too few or too many shards.
        BlobTooLarge: with the limit.
    """
    if encoding is EncodingType.RS8:
        return rs8.encode_to_sink(source, size_bytes, n_shards, store, on_progress=on_progress)
    return red_stuff_streams.encode_to_store(source, size_bytes, n_shards, store, on_progress=on_progress)


def compute_metadata(
    source: BlobSource,
    size_bytes: int,
    n_shards: int,
    scratch: SliverStore,
    *,
    encoding: EncodingType = EncodingType.RS2,
    on_progress: Progress = ignore_progress,
) -> BlobMetadata:
    """The metadata of a blob without its slivers; RS2 keeps half of the blob's size in `scratch` meanwhile.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: as `encode_to_store`.
    """
    if encoding is EncodingType.RS8:
        return rs8.compute_metadata(source, size_bytes, n_shards, on_progress=on_progress)
    return red_stuff_streams.compute_metadata(source, size_bytes, n_shards, scratch, on_progress=on_progress)


def compute_sliver_hashes(
    metadata: BlobMetadata, axis: Axis, indices: Sequence[int], slivers: SliverSource
) -> Iterator[tuple[int, bytes]]:
    """The hash that each sliver has, in order of `indices`; slivers are read when their turn comes.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        SliverIndexOutOfRange: no such sliver.
    """
    for index in indices:
        check_index(axis, index, metadata.n_shards)
    size_bytes = metadata.sliver_size_bytes(axis)
    if metadata.encoding_type is EncodingType.RS8:
        striping = rs8.striping_of_blob(metadata)
        part_bytes = striping.part_bytes(axis)
        step = max(1, BATCH_BYTES // part_bytes)
        memory, roots = fresh(step * part_bytes), np.empty((striping.n_stripes, DIGEST_BYTES), np.uint8)
        for index in indices:
            for first in range(0, striping.n_stripes, step):
                stripes = range(first, min(first + step, striping.n_stripes))
                piece = memory[: len(stripes) * part_bytes]
                slivers.read_into(axis, index, first * part_bytes, piece)
                parts = rs8.as_parts(striping, axis, piece)
                roots[stripes.start : stripes.stop] = rs8.stripe_roots(striping, axis, parts)
            yield index, rs8.sliver_hashes(roots).tobytes()
        return
    shape = shape_of(metadata)
    step = max(1, BATCH_BYTES // size_bytes)
    memory = fresh(min(step, max(1, len(indices))) * size_bytes)
    for start in range(0, len(indices), step):
        some = indices[start : start + step]
        pieces = [memory[i * size_bytes : (i + 1) * size_bytes] for i in range(len(some))]
        for index, piece in zip(some, pieces, strict=True):
            slivers.read_into(axis, index, 0, piece)
        words = [np.frombuffer(piece, np.uint8).reshape(-1, shape.symbol_size_bytes) for piece in pieces]
        hashes = hash_separate_words(shape.code(axis.other), words)
        yield from zip(some, (found.tobytes() for found in hashes), strict=True)


def decode_to_sink(
    metadata: BlobMetadata,
    axis: Axis,
    indices: Sequence[int],
    slivers: SliverSource,
    sink: BlobSink,
    *,
    on_progress: Progress = ignore_progress,
) -> None:
    """Write a blob from slivers of one axis; nothing of the result is checked (`check_blob`).

    Args:
        metadata: verified against the blob id.
        indices: of the slivers in `slivers`, distinct; the first ones that suffice are used.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        SliverIndexOutOfRange: no such sliver.
        NotEnoughSlivers: with `got` and `needed`; nothing was written.
    """
    if metadata.encoding_type is not EncodingType.RS8:
        red_stuff_streams.decode_to_sink(metadata, axis, indices, slivers, sink, on_progress=on_progress)
        return
    for index in indices:
        check_index(axis, index, metadata.n_shards)
    needed = sizes.n_source_symbols(axis, metadata.n_shards)
    chosen = sorted(set(indices))[:needed]
    if len(chosen) < needed:
        raise NotEnoughSlivers(axis=axis.name.lower(), got=len(chosen), needed=needed)
    striping = rs8.striping_of_blob(metadata)
    part_bytes, size = striping.part_bytes(axis), striping.symbol_size_bytes
    step = max(1, BATCH_BYTES // (2 * striping.stripe_bytes))
    memory = [fresh(step * part_bytes) for _ in chosen]
    matrices = np.empty((step, striping.n_rows, striping.n_columns, size), np.uint8)
    for first in range(0, striping.n_stripes, step):
        stripes = range(first, min(first + step, striping.n_stripes))
        pieces = []
        for index, buffer in zip(chosen, memory, strict=True):
            piece = buffer[: len(stripes) * part_bytes]
            slivers.read_into(axis, index, first * part_bytes, piece)
            pieces.append(SliverStripes(piece, size, index, first, ()))
        decoded = decode_stripes(metadata, pieces, axis, stripes, matrices)
        there = striping.bytes_of(stripes)
        if there:
            sink.write(there.start, decoded.reshape(-1)[: len(there)].data)
        on_progress(there.stop)


def check_blob(
    metadata: BlobMetadata, source: BlobSource, known: Sequence[int], check: ConsistencyCheck, scratch: SliverStore
) -> None:
    """What `decode_blob` checks of its result, for one that was decoded to `source`.

    Args:
        known: indices of the primary slivers that were verified as they are.
        scratch: as for `compute_metadata`; the strict check needs it.

    Raises:
        InconsistentBlob: the check failed. If the slivers were verified, its writer is to blame.
    """
    length, n_shards, encoding = metadata.unencoded_length, metadata.n_shards, metadata.encoding_type
    if check is ConsistencyCheck.STRICT:
        if compute_metadata(source, length, n_shards, scratch, encoding=encoding).blob_id() != metadata.blob_id():
            raise InconsistentBlob(blob_id=blob_id_text(metadata.blob_id()), check=check.value)
    elif check is ConsistencyCheck.DEFAULT and encoding is not EncodingType.RS8:
        red_stuff_streams.check_rows(metadata, source, known)
    elif check is ConsistencyCheck.DEFAULT:
        striping, rows = rs8.striping_of_blob(metadata), RowCheck(metadata)
        for stripe in range(striping.n_stripes):
            stripes = range(stripe, stripe + 1)
            rows.add(stripes, rs8.read_stripes(source, striping, stripes), {})
        rows.finish()
