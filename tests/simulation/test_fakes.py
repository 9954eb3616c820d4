"""What the simulated world adds to the ports' contracts: order from a seed, power cuts, broken wires, deadlocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from haulout.errors import DiskFull, HauloutError, NotFound, Unreachable
from haulout.sim.disk import DiskMedium, SimDisk
from haulout.sim.fabric import Fabric, Port, Weather
from haulout.sim.loop import Deadlock, OutOfTime, run
from haulout.sim.machine import Machine
from haulout.sim.rng import SeededRng
from haulout.sim.store import SimStore, StoreMedium
from haulout.sim.trace import Trace
from haulout.world.errors import StorageFailed

# --- the loop -----------------------------------------------------------------------------------------------


async def who_came_first(n: int) -> list[int]:
    order: list[int] = []

    async def come(number: int) -> None:
        order.append(number)

    await asyncio.gather(*(come(number) for number in range(n)))
    return order


def test_the_seed_decides_who_goes_first() -> None:
    orders = [tuple(run(who_came_first(5), seed)) for seed in range(30)]
    assert orders == [tuple(run(who_came_first(5), seed)) for seed in range(30)]
    assert len(set(orders)) > 15
    assert {order[0] for order in orders} == set(range(5))
    assert run(who_came_first(5)) == [0, 1, 2, 3, 4]


def test_waiting_takes_no_time() -> None:
    async def story() -> float:
        await asyncio.sleep(3_600)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(story(), 1) == 3_660


def test_what_was_taken_back_does_not_run_and_holds_nothing_up() -> None:
    async def story() -> tuple[list[str], float]:
        loop = asyncio.get_running_loop()
        said: list[str] = []
        later, soon = loop.call_later(3_600, said.append, "later"), loop.call_soon(said.append, "soon")
        later.cancel()
        soon.cancel()
        assert later.cancelled() and later.when() == 3_600
        loop.call_at(1, said.append, "in a second")
        await asyncio.sleep(2)
        return said, loop.time()

    assert run(story(), 1) == (["in a second"], 2)


def test_a_callback_that_fails_is_told_of_and_the_others_run() -> None:
    async def story() -> list[object]:
        loop = asyncio.get_running_loop()
        told: list[object] = []
        loop.set_exception_handler(lambda _, context: told.append(repr(context["exception"])))
        loop.call_soon(int, "no number")
        loop.call_later(1, told.append, "another")
        await asyncio.sleep(2)
        return told

    assert run(story(), 1) == ["""ValueError("invalid literal for int() with base 10: 'no number'")""", "another"]


def test_a_deadlock_is_noticed_and_names_who_waits() -> None:
    async def story() -> None:
        await asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="the one that hangs")

    with pytest.raises(Deadlock, match="the one that hangs"):
        run(story(), 1)


def test_a_story_without_end_is_ended() -> None:
    async def story() -> None:
        for _ in range(1_000):
            await asyncio.sleep(1)

    with pytest.raises(OutOfTime):
        run(story(), 1, limit_s=100)


def test_there_are_no_threads() -> None:
    async def story() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(AssertionError, match="thread"):
        run(story(), 1)


def test_sets_of_tasks_have_one_order() -> None:
    async def story(run_number: int) -> list[str]:
        tasks = {asyncio.ensure_future(asyncio.sleep(n)) for n in range(50)}
        padding = [object() for _ in range(run_number * 1_000)]
        names = [task.get_name() for task in tasks]
        await asyncio.gather(*tasks)
        del padding
        return names

    found = [run(story(run_number), 1) for run_number in range(3)]
    assert found[0] == found[1] == found[2]


def test_chance_is_one_stream_however_it_is_taken() -> None:
    whole, parts = SeededRng(7, "stream").random_bytes(1_000), SeededRng(7, "stream")
    sizes = [0, 1, 63, 64, 65, 200, 7, 600]
    assert b"".join(parts.random_bytes(size) for size in sizes) == whole
    assert SeededRng(7, "stream").random_bytes(4).hex() == "1c0d7385"


# --- power cuts ---------------------------------------------------------------------------------------------


async def rows_after_a_cut(seed: int) -> set[bytes]:
    medium = StoreMedium()
    store = SimStore(medium, sync_us=1_000)
    await store.commit({b"1": b"", b"1 too": b""}, durable=False)
    await store.commit({b"2": b""})
    for key in (b"3", b"4"):
        await store.commit({key: b"", key + b" too": b""}, durable=False)
    under_way = asyncio.ensure_future(store.commit({b"5": b"", b"5 too": b""}))
    await asyncio.sleep(0.0001)
    medium.cut(SeededRng(seed))
    with pytest.raises(StorageFailed):
        await under_way
    with pytest.raises(StorageFailed):
        await store.commit({b"6": b""})
    await store.close()
    return set(medium.rows())


def test_a_cut_takes_a_suffix_of_commits_and_never_what_was_durable() -> None:
    async def story() -> set[frozenset[bytes]]:
        return {frozenset(await rows_after_a_cut(seed)) for seed in range(60)}

    found = run(story())
    kept = [b"1", b"1 too", b"2"]
    assert found == {
        frozenset(kept),
        frozenset((*kept, b"3", b"3 too")),
        frozenset((*kept, b"3", b"3 too", b"4", b"4 too")),
        frozenset((*kept, b"3", b"3 too", b"4", b"4 too", b"5", b"5 too")),
    }


async def files_after_a_cut(seed: int) -> dict[str, bytes]:
    medium = DiskMedium()
    disk = SimDisk(medium, sync_us=1_000)
    await disk.write("synced", [b"kept"])
    await disk.write("replaced", [b"old"])
    await disk.write("removed", [b"back"])
    await disk.sync(["synced", "replaced", "removed"])
    await disk.write_atomic("atomic", [b"whole"])
    await disk.write("replaced", [b"newer"])
    await disk.write("fresh", [b"12345678"])
    await disk.remove(["removed"])
    medium.cut(SeededRng(seed))
    with pytest.raises(StorageFailed):
        await disk.write("late", [b""])
    again = SimDisk(medium)
    return {path: await again.read(path) for path in await again.list("")}


def test_a_cut_loses_or_tears_what_was_not_synced() -> None:
    async def story() -> list[dict[str, bytes]]:
        return [await files_after_a_cut(seed) for seed in range(200)]

    found = run(story())
    assert all(files["synced"] == b"kept" and files["atomic"] == b"whole" for files in found)
    assert {b"old", b"newer"} <= {files["replaced"] for files in found}
    assert {None, b"12345678"} < {files.get("fresh") for files in found}
    torn = {files["fresh"] for files in found if "fresh" in files} - {b"12345678"}
    assert all(b"12345678".startswith(data.rstrip(b"\0")) and len(data) <= 8 for data in torn)
    assert {len(data) for data in torn} >= {1, 5, 8}
    assert {files.get("removed") for files in found} == {None, b"back"}


def test_a_full_medium_refuses_and_keeps_what_it_has() -> None:
    async def story() -> None:
        disk = SimDisk(DiskMedium(capacity_bytes=10))
        await disk.write("a", [b"12345"])
        for write in (disk.write, disk.write_atomic):
            with pytest.raises(DiskFull):
                await write("b", [b"123456"])
        assert await disk.list("") == ["a"]
        assert await disk.free_bytes() == 5
        medium = StoreMedium()
        store = SimStore(medium)
        medium.is_full = True
        with pytest.raises(DiskFull):
            await store.commit({b"a": b""})
        assert store.get(b"a") is None

    run(story(), 1)


# --- wires --------------------------------------------------------------------------------------------------


class Echo:
    async def say(self, text: str) -> str:
        if text == "nothing":
            raise NotFound
        return text

    async def count(self, n: int) -> AsyncIterator[int]:
        """`n` numbers, and then silence."""
        for number in range(n):
            yield number
        await asyncio.sleep(3_600)


class Wired:
    """A caller and an echo."""

    def __init__(self, weather: Weather | None = None) -> None:
        self.fabric = Fabric(SeededRng(1), Trace(), weather)
        self.machine = Machine("there")
        self.fabric.attach("there:1", self.machine, Echo())
        self.port = Port(self.fabric, "here")

    def count(self, n: int, *, endless: bool = False) -> AsyncIterator[int]:
        return self.port.download("there:1", "count", int, lambda echo: echo.count(n), endless=endless)

    async def ask(self, text: str = "hello") -> str:
        return await self.port.call("there:1", "say", lambda echo: echo.say(text))


async def time_of_failure(wired: Wired) -> float:
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(Unreachable):
        await wired.ask()
    return loop.time() - before


def test_a_partition_swallows_calls_until_it_is_healed() -> None:
    async def story() -> None:
        wired = Wired()
        assert await wired.ask() == "hello"
        wired.fabric.partition(["here"], ["there", "elsewhere"])
        assert await time_of_failure(wired) > 5
        wired.fabric.heal()
        assert await wired.ask() == "hello"
        with pytest.raises(NotFound):
            await wired.ask("nothing")

    run(story(), 1)


@pytest.mark.parametrize("n", [0, 3])
def test_a_stream_that_stands_still_is_given_up_unless_it_is_endless(n: int) -> None:
    async def story() -> None:
        wired, loop, seen = Wired(), asyncio.get_running_loop(), []
        before = loop.time()
        with pytest.raises(Unreachable, match="nothing came"):
            async for number in wired.count(n):
                seen.append(number)
        assert seen == list(range(n))
        assert loop.time() - before > wired.fabric.weather.deadline_ms / 1000
        assert [number async for number in wired.count(n, endless=True)] == seen
        assert loop.time() - before > 3_600

    run(story(), 1, limit_s=10_000)


def test_a_machine_that_is_off_refuses_at_once() -> None:
    async def story() -> None:
        wired = Wired()
        await wired.machine.pull_plug()
        assert await time_of_failure(wired) < 0.1
        wired.fabric.detach("there:1")
        assert await time_of_failure(wired) < 0.1

    run(story(), 1)


def test_a_part_of_the_messages_is_lost() -> None:
    async def story() -> None:
        wired = Wired(Weather(loss_per_million=300_000))
        lost = 0
        for _ in range(300):
            try:
                await wired.ask()
            except HauloutError as e:
                assert isinstance(e, Unreachable)
                lost += 1
        assert 100 < lost < 200  # 51 %: a question or its answer

    run(story(), 1)


def test_a_caller_that_is_cancelled_twice_takes_its_request_along() -> None:
    async def story() -> None:
        wired = Wired()
        ended: list[str] = []

        async def hear(words: AsyncIterator[str]) -> None:
            try:
                async for _ in words:
                    pass
            finally:
                ended.append("there")

        async def speak() -> AsyncIterator[str]:
            yield "hello"
            await asyncio.Event().wait()

        uploading = wired.port.upload("there:1", "hear", speak(), str, lambda _, words: hear(words))
        calling = asyncio.ensure_future(uploading)
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.sleep(0)
        assert not calling.done(), "it ends its stream first"
        calling.cancel()
        await asyncio.wait((calling,))
        await asyncio.sleep(0.1)
        assert calling.cancelled() and ended == ["there"]

    run(story())
