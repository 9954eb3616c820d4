"""Gifts and the fund for subsidies."""

from __future__ import annotations

import pytest

from haulout.chain.block import TransactionResult
from haulout.ledger import invariants, pools, queries
from haulout.ledger.commands import (
    AddSubsidy,
    AdvanceEpoch,
    FundSubsidies,
    OpenSubsidies,
    ProcessSubsidies,
    ReserveSpace,
    SetSubsidies,
)
from haulout.ledger.sandbox import Sandbox

WAL = 10**9
MIB = 1 << 20


def refusal(result: TransactionResult) -> str:
    assert not result.is_ok
    return result.reason


def rewards(world: Sandbox, *epochs: int) -> list[int]:
    return [queries.bucket(world.state, epoch).rewards_frost for epoch in epochs]


def fund_balance(world: Sandbox) -> int:
    fund = queries.subsidies(world.state)
    assert fund is not None
    return fund.balance_frost


@pytest.fixture
def funded(world: Sandbox) -> Sandbox:
    """A fund of 10 WAL that adds 50 % to what users pay, and gives members 100 FROST and 10 for each shard."""
    governor = world.network.nodes[0].governance_secret
    assert world.run_with(governor, OpenSubsidies(5_000, 100, 10)).is_ok
    assert world.run("alice", FundSubsidies(10 * WAL)).is_ok
    return world


def test_a_gift_goes_in_equal_parts_and_the_rest_to_this_epoch(world: Sandbox) -> None:
    assert world.run("alice", AddSubsidy(11, 3)).is_ok
    assert rewards(world, 1, 2, 3, 4) == [5, 3, 3, 0]
    assert refusal(world.run("alice", AddSubsidy(0, 3))) == "INVALID_AMOUNT"
    assert refusal(world.run("alice", AddSubsidy(5, 0))) == "INVALID_EPOCHS_AHEAD"
    assert refusal(world.run("alice", AddSubsidy(5, 54))) == "INVALID_EPOCHS_AHEAD"
    assert refusal(world.run("poor", AddSubsidy(11, 1))) == "INSUFFICIENT_FUNDS"


def test_a_member_opens_the_only_fund_and_its_admin_sets_rates(world: Sandbox) -> None:
    first, second = (node.governance_secret for node in world.network.nodes[:2])
    assert refusal(world.run("alice", ProcessSubsidies())) == "INSUFFICIENT_FUNDS_IN_POOL"
    assert refusal(world.run("alice", OpenSubsidies(1, 1, 1))) == "NOT_IN_COMMITTEE"
    assert refusal(world.run_with(first, OpenSubsidies(1_000_001, 1, 1))) == "INVALID_SUBSIDY_RATE"
    assert world.run_with(first, OpenSubsidies(1_000_000, 1, 1)).is_ok
    assert refusal(world.run_with(second, OpenSubsidies(1, 1, 1))) == "SUBSIDIES_EXIST"
    change = SetSubsidies(world.address("alice"), 1, 2, 3)
    assert refusal(world.run_with(second, change)) == "AUTHORIZATION_FAILURE"
    assert world.run_with(first, change).is_ok
    assert refusal(world.run_with(first, change)) == "AUTHORIZATION_FAILURE"
    assert world.run("alice", change).is_ok


def test_what_users_pay_is_raised_once(funded: Sandbox) -> None:
    assert funded.run("bob", ReserveSpace(2 * MIB, 0, 3)).is_ok  # 200,000 FROST for each of two epochs
    for _ in range(2):
        assert funded.run("poor", ProcessSubsidies()).is_ok
        assert rewards(funded, 1, 2, 3) == [300_000, 300_000, 0]
    assert fund_balance(funded) == 10 * WAL - 200_000
    assert funded.run("bob", ReserveSpace(1 * MIB, 2, 3)).is_ok
    assert funded.run("poor", ProcessSubsidies()).is_ok
    assert rewards(funded, 1, 2) == [300_000, 450_000]
    invariants.check(funded.state)


def test_gifts_and_what_was_there_before_are_not_raised(world: Sandbox) -> None:
    world.run("bob", ReserveSpace(2 * MIB, 0, 2))
    world.run_with(world.network.nodes[0].governance_secret, OpenSubsidies(5_000, 0, 0))
    world.run("alice", FundSubsidies(WAL))
    world.run("alice", AddSubsidy(1_000, 1))
    assert world.run("poor", ProcessSubsidies()).is_ok
    assert rewards(world, 1) == [201_000]
    assert fund_balance(world) == WAL


def test_members_of_the_epoch_before_get_their_part_once(funded: Sandbox) -> None:
    assert funded.run("poor", ProcessSubsidies()).is_ok  # epoch 1 has none before it
    assert fund_balance(funded) == 10 * WAL
    assert funded.run("poor", AdvanceEpoch(1)).is_ok
    for _ in range(2):
        assert funded.run("poor", ProcessSubsidies()).is_ok
        assert fund_balance(funded) == 10 * WAL - 5 * 120
    node = pools.load_pool(funded.state, funded.network.nodes[3].node_id).node
    assert (node.commission_frost, node.commission_blocked_frost) == (120, 120)
    invariants.check(funded.state)


def test_a_fund_that_is_short_pays_nobody(world: Sandbox) -> None:
    world.run_with(world.network.nodes[0].governance_secret, OpenSubsidies(10_000, 0, 0))
    assert world.run("alice", FundSubsidies(300_000)).is_ok
    world.run("bob", ReserveSpace(2 * MIB, 0, 3))
    assert refusal(world.run("poor", ProcessSubsidies())) == "INSUFFICIENT_FUNDS_IN_POOL"
    assert (fund_balance(world), rewards(world, 1, 2)) == (300_000, [200_000, 200_000])
    assert refusal(world.run("alice", FundSubsidies(0))) == "INVALID_AMOUNT"
    assert world.run("alice", FundSubsidies(100_000)).is_ok
    assert world.run("poor", ProcessSubsidies()).is_ok
    assert fund_balance(world) == 0
