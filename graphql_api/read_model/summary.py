"""Pure parts of the projection: what all objects of a blob id amount to, and whether a certificate holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from haulout.codec import sizes
from haulout.crypto.certificate import Signer, check_certificate
from haulout.crypto.messages import storage_confirmation
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import Rejected
from haulout.ledger.events import BlobCertified
from haulout.primitives import EncodingType, is_quorum


def summarize_blob(objects: Sequence[Mapping[str, Any]], n_shards: int) -> dict[str, Any]:
    """The row of `blobs` for all rows of `blob_objects` with its id, in order of their registration.

    A burned object counts no more, but the nodes keep its bytes until its end: so it still holds the blob. A blob is
    deleted when nothing holds it; when one was registered anew, it is not.
    """
    first = objects[0]
    live = [o for o in objects if o["deleted_height"] is None]
    holding = [o for o in objects if o["deleted_height"] is None or o["burned"]]
    certified = [o for o in holding if o["certified_epoch"] is not None]
    ever_certified = [o for o in objects if o["certified_epoch"] is not None]
    certified_end = max((o["end_epoch"] for o in certified), default=None)
    registered_end = max((o["end_epoch"] for o in holding), default=0)
    encoding = EncodingType(first["encoding_type"])
    return {
        "root_hash": first["root_hash"],
        "size_bytes": first["size_bytes"],
        "encoding_type": first["encoding_type"],
        "encoded_size_bytes": sizes.encoded_length(first["size_bytes"], n_shards, encoding),
        "symbol_size_bytes": sizes.symbol_size_bytes(first["size_bytes"], n_shards, encoding),
        "registered_epoch": first["registered_epoch"],
        "registered_height": first["registered_height"],
        "registered_sequence": first["registered_sequence"],
        "registered_time_ms": first["registered_time_ms"],
        "registered_end_epoch": registered_end,
        "first_certified_epoch": min((o["certified_epoch"] for o in ever_certified), default=None),
        "certified_height": min((o["certified_height"] for o in ever_certified), default=None),
        "certified_sequence": min((o["certified_sequence"] for o in ever_certified), default=None),
        "certified_end_epoch": certified_end,
        "end_epoch": certified_end or registered_end or max(o["end_epoch"] for o in objects),
        "certificate_sequence": max((o["certified_sequence"] for o in ever_certified), default=None),
        "permanent_count": sum(not o["deletable"] for o in live),
        "deletable_count": sum(o["deletable"] for o in live),
        "certified_deletable_count": sum(o["deletable"] and o["certified_epoch"] is not None for o in live),
        "deleted_height": None if holding else max(o["deleted_height"] for o in objects),
    }


def is_certificate(body: BlobCertified, members: Sequence[Signer], scheme: SignatureScheme) -> bool:
    """Whether the certificate carries a quorum's valid signature for exactly this blob; members in committee order."""
    object_id = body.object_id if body.deletable else None
    if body.message != storage_confirmation(body.certified_epoch, body.blob_id, object_id):
        return False
    try:
        weight = check_certificate(
            scheme,
            members,
            message=body.message,
            signature=body.signature,
            bitmap=body.signers,
            is_enough=is_quorum,
        )
    except Rejected:
        return False
    return weight == body.weight
