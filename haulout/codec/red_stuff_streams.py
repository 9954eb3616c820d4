"""RS2 for blobs larger than memory: `red_stuff` and `decoding` with files in the place of buffers.

The matrix is one however large the blob is, so it is walked through twice, in batches of rows and in batches of
columns::

    rows     read from the blob, kept as primary slivers, extended; pieces of all columns are written
    columns  read back, extended: pieces of the primary slivers from k1 on are written; all symbols hashed

Decoding walks through it once, in batches across the slivers at hand. A batch and the n x n hashes of the symbols
(32 MB for 1000 shards) are what is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from haulout.codec import parallel, sizes
from haulout.codec.errors import InconsistentBlob, NotEnoughSlivers
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import BlobMetadata
from haulout.codec.red_stuff import Geometry, build_metadata, geometry_of
from haulout.codec.scratch import fresh
from haulout.codec.streams import BlobSink, BlobSource, Progress, SliverSink, SliverSource, SliverStore, ignore_progress
from haulout.codec.verify import check_index, shape_of
from haulout.codec.words import expanding, hash_separate_words
from haulout.crypto.batch import DIGEST_BYTES, compute_roots
from haulout.primitives import Axis, EncodingType, blob_id_text

BATCH_BYTES: Final = 192 << 20  # of all buffers of a batch
_ROWS_SHARE: Final = 4  # one part in so many of an encode's work is done after the rows


def encode_to_store(
    source: BlobSource,
    size_bytes: int,
    n_shards: int,
    store: SliverStore,
    *,
    on_progress: Progress = ignore_progress,
    batch_bytes: int = BATCH_BYTES,
) -> BlobMetadata:
    """Write all slivers of a blob and return its metadata.

    Args:
        store: gets every sliver in pieces; secondary ones are read back when they are whole.
        batch_bytes: about so much memory is used; at least that of one expanded row.

    Raises:
        ShardCountOutOfRange: too few or too many shards.
        BlobTooLarge: with the limit.
    """
    geometry = geometry_of(size_bytes, n_shards, EncodingType.RS2)
    _expand_rows(geometry, source, size_bytes, store, store, on_progress, batch_bytes)
    return _expand_columns(geometry, source, size_bytes, store, store, on_progress, batch_bytes)


def compute_metadata(
    source: BlobSource,
    size_bytes: int,
    n_shards: int,
    scratch: SliverStore,
    *,
    on_progress: Progress = ignore_progress,
    batch_bytes: int = BATCH_BYTES,
) -> BlobMetadata:
    """The metadata of a blob without its slivers.

    Args:
        scratch: keeps the secondary slivers from k2 on, half of the blob's size, while this runs.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: as `encode_to_store`.
    """
    geometry = geometry_of(size_bytes, n_shards, EncodingType.RS2)
    _expand_rows(geometry, source, size_bytes, scratch, None, on_progress, batch_bytes)
    return _expand_columns(geometry, source, size_bytes, scratch, None, on_progress, batch_bytes)


def decode_to_sink(
    metadata: BlobMetadata,
    axis: Axis,
    indices: Sequence[int],
    slivers: SliverSource,
    sink: BlobSink,
    *,
    on_progress: Progress = ignore_progress,
    batch_bytes: int = BATCH_BYTES,
) -> None:
    """Write a blob from slivers of one axis; nothing of the result is checked (`check_rows`).

    Args:
        metadata: verified against the blob id.
        indices: of the slivers in `slivers`, distinct; the first ones that suffice are used.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        SliverIndexOutOfRange: no such sliver.
        NotEnoughSlivers: with `got` and `needed`; nothing was written.
    """
    shape = shape_of(metadata)
    for index in indices:
        check_index(axis, index, metadata.n_shards)
    code = shape.code(axis)
    received = sorted(set(indices))[: code.n_source]
    if len(received) < code.n_source:
        raise NotEnoughSlivers(axis=axis.name.lower(), got=len(received), needed=code.n_source)
    decoder = code.decoder(received)
    n_words, size = sizes.n_sliver_symbols(axis, metadata.n_shards), shape.symbol_size_bytes
    step = _batch(2 * code.n_source * size, batch_bytes)
    pieces, lines = _array(code.n_source, step, size), _array(code.n_source, step, size)
    for start in range(0, n_words, step):
        stop = min(start + step, n_words)
        count = stop - start
        for index, piece in zip(received, pieces, strict=True):
            slivers.read_into(axis, index, start * size, piece[:count].reshape(-1).data)
            if index < code.n_source:
                lines[index, :count] = piece[:count]
        missing = [lines[index] for index in decoder.missing]

        def decode(words: slice, missing: list[Symbols] = missing) -> None:
            decoder.decode_symbols([piece[words] for piece in pieces], [line[words] for line in missing])

        parallel.run([partial(decode, words) for words in code.batches(count, size)])
        if axis is Axis.PRIMARY:
            for row in range(code.n_source):
                offset = (row * n_words + start) * size
                _write_blob(sink, metadata.unencoded_length, offset, lines[row, :count])
        else:
            rows = np.ascontiguousarray(lines[:, :count].transpose(1, 0, 2))
            _write_blob(sink, metadata.unencoded_length, start * code.n_source * size, rows)
        on_progress(metadata.unencoded_length * stop // n_words)


def check_rows(
    metadata: BlobMetadata, source: BlobSource, known: Sequence[int], *, batch_bytes: int = BATCH_BYTES
) -> None:
    """Compare the hashes of a decoded blob's systematic primary slivers with the metadata, as `decode_blob` does.

    Args:
        source: the blob that was decoded.
        known: indices of primary slivers that were verified as they are; those without padding are not hashed again.

    Raises:
        InconsistentBlob: the check failed. If the slivers were verified, its writer is to blame.
    """
    shape, length = shape_of(metadata), metadata.unencoded_length
    row_bytes = shape.n_columns * shape.symbol_size_bytes
    left_out = {index for index in known if index < length // row_bytes}
    indices = [index for index in range(shape.n_rows) if index not in left_out]
    step = _batch(row_bytes, batch_bytes)
    rows = _array(min(step, len(indices)), shape.n_columns, shape.symbol_size_bytes)
    for start in range(0, len(indices), step):
        some = indices[start : start + step]
        for index, row in zip(some, rows, strict=False):
            _read_rows(source, length, index * row_bytes, row)
        roots = hash_separate_words(shape.code(Axis.SECONDARY), list(rows[: len(some)]))
        if any(root.tobytes() != metadata.sliver_hash(Axis.PRIMARY, i) for i, root in zip(some, roots, strict=True)):
            raise InconsistentBlob(blob_id=blob_id_text(metadata.blob_id()), check="default")


def _expand_rows(
    geometry: Geometry,
    source: BlobSource,
    size_bytes: int,
    right: SliverSink,
    sink: SliverSink | None,
    on_progress: Progress,
    batch_bytes: int,
) -> None:
    """Write the columns from k2 on, cut to the first k1 rows, to `right`; systematic rows and columns to `sink`."""
    n, k1, k2, size = geometry.n_shards, geometry.n_rows, geometry.n_columns, geometry.symbol_size_bytes
    code = geometry.code(Axis.SECONDARY)
    step = min(k1, _batch((k2 + n) * size, batch_bytes))
    rows, columns = _array(step, k2, size), _array(n, step, size)
    for start in range(0, k1, step):
        stop = min(start + step, k1)
        count = stop - start
        _read_rows(source, size_bytes, start * k2 * size, rows[:count])
        # per column its pieces stand together, also in the last batch
        pieces = columns.reshape(-1)[: n * count * size].reshape(n, count, size)

        def expand(some: slice, pieces: Symbols = pieces) -> None:
            known = rows[some].transpose(1, 0, 2)
            code.encode_symbols(known, pieces[k2:, some])
            if sink is not None:
                pieces[:k2, some] = known

        parallel.run([partial(expand, some) for some in code.batches(count, size)])
        if sink is not None:
            for row in range(count):
                sink.write(Axis.PRIMARY, start + row, 0, rows[row].reshape(-1).data)
            for column in range(k2):
                sink.write(Axis.SECONDARY, column, start * size, pieces[column].reshape(-1).data)
        for column in range(k2, n):
            right.write(Axis.SECONDARY, column, start * size, pieces[column].reshape(-1).data)
        on_progress(size_bytes * stop // (_ROWS_SHARE * k1))


def _expand_columns(
    geometry: Geometry,
    source: BlobSource,
    size_bytes: int,
    right: SliverSource,
    sink: SliverStore | None,
    on_progress: Progress,
    batch_bytes: int,
) -> BlobMetadata:
    """Hash all n columns, and write the rows from k1 on, cut to the first k2 columns, to `sink`."""
    n, k1, k2, size = geometry.n_shards, geometry.n_rows, geometry.n_columns, geometry.symbol_size_bytes
    code = geometry.code(Axis.PRIMARY)
    step = _batch(n * size, batch_bytes)
    memory = _array(step, n, size).reshape(-1)
    leaves, (primary, secondary) = _array(n, n, DIGEST_BYTES), np.empty((2, n, DIGEST_BYTES), np.uint8)
    starts = [*range(0, k2, step), *range(k2, n, step)]
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        count = stop - start
        known = memory[: count * k1 * size]
        repair = memory[known.size : count * n * size].reshape(n - k1, count, size)
        if sink is None and start < k2:
            words = known.reshape(k1, count, size)
            for row in range(k1):
                _read_rows(source, size_bytes, (row * k2 + start) * size, words[row])
        else:
            columns = known.reshape(count, k1, size)
            for i in range(count):
                right.read_into(Axis.SECONDARY, start + i, 0, columns[i].reshape(-1).data)
            words = columns.transpose(1, 0, 2)
        parallel.run(expanding(code, words, secondary[start:stop], keep=repair, leaves=leaves[start:stop]))
        if sink is not None and start < k2:
            for row in range(n - k1):
                sink.write(Axis.PRIMARY, k1 + row, start * size, repair[row].reshape(-1).data)
        on_progress(size_bytes // _ROWS_SHARE + (size_bytes - size_bytes // _ROWS_SHARE) * stop // n)

    def build_row_trees(some: slice) -> None:
        primary[some] = compute_roots(leaves[:, some].transpose(1, 0, 2))

    parallel.run([partial(build_row_trees, slice(start, start + 64)) for start in range(0, n, 64)])
    return build_metadata(EncodingType.RS2, size_bytes, map(bytes, primary), map(bytes, secondary))


def _read_rows(source: BlobSource, size_bytes: int, offset: int, out: Symbols) -> None:
    """Fill a contiguous array from the blob; what is behind its end is zero."""
    flat = out.reshape(-1)
    there = max(0, min(flat.size, size_bytes - offset))
    if there:
        source.read_into(offset, flat[:there].data)
    flat[there:] = 0


def _write_blob(sink: BlobSink, size_bytes: int, offset: int, rows: Symbols) -> None:
    """Write a contiguous array up to the blob's end."""
    there = min(rows.size, size_bytes - offset)
    if there > 0:
        sink.write(offset, rows.reshape(-1)[:there].data)


def _batch(bytes_each: int, batch_bytes: int) -> int:
    return max(1, batch_bytes // bytes_each)


def _array(*shape: int) -> Symbols:
    return np.frombuffer(fresh(int(np.prod(shape, dtype=np.int64))), np.uint8).reshape(shape)
