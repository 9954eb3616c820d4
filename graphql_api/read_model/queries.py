"""What all questions to the tables have in common: rows by keys, spans of epochs, and few of very many fetched first.

Every question the API asks is a function of a connection, in the module of what it is about (`blob_queries`,
`node_queries`, `epoch_queries`, `event_queries`). None of them knows GraphQL. Single rows and pages come back as the
mappings that SQL gave; batches as dictionaries by key, for the loaders. Lists are paged by keyset, with the orders
named beside them; those that belong to a parent are in `lists`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, select

Row = Mapping[str, Any]
RARE_MAX = 1_000


def rows_by(connection: Connection, column: ColumnElement[Any], keys: Sequence[Any]) -> dict[Any, Row]:
    """Rows of the column's table by a unique column; keys that are not there are left out."""
    table: Table = column.table
    found = connection.execute(select(table).where(column.in_(keys))).mappings()
    return {row[column.name]: dict(row) for row in found}


@dataclass(frozen=True, slots=True)
class EpochRange:
    """Epochs strictly between two bounds, or one epoch."""

    after: int | None = None
    before: int | None = None
    at: int | None = None

    def of(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        bounds = ((self.after, column.__gt__), (self.before, column.__lt__), (self.at, column.__eq__))
        return [compare(bound) for bound, compare in bounds if bound is not None]


ANY_EPOCH = EpochRange()


@dataclass(frozen=True, slots=True)
class Rare:
    """Conditions of which each row that is asked for fulfils one; an index has the rows of each.

    In the order of a page, rows that hardly any other is like are found by looking at all of them. So when these are
    few, they are fetched first, whatever their order.
    """

    key: ColumnElement[Any]
    any_of: tuple[ColumnElement[bool], ...]


def all_of(conditions: Sequence[ColumnElement[bool]]) -> tuple[ColumnElement[bool], ...]:
    """Some conditions as one; none for none."""
    return (and_(*conditions),) if conditions else ()


def narrowed(connection: Connection, statement: Select[Any], conditions: Sequence[Rare]) -> Select[Any]:
    """The statement, of few rows by their keys where a condition leaves only few."""
    for rare in conditions:
        keys: set[Any] = set()
        for condition in rare.any_of:
            some = select(rare.key).where(condition).limit(RARE_MAX + 1 - len(keys))
            keys.update(connection.execute(some).scalars())
            if len(keys) > RARE_MAX:
                break
        if len(keys) <= RARE_MAX:
            return statement.where(rare.key.in_(keys))
    return statement
