"""Rewards, shares, commission and withdrawals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from haulout import bcs
from haulout.chain.block import TransactionResult
from haulout.crypto import ed25519
from haulout.ledger import invariants, keys, pools, queries
from haulout.ledger.commands import (
    AdvanceEpoch,
    CollectCommission,
    Existing,
    ForceDone,
    JoinStake,
    ReportSyncDone,
    RequestLeave,
    RequestWithdraw,
    ReserveSpace,
    SetCommission,
    SetNodeAccounts,
    SplitStake,
    Stake,
    Withdraw,
)
from haulout.ledger.events import NodeRewarded, RewardsDistributed
from haulout.ledger.execution import Execution
from haulout.ledger.genesis import NodeSecrets
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Phase, StakedWal

WAL = 10**9
MIB = 1 << 20
PRICE = 100_000


def refusal(result: TransactionResult) -> str:
    assert not result.is_ok
    return result.reason


def next_epoch(world: Sandbox, *, sync: bool = True) -> int:
    epoch = queries.system(world.state).epoch
    assert world.run("poor", AdvanceEpoch(epoch)).is_ok
    if sync:
        world.report_sync_done()
    invariants.check(world.state)
    return epoch + 1


def stake_on(world: Sandbox, node: NodeSecrets, amount: int, account: str = "alice") -> bytes:
    return world.run(account, Stake(node.node_id, amount)).created[0][0]


def staked(world: Sandbox, object_id: bytes) -> StakedWal:
    found = queries.staked_wal(world.state, object_id)
    assert found is not None
    return found


def balance(world: Sandbox, account: str) -> int:
    return queries.balance(world.state, world.address(account))


def pool(world: Sandbox, node: NodeSecrets) -> pools.Pool:
    return pools.load_pool(world.state, node.node_id)


def genesis_stake(world: Sandbox, node: NodeSecrets) -> bytes:
    rows = (
        (key[1:], queries.staked_wal(world.state, key[1:]))
        for key, _ in world.state.scan(*keys.table_range(keys.STAKED_WAL))
    )
    return next(object_id for object_id, row in rows if row is not None and row.node_id == node.node_id)


# --- income -------------------------------------------------------------------------------------------------


def test_an_epochs_income_is_burned_in_part_and_paid_by_shards(world: Sandbox) -> None:
    """5 nodes of 2 shards: 3 % of 50 units * 100,000 burn, the rest is paid in fifths, 60 % of it as commission."""
    assert world.run("alice", ReserveSpace(50 * MIB, 0, 2)).is_ok
    income = 50 * PRICE
    next_epoch(world)
    bodies = [event.body for event in world.events]
    paid = next(body for body in bodies if isinstance(body, RewardsDistributed))
    assert paid == RewardsDistributed(1, income, 150_000, 4_850_000, 0)
    rewards = [body for body in bodies if isinstance(body, NodeRewarded)]
    assert [(body.reward_frost, body.commission_frost) for body in rewards] == [(970_000, 582_000)] * 5
    assert queries.system(world.state).burned_frost == 150_000
    node = pool(world, world.network.nodes[0]).node
    assert (node.rewards_frost, node.balance_frost) == (388_000, 2000 * WAL + 388_000)
    assert (node.commission_frost, node.commission_blocked_frost) == (582_000, 582_000)


def test_what_rounding_leaves_rolls_over(world: Sandbox) -> None:
    """7 units at 1 FROST each is 7, of which nothing burns and 1 goes to each node: 2 stay for the next epoch."""
    world.write_rows({keys.SYSTEM: _system_row(world, storage_price_frost=1)})
    assert world.run("alice", ReserveSpace(7 * MIB, 0, 2)).is_ok
    next_epoch(world)
    assert queries.bucket(world.state, 2).rewards_frost == 2
    assert queries.bucket(world.state, 1) == queries.NO_BOOKING
    next_epoch(world)  # nothing is stored in epoch 2, so nobody has earned them
    assert queries.bucket(world.state, 3).rewards_frost == 2


def _system_row(world: Sandbox, **changes: int) -> bytes:

    return bcs.encode(replace(queries.system(world.state), **changes))


def test_sold_capacity_outlives_a_lower_vote(world: Sandbox) -> None:
    before = queries.system(world.state).total_capacity_bytes
    assert world.run("alice", ReserveSpace(before - MIB, 0, 3)).is_ok
    for node in world.network.nodes:
        row = pool(world, node).node

        world.write_rows({keys.node(node.node_id): bcs.encode(replace(row, node_capacity_bytes=MIB))})
    next_epoch(world)
    assert queries.system(world.state).total_capacity_bytes == before - MIB
    assert refusal(world.run("alice", ReserveSpace(1, 0, 3))) == "STORAGE_EXCEEDED"
    next_epoch(world)
    next_epoch(world)
    assert queries.system(world.state).total_capacity_bytes == 5 * MIB


# --- shares -------------------------------------------------------------------------------------------------


def advance(world: Sandbox, of: pools.Pool, epoch: int, reward: int) -> pools.Pool:
    run = Execution(
        draft=world.state,
        params=queries.params(world.state),
        system=queries.system(world.state),
        protocol_version=2,
        scheme=world.scheme,
        digest=bytes(32),
        sender=bytes(32),
        height=1,
        time_ms=0,
        first_sequence=0,
    )
    return pools.advance_pool(run, of, epoch, reward)[0]


def empty_pool(world: Sandbox, **changes: object) -> pools.Pool:
    of = pool(world, world.network.nodes[0])
    node = replace(of.node, balance_frost=0, n_shares=0, commission_rate_bps=0, **changes)  # type: ignore[arg-type]
    return replace(of, node=node)


def test_two_equal_stakes_share_201_as_100_each(world: Sandbox) -> None:
    """One FROST stays in the pool."""
    of = advance(world, empty_pool(world, pending_stake={2: 2000}), 2, 0)
    assert (of.node.balance_frost, of.node.n_shares) == (2000, 2000)
    of = advance(world, of, 3, 201)
    one = StakedWal(1, bytes(32), of.node_id, 1000, 2, 3)
    assert pools.compute_rewards(world.state, of, one, 3) == 100
    assert of.node.rewards_frost == 201


def test_a_tenth_of_202_is_20(world: Sandbox) -> None:
    of = replace(empty_pool(world), node=replace(empty_pool(world).node, balance_frost=5, n_shares=5))
    of = advance(world, replace(of, node=replace(of.node, commission_rate_bps=1000)), 2, 202)
    assert (of.node.commission_frost, of.node.rewards_frost, of.node.balance_frost) == (20, 182, 187)


def test_stake_that_comes_later_gets_nothing_of_earlier_rewards(world: Sandbox) -> None:
    of = advance(world, empty_pool(world, pending_stake={2: 1000, 3: 1000}), 2, 0)
    of = advance(world, of, 3, 500)
    assert (of.node.balance_frost, of.node.n_shares) == (
        2500,
        1666,
    )  # 1,000 more FROST buy 666 shares at 1,500 for 1,000
    early, late = StakedWal(1, bytes(32), of.node_id, 1000, 2, 3), StakedWal(1, bytes(32), of.node_id, 1000, 3, 3)
    assert pools.compute_rewards(world.state, of, early, 3) == 500
    assert pools.compute_rewards(world.state, of, late, 3) == 0


def test_a_pool_without_stake_leaves_its_reward_to_the_operator(world: Sandbox) -> None:
    of = advance(world, empty_pool(world), 2, 77)
    assert (of.node.commission_frost, of.node.rewards_frost, of.node.balance_frost) == (77, 0, 0)


# --- when stake may go --------------------------------------------------------------------------------------


def test_stake_that_nobody_counts_on_goes_at_once(world: Sandbox, enter_phase: Callable[[Phase], None]) -> None:
    node, before = world.network.nodes[0], balance(world, "alice")
    early = stake_on(world, node, 5 * WAL)
    assert refusal(world.run("alice", RequestWithdraw(Existing(early)))) == "WITHDRAW_DIRECTLY"
    assert world.run("alice", Withdraw(Existing(early))).is_ok
    assert balance(world, "alice") == before
    assert pool(world, node).node.pending_stake == {}
    enter_phase(Phase.VOTED)
    late = stake_on(world, node, 5 * WAL)
    assert staked(world, late).activation_epoch == 3
    assert world.run("alice", Withdraw(Existing(late))).is_ok
    invariants.check(world.state)


def test_stake_that_the_next_committee_counts_on_stays_an_epoch(
    world: Sandbox, enter_phase: Callable[[Phase], None]
) -> None:
    node, before = world.network.nodes[0], balance(world, "alice")
    object_id = stake_on(world, node, 5 * WAL)
    enter_phase(Phase.VOTED)
    assert refusal(world.run("alice", Withdraw(Existing(object_id)))) == "NOT_WITHDRAWING"
    assert world.run("alice", RequestWithdraw(Existing(object_id))).is_ok
    assert staked(world, object_id).withdraw_epoch == 3
    assert pool(world, node).schedule.pre_active_withdrawals == {3: 5 * WAL}
    next_epoch(world)
    assert refusal(world.run("alice", Withdraw(Existing(object_id)))) == "WITHDRAW_EPOCH_NOT_REACHED"
    next_epoch(world)
    assert world.run("alice", Withdraw(Existing(object_id))).is_ok
    assert balance(world, "alice") == before
    assert refusal(world.run("alice", Withdraw(Existing(object_id)))) == "OBJECT_NOT_FOUND"


def test_active_stake_goes_an_epoch_later_before_the_vote_and_two_after_it(
    world: Sandbox, enter_phase: Callable[[Phase], None]
) -> None:
    first, second = (stake_on(world, world.network.nodes[i], 5 * WAL) for i in range(2))
    next_epoch(world)
    assert world.run("alice", RequestWithdraw(Existing(first))).is_ok
    assert refusal(world.run("alice", RequestWithdraw(Existing(first)))) == "NOT_STAKED"
    enter_phase(Phase.VOTED)
    assert world.run("alice", RequestWithdraw(Existing(second))).is_ok
    assert (staked(world, first).withdraw_epoch, staked(world, second).withdraw_epoch) == (3, 4)
    assert dict(queries.staking(world.state).active_set)[world.network.nodes[0].node_id] == 2000 * WAL


def test_stake_is_bound_until_its_epoch_is_done(world: Sandbox) -> None:
    object_id = stake_on(world, world.network.nodes[0], 5 * WAL)
    next_epoch(world)
    world.run("alice", RequestWithdraw(Existing(object_id)))
    next_epoch(world, sync=False)
    assert refusal(world.run("alice", Withdraw(Existing(object_id)))) == "WITHDRAW_EPOCH_NOT_REACHED"
    assert world.run("poor", ForceDone(3)).is_ok
    assert world.run("alice", Withdraw(Existing(object_id))).is_ok


def test_rewards_are_paid_with_the_stake(world: Sandbox) -> None:
    node, before = world.network.nodes[0], balance(world, "alice")
    object_id = stake_on(world, node, 2000 * WAL // 4)
    next_epoch(world)
    world.run("bob", ReserveSpace(500 * MIB, 0, 3))
    world.run("alice", RequestWithdraw(Existing(object_id)))
    next_epoch(world)
    # 500 units * 100,000, less 3 %, 2 of 10 shards, less 60 % commission: 3,880,000 on 2,500 WAL, of which 500 are hers
    assert world.run("alice", Withdraw(Existing(object_id))).is_ok
    assert balance(world, "alice") == before + 776_000
    invariants.check(world.state)


def test_stake_of_a_node_that_left_waits_for_its_shards(manual: Sandbox) -> None:
    leaver = manual.network.nodes[0]
    manual.add_node("substitute", "alice", 2000 * WAL)
    object_id = genesis_stake(manual, leaver)
    assert manual.run_with(leaver.governance_secret, RequestLeave(leaver.node_id, 1)).is_ok
    assert refusal(manual.run("bob", Stake(leaver.node_id, WAL))) == "POOL_IS_NOT_ACTIVE"
    next_epoch(manual, sync=False)
    withdraw = Withdraw(Existing(object_id))
    assert refusal(manual.run_with(leaver.governance_secret, withdraw)) == "HAND_OVER_OPEN"
    assert manual.run("poor", ForceDone(2)).is_ok
    assert refusal(manual.run_with(leaver.governance_secret, withdraw)) == "HAND_OVER_OPEN"
    manual.report_sync_done()
    assert not list(queries.open_hand_overs(manual.state, from_node=leaver.node_id))
    assert manual.run_with(leaver.governance_secret, withdraw).is_ok
    governor = ed25519.address_of(ed25519.public_key(leaver.governance_secret))
    assert queries.balance(manual.state, governor) == 2000 * WAL
    invariants.check(manual.state)


def test_stake_that_never_became_active_leaves_an_inactive_node_at_once(manual: Sandbox) -> None:
    small = manual.add_node("small", "alice")
    object_id = stake_on(manual, small, WAL)
    next_epoch(manual)
    next_epoch(manual)
    assert all(member.node_id != small.node_id for member in queries.committee(manual.state).members)
    before = balance(manual, "alice")
    assert manual.run("alice", Withdraw(Existing(object_id))).is_ok
    assert balance(manual, "alice") == before + WAL
    assert small.node_id not in dict(queries.staking(manual.state).active_set)


def test_a_stake_being_withdrawn_is_cut_and_joined(world: Sandbox) -> None:
    object_id = stake_on(world, world.network.nodes[0], 5 * WAL)
    next_epoch(world)
    world.run("alice", RequestWithdraw(Existing(object_id)))
    part = world.run("alice", SplitStake(Existing(object_id), 2 * WAL)).created[0][0]
    assert staked(world, part).withdraw_epoch == 3
    assert world.run("alice", JoinStake(Existing(object_id), Existing(part))).is_ok
    next_epoch(world)
    assert world.run("alice", Withdraw(Existing(object_id))).is_ok


# --- commission ---------------------------------------------------------------------------------------------


def test_commission_is_blocked_until_the_next_vote_ends(world: Sandbox, enter_phase: Callable[[Phase], None]) -> None:
    node = world.network.nodes[0]
    world.run("alice", ReserveSpace(50 * MIB, 0, 2))
    next_epoch(world)
    assert world.run_with(node.governance_secret, CollectCommission(node.node_id)).is_ok
    governor = ed25519.address_of(ed25519.public_key(node.governance_secret))
    assert queries.balance(world.state, governor) == 0
    enter_phase(Phase.VOTED)
    assert refusal(world.run("bob", CollectCommission(node.node_id))) == "AUTHORIZATION_FAILURE"
    accounts = SetNodeAccounts(node.node_id, None, None, world.address("bob"))
    assert refusal(world.run_with(node.capability_secret, accounts)) == "AUTHORIZATION_FAILURE"
    assert world.run_with(node.governance_secret, accounts).is_ok
    before = balance(world, "bob")
    assert world.run("bob", CollectCommission(node.node_id)).is_ok
    assert balance(world, "bob") == before + 582_000
    assert pool(world, node).node.commission_frost == 0


def test_a_commission_rate_counts_two_epochs_later(world: Sandbox) -> None:
    node = world.network.nodes[0]
    assert (
        refusal(world.run_with(node.capability_secret, SetCommission(node.node_id, 10_001)))
        == "INCORRECT_COMMISSION_RATE"
    )
    assert refusal(world.run("bob", SetCommission(node.node_id, 1))) == "AUTHORIZATION_FAILURE"
    assert world.run_with(node.capability_secret, SetCommission(node.node_id, 5)).is_ok
    assert world.run_with(node.capability_secret, SetCommission(node.node_id, 7)).is_ok
    rates = []
    for _ in range(3):
        rates.append(pool(world, node).node.commission_rate_bps)
        next_epoch(world)
    assert rates == [6000, 6000, 7]


def test_reports_come_from_the_capability_account(world: Sandbox) -> None:
    node = world.network.nodes[0]
    next_epoch(world, sync=False)
    report = ReportSyncDone(node.node_id, 2, ())
    assert refusal(world.run("bob", report)) == "AUTHORIZATION_FAILURE"
    assert refusal(world.run_with(node.capability_secret, replace(report, epoch=1))) == "INVALID_SYNC_EPOCH"
    assert world.run_with(node.capability_secret, report).is_ok
    assert refusal(world.run_with(node.capability_secret, report)) == "DUPLICATE_SYNC_DONE"


def test_an_inactive_stake_needs_no_request(manual: Sandbox) -> None:
    small = manual.add_node("small", "alice")
    object_id = stake_on(manual, small, WAL)
    next_epoch(manual)
    assert refusal(manual.run("alice", RequestWithdraw(Existing(object_id)))) == "WITHDRAW_DIRECTLY"
    assert refusal(manual.run("alice", RequestWithdraw(Existing(bytes(32))))) == "OBJECT_NOT_FOUND"
    assert refusal(manual.run("bob", Withdraw(Existing(object_id)))) == "NOT_OWNER"


def test_stake_on_its_way_out_waits_for_the_shards_of_a_node_that_left(manual: Sandbox) -> None:
    leaver = manual.network.nodes[0]
    manual.add_node("substitute", "alice", 2000 * WAL)
    object_id = genesis_stake(manual, leaver)
    assert manual.run_with(leaver.governance_secret, RequestWithdraw(Existing(object_id))).is_ok
    next_epoch(manual, sync=False)
    assert manual.run("poor", ForceDone(2)).is_ok
    withdraw = Withdraw(Existing(object_id))
    assert refusal(manual.run_with(leaver.governance_secret, withdraw)) == "HAND_OVER_OPEN"
    manual.report_sync_done()
    assert manual.run_with(leaver.governance_secret, withdraw).is_ok
    invariants.check(manual.state)


def test_part_of_what_waits_goes_back(world: Sandbox) -> None:
    node = world.network.nodes[0]
    first = stake_on(world, node, 5 * WAL)
    stake_on(world, node, 2 * WAL)
    assert world.run("alice", Withdraw(Existing(first))).is_ok
    assert pool(world, node).node.pending_stake == {2: 2 * WAL}
