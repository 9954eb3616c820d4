"""Checks of uploaded and fetched bytes: CPU work for `Workers`, with the codec's errors turned into the node's."""

from __future__ import annotations

from collections.abc import Sequence

from haulout import bcs, codec
from haulout.codec.errors import UnsupportedEncodingType
from haulout.codec.metadata import BlobMetadata, Sliver
from haulout.errors import HauloutError
from haulout.node.errors import InvalidMetadata, InvalidSliver, InvalidStripes
from haulout.ports import SliverUpload
from haulout.primitives import Axis, BlobId, EncodingType, blob_id_text, sliver_index_of_pair

SLIVER_TAIL_BYTES = 4  # symbol size u16, sliver index u16


def check_metadata(raw: bytes, blob_id: BlobId, n_shards: int) -> BlobMetadata:
    """Metadata (BCS, without id) that hashes to the blob id.

    Raises:
        UnsupportedEncodingType: of an encoding that this build does not know.
        InvalidMetadata: undecodable, or of another blob.
    """
    known = {int(encoding) for encoding in EncodingType}
    if len(raw) >= 2 and raw[1] not in known:
        raise UnsupportedEncodingType(encoding_type=raw[1])
    try:
        metadata: BlobMetadata = bcs.decode(BlobMetadata, raw)
        codec.verify_metadata(metadata, blob_id, n_shards)
    except UnsupportedEncodingType:
        raise
    except HauloutError as e:
        raise InvalidMetadata(blob_id=blob_id_text(blob_id), problem=str(e)) from e
    return metadata


def sliver_index_of(upload: SliverUpload, blob_id: BlobId) -> int:
    """The index that a sliver says it has: its last two bytes, little-endian.

    Raises:
        InvalidSliver: too short to be a sliver.
    """
    if len(upload.bcs) <= SLIVER_TAIL_BYTES:
        raise _invalid(upload, blob_id, "truncated")
    return int.from_bytes(bytes(upload.bcs[-2:]), "little")


def check_slivers(
    metadata: BlobMetadata, blob_id: BlobId, uploads: Sequence[SliverUpload]
) -> tuple[int, InvalidSliver | None]:
    """How many slivers from the first on are those of the pairs that they are said to be of, and match their hashes in
    the metadata; and what is wrong with the next."""
    slivers: list[Sliver] = []
    problem: InvalidSliver | None = None
    for upload in uploads:
        try:
            sliver = Sliver.view(upload.bcs)
        except HauloutError as e:
            problem = _invalid(upload, blob_id, str(e))
            break
        expected = sliver_index_of_pair(upload.pair_index, upload.axis, metadata.n_shards)
        if sliver.index != expected:
            problem = _invalid(upload, blob_id, f"it is sliver {sliver.index}, that of the pair is {expected}")
            break
        slivers.append(sliver)
    if _all_match(metadata, uploads, slivers):
        return len(slivers), problem
    for count, (upload, sliver) in enumerate(zip(uploads, slivers, strict=False)):
        try:
            codec.verify_sliver(metadata, upload.axis, sliver)
        except HauloutError as e:
            return count, _invalid(upload, blob_id, str(e))
    raise AssertionError("slivers that do not match together match one by one")


def check_whole_blob(
    metadata: BlobMetadata | bytes, blob_id: BlobId, n_shards: int, uploads: Sequence[SliverUpload]
) -> None:
    """Metadata, unless it was checked before and comes parsed, and whole slivers against it.

    Raises:
        UnsupportedEncodingType, InvalidMetadata: as `check_metadata`.
        InvalidStripes: the blob is in stripes, or a sliver is.
        InvalidSliver: the first that does not match.
    """
    known = check_metadata(metadata, blob_id, n_shards) if isinstance(metadata, bytes) else metadata
    if known.encoding_type is EncodingType.RS8:
        raise InvalidStripes(blob_id=blob_id_text(blob_id), problem="it is in stripes, which come one by one")
    if any(upload.first_stripe is not None for upload in uploads):
        raise InvalidStripes(blob_id=blob_id_text(blob_id), problem="it is not in stripes")
    _, problem = check_slivers(known, blob_id, uploads)
    if problem is not None:
        raise problem


def _all_match(metadata: BlobMetadata, uploads: Sequence[SliverUpload], slivers: Sequence[Sliver]) -> bool:
    """Whether all match: the usual case, and several times faster for small slivers than one by one."""
    try:
        for axis in Axis:
            same = [sliver for upload, sliver in zip(uploads, slivers, strict=False) if upload.axis is axis]
            codec.verify_slivers(metadata, axis, same)
    except HauloutError:
        return False
    return True


def _invalid(upload: SliverUpload, blob_id: BlobId, problem: str) -> InvalidSliver:
    return InvalidSliver(
        blob_id=blob_id_text(blob_id),
        pair_index=upload.pair_index,
        axis=upload.axis.name.lower(),
        problem=problem,
    )
