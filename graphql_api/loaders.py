"""Loaders: what many rows of one answer ask for is read in one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select
from strawberry.dataloader import DataLoader

from graphql_api.read_model import queries
from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import Page, Window, fetch_page
from graphql_api.read_model.queries import Row
from graphql_api.read_model.reading import Reading

BATCH_MAX = 500


@dataclass(frozen=True, slots=True)
class PageOf:
    """A page of a list that belongs to one parent, such as the objects of a blob id."""

    list_name: str  # of `queries.LISTS`
    column: str
    parent: bytes | int
    query: Any
    epoch: int
    window: Window

    def statement(self) -> Select[Any]:
        """All rows of the parent, without order."""
        listing = queries.LISTS[self.list_name]
        return listing.statement(self.query, self.epoch).where(listing.table.c[self.column] == self.parent)


class Loaders:
    """One set per request: rows are as of its snapshot."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.blob = self._by(t.blobs.c.blob_id)
        self.blob_object = self._by(t.blob_objects.c.object_id)
        self.account = self._by(t.accounts.c.address)
        self.storage = self._by(t.storage.c.object_id)
        self.certificate = self._by(t.certificates.c.sequence)
        self.node = self._by(t.nodes.c.node_id)
        self.pool = self._by(t.pools.c.node_id)
        self.stake = self._by(t.stakes.c.object_id)
        self.epoch = self._by(t.epochs.c.epoch)
        self.ring = self._by(t.ring.c.epoch)
        self.event = self._by(t.events.c.sequence)
        self.members: DataLoader[int, list[Row]] = self._batch(self._members)
        self.move_counts: DataLoader[int, tuple[int, int]] = self._batch(self._move_counts)
        self.attributes: DataLoader[bytes, list[tuple[str, str]]] = self._batch(self._attributes)
        self.page: DataLoader[PageOf, Page[Row]] = self._batch(self._pages)

    def _by(self, column: ColumnElement[Any]) -> DataLoader[Any, Row | None]:
        async def load(keys: list[Any]) -> Sequence[Row | None]:
            rows = await self._reading.run(queries.rows_by, column, keys)
            return [rows.get(key) for key in keys]

        return self._batch(load)

    @staticmethod
    def _batch(load: Any) -> DataLoader[Any, Any]:
        return DataLoader(load_fn=load, max_batch_size=BATCH_MAX)

    async def _members(self, epochs: list[int]) -> Sequence[list[Row]]:
        found = await self._reading.run(queries.members_by_epoch, epochs)
        return [found.get(epoch, []) for epoch in epochs]

    async def _move_counts(self, epochs: list[int]) -> Sequence[tuple[int, int]]:
        found = await self._reading.run(queries.move_counts, epochs)
        return [found.get(epoch, (0, 0)) for epoch in epochs]

    async def _attributes(self, object_ids: list[bytes]) -> Sequence[list[tuple[str, str]]]:
        found = await self._reading.run(queries.attributes_by_object, object_ids)
        return [found.get(object_id, []) for object_id in object_ids]

    async def _pages(self, keys: list[PageOf]) -> Sequence[Page[Row]]:
        """First pages of many parents by one query per list; a page behind a cursor by its own."""
        answers: dict[PageOf, Page[Row]] = {}
        groups: dict[PageOf, list[PageOf]] = {}
        for key in keys:
            if key.window.after is None and key.window.before is None:
                groups.setdefault(replace(key, parent=b""), []).append(key)
            else:
                order = queries.LISTS[key.list_name].order
                answers[key] = await self._reading.run(fetch_page, key.statement(), order, key.window)
        for shape, members in groups.items():
            parents = [key.parent for key in members]
            found = await self._reading.run(
                queries.pages_by_parent, shape.list_name, shape.column, parents, shape.query, shape.epoch, shape.window
            )
            answers.update({key: found.get(key.parent, EMPTY) for key in members})
        return [answers[key] for key in keys]


EMPTY: Page[Mapping[str, Any]] = Page((), has_next=False, has_previous=False)
