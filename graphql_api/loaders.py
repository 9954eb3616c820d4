"""Loaders: what many rows of one answer ask for is read in one query."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select

from graphql_api.read_model import blob_queries, epoch_queries, event_queries, lists, queries, usage
from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import Page, Window, fetch_page
from graphql_api.read_model.queries import Row
from graphql_api.read_model.reading import Reading
from graphql_api.read_model.usage import Stored
from graphql_api.records import retentions
from graphql_api.records.retentions import Retention

if TYPE_CHECKING:
    from graphql_api.records.database import Records

BATCH_MAX = 500

K = TypeVar("K")
V = TypeVar("V")


class Loader(Generic[K, V]):
    """Reads each key once; those that are asked for in one turn of the event loop are read together."""

    def __init__(self, read: Callable[[list[K]], Awaitable[Sequence[V]]]) -> None:
        """`read` gives the values of some keys, in their order."""
        self._read = read
        self._known: dict[K, asyncio.Future[V]] = {}
        self._waiting: list[K] = []
        self._reading: set[asyncio.Task[None]] = set()

    def load(self, key: K) -> asyncio.Future[V]:
        """The value of a key, to be waited for."""
        known = self._known.get(key)
        if known is not None and not known.cancelled():
            return known
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._begin)
        self._waiting.append(key)
        future: asyncio.Future[V] = loop.create_future()
        self._known[key] = future
        return future

    def load_many(self, keys: Iterable[K]) -> Awaitable[list[V]]:
        """The values of some keys, in their order."""
        return asyncio.gather(*map(self.load, keys))

    def close(self) -> None:
        """Read nothing any more, now that nobody waits for it."""
        self._waiting.clear()
        for task in self._reading:
            task.cancel()

    def _begin(self) -> None:
        keys, self._waiting = self._waiting, []
        for start in range(0, len(keys), BATCH_MAX):
            task = asyncio.ensure_future(self._read_batch(keys[start : start + BATCH_MAX]))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _read_batch(self, keys: list[K]) -> None:
        futures = [self._known[key] for key in keys]
        try:
            values: Sequence[V | BaseException] = await self._read(keys)
        except Exception as e:  # noqa: BLE001 - each who waits raises it
            values = [e] * len(keys)
        for future, value in zip(futures, values, strict=True):
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(value, BaseException):
                future.set_exception(value)
            else:
                future.set_result(value)


@dataclass(frozen=True, slots=True)
class PageOf:
    """A page of a list that belongs to one parent, such as the objects of a blob id."""

    list_name: str  # of `lists.LISTS`
    column: str
    parent: bytes | int
    query: Any
    epoch: int
    window: Window

    def statement(self) -> Select[Any]:
        """All rows of the parent, without order."""
        listing = lists.LISTS[self.list_name]
        return listing.statement(self.query, self.epoch).where(listing.table.c[self.column] == self.parent)


class Loaders:
    """One set per request: rows of the read model are as of its snapshot, those of the records as of now."""

    def __init__(self, reading: Reading, records: Records) -> None:
        self._reading = reading
        self._records = records
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
        self.members: Loader[int, list[Row]] = Loader(self._members)
        self.vote: Loader[int, Row | None] = Loader(self._votes)
        self.invalidation: Loader[bytes, Row | None] = Loader(self._invalidations)
        self.move_counts: Loader[int, tuple[int, int]] = Loader(self._move_counts)
        self.attributes: Loader[bytes, list[tuple[str, str]]] = Loader(self._attributes)
        self.retention: Loader[bytes, Retention | None] = Loader(self._retentions)
        self.stored: Loader[bytes, Stored | None] = Loader(self._stored)
        self.paid: Loader[bytes, int | None] = Loader(self._paid)
        self.page: Loader[PageOf, Page[Row]] = Loader(self._pages)

    def close(self) -> None:
        """Ask the snapshot for nothing any more."""
        for loader in vars(self).values():
            if isinstance(loader, Loader):
                loader.close()

    def _by(self, column: ColumnElement[Any]) -> Loader[Any, Row | None]:
        async def load(keys: list[Any]) -> Sequence[Row | None]:
            rows = await self._reading.run(queries.rows_by, column, keys)
            return [rows.get(key) for key in keys]

        return Loader(load)

    async def _members(self, epochs: list[int]) -> Sequence[list[Row]]:
        found = await self._reading.run(epoch_queries.members_by_epoch, epochs)
        return [found.get(epoch, []) for epoch in epochs]

    async def _move_counts(self, epochs: list[int]) -> Sequence[tuple[int, int]]:
        found = await self._reading.run(epoch_queries.move_counts, epochs)
        return [found.get(epoch, (0, 0)) for epoch in epochs]

    async def _votes(self, epochs: list[int]) -> Sequence[Row | None]:
        found = await self._reading.run(event_queries.votes_by_epoch, epochs)
        return [found.get(epoch) for epoch in epochs]

    async def _invalidations(self, blob_ids: list[bytes]) -> Sequence[Row | None]:
        found = await self._reading.run(event_queries.invalidations_by_blob, blob_ids)
        return [found.get(blob_id) for blob_id in blob_ids]

    async def _attributes(self, object_ids: list[bytes]) -> Sequence[list[tuple[str, str]]]:
        found = await self._reading.run(blob_queries.attributes_by_object, object_ids)
        return [found.get(object_id, []) for object_id in object_ids]

    async def _stored(self, owners: list[bytes]) -> Sequence[Stored | None]:
        epoch = (await self._reading.snapshot()).epoch
        found = await self._reading.run(usage.stored_by_owner, owners, epoch)
        return [found[owner] for owner in owners]

    async def _paid(self, accounts: list[bytes]) -> Sequence[int | None]:
        epoch = (await self._reading.snapshot()).epoch
        found = await self._reading.run(usage.paid_by_account, accounts, epoch)
        return [found[account] for account in accounts]

    async def _retentions(self, object_ids: list[bytes]) -> Sequence[Retention | None]:
        found = await self._records.read(retentions.find, object_ids)
        return [found.get(object_id) for object_id in object_ids]

    async def _pages(self, keys: list[PageOf]) -> Sequence[Page[Row]]:
        """First pages of many parents by one query per list; a page behind a cursor by its own."""
        answers: dict[PageOf, Page[Row]] = {}
        groups: dict[tuple[Any, ...], list[bytes | int]] = {}
        for key in keys:
            if key.window.after is None and key.window.before is None:
                shape = (key.list_name, key.column, key.query, key.epoch, key.window)
                groups.setdefault(shape, []).append(key.parent)
            else:
                order = lists.LISTS[key.list_name].order
                answers[key] = await self._reading.run(fetch_page, key.statement(), order, key.window)
        for (name, column, query, epoch, window), parents in groups.items():
            found = await self._reading.run(lists.pages_by_parent, name, column, parents, query, epoch, window)
            answers.update({PageOf(name, column, p, query, epoch, window): found.get(p, EMPTY) for p in parents})
        return [answers[key] for key in keys]


EMPTY: Page[Mapping[str, Any]] = Page((), has_next=False, has_previous=False)
