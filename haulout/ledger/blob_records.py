"""The sum over all objects of one blob id, kept right on every path.

Existence, status and retention are read from one `BlobRecord` per blob id, so a reader proves a blob with one row.
What each path does to it:

    register   one more of its persistence; ends may grow
    certify    the object moves to the certified ones; the first live certification is remembered
    extend     ends grow
    delete     one less; ends are what the remaining objects say
    burn       nothing a reader sees: the bytes stay until they expire, so the end moves into the record

A permanent object never leaves before its end, so `permanent_end_epoch` only grows while it is live. An object that
has expired still counts; ends tell who lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from haulout import bcs
from haulout.ledger import keys, queries
from haulout.ledger.execution import Execution
from haulout.ledger.state import STATE_VERSION, Blob, BlobRecord, View


def record_registration(run: Execution, object_id: bytes, blob: Blob, root_hash: bytes) -> None:
    """A blob object came to be."""
    before = queries.blob_record(run.draft, blob.blob_id)
    record = before or BlobRecord(
        version=STATE_VERSION,
        size_bytes=blob.size_bytes,
        encoding_type=blob.encoding_type,
        root_hash=root_hash,
        registered_end_epoch=0,
        certified_end_epoch=None,
        initial_certified_epoch=None,
        permanent_end_epoch=None,
        permanent_certified=False,
        permanent_total=0,
        deletable_total=0,
        deletable_certified=0,
        certified_height=None,
        certified_sequence=None,
    )
    record = replace(record, registered_end_epoch=max(record.registered_end_epoch, blob.end_epoch))
    if blob.deletable:
        record = replace(record, deletable_total=record.deletable_total + 1)
    else:
        record = replace(record, permanent_total=record.permanent_total + 1)
        if not _is_live(record.permanent_end_epoch, run.epoch):
            record = replace(record, permanent_end_epoch=blob.end_epoch, permanent_certified=False)
        elif not record.permanent_certified:
            record = replace(record, permanent_end_epoch=_latest(record.permanent_end_epoch, blob.end_epoch))
    run.draft.put(_object_key(object_id, blob), b"")
    _put(run, blob.blob_id, before, record)


def record_certification(run: Execution, object_id: bytes, before: Blob, after: Blob, sequence: int) -> None:
    """A blob object was certified by the event with this sequence number."""
    old = _record(run, after.blob_id)
    record = old
    if not _is_live(old.certified_end_epoch, run.epoch):
        record = replace(
            old, initial_certified_epoch=run.epoch, certified_height=run.height, certified_sequence=sequence
        )
    record = replace(record, certified_end_epoch=_latest(old.certified_end_epoch, after.end_epoch))
    if after.deletable:
        record = replace(record, deletable_certified=record.deletable_certified + 1)
    elif record.permanent_certified and _is_live(record.permanent_end_epoch, run.epoch):
        record = replace(record, permanent_end_epoch=_latest(record.permanent_end_epoch, after.end_epoch))
    else:
        record = replace(record, permanent_end_epoch=after.end_epoch, permanent_certified=True)
    _move_object(run, object_id, before, after)
    _put(run, after.blob_id, old, record)


def record_extension(run: Execution, object_id: bytes, before: Blob, after: Blob) -> None:
    """A certified blob object lives longer."""
    old = _record(run, after.blob_id)
    record = replace(
        old,
        registered_end_epoch=max(old.registered_end_epoch, after.end_epoch),
        certified_end_epoch=_latest(old.certified_end_epoch, after.end_epoch),
    )
    if not after.deletable:
        record = replace(record, permanent_end_epoch=_latest(record.permanent_end_epoch, after.end_epoch))
    _move_object(run, object_id, before, after)
    _put(run, after.blob_id, old, record)


def record_deletion(run: Execution, object_id: bytes, blob: Blob) -> None:
    """A deletable blob object was deleted."""
    old = _record(run, blob.blob_id)
    was_certified = blob.certified_epoch is not None
    run.draft.put(_object_key(object_id, blob), None)
    record = replace(
        old,
        deletable_total=old.deletable_total - 1,
        deletable_certified=old.deletable_certified - was_certified,
    )
    if record.deletable_total == 0 and record.permanent_total == 0:
        _put(run, blob.blob_id, old, None)
        return
    certified_end = _latest(last_end(run.draft, blob.blob_id, is_certified=True), old.burned_certified_end_epoch)
    registered_end = _latest(last_end(run.draft, blob.blob_id, is_certified=False), old.burned_end_epoch)
    record = replace(record, registered_end_epoch=max(registered_end or 0, certified_end or 0))
    if _is_live(certified_end, run.epoch):
        record = replace(record, certified_end_epoch=certified_end)
    else:
        record = replace(
            record,
            certified_end_epoch=None,
            initial_certified_epoch=None,
            certified_height=None,
            certified_sequence=None,
        )
    _put(run, blob.blob_id, old, record)


def record_burn(run: Execution, object_id: bytes, blob: Blob) -> None:
    """A blob object was destroyed while its bytes stay."""
    old = _record(run, blob.blob_id)
    run.draft.put(_object_key(object_id, blob), None)
    record = replace(old, burned_end_epoch=_latest(old.burned_end_epoch, blob.end_epoch))
    if blob.certified_epoch is not None:
        record = replace(record, burned_certified_end_epoch=_latest(old.burned_certified_end_epoch, blob.end_epoch))
    _put(run, blob.blob_id, old, record)


def last_end(view: View, blob_id: bytes, *, is_certified: bool) -> int | None:
    """The latest end over the certified, or the uncertified, objects of a blob id that still have a row."""
    start, end = keys.blob_object_range(blob_id, is_certified)
    rows: Iterator[tuple[bytes, bytes]] = view.scan(start, end, reverse=True, limit=1)
    for key, _ in rows:
        return int.from_bytes(key[34:38], "big")
    return None


def _record(run: Execution, blob_id: bytes) -> BlobRecord:
    record = queries.blob_record(run.draft, blob_id)
    if record is None:
        raise queries.StateIncomplete(row="BlobRecord")
    return record


def _put(run: Execution, blob_id: bytes, before: BlobRecord | None, after: BlobRecord | None) -> None:
    """Write the record and move the blob id in the index of ends."""
    old_end = None if before is None else before.certified_end_epoch
    new_end = None if after is None else after.certified_end_epoch
    if old_end != new_end:
        if old_end is not None:
            run.draft.put(keys.blob_end(old_end, blob_id), None)
        if new_end is not None:
            run.draft.put(keys.blob_end(new_end, blob_id), b"")
    run.draft.put(keys.blob_record(blob_id), None if after is None else bcs.encode(after))


def _object_key(object_id: bytes, blob: Blob) -> bytes:
    return keys.blob_object(blob.blob_id, blob.certified_epoch is not None, blob.end_epoch, object_id)


def _move_object(run: Execution, object_id: bytes, before: Blob, after: Blob) -> None:
    run.draft.put(_object_key(object_id, before), None)
    run.draft.put(_object_key(object_id, after), b"")


def _is_live(end_epoch: int | None, epoch: int) -> bool:
    return end_epoch is not None and end_epoch > epoch


def _latest(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)
