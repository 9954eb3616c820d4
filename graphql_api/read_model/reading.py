"""Reads: one snapshot per request, on worker threads, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection

from graphql_api.read_model.database import READERS_MAX, Database, answering, read_progress
from graphql_api.read_model.project import Progress
from haulout.ports import Workers

INTERRUPT_AGAIN_S = 0.1

T = TypeVar("T")


class Reading:
    """All queries of one request see the same snapshot; it is taken at the first of them."""

    def __init__(self, database: Database, workers: Workers, places: asyncio.Semaphore) -> None:
        self._database = database
        self._workers = workers
        self._places = places
        self._turn = asyncio.Lock()  # a connection serves one thread at a time
        self._connection: Connection | None = None
        self._progress: Progress | None = None
        self.n_queries = 0

    @property
    def progress(self) -> Progress | None:
        """How far the snapshot is; None before the first query."""
        return self._progress

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function(connection, *args)` on a worker thread."""
        async with self._turn:
            if self._connection is None:
                await self._places.acquire()
                try:
                    await self._shielded(self._open)
                finally:
                    if self._connection is None:
                        self._places.release()
            self.n_queries += 1
            return await self._shielded(_call, function, self._connection, *args)

    async def snapshot(self) -> Progress:
        """How far the snapshot is; takes it when there is none yet."""
        if self._progress is None:
            return await self.run(read_progress)
        return self._progress

    async def close(self) -> None:
        """Give the connection back."""
        async with self._turn:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                try:
                    await self._shielded(connection.close)
                finally:
                    self._places.release()

    def _open(self) -> None:
        """Take a connection and its snapshot; who is cancelled meanwhile has them, for `close` to give back."""
        with answering():
            connection = self._database.readers.connect()
        try:
            self._progress = _call(read_progress, connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    async def _shielded(self, function: Callable[..., T], *args: Any) -> T:
        """A thread cannot be cancelled: interrupt its statement and wait, so that nobody closes under its hands."""
        call = asyncio.ensure_future(self._workers.run(function, *args))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            while not call.done():  # an interrupt is lost on a thread that has not begun its statement
                if self._connection is not None:
                    _interrupt(self._connection)
                await asyncio.wait([call], timeout=INTERRUPT_AGAIN_S)
            if not call.cancelled():
                call.exception()
            raise


def _call(function: Callable[..., T], connection: Connection, *args: Any) -> T:
    with answering():
        return function(connection, *args)


def _interrupt(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    for name in ("interrupt", "cancel"):  # sqlite3, psycopg
        if hasattr(driver, name):
            getattr(driver, name)()
            return


class ReadModel:
    """What resolvers read from."""

    def __init__(self, database: Database, workers: Workers) -> None:
        self.database = database
        self._workers = workers
        self._places = asyncio.Semaphore(READERS_MAX)

    @property
    def cursor_key(self) -> bytes:
        return self.database.cursor_key

    def open(self) -> Reading:
        """A reading; its owner closes it."""
        return Reading(self.database, self._workers, self._places)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reading]:
        """A reading for as long as a block lasts."""
        reading = self.open()
        try:
            yield reading
        finally:
            await reading.close()
