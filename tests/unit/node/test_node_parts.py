"""The node's smaller parts: locks per blob, lists of work, the choice of a repair, the guard of free space."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from haulout.errors import DiskFull
from haulout.node.blob_locks import BlobLocks
from haulout.node.errors import TooManyRequests
from haulout.node.metrics import NodeMetrics
from haulout.node.records import CURSOR_KEY, IncompleteRow, incomplete_key, seal
from haulout.node.repair_plan import Way, plan_repair
from haulout.node.space import LOOK_AGAIN_US, SpaceGuard
from haulout.node.work_tables import START, Cursor, WorkTables
from haulout.primitives import Axis, BlobId
from haulout.world.memory_store import MemoryStore

DIGEST = b"\xd1" * 32
A, B = BlobId(b"\x0a" * 32), BlobId(b"\x0b" * 32)


class TestLocks:
    async def test_actions_on_one_blob_exclude_each_other_and_others_do_not(self) -> None:
        locks = BlobLocks()
        trace: list[str] = []

        async def action(name: str) -> None:
            trace.append(f"{name} starts")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            trace.append(f"{name} ends")

        await asyncio.gather(
            locks.exclusively(A, lambda: action("first")),
            locks.exclusively(A, lambda: action("second")),
            locks.exclusively(B, lambda: action("other")),
        )
        assert [line for line in trace if "other" not in line] == [
            "first starts",
            "first ends",
            "second starts",
            "second ends",
        ]
        assert trace.index("other starts") < trace.index("first ends")
        assert not locks.is_busy(A)

    async def test_an_action_goes_on_when_its_caller_hangs_up(self) -> None:
        locks = BlobLocks()
        go_on = asyncio.Event()
        done: list[bool] = []

        async def action() -> None:
            await go_on.wait()
            done.append(True)

        caller = asyncio.ensure_future(locks.exclusively(A, action))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert locks.is_busy(A)
        go_on.set()
        await locks.drain()
        assert done == [True]
        assert not locks.is_busy(A)

    async def test_the_table_is_bounded(self) -> None:
        locks = BlobLocks(limit=1)
        go_on = asyncio.Event()
        first = asyncio.ensure_future(locks.exclusively(A, go_on.wait))
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests):
            await locks.exclusively(B, go_on.wait)
        second = asyncio.ensure_future(locks.exclusively(A, go_on.wait))  # the same blob may wait
        go_on.set()
        await asyncio.gather(first, second)
        await locks.exclusively(B, go_on.wait)

    async def test_the_error_of_an_action_is_the_callers(self) -> None:
        async def action() -> None:
            raise DiskFull(path="x")

        locks = BlobLocks()
        with pytest.raises(DiskFull):
            await locks.exclusively(A, action)
        assert not locks.is_busy(A)


class TestWorkTables:
    async def test_work_and_cursor_survive_together(self) -> None:
        store = MemoryStore()
        tables = WorkTables(store)
        await tables.advance(
            height=7, digest=DIGEST, incomplete={A: 100, B: 50}, complete=(), garbage={B: 9}, certified_ms=40
        )
        again = WorkTables(store)
        assert again.cursor() == Cursor(7, DIGEST)
        assert again.n_incomplete == 2
        rows = [(A, IncompleteRow(2, 100, 0, 40)), (B, IncompleteRow(2, 50, 0, 40))]
        assert again.incomplete(after=None, limit=10) == rows
        assert again.incomplete(after=A, limit=10) == rows[1:]
        assert [(blob_id, row.due_ms, row.height) for blob_id, row in again.garbage(after=None, limit=10)] == [
            (B, 9, 7)
        ]

    async def test_counts_each_blob_once_however_often_it_is_listed(self) -> None:
        tables = WorkTables(MemoryStore())
        await asyncio.gather(*(tables.add_incomplete(A, due_ms=due_ms) for due_ms in range(5)))
        assert tables.n_incomplete == 1
        await asyncio.gather(*(tables.remove_incomplete(A) for _ in range(3)))
        assert tables.n_incomplete == 0

    async def test_a_blob_keeps_the_time_of_its_first_certification_while_it_lacks_something(self) -> None:
        tables = WorkTables(MemoryStore())
        await tables.add_incomplete(A, due_ms=10)  # damaged before: that is no certification
        for height, certified_ms in ((7, 40), (8, 90)):
            await tables.advance(
                height=height, digest=DIGEST, incomplete={A: 1}, complete=(), garbage={}, certified_ms=certified_ms
            )
        await tables.add_incomplete(A, due_ms=200, attempts=3)
        assert await tables.remove_incomplete(A, lambda: False) is None
        assert await tables.remove_incomplete(A) == IncompleteRow(2, 200, 3, 40)
        assert await tables.remove_incomplete(A) is None

    async def test_the_list_of_an_earlier_release_is_read(self) -> None:
        key = incomplete_key(A)
        store = MemoryStore({key: seal(key, bytes.fromhex("01 6400000000000000 0300"))})
        tables = WorkTables(store)
        assert tables.incomplete(after=None, limit=9) == [(A, IncompleteRow(2, 100, 3, 0))]
        await tables.add_incomplete(A, due_ms=200, attempts=4)
        assert store.get(key) == seal(key, bytes.fromhex("02 c800000000000000 0400 0000000000000000"))

    async def test_a_damaged_row_of_the_list_is_looked_at_at_once(self) -> None:
        tables = WorkTables(MemoryStore({incomplete_key(A): b"damaged"}))
        assert tables.incomplete(after=None, limit=9) == [(A, IncompleteRow(2, 0, 0, 0))]

    async def test_a_damaged_cursor_starts_over(self) -> None:
        store = MemoryStore()
        await WorkTables(store).advance(height=7, digest=DIGEST, incomplete={}, complete=(), garbage={})
        damaged = bytes([store.get(CURSOR_KEY)[0] ^ 1]) + store.get(CURSOR_KEY)[1:]
        for row in (damaged, b"damaged", b""):
            await store.commit({CURSOR_KEY: row})
            assert WorkTables(store).cursor() == START

    async def test_a_cursor_of_an_earlier_release_is_read(self) -> None:
        store = MemoryStore({CURSOR_KEY: seal(CURSOR_KEY, bytes.fromhex("01 0700000000000000"))})
        assert WorkTables(store).cursor() == Cursor(7, None)
        await WorkTables(store).start_from(height=8, digest=DIGEST)
        assert WorkTables(store).cursor() == Cursor(8, DIGEST)
        assert store.get(CURSOR_KEY) == seal(CURSOR_KEY, bytes.fromhex("02 0800000000000000") + DIGEST)

    async def test_starting_anew_sweeps_anew(self) -> None:
        tables = WorkTables(MemoryStore())
        await tables.set_sweep(epoch=3, after=A, done=True)
        await tables.start_from(height=8, digest=DIGEST)
        assert tables.sweep() is None


FIVE_NODES = {"n_shards": 100, "n_own": 20, "n_peers": 4, "n_reachable": 80}


class TestRepairPlan:
    @pytest.mark.parametrize(
        ("n_pairs", "symbol_size", "way"),
        [
            (1, 2, Way.DECODE),  # a pair: two slivers from four peers, against one stream from each
            (20, 2, Way.DECODE),
            (20, 29_460, Way.SYMBOLS),  # 64 MiB: 1620 symbols and 160 requests against the 2278 of the blob
            (30, 8_192, Way.DECODE),
        ],
    )
    def test_the_cheaper_way_is_taken(self, n_pairs: int, symbol_size: int, way: Way) -> None:
        missing = [(pair, axis) for pair in range(n_pairs) for axis in Axis]
        plan = plan_repair(
            missing,
            n_shards=100,
            n_own=20,
            n_peers=4,
            n_reachable=80,
            symbol_size_bytes=symbol_size,
            memory_bytes=256 << 20,
        )
        assert plan is way

    def test_one_sliver_is_rebuilt_from_symbols(self) -> None:
        plan = plan_repair(
            [(3, Axis.PRIMARY)],
            n_shards=100,
            n_own=20,
            n_peers=4,
            n_reachable=80,
            symbol_size_bytes=2,
            memory_bytes=256 << 20,
        )
        assert plan is Way.SYMBOLS

    def test_a_blob_is_decoded_when_too_few_shards_give_symbols(self) -> None:
        missing = [(3, Axis.PRIMARY)]
        common = {"n_shards": 100, "n_own": 20, "n_peers": 4, "symbol_size_bytes": 29_460, "memory_bytes": 1}
        assert plan_repair(missing, n_reachable=47, **common) is Way.SYMBOLS
        assert plan_repair(missing, n_reachable=46, **common) is Way.DECODE
        assert plan_repair([(3, Axis.SECONDARY)], n_reachable=46, **common) is Way.SYMBOLS

    def test_a_blob_over_the_memory_limit_is_not_decoded(self) -> None:
        missing = [(pair, axis) for pair in range(30) for axis in Axis]
        plan = plan_repair(missing, **FIVE_NODES, symbol_size_bytes=8_192, memory_bytes=82 << 20)
        assert plan is Way.DECODE
        plan = plan_repair(missing, **FIVE_NODES, symbol_size_bytes=8_192, memory_bytes=78 << 20)
        assert plan is Way.SYMBOLS


class TestSpaceGuard:
    async def test_refuses_below_the_reserve_and_recovers_by_itself(self) -> None:
        now_us, free = [0], [50]

        async def free_bytes() -> int:
            return free[0]

        disk = SimpleNamespace(free_bytes=free_bytes)
        clock = SimpleNamespace(monotonic_us=lambda: now_us[0])
        registry = CollectorRegistry()
        guard = SpaceGuard(disk, clock, NodeMetrics(registry), reserve_bytes=40)
        await guard.check()
        free[0] = 39
        await guard.check()  # looked at a moment ago
        now_us[0] += LOOK_AGAIN_US
        with pytest.raises(DiskFull):
            await guard.check()
        assert registry.get_sample_value("haulout_node_read_only") == 1
        free[0] = 40
        with pytest.raises(DiskFull):
            await guard.check()
        now_us[0] += LOOK_AGAIN_US
        await guard.check()
        assert registry.get_sample_value("haulout_node_read_only") == 0

    async def test_a_write_that_found_no_space_is_believed_until_the_next_look(self) -> None:
        now_us = [0]

        async def free_bytes() -> int:
            return 1000

        disk = SimpleNamespace(free_bytes=free_bytes)
        clock = SimpleNamespace(monotonic_us=lambda: now_us[0])
        guard = SpaceGuard(disk, clock, NodeMetrics(CollectorRegistry()), reserve_bytes=40)
        guard.note_full()
        with pytest.raises(DiskFull):
            await guard.check()
        now_us[0] += LOOK_AGAIN_US
        await guard.check()
