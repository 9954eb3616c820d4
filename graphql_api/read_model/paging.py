"""Keyset paging: pages that stay right while rows arrive, and cursors nobody can forge.

A cursor names the row it stands on by the values the list is ordered by, never by a position. It is bound to the
list, its filter and its order, and signed with the read model's key::

    base64url( version 1 | first 16 bytes of HMAC-SHA256 | JSON [binding, value, …] )
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    CTE,
    Column,
    Connection,
    Integer,
    LargeBinary,
    Select,
    bindparam,
    column,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
    tuple_,
    values,
)
from sqlalchemy.sql.elements import ColumnElement

from haulout.errors import InvalidInput

T = TypeVar("T")
Key = tuple[int | str | bytes | None, ...]

DEFAULT_PAGE = 20
PAGE_MAX = 100
COUNT_MAX = 10_000
CURSOR_VERSION = b"\x01"
TAG_BYTES = 16


@dataclass(eq=False)
class BadCursor(InvalidInput):
    """A cursor that was changed, comes from elsewhere, or belongs to another list, filter or order."""

    code = "INVALID_ARGUMENT"
    template = "{argument}: {problem}"
    hint = "start again from the first page, or pass the cursor with the filter and order it came from"
    argument: str
    problem: str


@dataclass(eq=False)
class BadPage(InvalidInput):
    """`first`, `last`, `after` and `before` do not fit together."""

    code = "INVALID_ARGUMENT"
    template = "{problem}"
    problem: str


@dataclass(eq=False)
class PageTooLarge(InvalidInput):
    """More rows were asked for than one page holds."""

    code = "PAGE_TOO_LARGE"
    template = "a page holds at most {limit} rows, {asked} were asked for"
    hint = "page through with after: the page's endCursor"
    asked: int
    limit: int


class CursorCodec:
    """Writes and reads cursors of one list with one filter and order."""

    def __init__(self, key: bytes, list_name: str, order: str, **filters: Any) -> None:
        """`list_name` names the list with its parent, `filters` are all values that choose its rows."""
        self._key = key
        self._list = (list_name, order, filters)

    @cached_property
    def binding(self) -> str:
        """What its cursors are bound to, as a short hash; many lists are read without one of their cursors."""
        canonical = json.dumps(self._list, sort_keys=True, default=_describe, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=12).hexdigest()

    def encode(self, values: Key) -> str:
        """The cursor of the row with these sort values."""
        body = json.dumps([self.binding, *(_plain(value) for value in values)], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(CURSOR_VERSION + self._tag(body) + body).rstrip(b"=").decode()

    def decode(self, text: str, *, argument: str) -> Key:
        """The sort values that a cursor stands on.

        Raises:
            BadCursor: not ours, changed, or made for something else.
        """
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as e:
            raise BadCursor(argument=argument, problem="is not a cursor") from e
        tag, body = raw[1 : 1 + TAG_BYTES], raw[1 + TAG_BYTES :]
        if raw[:1] != CURSOR_VERSION or not hmac.compare_digest(tag, self._tag(body)):
            raise BadCursor(argument=argument, problem="was not issued by this read model")
        binding, *values = json.loads(body)
        if binding != self.binding:
            raise BadCursor(argument=argument, problem="belongs to another list, filter or order")
        return tuple(_rich(value) for value in values)

    def _tag(self, body: bytes) -> bytes:
        return hmac.new(self._key, CURSOR_VERSION + body, hashlib.sha256).digest()[:TAG_BYTES]


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted: a number of rows, from the front or the back, between two rows."""

    limit: int
    backward: bool = False
    after: Key | None = None
    before: Key | None = None


def read_window(
    cursors: CursorCodec, *, first: int | None, after: str | None, last: int | None, before: str | None
) -> Window:
    """Understand a connection's arguments.

    Raises:
        BadPage: both `first` and `last`, or a negative number.
        PageTooLarge: beyond `PAGE_MAX`.
        BadCursor: `after` or `before` is not a cursor of this list.
    """
    if first is not None and last is not None:
        raise BadPage(problem="pass first or last, not both")
    limit = first if first is not None else last if last is not None else DEFAULT_PAGE
    check_count(limit)
    return Window(
        limit=limit,
        backward=last is not None,
        after=cursors.decode(after, argument="after") if after is not None else None,
        before=cursors.decode(before, argument="before") if before is not None else None,
    )


def check_count(limit: int) -> None:
    """Refuse a number of rows that no page has.

    Raises:
        BadPage: a negative number.
        PageTooLarge: beyond `PAGE_MAX`.
    """
    if limit < 0:
        raise BadPage(problem="first and last count rows: they cannot be negative")
    if limit > PAGE_MAX:
        raise PageTooLarge(asked=limit, limit=PAGE_MAX)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows in the order of the list, and whether there are more on either side."""

    rows: tuple[T, ...]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True, slots=True)
class Order:
    """Columns a list is ordered by, all in one direction; the last one makes it total."""

    columns: tuple[ColumnElement[Any], ...]
    descending: bool = False

    def beyond(self, key: Key) -> ColumnElement[bool]:
        """Rows behind the one with this key."""
        return self._compare(key, greater=not self.descending)

    def ahead_of(self, key: Key) -> ColumnElement[bool]:
        """Rows in front of it."""
        return self._compare(key, greater=self.descending)

    def clauses(self, *, reverse: bool) -> list[ColumnElement[Any]]:
        down = self.descending != reverse
        return [column.desc() if down else column.asc() for column in self.columns]

    def sort(self, rows: list[Any], *, reverse: bool) -> None:
        """Put rows that were read apart into this order."""
        names = [column.name for column in self.columns]
        rows.sort(key=lambda row: tuple(row[name] for name in names), reverse=self.descending != reverse)

    def _compare(self, key: Key, *, greater: bool) -> ColumnElement[bool]:
        if len(key) != len(self.columns):
            raise BadCursor(argument="after", problem="belongs to another list, filter or order")
        values = [literal(value, column.type) for value, column in zip(key, self.columns, strict=True)]
        if len(values) == 1:
            return self.columns[0] > values[0] if greater else self.columns[0] < values[0]
        left, right = tuple_(*self.columns), tuple_(*values)
        return left > right if greater else left < right


def fetch_page(
    connection: Connection,
    statement: Select[Any],
    order: Order,
    window: Window,
    any_of: Sequence[ColumnElement[bool]] = (),
) -> Page[Mapping[str, Any]]:
    """One page of a statement: a query that asks for one row more than the page holds.

    Args:
        any_of: conditions of which each row of the statement fulfils one. Each is a query of its own then, since an
            index has the rows of one in the order of the page, and those of several would have to be sorted, all.
    """
    if window.after is not None:
        statement = statement.where(order.beyond(window.after))
    if window.before is not None:
        statement = statement.where(order.ahead_of(window.before))
    statement = statement.order_by(*order.clauses(reverse=window.backward)).limit(window.limit + 1)
    parts = [statement.where(condition) for condition in any_of] or [statement]
    rows = [dict(row) for part in parts for row in connection.execute(part).mappings()]
    if len(parts) > 1:
        order.sort(rows, reverse=window.backward)
    return cut(rows[: window.limit + 1], window)


def fetch_first_pages(
    connection: Connection,
    statement: Select[Any],
    order: Order,
    parent: Column[Any],
    keys: Sequence[Any],
    window: Window,
    columns: Sequence[Column[Any]] = (),
) -> dict[Any, Page[Mapping[str, Any]]]:
    """The same page for each of many parents, whose keys stand in the column `parent`.

    One query, which reads no more rows of a parent than its page shows, however many there are.

    Args:
        columns: what is wanted of each row, `parent` and those of the order among them; everything if empty.
    """
    if window.after is not None or window.before is not None:
        raise AssertionError("a cursor belongs to one parent")
    limited = statement.order_by(*order.clauses(reverse=window.backward)).limit(window.limit + 1)
    if connection.dialect.name == "sqlite":
        parents = _listed(keys, parent)
        page = parent.table.alias("page_")
        wanted = [page.c[one.name] for one in columns or parent.table.columns]
        its_rows = limited.where(parent == parents.c.key_).correlate(parents)
        chosen: Select[Any] = its_rows.with_only_columns(
            literal_column(f"{parent.table.name}.rowid"), maintain_column_froms=True
        )
        found = select(*wanted).select_from(parents.join(page, literal_column("page_.rowid").in_(chosen)))
    else:
        asked = values(column("key_", parent.type), name="parents_").data([(key,) for key in keys])
        limited = limited.with_only_columns(*columns) if columns else limited
        lateral = limited.where(parent == asked.c.key_).lateral("page_")
        found = select(lateral).select_from(asked.join(lateral, true()))
    rows: dict[Any, list[Mapping[str, Any]]] = {key: [] for key in keys}
    for row in connection.execute(found).mappings():
        rows[row[parent.key]].append(dict(row))
    for of_parent in rows.values():
        order.sort(of_parent, reverse=window.backward)
    return {key: cut(of_parent, window) for key, of_parent in rows.items()}


def _listed(keys: Sequence[Any], parent: Column[Any]) -> CTE:
    """Keys as rows for SQLite, by a statement that is the same for any number of them."""
    if keys and isinstance(keys[0], bytes):  # JSON cannot hold them: it says how many there are
        size = len(keys[0])
        rows = text("SELECT substr(:bytes_, 1 + key * :size_, :size_) AS key_ FROM json_each(:keys_)").bindparams(
            bindparam("bytes_", b"".join(keys), LargeBinary), bindparam("size_", size, Integer)
        )
        listed = json.dumps([0] * len(keys))
    else:
        rows, listed = text("SELECT value AS key_ FROM json_each(:keys_)"), json.dumps(list(keys))
    return rows.bindparams(keys_=listed).columns(column("key_", parent.type)).cte("parents_")


def page_of(items: Sequence[T], key_of: Callable[[T], Any], window: Window, *, descending: bool) -> Page[T]:
    """A page of a short list that is in memory already; `key_of` gives the same values as its cursors."""
    ordered = sorted(items, key=key_of, reverse=descending)
    if window.after is not None:
        after = window.after
        ordered = [i for i in ordered if (key_of(i) < after if descending else key_of(i) > after)]
    if window.before is not None:
        before = window.before
        ordered = [i for i in ordered if (key_of(i) > before if descending else key_of(i) < before)]
    if window.backward:
        ordered.reverse()
    return cut(ordered[: window.limit + 1], window)


def count_up_to(connection: Connection, statement: Select[Any]) -> int | None:
    """How many rows a statement has, or None when they are more than `COUNT_MAX`."""
    ones = statement.with_only_columns(literal(1), maintain_column_froms=True)
    some = ones.order_by(None).limit(COUNT_MAX + 1).subquery()
    count = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return None if count > COUNT_MAX else int(count)


def cut(rows: Sequence[T], window: Window) -> Page[T]:
    """A page from up to `limit + 1` rows as they were read: the surplus one only tells that there are more."""
    more = len(rows) > window.limit
    kept = list(rows[: window.limit])
    if window.backward:
        kept.reverse()
        return Page(tuple(kept), has_next=window.before is not None, has_previous=more)
    return Page(tuple(kept), has_next=more, has_previous=window.after is not None)


def _plain(value: int | str | bytes | None) -> Any:
    return {"x": value.hex()} if isinstance(value, bytes) else value


def _rich(value: Any) -> int | str | bytes | None:
    return bytes.fromhex(value["x"]) if isinstance(value, dict) else value


def _describe(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if is_dataclass(value):
        return repr(value)
    raise TypeError(f"a filter cannot hold {value!r}")
