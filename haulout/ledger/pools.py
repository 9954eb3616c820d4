"""A node's staking pool: shares, what they are worth, and what changes when an epoch begins.

Stake is held in shares. Rewards raise what a share is worth, so nobody has to be paid when they come. A pool is
worked on only when its node enters, leaves or stays in a committee; until then what is pending waits. With 100 FROST
for 50 shares, a stake of 10 buys 5 shares; after a reward of 20 they are worth 5 * 120 // 50 = 12.

A `StakedWal` keeps its principal; the pool's `rewards_frost` holds what all stakes have earned on top, and
`balance_frost` is the part of both that is at work. Source: Walrus's contracts, `staking_pool.move`,
`exchange_rate.move`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from haulout import bcs
from haulout.ledger import keys, queries
from haulout.ledger.committee import insert_active
from haulout.ledger.epoch_events import ActiveSetChanged, ExchangeRateSet
from haulout.ledger.execution import Execution
from haulout.ledger.refusals import PoolNotFound
from haulout.ledger.state import STATE_VERSION, ExchangeRate, Node, Phase, PoolSchedule, StakedWal, View
from haulout.primitives import BASIS_POINTS, hex_id_text

FLAT = ExchangeRate(STATE_VERSION, 0, 0)


@dataclass(frozen=True, slots=True)
class Pool:
    """A node's two rows together."""

    node_id: bytes
    node: Node
    schedule: PoolSchedule


def load_pool(view: View, node_id: bytes) -> Pool:
    """A pool that must exist.

    Raises:
        PoolNotFound: it does not.
    """
    node = queries.node(view, node_id)
    if node is None:
        raise PoolNotFound(node_id=hex_id_text(node_id))
    return Pool(node_id, node, queries.pool_schedule(view, node_id, node))


def save_pool(run: Execution, pool: Pool) -> None:
    """Write a pool's rows; a schedule that says nothing has none."""
    run.put(keys.node(pool.node_id), pool.node)
    says_nothing = pool.schedule == queries.empty_schedule(pool.node)
    run.draft.put(keys.pool_schedule(pool.node_id), None if says_nothing else bcs.encode(pool.schedule))
    run.touched_pools[pool.node_id] = None


def rate_at(view: View, pool: Pool, epoch: int) -> ExchangeRate:
    """What the pool's shares are worth in an epoch: the last rate set until then."""
    start, end = keys.exchange_rate(pool.node_id, pool.node.activation_epoch), keys.exchange_rate(pool.node_id, epoch)
    for _, raw in view.scan(start, end + b"\x00", reverse=True, limit=1):
        rate: ExchangeRate = bcs.decode(ExchangeRate, raw)
        return rate
    return FLAT


def current_rate(pool: Pool) -> ExchangeRate:
    """What the pool's shares are worth now."""
    return ExchangeRate(STATE_VERSION, pool.node.balance_frost, pool.node.n_shares)


def balance_at(view: View, pool: Pool, epoch: int) -> int:
    """FROST that will be at work in an epoch, as far as is known."""
    balance = pool.node.balance_frost + sum_until(pool.node.pending_stake, epoch)
    return max(0, balance - current_rate(pool).to_frost(_leaving_shares(view, pool, epoch)))


def compute_rewards(view: View, pool: Pool, staked: StakedWal, withdraw_epoch: int) -> int:
    """What a stake has earned by an epoch: never less than nothing, never more than the pool holds."""
    shares = rate_at(view, pool, staked.activation_epoch).to_shares(staked.principal_frost)
    worth = rate_at(view, pool, withdraw_epoch).to_frost(shares)
    return min(max(0, worth - staked.principal_frost), pool.node.rewards_frost)


def advance_pool(run: Execution, pool: Pool, epoch: int, reward_frost: int) -> tuple[Pool, int]:
    """Take a pool into an epoch: earn, then let in and out what was waiting.

    The commission rate of the epoch that ends applies to its reward. A pool in which nobody has stake any more, a
    member only because the committee was kept, leaves its reward to the operator.

    Returns:
        The pool, which the caller saves, and the commission earned.
    """
    node, schedule = pool.node, pool.schedule
    if epoch <= schedule.latest_epoch:
        raise AssertionError(f"pool {pool.node_id.hex()} was advanced to epoch {schedule.latest_epoch} already")
    commission = reward_frost * node.commission_rate_bps // BASIS_POINTS if node.balance_frost else reward_frost
    due_rates = {at: rate for at, rate in schedule.pending_commission_rates.items() if at <= epoch}
    node = replace(
        node,
        commission_frost=node.commission_frost + commission,
        commission_blocked_frost=node.commission_blocked_frost + commission,
        commission_rate_bps=due_rates[max(due_rates)] if due_rates else node.commission_rate_bps,
        rewards_frost=node.rewards_frost + reward_frost - commission,
        balance_frost=node.balance_frost + reward_frost - commission,
    )
    rate = ExchangeRate(STATE_VERSION, node.balance_frost, node.n_shares)
    run.put(keys.exchange_rate(pool.node_id, epoch), rate)
    run.emit(ExchangeRateSet(pool.node_id, epoch, rate.balance_frost, rate.n_shares))
    # The pre-active part asks for the rate of the epoch before `epoch`, so the order of these two does not matter.
    leaving = rate.to_frost(_leaving_shares(run.draft, pool, epoch))
    # Stake that waited while the node was in no committee has its shares at an older rate, which rounding may have made
    # a little lower: all shares together can be worth a few FROST more than there are.
    balance = max(0, node.balance_frost + sum_until(node.pending_stake, epoch) - leaving)
    node = replace(
        node,
        balance_frost=balance,
        n_shares=rate.to_shares(balance),
        pending_stake=_after(node.pending_stake, epoch),
    )
    schedule = replace(
        schedule,
        latest_epoch=epoch,
        pending_shares=_after(schedule.pending_shares, epoch),
        pre_active_withdrawals=_after(schedule.pre_active_withdrawals, epoch),
        pending_commission_rates=_after(schedule.pending_commission_rates, epoch),
    )
    return Pool(pool.node_id, node, schedule), commission


def next_vote_epoch(run: Execution) -> int:
    """The first epoch whose committee is not chosen yet."""
    return run.epoch + (2 if queries.staking(run.draft).phase is Phase.VOTED else 1)


def update_active_set(run: Execution, pool: Pool) -> None:
    """Give a pool the place among possible members that its stake earns; a leaving one has none."""
    staking = queries.staking(run.draft)
    stake = 0 if pool.node.leaving else balance_at(run.draft, pool, next_vote_epoch(run))
    active = insert_active(staking.active_set, pool.node_id, stake)
    run.put(keys.STAKING, replace(staking, active_set=active))
    if run.protocol_version > 1:
        run.emit(ActiveSetChanged(pool.node_id, stake))


def sum_until(pending: Mapping[int, int], epoch: int) -> int:
    """What is pending for this epoch and those before."""
    return sum(amount for at, amount in pending.items() if at <= epoch)


def _leaving_shares(view: View, pool: Pool, epoch: int) -> int:
    shares = sum_until(pool.schedule.pending_shares, epoch)
    for at, principal in pool.schedule.pre_active_withdrawals.items():
        if at <= epoch:
            shares += rate_at(view, pool, at - 1).to_shares(principal)
    return shares


def _after(pending: Mapping[int, int], epoch: int) -> dict[int, int]:
    return {at: amount for at, amount in pending.items() if at > epoch}
