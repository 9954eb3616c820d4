"""Threads that share a computation: everything is done once, failures arrive, and nobody waits for a busy pool."""

import threading

import pytest

from haulout.world.workers import Helpers


@pytest.mark.parametrize("n_parts", [0, 1, 2, 50])
def test_every_part_is_done_once(n_parts: int) -> None:
    done: list[int] = []
    Helpers(3).run([lambda i=i: done.append(i) for i in range(n_parts)])
    assert sorted(done) == list(range(n_parts))


def test_caller_and_helper_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=30)
    Helpers(1).run([lambda: meeting.wait(), lambda: meeting.wait()])
    assert not meeting.broken


def test_what_a_part_raises_is_raised_and_ends_the_rest() -> None:
    done: list[int] = []

    def fail() -> None:
        raise KeyError("part")

    with pytest.raises(KeyError):
        Helpers(1).run([fail, fail, *(lambda: done.append(1) for _ in range(1000))])
    assert len(done) < 1000


def test_calls_within_parts_do_not_wait_for_each_other() -> None:
    helpers, done = Helpers(1), []

    def nested() -> None:
        helpers.run([lambda: done.append(1)] * 3)

    helpers.run([nested] * 4)
    assert len(done) == 12
