"""Checks of uploaded and fetched bytes: CPU work for `Workers`, with the codec's errors turned into the node's."""

from __future__ import annotations

from collections.abc import Sequence

from haulout import bcs, codec
from haulout.codec.metadata import BlobMetadata
from haulout.errors import HauloutError, InvalidInput
from haulout.node.errors import InvalidMetadata, InvalidSliver, UnsupportedEncodingType
from haulout.ports import SliverUpload
from haulout.primitives import BlobId, EncodingType, blob_id_text

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
    """How many slivers from the first on match their hashes in the metadata, and what is wrong with the next."""
    for count, upload in enumerate(uploads):
        try:
            sliver = bcs.decode(codec.Sliver, upload.bcs)
            codec.verify_sliver(metadata, upload.axis, sliver)
        except (HauloutError, InvalidInput) as e:
            return count, _invalid(upload, blob_id, str(e))
    return len(uploads), None


def _invalid(upload: SliverUpload, blob_id: BlobId, problem: str) -> InvalidSliver:
    return InvalidSliver(
        blob_id=blob_id_text(blob_id),
        pair_index=upload.pair_index,
        axis=upload.axis.name.lower(),
        problem=problem,
    )
