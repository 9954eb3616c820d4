"""Relay connections over keyset pages."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import strawberry
from sqlalchemy import ColumnElement, Select

from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.loaders import PageOf
from graphql_api.read_model.paging import CursorCodec, Order, Page, count_up_to, fetch_page, read_window
from graphql_api.scalars import BigInt

T = TypeVar("T")
Read = Callable[..., Awaitable[Any]]  # calls a function with a connection and the arguments behind it

First = Annotated[
    int | None,
    strawberry.argument(
        description="How many rows from the front, 20 if neither `first` nor `last` is given, at most 100."
    ),
]
After = Annotated[
    str | None, strawberry.argument(description="Only rows behind this cursor; take it from `pageInfo.endCursor`.")
]
Last = Annotated[
    int | None, strawberry.argument(description="How many rows from the back, at most 100; not together with `first`.")
]
Before = Annotated[
    str | None,
    strawberry.argument(description="Only rows in front of this cursor; take it from `pageInfo.startCursor`."),
]


Cursor = Callable[[], str]  # made when it is asked for: signing one costs as much as a row's fields


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether there are rows behind this page.")
    has_previous_page: bool = strawberry.field(description="Whether there are rows in front of this page.")
    first: strawberry.Private[Cursor | None]
    last: strawberry.Private[Cursor | None]

    @resolved("Cursor of the first row; null on an empty page.")
    def start_cursor(self) -> str | None:
        return None if self.first is None else self.first()

    @resolved("Cursor of the last row; null on an empty page.")
    def end_cursor(self) -> str | None:
        return None if self.last is None else self.last()


@strawberry.type(description="A row of a list, with its cursor.")
class Edge(Generic[T]):
    node: T = strawberry.field(description="The row itself.")
    make_cursor: strawberry.Private[Cursor]

    @resolved("Stands on this row for as long as filter and order stay the same; opaque and signed.")
    def cursor(self) -> str:
        return self.make_cursor()


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The rows with their cursors.")
    nodes: list[T] = strawberry.field(description="The rows alone.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")
    count: strawberry.Private[Callable[[], Awaitable[int | None]]]

    @resolved("Rows in the whole list; null when there are more than 10,000.")
    async def total_count(self) -> BigInt | None:
        count = await self.count()
        return None if count is None else BigInt(count)


class Paging:
    """A connection's arguments, understood; makes the connection once the rows are there."""

    def __init__(
        self,
        info: Info,
        name: str,
        order: Order,
        order_name: str,
        *,
        first: int | None,
        after: str | None,
        last: int | None,
        before: str | None,
        **filters: Any,
    ) -> None:
        """`name` is the list with its parent's key; `filters` are all values that choose the rows.

        Raises:
            BadPage, PageTooLarge, BadCursor: as `read_window`.
        """
        self.info = info
        self.order = order
        order_name = f"{order_name} {'DESC' if order.descending else 'ASC'}"
        self.cursors = CursorCodec(info.context.services.cursor_key, name, order_name, **filters)
        self.window = read_window(self.cursors, first=first, after=after, last=last, before=before)

    async def fetch(
        self,
        statement: Select[Any],
        build: Callable[[Mapping[str, Any]], T],
        *,
        any_of: Sequence[ColumnElement[bool]] = (),
        read: Read | None = None,
    ) -> Connection[T]:
        """The connection of a statement's rows, in the read model or wherever `read` reads; `any_of`: `fetch_page`."""
        page = await (read or self.info.context.reading.run)(fetch_page, statement, self.order, self.window, any_of)
        return self.connect(page, build, lambda: statement, read=read)

    async def fetch_of(
        self,
        list_name: str,
        column: str,
        parent: bytes | int,
        query: Any,
        build: Callable[[Mapping[str, Any]], T],
    ) -> Connection[T]:
        """The connection of a parent's rows in one of `lists.LISTS`, read together with those of its siblings."""
        context = self.info.context
        wanted = PageOf(list_name, column, parent, query, await context.epoch(), self.window)
        return self.connect(await context.loaders.page.load(wanted), build, wanted.statement)

    def connect(
        self,
        page: Page[Mapping[str, Any]],
        build: Callable[[Mapping[str, Any]], T],
        statement: Callable[[], Select[Any]],
        *,
        read: Read | None = None,
    ) -> Connection[T]:
        """The connection of a page that was read already; `statement` gives all rows of the list, to count them."""
        names = [column.name for column in self.order.columns]

        async def count() -> int | None:
            counted: int | None = await (read or self.info.context.reading.run)(count_up_to, statement())
            return counted

        return assemble(page, build, lambda row: self.cursors.encode(tuple(row[name] for name in names)), count)


def nothing() -> Connection[Any]:
    """A connection without rows, for lists that cannot have any."""

    async def count() -> int:
        return 0

    return assemble(Page((), has_next=False, has_previous=False), lambda row: row, str, count)


def assemble(
    page: Page[Any],
    build: Callable[[Any], T],
    cursor_of: Callable[[Any], str],
    count: Callable[[], Awaitable[int | None]],
) -> Connection[T]:
    """A connection from a page, wherever its rows are from."""
    edges = [Edge(node=build(row), make_cursor=functools.partial(cursor_of, row)) for row in page.rows]
    info = PageInfo(
        has_next_page=page.has_next,
        has_previous_page=page.has_previous,
        first=edges[0].make_cursor if edges else None,
        last=edges[-1].make_cursor if edges else None,
    )
    return Connection(edges=edges, nodes=[edge.node for edge in edges], page_info=info, count=count)
