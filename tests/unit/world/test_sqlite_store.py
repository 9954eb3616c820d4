"""What `SqliteStore` does with its file, beyond the contract."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from haulout.errors import DiskFull
from haulout.world.errors import StorageFailed, StoreCorrupt, StoreLocked
from haulout.world.sqlite_store import CHECKPOINT_FRAMES, SqliteStore, connect_sqlite


async def test_a_second_opener_is_refused_until_the_first_closes(tmp_path):
    store = SqliteStore(tmp_path / "rows.db")
    with pytest.raises(StoreLocked) as caught:
        SqliteStore(tmp_path / "rows.db")
    assert caught.value.path.endswith("rows.db")
    await store.close()
    await SqliteStore(tmp_path / "rows.db").close()


def _open_and_report(path: str, answer) -> None:
    try:
        SqliteStore(path)
        answer.put("opened")
    except StoreLocked as e:
        answer.put(e.code)


async def test_another_process_is_refused(tmp_path):
    store = SqliteStore(tmp_path / "rows.db")
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_open_and_report, args=(str(tmp_path / "rows.db"), answer))
    process.start()
    assert await asyncio.to_thread(answer.get, True, 30) == "STORE_LOCKED"
    process.join()
    answer.close()
    answer.join_thread()
    await store.close()


async def test_a_file_that_is_no_store_is_corrupt(tmp_path):
    (tmp_path / "rows.db").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StoreCorrupt):
        SqliteStore(tmp_path / "rows.db")


async def test_a_store_of_a_later_version_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StoreCorrupt, match="version 9"):
        SqliteStore(tmp_path / "rows.db")


async def test_damaged_pages_are_reported_as_corrupt_not_as_absent(tmp_path):
    store = SqliteStore(tmp_path / "rows.db")
    await store.commit({b"%06d" % n: bytes(100) for n in range(5000)})
    await store.close()
    raw = bytearray((tmp_path / "rows.db").read_bytes())
    for page in range(len(raw) // 8192, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    (tmp_path / "rows.db").write_bytes(raw)
    store = SqliteStore(tmp_path / "rows.db")
    with pytest.raises(StoreCorrupt):
        list(store.scan(b"", b"\xff"))
    await store.close()


def _tiny(path: str):
    connection = connect_sqlite(path)
    connection.execute("PRAGMA max_page_count = 20")
    return connection


async def test_a_full_disk_applies_nothing_and_the_store_goes_on(tmp_path):
    store = SqliteStore(tmp_path / "rows.db", connect=_tiny)
    await store.commit({b"kept": b"1"})
    with pytest.raises(DiskFull):
        await store.commit({b"kept": b"2", **{b"%d" % n: bytes(3000) for n in range(100)}})
    assert store.get(b"kept") == b"1"
    assert list(store.scan(b"", b"\xff")) == [(b"kept", b"1")]
    await store.commit({b"kept": b"3"})
    assert store.get(b"kept") == b"3"
    await store.close()


class _BrokenCommits:
    """A connection on a medium that dies: its commits fail with an I/O error from a given moment on."""

    broken = False

    def __init__(self, path: str) -> None:
        self._real = connect_sqlite(path)

    @property
    def in_transaction(self):
        return self._real.in_transaction

    def execute(self, sql, *parameters):
        if sql == "COMMIT" and _BrokenCommits.broken and self._is_writing:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        if sql.startswith("BEGIN"):
            self._is_writing = sql == "BEGIN IMMEDIATE"
        return self._real.execute(sql, *parameters)

    def executemany(self, sql, rows):
        return self._real.executemany(sql, rows)

    def close(self):
        self._real.close()


async def test_after_a_failed_commit_nothing_more_is_promised(tmp_path, monkeypatch):
    refused: list[str] = []
    store = SqliteStore(tmp_path / "rows.db", connect=_BrokenCommits, on_error=refused.append)
    await store.commit({b"a": b"1"})
    monkeypatch.setattr(_BrokenCommits, "broken", True)
    with pytest.raises(StorageFailed):
        await store.commit({b"a": b"2"})
    assert refused == ["commit"]
    monkeypatch.setattr(_BrokenCommits, "broken", False)
    with pytest.raises(StorageFailed):
        await store.commit({b"a": b"3"})
    assert store.get(b"a") == b"1"
    await store.close()


async def test_the_log_stays_bounded_under_steady_commits_and_open_reads(tmp_path):
    store = SqliteStore(tmp_path / "rows.db")
    for _ in range(6 * CHECKPOINT_FRAMES // 2000):
        await store.commit({b"%06d" % n: bytes(64) for n in range(2000)}, durable=False)
        assert store.get(b"000000") == bytes(64)
    assert (tmp_path / "rows.db-wal").stat().st_size < 2 * CHECKPOINT_FRAMES * 4200
    await store.close()


async def test_a_store_whose_log_was_never_copied_opens_with_all_of_it(tmp_path):
    store = SqliteStore(tmp_path / "rows.db")
    await store.commit({b"%06d" % n: bytes(10) for n in range(1000)})
    for suffix in ("", "-wal"):
        (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"rows.db{suffix}").read_bytes())
    await store.close()
    copy = SqliteStore(Path(tmp_path / "copy.db"))
    assert sum(1 for _ in copy.scan(b"", b"\xff")) == 1000
    await copy.close()


async def test_commits_that_wait_share_one_transaction(tmp_path):
    statements = []

    class Counting:
        def __init__(self, path):
            self._real = connect_sqlite(path)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def execute(self, sql, *parameters):
            statements.append(sql)
            return self._real.execute(sql, *parameters)

    store = SqliteStore(tmp_path / "rows.db", connect=Counting)
    statements.clear()
    await asyncio.gather(*(store.commit({b"%d" % n: b""}) for n in range(100)))
    assert statements.count("BEGIN IMMEDIATE") <= 2
    await store.close()


async def test_reads_from_other_threads_are_safe_during_commits(tmp_path):
    store = SqliteStore(tmp_path / "rows.db")
    await store.commit({b"%04d" % n: b"0" for n in range(600)})

    def read() -> int:
        for round_number in range(30):
            values = {value for _, value in store.scan(b"", b"\xff")}
            assert len(values) == 1, round_number
            assert store.get(b"0000") is not None
        return 1

    async def write() -> int:
        for n in range(30):
            await store.commit({b"%04d" % k: b"%d" % n for k in range(600)}, durable=False)
        return 1

    assert await asyncio.gather(asyncio.to_thread(read), asyncio.to_thread(read), write()) == [1, 1, 1]
    await store.close()
