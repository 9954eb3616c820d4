"""Statements that the projection runs thousands of times a second, built once each.

Building an SQLAlchemy statement costs more than SQLite takes to run it; so values travel as parameters and the
statement stays the same object.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Select, Table, Update, bindparam, insert, select, update

KEY = "key_"  # prefix of parameters that find the row, apart from those that set a column


@functools.cache
def _insert(table: Table) -> Insert:
    return insert(table)


@functools.cache
def _update(table: Table, keys: tuple[str, ...]) -> Update:
    return update(table).where(*(table.c[name] == bindparam(KEY + name, type_=table.c[name].type) for name in keys))


@functools.cache
def _select(table: Table, keys: tuple[str, ...]) -> Select[Any]:
    return select(table).where(*(table.c[name] == bindparam(KEY + name, type_=table.c[name].type) for name in keys))


def _bound(key: Mapping[str, Any]) -> dict[str, Any]:
    return {KEY + name: value for name, value in key.items()}


def insert_row(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Add a row; columns that are left out are null."""
    connection.execute(_insert(table), dict(row))


def update_rows(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Set columns of the rows with this key; returns how many there were."""
    return connection.execute(_update(table, tuple(key)), {**_bound(key), **values}).rowcount


def update_all(
    connection: Connection, table: Table, key: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Set these columns of many rows, which `key` finds, to what the rows say."""
    values = [{KEY + key: row[key], **{name: row[name] for name in columns}} for row in rows]
    connection.execute(_update(table, (key,)), values)


def find_row(connection: Connection, table: Table, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row with this key."""
    row = connection.execute(_select(table, tuple(key)), _bound(key)).mappings().first()
    return None if row is None else dict(row)


def find_rows(connection: Connection, table: Table, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All rows with this key, in any order."""
    return [dict(row) for row in connection.execute(_select(table, tuple(key)), _bound(key)).mappings()]
