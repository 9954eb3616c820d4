"""The database of the records: made, migrated, refused; one writer at a time, durable commits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, insert, select, text, update

from graphql_api.engine import build_engine, take_turn
from graphql_api.records import schema
from haulout.errors import Rejected, Unavailable
from haulout.ports import Workers

READERS_MAX = 4
OPENING_LOCK = 0x5265636F726473  # "Records", as the number of an advisory lock

T = TypeVar("T")


@dataclass(eq=False)
class ForeignRecords(Rejected):
    """The database holds something else, or was written by a later version of this program."""

    code = "RECORDS_FOREIGN"
    template = "the records at {url} have {found}, this program knows versions 1 to {newest}"
    hint = "give --records a database of its own; after a downgrade, install the later version again"
    url: str
    found: str
    newest: int


@dataclass(eq=False)
class RecordsOfOtherChain(Rejected):
    """The database belongs to another network."""

    code = "RECORDS_OTHER_CHAIN"
    template = "the records at {url} belong to chain {found}, this network is {wanted}"
    hint = "use another --dir or --records: tokens of one network are not for another"
    url: str
    found: str
    wanted: str


@dataclass(eq=False)
class RecordsUnavailable(Unavailable):
    """The database does not answer: no space, no connection, locked by someone else."""

    code = "RECORDS_UNAVAILABLE"
    template = "the database of tokens and operations does not answer: {problem}"
    hint = "free space or bring it back, then try again"
    problem: str


class Records:
    """Runs functions over connections; those of `records.tokens`, `records.audit` and their kin."""

    def __init__(self, url: str, workers: Workers) -> None:
        """`url` as SQLAlchemy reads it; it must not be the read model's."""
        self.url = sa.make_url(url)
        self._workers = workers
        self._writer = build_engine(self.url, pool_size=1, durable=True)
        self._readers = build_engine(self.url, pool_size=READERS_MAX, durable=True)
        self._turn = asyncio.Lock()
        self._places = asyncio.Semaphore(READERS_MAX)

    async def open(self, *, chain_id: bytes) -> None:
        """Make the tables, or bring those that are there to this version.

        Raises:
            ForeignRecords, RecordsOfOtherChain, RecordsUnavailable: nothing was changed.
        """
        await self.write(self._open, chain_id.hex())

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function(connection, *args)` on a worker; once this returns, what it wrote is durable."""
        async with self._turn:
            return await self._finish(self._write, function, *args)

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function(connection, *args)` on a worker, over one snapshot."""
        async with self._places:
            return await self._finish(self._read, function, *args)

    async def _finish(self, function: Callable[..., T], *args: Any) -> T:
        """A thread cannot be cancelled: the place of one that still works is not given to another."""
        call = asyncio.ensure_future(self._workers.run(function, *args))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            if not call.cancelled():
                call.exception()
            raise

    def close(self) -> None:
        """Let go of all connections."""
        self._readers.dispose()
        self._writer.dispose()

    def _write(self, function: Callable[..., T], *args: Any) -> T:
        with _answering(), self._writer.begin() as connection:
            return function(connection, *args)

    def _read(self, function: Callable[..., T], *args: Any) -> T:
        with _answering(), self._readers.begin() as connection:
            return function(connection, *args)

    def _open(self, connection: Connection, chain_id: str) -> None:
        take_turn(connection, OPENING_LOCK)
        shown = self.url.render_as_string(hide_password=True)
        names = set(sa.inspect(connection).get_table_names())
        meta = schema.records_meta
        if not names:
            schema.metadata.create_all(connection)
            facts = {"version": str(schema.VERSION), "chain_id": chain_id}
            connection.execute(insert(meta), [{"name": name, "value": value} for name, value in facts.items()])
            return
        if meta.name not in names:
            raise ForeignRecords(url=shown, found="tables of something else", newest=schema.VERSION)
        facts = {str(name): str(value) for name, value in connection.execute(select(meta.c.name, meta.c.value))}
        version = int(facts["version"])
        if version > schema.VERSION:
            raise ForeignRecords(url=shown, found=f"version {version}", newest=schema.VERSION)
        if facts["chain_id"] != chain_id:
            raise RecordsOfOtherChain(url=shown, found=facts["chain_id"], wanted=chain_id)
        for step in schema.MIGRATIONS[version - 1 :]:
            for statement in step:
                connection.execute(text(statement))
        connection.execute(update(meta).where(meta.c.name == "version").values(value=str(schema.VERSION)))


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Turn what a driver says about a database that does not answer into our error."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as e:
        raise RecordsUnavailable(problem=str(getattr(e, "orig", None) or e)) from e
