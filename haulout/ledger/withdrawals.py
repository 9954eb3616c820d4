"""Taking stake out again: at once before it ever counted, otherwise by a request that is paid out epochs later.

    early      activation is ahead and no committee counts on it: paid back at once, without rewards
    inactive   the node is in neither committee: paid out at once, but not while its shards are still on their way
    otherwise  RequestWithdraw binds it until an epoch w; Withdraw pays it once w is Done

Stake stays bound until the shards that followed it have moved: until Done of epoch w, and for a node that has left,
until its last hand-over is done. Source and order of checks: Walrus's contracts,
`staking_pool.move`; the binding is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from haulout.ledger import keys, queries
from haulout.ledger.commands import RequestWithdraw, Withdraw
from haulout.ledger.execution import Execution
from haulout.ledger.pools import Pool, compute_rewards, load_pool, rate_at, save_pool, update_active_set
from haulout.ledger.refusals import (
    HandOverOpen,
    NotStaked,
    NotWithdrawing,
    WithdrawDirectly,
    WithdrawEpochNotReached,
    ZeroShares,
)
from haulout.ledger.staking import stake_changed
from haulout.ledger.state import ObjectKind, Phase, StakedWal, View
from haulout.primitives import hex_id_text


def request_withdraw(run: Execution, command: RequestWithdraw) -> tuple[bytes, ...]:
    """Bind a stake until the epoch from which on it no longer counts."""
    object_id, staked = run.own_stake(command.staked)
    if staked.withdraw_epoch is not None:
        raise NotStaked(object_id=hex_id_text(object_id), withdraw_epoch=staked.withdraw_epoch)
    is_current, is_next = find_memberships(run.draft, staked.node_id)
    if can_withdraw_early(staked, run.epoch, is_next=is_next):
        raise WithdrawDirectly(object_id=hex_id_text(object_id))
    pool = load_pool(run.draft, staked.node_id)
    if staked.activation_epoch == run.epoch + 1:
        withdraw_epoch = run.epoch + 2
        waiting = _add(pool.schedule.pre_active_withdrawals, withdraw_epoch, staked.principal_frost)
        pool = replace(pool, schedule=replace(pool.schedule, pre_active_withdrawals=waiting))
    else:
        if not is_current and not is_next:
            raise WithdrawDirectly(object_id=hex_id_text(object_id))
        withdraw_epoch = run.epoch + (2 if is_next else 1)
        pool = _take_shares(run, pool, staked, withdraw_epoch)
    save_pool(run, pool)
    update_active_set(run, pool)
    staked = replace(staked, withdraw_epoch=withdraw_epoch)
    run.replace(ObjectKind.STAKED_WAL, object_id, staked)
    run.emit(stake_changed(run, object_id, staked))
    return ()


def withdraw(run: Execution, command: Withdraw) -> tuple[bytes, ...]:
    """Pay a stake out and end it."""
    object_id, staked = run.own_stake(command.staked)
    is_current, is_next = find_memberships(run.draft, staked.node_id)
    pool = load_pool(run.draft, staked.node_id)
    reward = 0
    if can_withdraw_early(staked, run.epoch, is_next=is_next):
        pool = _take_pending(pool, staked)
    elif staked.withdraw_epoch is None and not is_current and not is_next:
        _check_released(run, pool)
        if staked.activation_epoch > pool.schedule.latest_epoch:
            pool = _take_pending(pool, staked)
        else:
            reward = compute_rewards(run.draft, pool, staked, run.epoch)
            pool = _take_shares(run, pool, staked, run.epoch)
    else:
        _check_reached(run, object_id, staked)
        if not is_current and not is_next:
            _check_released(run, pool)
        reward = compute_rewards(run.draft, pool, staked, staked.withdraw_epoch or run.epoch)
    pool = replace(pool, node=replace(pool.node, rewards_frost=pool.node.rewards_frost - reward))
    save_pool(run, pool)
    update_active_set(run, pool)
    run.remove(ObjectKind.STAKED_WAL, object_id, staked.owner)
    run.credit(staked.owner, staked.principal_frost + reward)
    run.emit(stake_changed(run, object_id, replace(staked, principal_frost=0)))
    return ()


def find_memberships(view: View, node_id: bytes) -> tuple[bool, bool]:
    """Whether a node is in the current committee, and whether it is in the next one, once that is chosen."""
    current, following = queries.committee(view), queries.next_committee(view)
    is_next = following is not None and any(member.node_id == node_id for member in following.members)
    return any(member.node_id == node_id for member in current.members), is_next


def can_withdraw_early(staked: StakedWal, epoch: int, *, is_next: bool) -> bool:
    """Whether no committee, chosen or current, counts on a stake."""
    if staked.withdraw_epoch is not None:
        return False
    return staked.activation_epoch == epoch + 2 or (staked.activation_epoch == epoch + 1 and not is_next)


def _take_pending(pool: Pool, staked: StakedWal) -> Pool:
    left = pool.node.pending_stake.get(staked.activation_epoch, 0) - staked.principal_frost
    if left < 0:
        raise AssertionError(f"pool {pool.node_id.hex()} does not wait for {staked.principal_frost} FROST")
    pending = {at: amount for at, amount in pool.node.pending_stake.items() if at != staked.activation_epoch}
    if left:
        pending[staked.activation_epoch] = left
    return replace(pool, node=replace(pool.node, pending_stake=pending))


def _take_shares(run: Execution, pool: Pool, staked: StakedWal, withdraw_epoch: int) -> Pool:
    shares = rate_at(run.draft, pool, staked.activation_epoch).to_shares(staked.principal_frost)
    if shares == 0:
        raise ZeroShares(node_id=hex_id_text(pool.node_id), principal_frost=staked.principal_frost)
    waiting = _add(pool.schedule.pending_shares, withdraw_epoch, shares)
    return replace(pool, schedule=replace(pool.schedule, pending_shares=waiting))


def _check_reached(run: Execution, object_id: bytes, staked: StakedWal) -> None:
    if staked.withdraw_epoch is None:
        raise NotWithdrawing(object_id=hex_id_text(object_id))
    phase = queries.phase(run.draft)
    if staked.withdraw_epoch > run.epoch or (staked.withdraw_epoch == run.epoch and phase is Phase.SYNC):
        raise WithdrawEpochNotReached(
            object_id=hex_id_text(object_id), withdraw_epoch=staked.withdraw_epoch, epoch=run.epoch, phase=phase.name
        )


def _check_released(run: Execution, pool: Pool) -> None:
    n_open = sum(1 for _ in run.draft.scan(*keys.open_hand_overs_range(keys.HAND_OVER_FROM, pool.node_id)))
    if n_open:
        raise HandOverOpen(node_id=hex_id_text(pool.node_id), n_shards=n_open)


def _add(pending: Mapping[int, int], epoch: int, amount: int) -> dict[int, int]:
    return {**pending, epoch: pending.get(epoch, 0) + amount}
