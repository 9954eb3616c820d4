"""One entry for all encodings: each call goes to `red_stuff` and its kin (RS2) or to `rs8` and `stripes` (RS8).

These are calls on blobs and slivers that are in memory as a whole. What is larger goes through `rs8.encode_to_sink` and
stripe by stripe through `stripes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from haulout.codec import decoding, red_stuff, rs8, verify
from haulout.codec.consistency import ConsistencyCheck
from haulout.codec.errors import BufferSizeMismatch, InconsistentBlob, SliverHashMismatch, UnsupportedEncodingType
from haulout.codec.metadata import BlobMetadata, Sliver, SliverStripes
from haulout.codec.red_stuff import EncodedBlob, SliverBuffers, WritableBuffer
from haulout.codec.streams import BytesSource
from haulout.codec.stripes import IdCheck, RowCheck, decode_stripes
from haulout.errors import HauloutError
from haulout.primitives import Axis, BlobId, Buffer, EncodingType, blob_id_text


def encode_blob(
    data: Buffer,
    n_shards: int,
    *,
    encoding: EncodingType | str | int = EncodingType.RS2,
    out: SliverBuffers | None = None,
) -> EncodedBlob:
    """All slivers of a blob and its metadata.

    Args:
        data: the blob; may be empty.
        n_shards: 4 to 1000 with RS2, 4 to 255 with RS8.
        encoding: RS2 or RS8, the value, its name or its code.
        out: buffers to write the slivers into; allocated if None.

    Raises:
        InvalidField, UnsupportedEncodingType: no such encoding.
        ShardCountOutOfRange: too few or too many shards.
        BlobTooLarge: with the limit.
        BufferSizeMismatch: `out` does not fit this blob.
    """
    named = _parse_encoding(encoding)
    if named is EncodingType.RS8:
        return rs8.encode_blob(data, n_shards, out=out)
    return red_stuff.encode_blob(data, n_shards, encoding=named, out=out)


def compute_blob_id(
    data: Buffer, n_shards: int, *, encoding: EncodingType | str | int = EncodingType.RS2
) -> tuple[BlobId, BlobMetadata]:
    """Blob id and metadata without the slivers.

    Raises:
        InvalidField, UnsupportedEncodingType, ShardCountOutOfRange, BlobTooLarge: as `encode_blob`.
    """
    named = _parse_encoding(encoding)
    if named is EncodingType.RS8:
        metadata = rs8.compute_metadata(BytesSource(data), memoryview(data).nbytes, n_shards)
        return metadata.blob_id(), metadata
    return red_stuff.compute_blob_id(data, n_shards, encoding=named)


def _parse_encoding(encoding: EncodingType | str | int) -> EncodingType:
    if isinstance(encoding, str):
        return EncodingType.parse(encoding)
    try:
        return EncodingType(encoding)
    except ValueError as e:
        raise UnsupportedEncodingType(encoding_type=encoding) from e


def verify_sliver(metadata: BlobMetadata, axis: Axis, sliver: Sliver) -> None:
    """Check a sliver against metadata that is itself verified.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        SliverIndexOutOfRange, SliverSizeMismatch, SymbolSizeMismatch: its shape is wrong, in this order.
        SliverHashMismatch: its expansion does not hash to what the metadata says.
    """
    verify_slivers(metadata, axis, (sliver,))


def verify_slivers(metadata: BlobMetadata, axis: Axis, slivers: Sequence[Sliver]) -> None:
    """Check many slivers of an axis at once, which for small ones is several times faster than one by one.

    Raises:
        As `verify_sliver`: the shape of all is looked at first, then the hashes in order.
    """
    if metadata.encoding_type is not EncodingType.RS8:
        verify.verify_slivers(metadata, axis, slivers)
        return
    for sliver in slivers:
        verify.check_sliver_shape(metadata, axis, sliver)
    striping = rs8.striping_of_blob(metadata)
    for sliver in slivers:
        roots = rs8.stripe_roots(striping, axis, rs8.as_parts(striping, axis, sliver.data))
        if rs8.sliver_hashes(roots).tobytes() != metadata.sliver_hash(axis, sliver.index):
            raise SliverHashMismatch(axis=axis.name.lower(), index=sliver.index)


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
        slivers: at least k1 primary or k2 secondary ones. Those of a wrong size and duplicates are dropped, and so are
            damaged ones, unless `verified` says that there are none or `check` that nobody looks.
        check: what to check of the result.
        verified: every sliver passed `verify_sliver`; the default check then leaves out what that makes sure already.
        out: where to decode to, at least `padded_size_bytes(metadata)`; what is behind the blob is overwritten.

    Returns:
        A view of the blob's bytes in `out`, or in fresh memory.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        BufferSizeMismatch: `out` is too small.
        NotEnoughSlivers: with `got` and `needed`.
        InconsistentBlob: the check failed, and all slivers are true to the metadata: its writer is to blame.
    """
    given = list(slivers)
    try:
        return _decode(metadata, given, axis, check=check, verified=verified, out=out)
    except InconsistentBlob:
        sound = given if verified else [sliver for sliver in given if _is_sound(metadata, axis, sliver)]
        if len(sound) == len(given):
            raise
    return _decode(metadata, sound, axis, check=check, verified=True, out=out)


def _is_sound(metadata: BlobMetadata, axis: Axis, sliver: Sliver) -> bool:
    try:
        verify_sliver(metadata, axis, sliver)
    except HauloutError:
        return False
    return True


def _decode(
    metadata: BlobMetadata,
    slivers: Sequence[Sliver],
    axis: Axis,
    *,
    check: ConsistencyCheck,
    verified: bool,
    out: WritableBuffer | None,
) -> memoryview:
    if metadata.encoding_type is not EncodingType.RS8:
        return decoding.decode_blob(metadata, slivers, axis, check=check, verified=verified, out=out)
    needed = padded_size_bytes(metadata)
    padded: WritableBuffer = bytearray(needed) if out is None else out
    view = memoryview(padded).cast("B")
    if len(view) < needed:
        raise BufferSizeMismatch(what="the blob", size_bytes=len(view), expected_bytes=needed)
    striping = rs8.striping_of_blob(metadata)
    stripes = range(striping.n_stripes)
    pieces = [SliverStripes(sliver.data, sliver.symbol_size_bytes, sliver.index, 0, ()) for sliver in slivers]
    target = rs8.as_matrices(striping, view[:needed])
    decode_stripes(metadata, pieces, axis, stripes, target)
    if check is not ConsistencyCheck.SKIP:
        checker = RowCheck(metadata) if check is ConsistencyCheck.DEFAULT else IdCheck(metadata)
        checker.add(stripes, target, {})
        checker.finish()
    return view[: metadata.unencoded_length]


def decode_and_reencode(
    metadata: BlobMetadata, slivers: Iterable[Sliver], axis: Axis, *, out: SliverBuffers | None = None
) -> EncodedBlob:
    """All slivers of a blob, from enough slivers of one axis: how a node that lacks many of them rebuilds.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: the metadata's blob cannot be.
        NotEnoughSlivers: with `got` and `needed`; nothing was written.
        BufferSizeMismatch: `out` does not fit this blob.
        InconsistentBlob: what comes out has another blob id; if the slivers were verified, its writer is to blame.
    """
    if metadata.encoding_type is not EncodingType.RS8:
        return decoding.decode_and_reencode(metadata, slivers, axis, out=out)
    data = decode_blob(metadata, slivers, axis, check=ConsistencyCheck.SKIP)
    encoded = rs8.encode_blob(data, metadata.n_shards, out=out)
    expected = metadata.blob_id()
    if encoded.blob_id != expected:
        raise InconsistentBlob(blob_id=blob_id_text(expected), check=ConsistencyCheck.STRICT.value)
    return encoded


def padded_size_bytes(metadata: BlobMetadata) -> int:
    """Bytes of the blob with its padding: what `decode_blob` needs to decode into."""
    if metadata.encoding_type is not EncodingType.RS8:
        return decoding.padded_size_bytes(metadata)
    striping = rs8.striping_of_blob(metadata)
    return striping.n_stripes * striping.stripe_bytes
