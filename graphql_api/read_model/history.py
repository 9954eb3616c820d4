"""Blobs as they were at a block: from rows that say when something happened, and from the events themselves.

Nothing of a row that can change is taken from it without looking when it did: heights say when a blob was certified,
deleted and invalidated, and the last event of an object up to the block says how long it was paid for then. What comes
out equals the row of a read model that stopped at that block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, func, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.event_queries import before_height
from graphql_api.read_model.paging import Order, Page, Window, fetch_page
from graphql_api.read_model.queries import Row
from graphql_api.read_model.summaries import summarize_blob
from haulout import bcs
from haulout.ledger.events import BlobCertified, BlobRegistered, EventBody

ORDER = Order((t.blobs.c.registered_sequence,), descending=True)
PAYING = (BlobRegistered.__name__, BlobCertified.__name__)  # what says how long an object is paid for


def last_height(connection: Connection, epoch: int) -> int | None:
    """The last block of an epoch: that before the one that began the next, or the last of all; None before it began."""
    e, p = t.epochs.c, t.progress.c
    started = dict(connection.execute(select(e.epoch, e.started_height).where(e.epoch.in_((epoch, epoch + 1)))).all())
    if epoch not in started:
        return None
    following: int | None = started.get(epoch + 1)
    return connection.execute(select(p.height)).scalar_one() if following is None else following - 1


def known_blobs(height: int) -> Select[Any]:
    """Blobs that had been registered by a block, without order; `blobs_at` says how they were."""
    c = t.blobs.c
    return select(t.blobs).where(c.registered_height <= height, c.registered_sequence < before_height(height))


def page_at(connection: Connection, window: Window, height: int, n_shards: int) -> Page[Row]:
    """A page of `known_blobs` in `ORDER`, its rows as they were."""
    page = fetch_page(connection, known_blobs(height), ORDER, window)
    rows = blobs_at(connection, [row["blob_id"] for row in page.rows], height, n_shards)
    return replace(page, rows=tuple(rows[row["blob_id"]] for row in page.rows))


def blobs_at(connection: Connection, blob_ids: Sequence[bytes], height: int, n_shards: int) -> dict[bytes, Row]:
    """Rows of `blobs` as they were at a block; ids that were not registered then are left out."""
    o, i = t.blob_objects.c, t.invalid_blobs.c
    then = select(t.blob_objects).where(o.blob_id.in_(blob_ids), o.registered_height <= height)
    objects = [dict(row) for row in connection.execute(then.order_by(o.registered_sequence)).mappings()]
    ends = _ends_at(connection, [row["object_id"] for row in objects], height)
    invalid = {
        row.blob_id: row
        for row in connection.execute(select(t.invalid_blobs).where(i.blob_id.in_(blob_ids), i.height <= height))
    }
    by_blob: dict[bytes, list[Row]] = {}
    for row in objects:
        by_blob.setdefault(row["blob_id"], []).append(_object_at(row, height, ends[row["object_id"]]))
    found: dict[bytes, Row] = {}
    for blob_id, rows in by_blob.items():
        proven = invalid.get(blob_id)
        found[blob_id] = {
            "blob_id": blob_id,
            **summarize_blob(rows, n_shards),
            "invalid_epoch": proven.epoch if proven else None,
            "invalid_height": proven.height if proven else None,
        }
    return found


def _object_at(row: Mapping[str, Any], height: int, end_epoch: int) -> Row:
    """A row of `blob_objects` without what came later."""
    then = {**row, "end_epoch": end_epoch}
    if row["certified_height"] is not None and row["certified_height"] > height:
        then.update(certified_epoch=None, certified_height=None, certified_sequence=None)
    if row["deleted_height"] is not None and row["deleted_height"] > height:
        then.update(deleted_height=None, burned=False)
    return then


def _ends_at(connection: Connection, object_ids: Sequence[bytes], height: int) -> dict[bytes, int]:
    """How long objects were paid for at a block."""
    e = t.events.c
    paying = (e.object_id.in_(object_ids), e.kind.in_(PAYING), e.height <= height)
    last = select(func.max(e.sequence)).where(*paying).group_by(e.object_id)
    found = {}
    for (payload,) in connection.execute(select(e.payload).where(e.sequence.in_(last))):
        body: BlobRegistered | BlobCertified = bcs.decode(EventBody, payload)
        found[body.object_id] = body.end_epoch
    return found


def stakes_at(connection: Connection, epoch: int) -> list[Row]:
    """What every pool had at work when an epoch began, most first."""
    c = t.epoch_stakes.c
    statement = select(t.epoch_stakes).where(c.epoch == epoch).order_by(c.stake_frost.desc(), c.node_id)
    return [dict(row) for row in connection.execute(statement).mappings()]
