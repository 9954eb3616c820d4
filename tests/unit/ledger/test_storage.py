"""Storage resources: buying, cutting, merging."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from haulout.chain.block import TransactionResult
from haulout.ledger import invariants, queries
from haulout.ledger.commands import (
    Command,
    Created,
    DestroyStorage,
    Existing,
    FuseStorage,
    ReserveSpace,
    SplitStorageByEpoch,
    SplitStorageBySize,
    TransferObject,
)
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import ObjectKind, Storage

MIB = 1 << 20
STORAGE_PRICE = 100_000  # per MiB and epoch, as all nodes vote in genesis


def bought(world: Sandbox, size_bytes: int, start: int, end: int, account: str = "alice") -> bytes:
    return world.run(account, ReserveSpace(size_bytes, start, end)).created[0][0]


def found(world: Sandbox, object_id: bytes) -> Storage:
    storage = queries.storage(world.state, object_id)
    assert storage is not None
    return storage


def period_and_size(world: Sandbox, object_id: bytes) -> tuple[int, int, int]:
    storage = found(world, object_id)
    return storage.start_epoch, storage.end_epoch, storage.size_bytes


def refusal(result: TransactionResult) -> str:
    assert result.created == ()
    return result.reason


def test_storage_costs_the_price_of_started_mebibytes_in_every_epoch(world: Sandbox) -> None:
    before = queries.balance(world.state, world.address("alice"))
    storage = bought(world, MIB + 1, 0, 4)
    assert period_and_size(world, storage) == (1, 4, MIB + 1)
    assert found(world, storage).owner == world.address("alice")
    assert before - queries.balance(world.state, world.address("alice")) == 3 * 2 * STORAGE_PRICE
    for epoch, used in [(1, MIB + 1), (3, MIB + 1), (4, 0)]:
        bucket = queries.bucket(world.state, epoch)
        assert (bucket.used_bytes, bucket.rewards_frost) == (used, 2 * STORAGE_PRICE if used else 0)
    assert list(queries.owned_ids(world.state, world.address("alice"), ObjectKind.STORAGE)) == [storage]
    invariants.check(world.state)


def test_storage_may_begin_later(world: Sandbox) -> None:
    storage = bought(world, MIB, 3, 5)
    assert period_and_size(world, storage) == (3, 5, MIB)
    assert queries.bucket(world.state, 1).used_bytes == 0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (ReserveSpace(MIB, 0, 1), "INVALID_EPOCHS_AHEAD"),
        (ReserveSpace(MIB, 3, 3), "INVALID_EPOCHS_AHEAD"),
        (ReserveSpace(MIB, 4, 3), "INVALID_EPOCHS_AHEAD"),
        (ReserveSpace(MIB, 0, 55), "INVALID_EPOCHS_AHEAD"),
        (ReserveSpace(0, 0, 2), "INVALID_RESOURCE_SIZE"),
        (ReserveSpace((1 << 64) - 1, 0, 54), "INSUFFICIENT_FUNDS"),
        (ReserveSpace((5 << 30) + 1, 0, 2), "STORAGE_EXCEEDED"),
    ],
)
def test_refuses_reservations(world: Sandbox, command: Command, reason: str) -> None:
    before = world.state.get(b"\x10" + world.address("alice"))
    assert refusal(world.run("alice", command)) == reason
    assert world.state.get(b"\x10" + world.address("alice")) == before


def test_the_whole_ring_can_be_booked(world: Sandbox) -> None:
    assert period_and_size(world, bought(world, 1, 0, 54)) == (1, 54, 1)


def test_a_full_future_epoch_refuses_too_and_books_nothing(world: Sandbox) -> None:
    capacity = queries.system(world.state).total_capacity_bytes
    bought(world, capacity, 3, 4)
    result = world.run("bob", ReserveSpace(1, 0, 5))
    assert refusal(result) == "STORAGE_EXCEEDED"
    assert "epoch 3 has 0 of" in result.message
    assert queries.bucket(world.state, 1).used_bytes == 0


def test_an_epoch_later_the_ring_reaches_one_epoch_further(
    world: Sandbox, move_to_epoch: Callable[[int], None]
) -> None:
    assert refusal(world.run("alice", ReserveSpace(1, 54, 55))) == "INVALID_EPOCHS_AHEAD"
    move_to_epoch(2)
    assert period_and_size(world, bought(world, 1, 54, 55)) == (54, 55, 1)
    assert period_and_size(world, bought(world, 1, 0, 3)) == (2, 3, 1)


def test_cuts_in_time_and_in_size(world: Sandbox) -> None:
    storage = bought(world, 10, 0, 6)
    later = world.run("alice", SplitStorageByEpoch(Existing(storage), 3)).created[0][0]
    assert (period_and_size(world, storage), period_and_size(world, later)) == ((1, 3, 10), (3, 6, 10))
    rest = world.run("alice", SplitStorageBySize(Existing(later), 4)).created[0][0]
    assert (period_and_size(world, later), period_and_size(world, rest)) == ((3, 6, 4), (3, 6, 6))
    invariants.check(world.state)


@pytest.mark.parametrize("epoch", [0, 1, 6, 7])
def test_a_cut_in_time_lies_inside(world: Sandbox, epoch: int) -> None:
    storage = bought(world, 10, 0, 6)
    assert refusal(world.run("alice", SplitStorageByEpoch(Existing(storage), epoch))) == "INVALID_EPOCH"


@pytest.mark.parametrize(("keep", "rest"), [(0, 10), (10, 0)])
def test_a_cut_in_size_may_leave_nothing_on_one_side(world: Sandbox, keep: int, rest: int) -> None:
    storage = bought(world, 10, 0, 6)
    other = world.run("alice", SplitStorageBySize(Existing(storage), keep)).created[0][0]
    assert (found(world, storage).size_bytes, found(world, other).size_bytes) == (keep, rest)


def test_a_cut_in_size_takes_no_more_than_there_is(world: Sandbox) -> None:
    storage = bought(world, 10, 0, 6)
    assert refusal(world.run("alice", SplitStorageBySize(Existing(storage), 11))) == "INCOMPATIBLE_AMOUNT"


def test_cutting_and_merging_gives_the_old_resource_back(world: Sandbox) -> None:
    storage = bought(world, 10, 0, 6)
    again = [
        (SplitStorageByEpoch(Existing(storage), 3), FuseStorage(Existing(storage), Created(0, 0))),
        (SplitStorageBySize(Existing(storage), 3), FuseStorage(Existing(storage), Created(0, 0))),
    ]
    for commands in again:
        assert world.run("alice", *commands).is_ok
        assert period_and_size(world, storage) == (1, 6, 10)
    assert len(list(queries.owned_ids(world.state, world.address("alice"), ObjectKind.STORAGE))) == 1


def test_merges_periods_in_either_order(world: Sandbox) -> None:
    early, late = bought(world, 10, 0, 3), bought(world, 10, 3, 6)
    world.run("alice", FuseStorage(Existing(late), Existing(early)))
    assert period_and_size(world, late) == (1, 6, 10)
    assert queries.storage(world.state, early) is None


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ((10, 0, 3), (11, 3, 6), "INCOMPATIBLE_AMOUNT"),
        ((10, 0, 3), (10, 4, 6), "INCOMPATIBLE_EPOCHS"),
        ((10, 0, 4), (10, 3, 6), "INCOMPATIBLE_EPOCHS"),
        ((10, 0, 3), (10, 0, 4), "INCOMPATIBLE_EPOCHS"),
    ],
)
def test_refuses_what_does_not_fit_together(
    world: Sandbox, first: tuple[int, int, int], second: tuple[int, int, int], reason: str
) -> None:
    a, b = bought(world, *first), bought(world, *second)
    assert refusal(world.run("alice", FuseStorage(Existing(a), Existing(b)))) == reason


def test_a_resource_is_not_merged_with_itself(world: Sandbox) -> None:
    storage = bought(world, 10, 0, 3)
    assert refusal(world.run("alice", FuseStorage(Existing(storage), Existing(storage)))) == "SAME_OBJECT"


def test_giving_storage_up_frees_nothing(world: Sandbox) -> None:
    storage = bought(world, 10, 0, 3)
    assert world.run("alice", DestroyStorage(Existing(storage))).is_ok
    assert queries.storage(world.state, storage) is None
    assert queries.bucket(world.state, 1).used_bytes == 10


def test_only_its_owner_uses_storage_and_may_hand_it_over(world: Sandbox) -> None:
    storage = bought(world, 10, 0, 3)
    assert refusal(world.run("bob", DestroyStorage(Existing(storage)))) == "NOT_OWNER"
    assert world.run("alice", TransferObject(Existing(storage), world.address("bob"))).is_ok
    assert refusal(world.run("alice", DestroyStorage(Existing(storage)))) == "NOT_OWNER"
    assert list(queries.owned_ids(world.state, world.address("bob"), ObjectKind.STORAGE)) == [storage]
    assert world.run("bob", DestroyStorage(Existing(storage))).is_ok
    invariants.check(world.state)


def test_what_is_not_there_is_named(world: Sandbox) -> None:
    result = world.run("alice", DestroyStorage(Existing(b"\x07" * 32)))
    assert result.reason == "OBJECT_NOT_FOUND"
    assert result.message == "there is no storage 0x" + "07" * 32
    assert refusal(world.run("alice", DestroyStorage(Created(0, 0)))) == "UNKNOWN_OUTPUT"
    assert refusal(world.run("alice", ReserveSpace(1, 0, 2), DestroyStorage(Created(0, 1)))) == "UNKNOWN_OUTPUT"
