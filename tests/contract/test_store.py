"""What every `Store` promises (`haulout.ports.Store`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulout.ports import Store


@pytest.fixture
def play(store_case: Any, tmp_path: Path) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
    """Runs a story with an open store and closes it."""

    def run(story: Callable[[Store], Awaitable[None]]) -> None:
        async def whole() -> None:
            store = store_case.open(tmp_path)
            try:
                await story(store)
            finally:
                await store.close()

        store_case.run(whole())

    return run


def test_an_absent_key_is_none(play):
    async def story(store: Store) -> None:
        assert store.get(b"nothing") is None
        assert list(store.scan(b"", b"\xff")) == []

    play(story)


def test_a_commit_puts_replaces_and_deletes(play):
    async def story(store: Store) -> None:
        await store.commit({b"a": b"1", b"b": b"2"})
        await store.commit({b"a": b"3", b"b": None, b"never": None})
        assert store.get(b"a") == b"3"
        assert store.get(b"b") is None
        assert list(store.scan(b"", b"\xff")) == [(b"a", b"3")]

    play(story)


def test_an_empty_value_is_a_value(play):
    async def story(store: Store) -> None:
        await store.commit({b"k": b"", b"": b"empty key"})
        assert store.get(b"k") == b""
        assert store.get(b"") == b"empty key"

    play(story)


def test_an_empty_commit_is_fine(play):
    async def story(store: Store) -> None:
        await store.commit({})
        await store.commit({}, durable=False)

    play(story)


def test_a_scan_is_half_open_ordered_limited_and_reversible(play):
    async def story(store: Store) -> None:
        await store.commit({bytes([n]): b"v%d" % n for n in range(10)})
        assert [k[0] for k, _ in store.scan(b"\x02", b"\x05")] == [2, 3, 4]
        assert [k[0] for k, _ in store.scan(b"\x02", b"\x05", reverse=True)] == [4, 3, 2]
        assert [k[0] for k, _ in store.scan(b"\x02", b"\x09", limit=2)] == [2, 3]
        assert [k[0] for k, _ in store.scan(b"\x02", b"\x09", reverse=True, limit=2)] == [8, 7]
        assert list(store.scan(b"\x05", b"\x05")) == []
        assert list(store.scan(b"\x07", b"\x03")) == []
        assert list(store.scan(b"\x00", b"\x09", limit=0)) == []

    play(story)


def test_keys_are_ordered_as_bytes(play):
    async def story(store: Store) -> None:
        keys = [b"", b"\x00", b"\x00\x00", b"a", b"a\x00", b"b", b"\x7f", b"\x80", b"\xff"]
        await store.commit(dict.fromkeys(reversed(keys), b"x"))
        assert [k for k, _ in store.scan(b"", b"\xff\xff")] == sorted(keys)

    play(story)


def test_a_long_scan_stays_as_of_its_call_while_commits_go_on(play):
    async def story(store: Store) -> None:
        rows = {b"%05d" % n: b"old" for n in range(3000)}
        await store.commit(rows)
        scan, again = store.scan(b"", b"\xff"), store.scan(b"", b"\xff", reverse=True)
        first = [next(scan) for _ in range(10)]
        await store.commit({b"%05d" % n: b"new" for n in range(0, 3000, 2)})
        await store.commit({b"%05d" % n: None for n in range(1, 3000, 2)})
        assert store.get(b"00001") is None
        late = store.scan(b"", b"\xff")
        assert first + list(scan) == sorted(rows.items())
        assert list(again) == sorted(rows.items(), reverse=True)
        assert list(late) == [(b"%05d" % n, b"new") for n in range(0, 3000, 2)]

    play(story)


def test_a_scan_that_nobody_reads_does_no_harm(play):
    async def story(store: Store) -> None:
        await store.commit({b"%05d" % n: b"x" for n in range(1000)})
        for _ in range(20):
            next(store.scan(b"", b"\xff"))
            store.scan(b"", b"\xff")
            await store.commit({b"00000": b"y"})
        assert store.get(b"00000") == b"y"
        unfinished = store.scan(b"", b"\xff")
        next(unfinished)
        await store.commit({b"00000": b"z"})

    play(story)


def test_a_read_between_commits_sees_all_of_a_commit_or_nothing(play):
    async def story(store: Store) -> None:
        seen = set()

        async def watch() -> None:
            for _ in range(200):
                seen.add((store.get(b"left"), store.get(b"right")))
                await asyncio.sleep(0)

        watcher = asyncio.ensure_future(watch())
        for n in range(20):
            await store.commit({b"left": b"%d" % n, b"right": b"%d" % n})
            assert store.get(b"left") == store.get(b"right") == b"%d" % n
        await watcher
        assert all(left == right for left, right in seen)

    play(story)


def test_commits_made_together_apply_in_order(play):
    async def story(store: Store) -> None:
        commits = [store.commit({b"last": b"%d" % n, b"%d" % n: b""}, durable=n % 2 == 0) for n in range(50)]
        await asyncio.gather(*commits)
        assert store.get(b"last") == b"49"
        assert len(list(store.scan(b"", b"l"))) == 50

    play(story)


def test_a_commit_does_not_keep_the_callers_mapping(play):
    async def story(store: Store) -> None:
        writes: dict[bytes, bytes | None] = {b"a": b"1"}
        waiting = asyncio.ensure_future(store.commit(writes))
        await asyncio.sleep(0)
        writes[b"a"] = b"2"
        await waiting
        assert store.get(b"a") == b"1"

    play(story)


def test_a_cancelled_commit_is_whole_or_absent_and_the_store_goes_on(play):
    async def story(store: Store) -> None:
        for n in range(10):
            task = asyncio.ensure_future(store.commit({b"a%d" % n: b"1", b"b%d" % n: b"1"}))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await store.commit({b"end": b""})
        for n in range(10):
            assert store.get(b"a%d" % n) == store.get(b"b%d" % n)

    play(story)


def test_closing_and_opening_keeps_every_commit(store_case, tmp_path):
    if not store_case.persists:
        return

    async def story() -> None:
        store = store_case.open(tmp_path)
        await store.commit({b"a": b"1"}, durable=False)
        await store.commit({b"b": b"2"})
        unfinished = store.scan(b"", b"\xff")
        await store.close()
        del unfinished
        again = store_case.open(tmp_path)
        assert list(again.scan(b"", b"\xff")) == [(b"a", b"1"), (b"b", b"2")]
        await again.close()

    store_case.run(story())


Op = st.dictionaries(st.binary(max_size=2), st.none() | st.binary(max_size=3), max_size=8)


@settings(max_examples=settings.default.max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=st.lists(Op, max_size=8), start=st.binary(max_size=2), end=st.binary(max_size=2))
def test_agrees_with_a_dictionary(store_case, tmp_path_factory, commits, start, end):
    async def story() -> None:
        store = store_case.open(tmp_path_factory.mktemp("store"))
        model: dict[bytes, bytes] = {}
        try:
            for writes in commits:
                await store.commit(writes, durable=False)
                model.update({k: v for k, v in writes.items() if v is not None})
                for key in [k for k, v in writes.items() if v is None]:
                    model.pop(key, None)
                expected = sorted((k, v) for k, v in model.items() if start <= k < end)
                assert list(store.scan(start, end)) == expected
                assert list(store.scan(start, end, reverse=True)) == expected[::-1]
                assert all(store.get(key) == model.get(key) for key in writes)
        finally:
            await store.close()

    store_case.run(story())
