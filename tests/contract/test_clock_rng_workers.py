"""What every `Clock`, `Rng` and `Workers` promises (`haulout.ports`)."""

from __future__ import annotations

import asyncio

import pytest

from haulout.errors import InvalidField

# --- Clock


def test_sleeping_lets_the_time_pass_that_was_asked_for(clock_case):
    async def story() -> None:
        clock = clock_case.open()
        wall, mono = clock.now_ms(), clock.monotonic_us()
        await clock.sleep_ms(20)
        assert clock.monotonic_us() - mono >= 20_000
        assert clock.now_ms() - wall >= 19

    clock_case.run(story())


def test_monotonic_time_never_goes_back(clock_case):
    async def story() -> None:
        clock = clock_case.open()
        seen = []
        for _ in range(100):
            seen.append(clock.monotonic_us())
            await clock.sleep_ms(0)
        assert seen == sorted(seen)

    clock_case.run(story())


@pytest.mark.parametrize("duration_ms", [0, -5])
def test_sleeping_for_nothing_gives_others_a_turn(clock_case, duration_ms):
    async def story() -> None:
        clock = clock_case.open()
        turns = []
        other = asyncio.ensure_future(_note(turns))
        await clock.sleep_ms(duration_ms)
        await clock.sleep_ms(duration_ms)
        assert turns == ["other"]
        await other

    clock_case.run(story())


def test_sleepers_wake_in_order_of_their_times(clock_case):
    async def story() -> None:
        clock = clock_case.open()
        woken: list[int] = []

        async def sleeper(duration_ms: int) -> None:
            await clock.sleep_ms(duration_ms)
            woken.append(duration_ms)

        await asyncio.gather(*(sleeper(ms) for ms in (60, 20, 40)))
        assert woken == [20, 40, 60]

    clock_case.run(story())


def test_a_sleep_can_be_cancelled(clock_case):
    async def story() -> None:
        task = asyncio.ensure_future(clock_case.open().sleep_ms(3_600_000))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    clock_case.run(story())


async def _note(turns: list[str]) -> None:
    turns.append("other")


# --- Rng


def test_random_bytes_have_the_asked_length_and_differ(rng_case):
    rng = rng_case.open(1)
    assert [len(rng.random_bytes(n)) for n in (0, 1, 16, 1000)] == [0, 1, 16, 1000]
    assert len({rng.random_bytes(16) for _ in range(100)}) == 100


def test_below_reaches_every_number_and_no_other(rng_case):
    rng = rng_case.open(2)
    assert {rng.below(5) for _ in range(500)} == {0, 1, 2, 3, 4}
    assert rng.below(1) == 0
    assert 0 <= rng.below(1 << 200) < 1 << 200


def test_shuffling_keeps_the_items_and_the_source(rng_case):
    rng = rng_case.open(3)
    items = list(range(50))
    orders = [rng.shuffled(items) for _ in range(5)]
    assert items == list(range(50))
    assert all(sorted(order) == items for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert rng.shuffled([]) == []


def test_one_seed_gives_one_sequence(rng_case):
    if rng_case.is_seeded:
        first, again, other = (rng_case.open(seed) for seed in (4, 4, 5))
        draw = first.random_bytes(8), first.below(1000), first.shuffled(range(9))
        assert draw == (again.random_bytes(8), again.below(1000), again.shuffled(range(9)))
        assert draw[0] != other.random_bytes(8)


# --- Workers


def test_workers_return_the_result(workers_case):
    async def story() -> None:
        workers = workers_case.open()
        assert await workers.run(divmod, 17, 5) == (3, 2)
        assert await workers.run(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]
        workers_case.close(workers)

    workers_case.run(story())


def test_workers_raise_the_functions_exception(workers_case):
    def refuse() -> None:
        raise InvalidField(field="x", problem="no")

    async def story() -> None:
        workers = workers_case.open()
        with pytest.raises(InvalidField) as caught:
            await workers.run(refuse)
        assert caught.value.field == "x"
        workers_case.close(workers)

    workers_case.run(story())


def test_many_calls_at_once_all_come_back(workers_case):
    async def story() -> None:
        workers = workers_case.open()
        assert await asyncio.gather(*(workers.run(pow, n, 2) for n in range(50))) == [n * n for n in range(50)]
        workers_case.close(workers)

    workers_case.run(story())
