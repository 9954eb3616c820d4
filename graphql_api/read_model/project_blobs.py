"""The projection of blobs, their objects and attributes: a part of `project`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert

from graphql_api.read_model import schema as t
from graphql_api.read_model.statements import find_rows
from graphql_api.read_model.summaries import is_certificate
from haulout.crypto.certificate import Signer
from haulout.ledger import events as e
from haulout.ledger.state import NOBODY

if TYPE_CHECKING:
    from graphql_api.read_model.project import Batch

Row = dict[str, Any]


def _blob_registered(batch: Batch, body: e.BlobRegistered) -> None:
    row = {
        "blob_id": body.blob_id,
        "owner": body.owner,
        "root_hash": body.root_hash,
        "size_bytes": body.size_bytes,
        "encoding_type": body.encoding_type,
        "deletable": body.deletable,
        "storage_id": body.storage_id,
        "storage_size_bytes": body.storage_size_bytes,
        "start_epoch": body.start_epoch,
        "end_epoch": body.end_epoch,
        "cost_frost": body.cost_frost,
        "registered_epoch": body.registered_epoch,
        "registered_time_ms": batch.event.time_ms,
        "burned": False,
        **batch.born(),
    }
    batch.objects.add(body.object_id, row)
    bound = {
        "owner": body.owner,
        "start_epoch": body.start_epoch,
        "end_epoch": body.end_epoch,
        "size_bytes": body.storage_size_bytes,
        "blob_object_id": body.object_id,
        "deleted_height": None,
    }
    batch.put_storage(body.storage_id, bound)
    batch.summaries.stale_blobs[body.blob_id] = None
    batch.record(blob=body.blob_id, obj=body.object_id, account=body.owner)


def _blob_certified(batch: Batch, body: e.BlobCertified) -> None:
    before = batch.object_row(body.object_id)
    values: Row = {"end_epoch": body.end_epoch, "storage_size_bytes": body.storage_size_bytes}
    values["cost_frost"] = before["cost_frost"] + body.cost_frost
    if not body.is_extension:
        values["certified_epoch"] = body.certified_epoch
        values["certified_height"] = batch.event.height
        values["certified_sequence"] = batch.event.sequence
        _add_certificate(batch, body)
    batch.set_row(batch.objects, body.object_id, **values)
    batch.set_row(batch.storage, before["storage_id"], end_epoch=body.end_epoch, size_bytes=body.storage_size_bytes)
    batch.summaries.stale_blobs[body.blob_id] = None
    batch.record(blob=body.blob_id, obj=body.object_id, account=before["owner"])


def _add_certificate(batch: Batch, body: e.BlobCertified) -> None:
    row = {
        "sequence": batch.event.sequence,
        "height": batch.event.height,
        "blob_id": body.blob_id,
        "object_id": body.object_id,
        "epoch": body.certified_epoch,
        "deletable": body.deletable,
        "message": body.message,
        "signature": body.signature,
        "signers": body.signers,
        "weight": body.weight,
        "verified": _is_certified(batch, body),
    }
    batch.certificate_rows.append(row)


def _is_certified(batch: Batch, body: e.BlobCertified) -> bool:
    """Check the certificate again, with the keys of the committee in this database."""
    return is_certificate(body, _signers_of(batch, body.certified_epoch), batch.scheme)


def _signers_of(batch: Batch, epoch: int) -> list[Signer]:
    """The committee of an epoch, which stays as it is once the epoch has begun."""
    if epoch not in batch.signers:
        rows = find_rows(batch.sql, t.committee_members, {"epoch": epoch})
        rows.sort(key=lambda row: row["position"])
        batch.signers[epoch] = [Signer(row["public_key"], row["weight"]) for row in rows]
    return batch.signers[epoch]


def _blob_deleted(batch: Batch, body: e.BlobDeleted) -> None:
    owner = batch.object_row(body.object_id)["owner"]
    batch.set_row(batch.objects, body.object_id, deleted_height=batch.event.height)
    batch.set_bound_storage(body.storage_id, body.object_id, blob_object_id=None)
    batch.summaries.stale_blobs[body.blob_id] = None
    batch.record(blob=body.blob_id, obj=body.object_id, account=owner)


def _blob_burned(batch: Batch, body: e.BlobBurned) -> None:
    before = batch.object_row(body.object_id)
    batch.set_row(batch.objects, body.object_id, deleted_height=batch.event.height, burned=True)
    batch.set_bound_storage(before["storage_id"], body.object_id, deleted_height=batch.event.height)
    batch.summaries.stale_blobs[body.blob_id] = None
    batch.record(blob=body.blob_id, obj=body.object_id, account=before["owner"])


def _blob_transferred(batch: Batch, body: e.BlobTransferred) -> None:
    batch.set_row(batch.objects, body.object_id, owner=body.owner)
    batch.set_bound_storage(batch.object_row(body.object_id)["storage_id"], body.object_id, owner=body.owner)
    batch.record(blob=body.blob_id, obj=body.object_id, account=body.owner)


def _blob_shared(batch: Batch, body: e.BlobShared) -> None:
    batch.set_row(batch.objects, body.object_id, owner=NOBODY, shared_funds_frost=body.funds_frost)
    batch.set_bound_storage(batch.object_row(body.object_id)["storage_id"], body.object_id, owner=NOBODY)
    batch.record(blob=body.blob_id, obj=body.object_id, account=body.former_owner)


def _shared_funds_changed(batch: Batch, body: e.SharedBlobFunded | e.SharedBlobExtended) -> None:
    batch.set_row(batch.objects, body.object_id, shared_funds_frost=body.funds_frost)
    batch.record(blob=body.blob_id, obj=body.object_id, account=body.sender)


def _blob_attributes_changed(batch: Batch, body: e.BlobAttributesChanged) -> None:
    before = batch.object_row(body.object_id)
    batch.sql.execute(delete(t.blob_attributes).where(t.blob_attributes.c.object_id == body.object_id))
    rows = [{"object_id": body.object_id, "key": key, "value": value} for key, value in body.attributes.items()]
    if rows:
        batch.sql.execute(insert(t.blob_attributes), rows)
    batch.record(blob=before["blob_id"], obj=body.object_id, account=before["owner"])


def _blob_invalidated(batch: Batch, body: e.BlobInvalidated) -> None:
    row = {"epoch": body.epoch, "height": batch.event.height}
    batch.put(t.invalid_blobs, {"blob_id": body.blob_id}, row)
    batch.summaries.stale_blobs[body.blob_id] = None
    batch.record(blob=body.blob_id)


BLOB_HANDLERS: Mapping[type, Callable[[Batch, Any], None]] = {
    e.BlobRegistered: _blob_registered,
    e.BlobCertified: _blob_certified,
    e.BlobDeleted: _blob_deleted,
    e.BlobBurned: _blob_burned,
    e.BlobTransferred: _blob_transferred,
    e.BlobAttributesChanged: _blob_attributes_changed,
    e.BlobInvalidated: _blob_invalidated,
    e.BlobShared: _blob_shared,
    e.SharedBlobFunded: _shared_funds_changed,
    e.SharedBlobExtended: _shared_funds_changed,
}
