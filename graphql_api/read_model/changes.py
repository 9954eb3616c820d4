"""How far a change of the network is: a node that leaves, an epoch that begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.queries import Row


@dataclass(frozen=True, slots=True)
class Taker:
    """A node that takes shards, and how many of them have arrived."""

    node_id: bytes
    planned: int
    arrived: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """What depends on a node that was asked to leave.

    Attributes:
        weight: shards that it owns in the current epoch.
        is_asked: whether the ledger knows of its leave.
        is_cancelled: whether that was taken back since it was begun.
        takers: who takes its shards, with epochs begun since.
    """

    weight: int
    is_asked: bool
    is_cancelled: bool
    takers: tuple[Taker, ...]


def leaving_of(connection: Connection, node_id: bytes, epoch: int, sequence: int) -> Leaving | None:
    """How a node's leave stands that was begun in an epoch, behind an event; None when there is no such node."""
    n, e, h = t.nodes.c, t.events.c, t.hand_overs.c
    node = connection.execute(select(n.weight, n.leaving).where(n.node_id == node_id)).first()
    if node is None:
        return None
    taken_back = select(e.sequence).where(e.node_id == node_id, e.sequence > sequence, e.kind == "NodeLeaveCancelled")
    is_cancelled = connection.execute(taken_back.limit(1)).first() is not None
    return Leaving(
        node.weight, node.leaving, is_cancelled, _takers(connection, h.from_node == node_id, h.epoch > epoch)
    )


def beginning_of(connection: Connection, epoch: int) -> tuple[Row | None, tuple[Taker, ...]]:
    """The row of an epoch, None before it has begun; and who takes shards with it."""
    row = connection.execute(select(t.epochs).where(t.epochs.c.epoch == epoch)).mappings().first()
    return (None if row is None else dict(row)), _takers(connection, t.hand_overs.c.epoch == epoch)


def _takers(connection: Connection, *conditions: ColumnElement[bool]) -> tuple[Taker, ...]:
    h = t.hand_overs.c
    planned: Counter[bytes] = Counter()
    arrived: Counter[bytes] = Counter()
    rows: Sequence[Any] = connection.execute(select(h.to_node, h.done_height).where(*conditions)).all()
    for node_id, done_height in rows:
        planned[node_id] += 1
        arrived[node_id] += done_height is not None
    return tuple(Taker(node_id, planned[node_id], arrived[node_id]) for node_id in sorted(planned))
