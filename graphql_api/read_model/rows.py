"""Rows that a batch of blocks works on: read together, changed in memory, written together.

A blob that is registered and certified in one batch is written once, by statements that carry many rows each. What is
in the database in the end is the same as if each event had been written by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert

from graphql_api.read_model.queries import rows_by
from graphql_api.read_model.statements import find_row, update_all

Row = dict[str, Any]
TOGETHER = 500  # keys that one query asks for


class Rows:
    """Rows of one table with a key of one column. Whoever asks the table itself calls `write` first."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._sql = connection
        self._table = table
        (self._key,) = table.primary_key.columns
        self._columns = [column.name for column in table.columns]
        self._rows: dict[bytes, Row | None] = {}  # None: the database has no such row
        self._made: dict[bytes, None] = {}
        self._changed: dict[bytes, set[str]] = {}

    def expect(self, keys: Iterable[bytes]) -> None:
        """Read rows that will be needed, together."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._rows]
        for at in range(0, len(missing), TOGETHER):
            some = missing[at : at + TOGETHER]
            found = rows_by(self._sql, self._key, some)
            self._rows.update((key, dict(found[key]) if key in found else None) for key in some)

    def find(self, key: bytes) -> Mapping[str, Any] | None:
        """A row as the events so far have left it."""
        if key not in self._rows:
            self._rows[key] = find_row(self._sql, self._table, {self._key.name: key})
        return self._rows[key]

    def add(self, key: bytes, values: Mapping[str, Any]) -> None:
        """A new row; columns that are left out are null."""
        row = dict.fromkeys(self._columns)
        row.update(values)
        row[self._key.name] = key
        self._rows[key] = row
        self._made[key] = None

    def set(self, key: bytes, values: Mapping[str, Any]) -> bool:
        """Change a row; False when there is none."""
        self.find(key)
        row = self._rows[key]
        if row is None:
            return False
        row.update(values)
        if key not in self._made:
            self._changed.setdefault(key, set()).update(values)
        return True

    def write(self) -> None:
        """Bring everything into the database."""
        made = [row for key in self._made if (row := self._rows[key]) is not None]
        if made:
            self._sql.execute(insert(self._table), made)
        by_columns: dict[tuple[str, ...], list[Row]] = {}
        for key, names in self._changed.items():
            row = self._rows[key]
            assert row is not None, "only rows that are there are changed"
            by_columns.setdefault(tuple(sorted(names)), []).append(row)
        for columns, rows in by_columns.items():
            update_all(self._sql, self._table, self._key.name, columns, rows)
        self._made.clear()
        self._changed.clear()
