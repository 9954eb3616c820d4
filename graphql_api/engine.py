"""Connections to a database: SQLite by default, PostgreSQL by a URL.

SQLAlchemy is used without its async layer: every call runs on a worker thread, so the event loop never waits for SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

POOL_TIMEOUT_S = 1  # readers wait for a place before they ask the pool


def build_engine(url: sa.URL, *, pool_size: int, durable: bool = False) -> Engine:
    """An engine of at most `pool_size` connections; with more than one, each transaction reads one snapshot.

    Args:
        durable: what was committed survives a power cut. Without it SQLite may lose the last commits, which suits
            what can be made again.
    """
    if url.get_backend_name() != "sqlite":
        isolation = "REPEATABLE READ" if pool_size > 1 else "READ COMMITTED"
        return sa.create_engine(
            url, pool_size=pool_size, max_overflow=0, pool_timeout=POOL_TIMEOUT_S, isolation_level=isolation
        )
    engine = sa.create_engine(
        url,
        poolclass=sa.pool.QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"check_same_thread": False, "timeout": 30},
    )
    sa.event.listen(engine, "connect", _configure_sqlite("FULL" if durable else "NORMAL"))
    sa.event.listen(engine, "begin", _begin)
    return engine


def take_turn(connection: Connection, lock: int) -> bool:
    """Wait until no other process holds `lock`, and hold it to the end of this transaction.

    Returns:
        False where no other process can write between: SQLite locks its file by itself.
    """
    if connection.dialect.name == "sqlite":
        return False
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
    return True


def _configure_sqlite(synchronous: str) -> Callable[[Any, Any], None]:
    """Readers beside one writer."""

    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below, so that reads have a snapshot too
        cursor = connection.cursor()
        pragmas = ("journal_mode = WAL", f"synchronous = {synchronous}", "cache_size = -4096", "temp_store = MEMORY")
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return configure


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
