"""What is asked of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, false, func, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import Order
from graphql_api.read_model.queries import ANY_EPOCH, EpochRange, Row

SEQUENCE_END = (1 << 63) - 1
EVENTS_ORDER = Order((t.events.c.sequence,))


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events; all conditions hold. `kinds` None means all, empty means none."""

    kinds: tuple[str, ...] | None = None
    blob_id: bytes | None = None
    object_id: bytes | None = None
    account: bytes | None = None
    node_id: bytes | None = None
    epochs: EpochRange = ANY_EPOCH
    after_sequence: int | None = None


def before_height(height: int) -> ColumnElement[int]:
    """A sequence that no event up to this block has reached: lists ordered by sequence begin there."""
    e = t.epochs.c
    begun_later = select(func.min(e.started_sequence)).where(e.started_height > height).scalar_subquery()
    return func.coalesce(begun_later, SEQUENCE_END)


def events_statement(query: EventQuery, *, to_height: int | None = None) -> Select[Any]:
    """All events that a query asks for, without order; those up to a block if it is given."""
    c = t.events.c
    statement = select(t.events)
    if to_height is not None:
        statement = statement.where(c.height <= to_height, c.sequence < before_height(to_height))
    if query.kinds is not None:
        statement = statement.where(c.kind.in_(query.kinds) if query.kinds else false())
    pairs = (
        (c.blob_id, query.blob_id),
        (c.object_id, query.object_id),
        (c.account, query.account),
        (c.node_id, query.node_id),
    )
    for column, value in pairs:
        if value is not None:
            statement = statement.where(column == value)
    for condition in query.epochs.of(c.epoch):
        statement = statement.where(condition)
    if query.after_sequence is not None:
        statement = statement.where(c.sequence > query.after_sequence)
    return statement


def votes_by_epoch(connection: Connection, epochs: Sequence[int]) -> dict[int, Row]:
    """The events that ended voting in many epochs: those from the first to the last of them are read."""
    c, e = t.events.c, t.epochs.c
    begun = select(e.started_sequence).where(e.epoch == min(epochs)).scalar_subquery()
    over = select(e.started_sequence).where(e.epoch == max(epochs) + 1).scalar_subquery()
    between = (c.sequence > begun, c.sequence < func.coalesce(over, SEQUENCE_END))
    rows = connection.execute(select(t.events).where(c.kind == "VotingEnded", *between)).mappings()
    return {row["epoch"]: dict(row) for row in rows}


def invalidations_by_blob(connection: Connection, blob_ids: Sequence[bytes]) -> dict[bytes, Row]:
    """The events that told of many blob ids that they are wrongly encoded."""
    c = t.events.c
    rows = connection.execute(select(t.events).where(c.kind == "BlobInvalidated", c.blob_id.in_(blob_ids))).mappings()
    return {row["blob_id"]: dict(row) for row in rows}


def kinds_apart(query: EventQuery) -> list[ColumnElement[bool]]:
    """What `fetch_page` reads apart: kinds, unless something else leaves fewer events than they do."""
    is_narrow = any((query.blob_id, query.object_id, query.account, query.node_id))
    kinds = () if is_narrow or query.kinds is None else query.kinds
    return [t.events.c.kind == kind for kind in kinds] if len(kinds) > 1 else []
