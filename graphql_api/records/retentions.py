"""Retention policies: which blob objects are to be kept, for how long, and what became of the last renewal.

A process that renews one claims it first, so that of several over the same records exactly one does. A claim ends by
itself, when the transaction made under it can take effect no more: who died with one in its hands holds nothing up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, func, insert, or_, select, update

from graphql_api.engine import take_turn
from graphql_api.records.schema import retentions

LOCK = 0x526574656E74696F  # "Retentio", as the number of an advisory lock


@dataclass(frozen=True, slots=True)
class Retention:
    """A policy as it is kept.

    Attributes:
        keep_epochs: so many epochs are paid for after a renewal, the current one included.
        extend_when_below: it is renewed in the first epoch in which fewer are.
        next_epoch: the epoch in which it is looked at next; None when nothing can be done any more.
        tried_epoch: the epoch of the last renewal, whatever came of it.
        problem: code and text of why that came to nothing; None when it did not.
        renewed_height: block of the last extension, 0 before it: who has not seen that does not know the end.
    """

    object_id: bytes
    keep_epochs: int
    extend_when_below: int
    next_epoch: int | None
    tried_epoch: int | None = None
    problem: tuple[str, str] | None = None
    renewed_height: int = 0


def due_epoch(end_epoch: int, extend_when_below: int) -> int:
    """The first epoch in which fewer than so many are paid for."""
    return end_epoch - extend_when_below + 1


def put(connection: Connection, object_id: bytes, keep_epochs: int, extend_when_below: int, next_epoch: int) -> None:
    """Keep a policy; one that was there is replaced, and looked at again whatever became of it."""
    take_turn(connection, LOCK)
    c = retentions.c
    values = {"keep_epochs": keep_epochs, "extend_when_below": extend_when_below, "next_epoch": next_epoch}
    row = update(retentions).where(c.object_id == object_id.hex())
    changed = connection.execute(row.values(error_code=None, error_text=None, **values))
    if changed.rowcount == 0:
        connection.execute(insert(retentions), {"object_id": object_id.hex(), "renewed_height": 0, **values})


def drop(connection: Connection, object_id: bytes) -> None:
    """Forget a policy, if there is one."""
    connection.execute(delete(retentions).where(retentions.c.object_id == object_id.hex()))


def find(connection: Connection, object_ids: Iterable[bytes]) -> dict[bytes, Retention]:
    """The policies of some objects; those that have none are left out."""
    names = [object_id.hex() for object_id in object_ids]
    rows = connection.execute(select(retentions).where(retentions.c.object_id.in_(names))).mappings()
    return {found.object_id: found for found in map(_retention, rows)}


def due(connection: Connection, epoch: int, height: int, now_ms: int, limit: int) -> list[Retention]:
    """Policies that are to be looked at in an epoch by who has seen the ledger up to a block, oldest first."""
    c = retentions.c
    statement = select(retentions).where(*_free(epoch, now_ms), c.renewed_height <= height)
    rows = connection.execute(statement.order_by(c.next_epoch, c.object_id).limit(limit)).mappings()
    return [_retention(row) for row in rows]


def count_open(connection: Connection, epoch: int) -> int:
    """How many wait for somebody to look at them in an epoch, or are being renewed."""
    return int(connection.execute(select(func.count()).where(retentions.c.next_epoch <= epoch)).scalar_one())


def claim(
    connection: Connection, object_ids: Sequence[bytes], epoch: int, now_ms: int, until_ms: int
) -> frozenset[bytes]:
    """Take policies that are due, up to a time; returns those that nobody else has taken or dealt with meanwhile."""
    take_turn(connection, LOCK)  # rows taken in any order by two processes would keep both waiting
    c = retentions.c
    names = [object_id.hex() for object_id in object_ids]
    free = and_(c.object_id.in_(names), *_free(epoch, now_ms))
    taken = connection.execute(
        update(retentions).where(free).values(claimed_until_ms=until_ms, tried_epoch=epoch).returning(c.object_id)
    )
    return frozenset(bytes.fromhex(name) for name in taken.scalars())


def renewed(connection: Connection, object_id: bytes, end_epoch: int, height: int) -> None:
    """An object was extended to an end, in a block."""
    next_epoch = due_epoch(end_epoch, 0) - retentions.c.extend_when_below
    _settle(connection, object_id, next_epoch=next_epoch, renewed_height=height, problem=None)


def put_off(connection: Connection, object_id: bytes, next_epoch: int | None, problem: tuple[str, str] | None) -> None:
    """It is looked at again in a later epoch, or never; the problem is why, if it is one."""
    _settle(connection, object_id, next_epoch=next_epoch, problem=problem)


def left_open(connection: Connection, object_id: bytes, problem: tuple[str, str]) -> None:
    """Nobody knows what became of it: it stays claimed until its transaction can take effect no more."""
    code, text = problem
    row = update(retentions).where(retentions.c.object_id == object_id.hex())
    connection.execute(row.values(error_code=code, error_text=text))


def _free(epoch: int, now_ms: int) -> tuple[ColumnElement[bool], ...]:
    c = retentions.c
    return (c.next_epoch <= epoch, or_(c.claimed_until_ms.is_(None), c.claimed_until_ms <= now_ms))


def _settle(connection: Connection, object_id: bytes, *, problem: tuple[str, str] | None, **values: Any) -> None:
    code, text = problem or (None, None)
    row = update(retentions).where(retentions.c.object_id == object_id.hex())
    connection.execute(row.values(error_code=code, error_text=text, claimed_until_ms=None, **values))


def _retention(row: RowMapping) -> Retention:
    return Retention(
        object_id=bytes.fromhex(row["object_id"]),
        keep_epochs=row["keep_epochs"],
        extend_when_below=row["extend_when_below"],
        next_epoch=row["next_epoch"],
        tried_epoch=row["tried_epoch"],
        problem=None if row["error_code"] is None else (row["error_code"], row["error_text"]),
        renewed_height=row["renewed_height"],
    )
