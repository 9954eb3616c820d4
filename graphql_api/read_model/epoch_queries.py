"""What is asked of epochs: their committees, the shards that changed hands, and what is stored in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import Order
from graphql_api.read_model.queries import Row

MOVES_ORDER = Order((t.hand_overs.c.epoch, t.hand_overs.c.shard_index))
EPOCHS_ORDER = Order((t.epochs.c.epoch,), descending=True)


def members_by_epoch(connection: Connection, epochs: Sequence[int]) -> dict[int, list[Row]]:
    """The committees of many epochs, members in committee order."""
    c = t.committee_members.c
    found: dict[int, list[Row]] = {}
    statement = select(t.committee_members).where(c.epoch.in_(epochs)).order_by(c.epoch, c.position)
    for row in connection.execute(statement).mappings():
        found.setdefault(row["epoch"], []).append(dict(row))
    return found


def system_totals(connection: Connection, epoch: int) -> Row:
    """Sums over what is stored in an epoch."""
    c = t.blob_totals.c
    totals = {"n_blobs": 0, "size_bytes": 0, "encoded_size_bytes": 0}
    for row in connection.execute(select(t.blob_totals).where(c.end_epoch > epoch)).mappings():
        for name in totals:
            totals[name] += row[name]
    stake = 0
    n_members = 0
    members = select(t.committee_members.c.stake_frost).where(t.committee_members.c.epoch == epoch)
    for (frost,) in connection.execute(members):
        stake += frost
        n_members += 1
    return {**totals, "total_stake_frost": stake, "n_members": n_members}


@dataclass(frozen=True, slots=True)
class MoveQuery:
    """Which hand-overs of shards; all conditions hold."""

    done: bool | None = None
    from_node: bytes | None = None
    to_node: bytes | None = None


def moves_statement(query: MoveQuery) -> Select[Any]:
    """All hand-overs that a query asks for, without order."""
    c = t.hand_overs.c
    statement = select(t.hand_overs)
    if query.done is not None:
        statement = statement.where(c.done_height.is_not(None) if query.done else c.done_height.is_(None))
    if query.from_node is not None:
        statement = statement.where(c.from_node == query.from_node)
    if query.to_node is not None:
        statement = statement.where(c.to_node == query.to_node)
    return statement


def move_of(connection: Connection, epoch: int, shard_index: int) -> Row | None:
    """The hand-over of a shard that an epoch began with."""
    c = t.hand_overs.c
    found = connection.execute(select(t.hand_overs).where(c.epoch == epoch, c.shard_index == shard_index))
    row = found.mappings().first()
    return dict(row) if row else None


def move_counts(connection: Connection, epochs: Sequence[int]) -> dict[int, tuple[int, int]]:
    """How many shards moved with each of many epochs, and how many of these have arrived."""
    c = t.hand_overs.c
    statement = select(c.epoch, func.count(), func.count(c.done_height)).where(c.epoch.in_(epochs)).group_by(c.epoch)
    return {epoch: (planned, done) for epoch, planned, done in connection.execute(statement)}


def open_takers(connection: Connection, epoch: int) -> list[bytes]:
    """Who still waits for shards that an epoch began with."""
    c = t.hand_overs.c
    statement = select(c.to_node).where(c.epoch == epoch, c.done_height.is_(None)).distinct().order_by(c.to_node)
    return list(connection.execute(statement).scalars())
