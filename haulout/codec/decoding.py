"""Blobs from slivers, and whether the blob was encoded as its id says.

Decoding from any k1 primary slivers goes column by column through the primary code, from any k2 secondary ones row by
row through the secondary code; systematic slivers (primary below k1, secondary below k2) are copied.

Verified slivers do not make a valid blob: whoever encoded it may have committed to a matrix that is no codeword. Then
other slivers decode to other bytes. So a reader checks the result against the metadata, and every correct reader comes
to the same verdict. Source: `walrus-core`, `blob_encoding.rs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from haulout.codec import parallel, sizes
from haulout.codec.consistency import ConsistencyCheck
from haulout.codec.errors import BufferSizeMismatch, InconsistentBlob, NotEnoughSlivers
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import BlobMetadata, Sliver
from haulout.codec.red_stuff import (
    EncodedBlob,
    Geometry,
    SliverBuffers,
    WritableBuffer,
    check_buffers,
    compute_metadata,
    encode_in_place,
)
from haulout.codec.scratch import fresh
from haulout.codec.verify import shape_of, symbols_of
from haulout.codec.words import hash_separate_words
from haulout.primitives import Axis, blob_id_text


def decode_blob(
    metadata: BlobMetadata,
    slivers: Iterable[Sliver],
    axis: Axis,
    *,
    check: ConsistencyCheck = ConsistencyCheck.DEFAULT,
    verified: bool = False,
    out: WritableBuffer | None = None,
) -> memoryview:
    """The blob, from slivers of one axis.

    Args:
        metadata: verified against the blob id.
        slivers: at least k1 primary or k2 secondary ones. Those of a wrong size and duplicates are dropped.
        check: what to check of the result.
        verified: every sliver passed `verify_sliver`; the default check then leaves out rows that are inputs.
        out: where to decode to, at least `padded_size_bytes(metadata)`; what is behind the blob is overwritten.

    Returns:
        A view of the blob's bytes in `out`, or in fresh memory.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        BufferSizeMismatch: `out` is too small.
        NotEnoughSlivers: with `got` and `needed`; nothing was written.
        InconsistentBlob: the check failed. If the slivers were verified, its writer is to blame.
    """
    shape = shape_of(metadata)
    chosen = choose_slivers(metadata, slivers, axis)
    padded: WritableBuffer = fresh(shape.matrix_bytes) if out is None else out
    if memoryview(padded).nbytes < shape.matrix_bytes:
        size_bytes = memoryview(padded).nbytes
        raise BufferSizeMismatch(what="the blob", size_bytes=size_bytes, expected_bytes=shape.matrix_bytes)
    matrix = shape.matrix(padded)
    _decode_into(matrix, shape, chosen, axis)
    matrix.reshape(-1)[metadata.unencoded_length :] = 0
    if check is ConsistencyCheck.DEFAULT:
        known = [sliver.index for sliver in chosen] if verified and axis is Axis.PRIMARY else []
        _check_rows(metadata, shape, matrix, known)
    elif check is ConsistencyCheck.STRICT:
        computed = compute_metadata(shape, padded, metadata.unencoded_length)
        if computed.blob_id() != metadata.blob_id():
            raise InconsistentBlob(blob_id=blob_id_text(metadata.blob_id()), check=check.value)
    return memoryview(padded).cast("B")[: metadata.unencoded_length]


def decode_and_reencode(
    metadata: BlobMetadata, slivers: Iterable[Sliver], axis: Axis, *, out: SliverBuffers | None = None
) -> EncodedBlob:
    """All slivers of a blob, from enough slivers of one axis: how a node that lacks many of them rebuilds.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        NotEnoughSlivers: with `got` and `needed`; nothing was written.
        BufferSizeMismatch: `out` does not fit this blob.
        InconsistentBlob: what comes out has another blob id; if the slivers were verified, its writer is to blame.
    """
    shape = shape_of(metadata)
    size_bytes, n_shards, encoding = metadata.unencoded_length, metadata.n_shards, metadata.encoding_type
    chosen = choose_slivers(metadata, slivers, axis)
    buffers = SliverBuffers.allocate(size_bytes, n_shards, encoding) if out is None else out
    check_buffers(buffers, size_bytes, n_shards, encoding)
    _decode_into(shape.matrix(buffers.primary), shape, chosen, axis)
    encoded = encode_in_place(shape, buffers, size_bytes)
    expected = metadata.blob_id()
    if encoded.blob_id != expected:
        raise InconsistentBlob(blob_id=blob_id_text(expected), check=ConsistencyCheck.STRICT.value)
    return encoded


def padded_size_bytes(metadata: BlobMetadata) -> int:
    """Bytes of the blob with its padding: what `decode_blob` needs to decode into."""
    return shape_of(metadata).matrix_bytes


def choose_slivers(metadata: BlobMetadata, slivers: Iterable[Sliver], axis: Axis) -> list[Sliver]:
    """The slivers to decode from: as many as needed, ascending and distinct, those with the blob's bytes first.

    Raises:
        NotEnoughSlivers: with `got` and `needed`, counting usable ones.
    """
    shape = shape_of(metadata)
    expected_bytes = metadata.sliver_size_bytes(axis)
    usable: dict[int, Sliver] = {}
    for sliver in slivers:
        fits = sliver.index < metadata.n_shards and sliver.symbol_size_bytes == shape.symbol_size_bytes
        if fits and memoryview(sliver.data).nbytes == expected_bytes:
            usable.setdefault(sliver.index, sliver)
    needed = sizes.n_source_symbols(axis, metadata.n_shards)
    if len(usable) < needed:
        raise NotEnoughSlivers(axis=axis.name.lower(), got=len(usable), needed=needed)
    return [usable[index] for index in sorted(usable)[:needed]]


def _decode_into(matrix: Symbols, shape: Geometry, chosen: Sequence[Sliver], axis: Axis) -> None:
    """Fill the matrix (k1, k2, s) from chosen slivers; its old contents do not matter."""
    lines = matrix if axis is Axis.PRIMARY else matrix.transpose(1, 0, 2)
    received = [symbols_of(sliver, shape) for sliver in chosen]
    code = shape.code(axis)
    decoder = code.decoder([sliver.index for sliver in chosen])
    missing = [lines[index] for index in decoder.missing]

    def decode(words: slice) -> None:
        for sliver, symbols in zip(chosen, received, strict=True):
            if sliver.index < len(lines):
                lines[sliver.index, words] = symbols[words]
        decoder.decode_symbols([symbols[words] for symbols in received], [line[words] for line in missing])

    parallel.run([partial(decode, words) for words in code.batches(lines.shape[1], lines.shape[2])])


def _check_rows(metadata: BlobMetadata, shape: Geometry, matrix: Symbols, known: Sequence[int]) -> None:
    """Compare the hashes of rebuilt systematic primary slivers with the metadata.

    `known` rows were verified as they are and are left out, unless they reach into the padding: there the sliver may
    have had something else than the zeros that belong there.
    """
    n_whole = metadata.unencoded_length // (shape.n_columns * shape.symbol_size_bytes)
    left_out = {index for index in known if index < n_whole}
    indices = [index for index in range(shape.n_rows) if index not in left_out]
    if not indices:
        return
    roots = hash_separate_words(shape.code(Axis.SECONDARY), [matrix[index] for index in indices])
    expected = (metadata.sliver_hash(Axis.PRIMARY, index) for index in indices)
    if any(root.tobytes() != known_hash for root, known_hash in zip(roots, expected, strict=True)):
        raise InconsistentBlob(blob_id=blob_id_text(metadata.blob_id()), check=ConsistencyCheck.DEFAULT.value)
