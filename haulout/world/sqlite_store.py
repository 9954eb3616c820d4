"""An ordered key-value store in one SQLite file.

One table, `rows(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID`, in WAL mode. Commits run in one writer thread, so the
event loop never waits for a sync; those that queue up meanwhile share the next transaction. Reads run on a
connection of their own whose read transaction stays open from commit to commit, which gives two things at once:

- what a reader sees changes only when a commit has returned, in the turn of the loop in which it returns;
- a scan that is still under way keeps the transaction it began in (its *generation*) and stays as of its call,
  while the next reads get a new connection.

A durable commit syncs the log (`synchronous=FULL`); one that is not is written but not synced (`NORMAL`), and a power
cut takes it away whole, together with what followed. Log frames carry chained checksums, so recovery ends at the
first one that is torn.

A reader that is always inside a transaction would keep the log from ever starting anew. So after enough frames the
writer copies them into the file and the reader then begins again: it finds a log without anything new, no longer
holds on to it, and the next commit writes from the log's beginning. Source: SQLite, "Write-Ahead Logging", 2.2-2.3.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from haulout.errors import DiskFull, HauloutError
from haulout.world.disk import FULL_ERRNOS, make_folder
from haulout.world.errors import StorageFailed, StoreCorrupt, StoreLocked

STORE_VERSION = 1
PAGE_BYTES = 4096
CACHE_KIB = 12 * 1024  # per connection: one writes, one reads, seldom a third finishes a long scan
SCAN_ROWS = 256
CHECKPOINT_FRAMES = 8192  # about 32 MiB of log
MAX_GROUP_ROWS = 16_384
MAX_GROUP_BYTES = 16 << 20

_CREATE = "CREATE TABLE IF NOT EXISTS rows (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID"
_PUT = "INSERT INTO rows (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
_DELETE = "DELETE FROM rows WHERE k = ?"
_GET = "SELECT v FROM rows WHERE k = ?"
_SCAN = "SELECT k, v FROM rows WHERE k >= ? AND k < ? ORDER BY k LIMIT ?"
_SCAN_REVERSE = "SELECT k, v FROM rows WHERE k >= ? AND k < ? ORDER BY k DESC LIMIT ?"


class Cursor(Protocol):
    """What the store needs of a cursor."""

    def fetchone(self) -> Any: ...

    def fetchmany(self, size: int, /) -> list[Any]: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """What the store needs of a connection: the standard library's, or any other that raises its exceptions."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor: ...

    def close(self) -> None: ...


def connect_sqlite(path: str) -> Connection:
    """A connection of the standard library: usable from any thread, transactions only where we say so."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)


class SqliteStore:
    """Rows in one file, one process at a time.

    Args:
        path: the file; made with its folders when it is not there. `<path>-wal`, `<path>-shm` and `<path>.lock` stand
            beside it.
        connect: opens a connection to the file; tests put another file system under SQLite with it.
        checkpoint_frames: after about so many 4 KiB pages in the log they are copied into the file.
        on_error: told the operation that the medium refused, or where the file was found damaged, in any thread.

    Raises:
        StoreLocked: another process has it open.
        StoreCorrupt: the file is damaged, no store, or of a version this build does not know.
        DiskFull, StorageFailed: by the medium.
    """

    def __init__(
        self,
        path: Path | str,
        connect: Callable[[str], Connection] = connect_sqlite,
        *,
        checkpoint_frames: int = CHECKPOINT_FRAMES,
        on_error: Callable[[str], None] = lambda operation: None,
    ) -> None:
        self._path = Path(path)
        self._on_error = on_error
        self._connect = connect
        self._checkpoint_frames = checkpoint_frames
        self._read_lock = threading.RLock()
        self._queue: deque[_Commit] = deque()
        self._drain: asyncio.Task[None] | None = None
        self._failure: StorageFailed | None = None
        self._frames = 0
        self._is_syncing = True  # how the writer is set, as `_open_writer` leaves it
        self._spare: Connection | None = None
        self._is_closed = False
        try:
            make_folder(self._path.parent)
            self._lock_file = _take_lock(self._path)
        except OSError as e:
            if e.errno in FULL_ERRNOS:
                raise DiskFull(path=str(self._path.parent)) from e
            raise StorageFailed(path=str(self._path), operation="open", problem=e.strerror or str(e)) from e
        opened: list[Connection] = []
        try:
            opened.append(self._open_writer())
            opened.append(self._open_connection())
            self._writer = opened[0]
            self._current = self._begin_generation(opened[1])
        except BaseException as e:
            for connection in opened:
                connection.close()
            os.close(self._lock_file)
            if isinstance(e, sqlite3.Error):
                raise self._ours(e, "open") from e
            raise
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="haulout-store")

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None.

        Raises:
            StoreCorrupt, StorageFailed: by the file.
        """
        with self._read_lock:
            try:
                row = self._current.connection.execute(_GET, (key,)).fetchone()
            except sqlite3.Error as e:
                raise self._ours(e, "read") from e
        return None if row is None else row[0]

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the end with `reverse`, as of the call.

        The first rows are fetched at once; a longer scan fetches as it is read and holds its generation until it is
        read out or let go. Raises as `get`.
        """
        with self._read_lock:
            generation = self._current
            try:
                cursor = generation.connection.execute(
                    _SCAN_REVERSE if reverse else _SCAN, (start, end, -1 if limit is None else max(0, limit))
                )
                rows = cursor.fetchmany(SCAN_ROWS)
            except sqlite3.Error as e:
                raise self._ours(e, "read") from e
            if len(rows) < SCAN_ROWS:
                cursor.close()
                return iter(rows)
            generation.users += 1
            return _Scan(self, generation, cursor, rows)

    # --- writing --------------------------------------------------------------------------------------------

    async def commit(self, writes: Mapping[bytes, bytes | None], *, durable: bool = True) -> None:
        """Apply all writes (None deletes) or none; `durable` as in `ports.Store`.

        Goes through even when the caller is cancelled meanwhile: a commit is never half taken back.

        Raises:
            DiskFull: nothing was applied.
            StorageFailed: whether it was applied is known after the next start; every later commit raises it too.
            StoreCorrupt: the file is damaged.
        """
        if self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        commit = _Commit(dict(writes), durable, loop.create_future())
        self._queue.append(commit)
        if self._drain is None or self._drain.done():
            self._drain = loop.create_task(self._drain_queue(), name="store commits")
        await commit.done

    async def close(self) -> None:
        """Finish the commits under way and release the files; nothing may be called afterwards."""
        if self._drain is not None:
            await self._drain
        self._thread.shutdown(wait=True)
        with self._read_lock:
            for connection in (self._current.connection, self._spare, self._writer):
                if connection is not None:
                    connection.close()
            self._is_closed = True
            os.close(self._lock_file)

    async def _drain_queue(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            group = self._take_group()
            try:
                if self._failure is not None:
                    raise self._failure
                await loop.run_in_executor(self._thread, self._write, group)
                self._next_generation()
            except HauloutError as e:
                if isinstance(e, StorageFailed):
                    self._failure = e
                for commit in group:
                    commit.fail(e)
                continue
            for commit in group:
                commit.succeed()
            if self._frames >= self._checkpoint_frames:
                await self._checkpoint(loop)

    def _take_group(self) -> list[_Commit]:
        """As many waiting commits as one transaction should hold; at least one."""
        group = [self._queue.popleft()]
        rows, size_bytes = len(group[0].writes), group[0].size_bytes
        while self._queue:
            rows += len(self._queue[0].writes)
            size_bytes += self._queue[0].size_bytes
            if rows > MAX_GROUP_ROWS or size_bytes > MAX_GROUP_BYTES:
                break
            group.append(self._queue.popleft())
        return group

    def _write(self, group: list[_Commit]) -> None:
        """In the writer thread: one transaction for the whole group, later writes over earlier ones."""
        merged: dict[bytes, bytes | None] = {}
        for commit in group:
            merged.update(commit.writes)
        puts = sorted((key, value) for key, value in merged.items() if value is not None)
        deletes = sorted((key,) for key, value in merged.items() if value is None)
        durable = any(commit.durable for commit in group)
        writer = self._writer
        try:
            if durable is not self._is_syncing:
                writer.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
                self._is_syncing = durable
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany(_PUT, puts)
            writer.executemany(_DELETE, deletes)
            writer.execute("COMMIT")
        except sqlite3.Error as e:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise self._ours(e, "commit") from e
        self._frames += len(deletes) + sum(1 + len(value) // PAGE_BYTES for _, value in puts)

    async def _checkpoint(self, loop: asyncio.AbstractEventLoop) -> None:
        """Copy the log into the file. A full disk here is no loss: the log keeps everything, and it is tried again."""
        try:
            await loop.run_in_executor(self._thread, self._copy_log)
        except DiskFull:
            return
        except StorageFailed as e:
            self._failure = e
            return
        self._next_generation()

    def _copy_log(self) -> None:
        try:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as e:
            raise self._ours(e, "checkpoint") from e
        self._frames = 0

    # --- generations ----------------------------------------------------------------------------------------

    def _begin_generation(self, connection: Connection) -> _Generation:
        connection.execute("BEGIN")
        connection.execute("SELECT k FROM rows LIMIT 1").fetchone()  # a transaction begins with its first read
        return _Generation(connection)

    def _next_generation(self) -> None:
        """Let new reads see what has been committed."""
        with self._read_lock:
            old = self._current
            try:
                if old.users:
                    old.is_retired = True
                    connection, self._spare = self._spare or self._open_connection(), None
                else:
                    connection = old.connection
                    connection.execute("COMMIT")
                self._current = self._begin_generation(connection)
            except sqlite3.Error as e:
                raise self._ours(e, "read") from e

    def _next_rows(self, cursor: Cursor) -> list[Any]:
        with self._read_lock:
            try:
                return cursor.fetchmany(SCAN_ROWS)
            except sqlite3.Error as e:
                raise self._ours(e, "read") from e

    def _release(self, generation: _Generation, cursor: Cursor) -> None:
        with self._read_lock:
            if self._is_closed:
                return
            cursor.close()
            generation.users -= 1
            if generation.users or not generation.is_retired:
                return
            if self._spare is None:
                generation.connection.execute("COMMIT")
                self._spare = generation.connection
            else:
                generation.connection.close()

    # --- files ----------------------------------------------------------------------------------------------

    def _open_connection(self) -> Connection:
        connection = self._connect(str(self._path))
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    def _open_writer(self) -> Connection:
        writer = self._open_connection()
        try:
            writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            writer.execute("PRAGMA journal_mode = WAL").fetchone()
            writer.execute("PRAGMA synchronous = FULL")
            version = writer.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, STORE_VERSION):
                problem = f"it has store version {version}, this build knows {STORE_VERSION}"
                raise StoreCorrupt(path=str(self._path), problem=problem)
            if version == 0:
                writer.execute("BEGIN IMMEDIATE")
                writer.execute(_CREATE)
                writer.execute(f"PRAGMA user_version = {STORE_VERSION}")
                writer.execute("COMMIT")
        except BaseException:
            writer.close()
            raise
        return writer

    def _ours(self, error: sqlite3.Error, operation: str) -> HauloutError:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreLocked(path=str(self._path))
        self._on_error(operation)
        if primary == sqlite3.SQLITE_FULL:
            return DiskFull(path=str(self._path.parent))
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreCorrupt(path=str(self._path), problem=str(error))
        return StorageFailed(path=str(self._path), operation=operation, problem=str(error))


@dataclass(slots=True, eq=False)
class _Commit:
    writes: dict[bytes, bytes | None]
    durable: bool
    done: asyncio.Future[None]

    @property
    def size_bytes(self) -> int:
        return sum(len(key) + len(value or b"") for key, value in self.writes.items())

    def succeed(self) -> None:
        if not self.done.done():  # a cancelled caller no longer waits
            self.done.set_result(None)

    def fail(self, error: HauloutError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class _Generation:
    """One state of the rows, kept visible by a read transaction; `users` scans still read from it."""

    connection: Connection
    users: int = 0
    is_retired: bool = False


class _Scan:
    """The rest of a long scan; lets its generation go at the end, on `close`, or when nobody refers to it."""

    __slots__ = ("_at", "_cursor", "_generation", "_rows", "_store")

    def __init__(self, store: SqliteStore, generation: _Generation, cursor: Cursor, rows: list[Any]) -> None:
        self._store = store
        self._generation: _Generation | None = generation
        self._cursor = cursor
        self._rows = rows
        self._at = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self

    def __next__(self) -> tuple[bytes, bytes]:
        if self._at == len(self._rows):
            if self._generation is None:
                raise StopIteration
            self._rows, self._at = self._store._next_rows(self._cursor), 0
            if len(self._rows) < SCAN_ROWS:
                self.close()
            if not self._rows:
                raise StopIteration
        row: tuple[bytes, bytes] = self._rows[self._at]
        self._at += 1
        return row

    def close(self) -> None:
        if self._generation is not None:
            generation, self._generation = self._generation, None
            self._store._release(generation, self._cursor)

    def __del__(self) -> None:
        self.close()


def _take_lock(path: Path) -> int:
    """Hold `<path>.lock` until the process ends; the kernel lets it go with the process, however that ends."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(descriptor)
        raise StoreLocked(path=str(path)) from e
    return descriptor
