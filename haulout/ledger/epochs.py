"""The steps of an epoch, in their order: `Done -> Voted -> Sync -> Done`.

    end_voting     half an epoch after Done: the next committee, its keys and its capacity are fixed
    change_epoch   an epoch after Done: the old committee is paid, the new one owns the shards and takes writes
    report_sync    each node, once it has everything it gained; a quorum of shards makes the epoch Done
    force_done     half an epoch after the change without a quorum: voting goes on, hand-overs stay open

Anyone may call a step that is due. Source and order of checks: Walrus's contracts, `staking_inner.move`,
`system_state_inner.move`; the forced Done is ours.
"""

from __future__ import annotations

from dataclasses import replace

from haulout.ledger import hand_overs, keys, pools, queries
from haulout.ledger.commands import AdvanceEpoch, ChangeEpoch, EndVoting, ForceDone, ReportSyncDone
from haulout.ledger.economy import Vote, choose_capacity, choose_price, network_capacity
from haulout.ledger.events import (
    CommitteeKept,
    CommitteeMemberRecord,
    EpochDone,
    EpochStarted,
    HandOversOpened,
    NodeKeyRotated,
    NodeRewarded,
    ProtocolVersionActivated,
    RewardsDistributed,
    ShardsReceived,
    VotingEnded,
)
from haulout.ledger.execution import Execution
from haulout.ledger.plan import CommitteePlan, assignment_of, compute_moves, plan_next_committee
from haulout.ledger.refusals import (
    AuthorizationFailure,
    CommitteeTooSmall,
    DuplicateSyncDone,
    EpochsNotManual,
    InvalidSyncEpoch,
    NextCommitteeIsEmpty,
    NotDueYet,
    NotInCommittee,
    ShardNotAssigned,
    UnexpectedEpoch,
    WrongEpochState,
)
from haulout.ledger.state import STATE_VERSION, Committee, Member, NextEpoch, Node, Phase
from haulout.ledger.subsidies import collect_without_subsidy
from haulout.primitives import hex_id_text, is_quorum, max_faulty

BURN_PERCENT = 3


def end_voting(run: Execution, command: EndVoting) -> tuple[bytes, ...]:
    """Choose the next committee."""
    check_expected_epoch(run, command.expected_epoch)
    staking = queries.staking(run.draft)
    if staking.phase is not Phase.DONE:
        raise WrongEpochState(step="voting end", needed=Phase.DONE.name, epoch=run.epoch, phase=staking.phase.name)
    _check_due(run, "voting end", staking.phase_since_ms + run.params.epoch_duration_ms // 2)
    _fix_next_epoch(run)
    return ()


def change_epoch(run: Execution, command: ChangeEpoch) -> tuple[bytes, ...]:
    """Start the next epoch."""
    check_expected_epoch(run, command.expected_epoch)
    staking = queries.staking(run.draft)
    if staking.phase is not Phase.VOTED:
        raise NextCommitteeIsEmpty(epoch=run.epoch, phase=staking.phase.name)
    _check_due(run, "epoch change", staking.phase_since_ms + run.params.epoch_duration_ms)
    _start_next_epoch(run)
    return ()


def report_sync_done(run: Execution, command: ReportSyncDone) -> tuple[bytes, ...]:
    """Take note that a node has what it gained."""
    if command.epoch != run.epoch:
        raise InvalidSyncEpoch(report_epoch=command.epoch, epoch=run.epoch)
    node_id, shards = command.node_id, tuple(sorted(set(command.shards)))
    node = pools.load_pool(run.draft, node_id).node
    if run.sender != node.capability:
        raise AuthorizationFailure(sender=hex_id_text(run.sender), node_id=hex_id_text(node_id))
    arriving = {record.shard_index for record in queries.open_hand_overs(run.draft, to_node=node_id)}
    if node.last_sync_done_epoch >= run.epoch and not arriving.intersection(shards):
        raise DuplicateSyncDone(node_id=hex_id_text(node_id), epoch=run.epoch)
    own = assignment_of(queries.committee(run.draft, run.epoch)).get(node_id, ())
    if not own and not arriving:
        raise NotInCommittee(node_id=hex_id_text(node_id), epoch=run.epoch)
    for shard_index in shards:
        if shard_index not in arriving and shard_index not in own:
            raise ShardNotAssigned(shard_index=shard_index, node_id=hex_id_text(node_id), epoch=run.epoch)
    for shard_index in shards:
        hand_overs.close_hand_overs(run, node_id, shard_index)
    n_open = len(arriving.difference(shards))
    staking = queries.staking(run.draft)
    counts = bool(own) and n_open == 0 and node.last_sync_done_epoch < run.epoch
    if counts:
        run.put(keys.node(node_id), replace(node, last_sync_done_epoch=run.epoch))
        staking = replace(staking, sync_weight=staking.sync_weight + len(own))
        run.put(keys.STAKING, staking)
    run.emit(ShardsReceived(run.epoch, node_id, shards, n_open, counts, staking.sync_weight))
    if staking.phase is Phase.SYNC and is_quorum(staking.sync_weight, run.params.n_shards):
        _finish(run, forced=False)
    return ()


def force_done(run: Execution, command: ForceDone) -> tuple[bytes, ...]:
    """Let voting go on although too few have what they gained."""
    check_expected_epoch(run, command.expected_epoch)
    staking = queries.staking(run.draft)
    if staking.phase is not Phase.SYNC:
        raise WrongEpochState(step="forced Done", needed=Phase.SYNC.name, epoch=run.epoch, phase=staking.phase.name)
    if not run.params.manual_epochs:
        _check_due(run, "forced Done", staking.phase_since_ms + run.params.epoch_duration_ms // 2)
    _finish(run, forced=True)
    return ()


def advance_epoch(run: Execution, command: AdvanceEpoch) -> tuple[bytes, ...]:
    """Do what is left of this epoch now, whatever the time."""
    if not run.params.manual_epochs:
        raise EpochsNotManual()
    check_expected_epoch(run, command.expected_epoch)
    phase = queries.phase(run.draft)
    if phase is Phase.SYNC:
        raise WrongEpochState(step="epoch change", needed=Phase.DONE.name, epoch=run.epoch, phase=phase.name)
    if phase is Phase.DONE:
        _fix_next_epoch(run)
    _start_next_epoch(run)
    return ()


# --- voting end ---------------------------------------------------------------------------------------------


def _fix_next_epoch(run: Execution) -> None:
    _unblock_commissions(run)
    plan = plan_next_committee(run.draft)
    if plan.kept_because is not None:
        run.emit(_committee_kept(run, plan))
    committee = _build_committee(run, plan)
    capacity = _vote_capacity(run, committee)
    run.put(keys.committee(committee.epoch), committee)
    run.put(keys.NEXT, NextEpoch(STATE_VERSION, capacity))
    run.put(keys.STAKING, replace(queries.staking(run.draft), phase=Phase.VOTED))
    run.emit(VotingEnded(committee.epoch, member_records(committee), capacity))


def _unblock_commissions(run: Execution) -> None:
    """The time for objections to what the committee before earned is over."""
    previous = queries.previous_committee(run.draft)
    for member in () if previous is None else previous.members:
        pool = pools.load_pool(run.draft, member.node_id)
        if pool.node.commission_blocked_frost:
            pools.save_pool(run, replace(pool, node=replace(pool.node, commission_blocked_frost=0)))


def _build_committee(run: Execution, plan: CommitteePlan) -> Committee:
    """Members with the keys that they will sign with: what they choose later waits for another epoch."""
    members = []
    for node_id in sorted(plan.assignment):
        node = pools.load_pool(run.draft, node_id).node
        members.append(Member(node_id, node.next_public_key or node.public_key, plan.assignment[node_id]))
    return Committee(STATE_VERSION, plan.epoch, tuple(members))


def _committee_kept(run: Execution, plan: CommitteePlan) -> CommitteeKept:
    n_shards = run.params.n_shards
    holders = sum(stake > 0 for _, stake in plan.active_set)
    if isinstance(plan.kept_because, CommitteeTooSmall):
        needed = plan.kept_because.needed_nodes
    else:
        needed = -(-n_shards // max(1, max_faulty(n_shards)))
    code = "" if plan.kept_because is None else plan.kept_because.code
    return CommitteeKept(plan.epoch, code, holders, needed)


def _vote_capacity(run: Execution, committee: Committee) -> int:
    n_shards = run.params.n_shards
    votes = [
        Vote(network_capacity(_node(run, m.node_id).node_capacity_bytes, m.weight, n_shards), m.weight)
        for m in committee.members
    ]
    return choose_capacity(votes, n_shards)


# --- epoch change -------------------------------------------------------------------------------------------


def _start_next_epoch(run: Execution) -> None:
    old, new = queries.committee(run.draft, run.epoch), queries.committee(run.draft, run.epoch + 1)
    rewards = _close_books(run, old)
    _turn_epoch(run, old, new)
    for member in old.members:
        _advance_member(run, member.node_id, rewards[member.node_id])
    was_member = {member.node_id for member in old.members}
    for member in new.members:
        if member.node_id not in was_member:
            _advance_member(run, member.node_id, 0)
    _rotate_keys(run, new)
    storage_price, write_price = vote_prices(run, new)
    run.update_system(storage_price_frost=storage_price, write_price_frost=write_price)
    run.emit(EpochStarted(run.epoch, member_records(new), run.system.total_capacity_bytes, storage_price, write_price))
    moves = compute_moves(assignment_of(old), assignment_of(new))
    if moves:
        hand_overs.open_hand_overs(run, run.epoch, moves)
        run.emit(HandOversOpened(run.epoch, moves))
    hand_overs.forget_hand_overs(run)
    _activate_protocol_version(run)


def _close_books(run: Execution, committee: Committee) -> dict[bytes, int]:
    """Burn a part of the epoch's income, share the rest by shards, roll over what rounding leaves; who gets what."""
    bucket = run.end_bucket(run.epoch)
    burned = BURN_PERCENT * bucket.rewards_frost // 100
    income = bucket.rewards_frost - burned
    stored = {member.node_id: member.weight * bucket.used_bytes for member in committee.members}
    total = max(1, sum(stored.values()))
    rewards = {node_id: share * income // total for node_id, share in stored.items()}
    paid = sum(rewards.values())
    run.update_system(burned_frost=run.system.burned_frost + burned)
    run.emit(RewardsDistributed(run.epoch, bucket.rewards_frost, burned, paid, income - paid))
    collect_without_subsidy(run, run.epoch + 1, income - paid)
    return rewards


def _turn_epoch(run: Execution, old: Committee, new: Committee) -> None:
    fixed = queries.next_epoch(run.draft)
    if fixed is None:
        raise queries.StateIncomplete(row="NextEpoch")
    used = queries.bucket(run.draft, new.epoch).used_bytes
    run.update_system(epoch=new.epoch, total_capacity_bytes=max(fixed.total_capacity_bytes, used))
    staking = queries.staking(run.draft)
    if staking.previous_epoch is not None:
        run.draft.put(keys.committee(staking.previous_epoch), None)
    run.draft.put(keys.NEXT, None)
    staking = replace(
        staking,
        phase=Phase.SYNC,
        forced=False,
        phase_since_ms=run.time_ms,
        sync_weight=0,
        previous_epoch=old.epoch,
    )
    run.put(keys.STAKING, staking)


def _advance_member(run: Execution, node_id: bytes, reward_frost: int) -> None:
    pool, commission = pools.advance_pool(run, pools.load_pool(run.draft, node_id), run.epoch, reward_frost)
    pools.save_pool(run, pool)
    if reward_frost:
        run.emit(NodeRewarded(node_id, run.epoch - 1, reward_frost, commission))
    pools.update_active_set(run, pool)


def _rotate_keys(run: Execution, committee: Committee) -> None:
    """Members sign with the keys that the vote has fixed; the name of a key they leave behind stays taken."""
    for member in committee.members:
        node = _node(run, member.node_id)
        if node.public_key != member.public_key:
            chosen = None if node.next_public_key == member.public_key else node.next_public_key
            run.put(keys.node(member.node_id), replace(node, public_key=member.public_key, next_public_key=chosen))
            run.emit(NodeKeyRotated(member.node_id, member.public_key))


def _activate_protocol_version(run: Execution) -> None:
    if run.system.next_protocol is not None and run.system.next_protocol[1] <= run.epoch:
        version = run.system.next_protocol[0]
        run.update_system(protocol_version=version, next_protocol=None)
        run.emit(ProtocolVersionActivated(version))


def _finish(run: Execution, *, forced: bool) -> None:
    staking = queries.staking(run.draft)
    run.put(keys.STAKING, replace(staking, phase=Phase.DONE, forced=forced, phase_since_ms=run.time_ms))
    run.emit(EpochDone(run.epoch, forced))


# --- what others share --------------------------------------------------------------------------------------


def vote_prices(run: Execution, committee: Committee) -> tuple[int, int]:
    """The storage and the write price that a committee's votes make, in FROST."""
    nodes = [(_node(run, member.node_id), member.weight) for member in committee.members]
    storage = choose_price([Vote(node.storage_price_frost, weight) for node, weight in nodes], run.params.n_shards)
    write = choose_price([Vote(node.write_price_frost, weight) for node, weight in nodes], run.params.n_shards)
    return storage, write


def member_records(committee: Committee) -> tuple[CommitteeMemberRecord, ...]:
    """A committee as events carry it."""
    return tuple(CommitteeMemberRecord(m.node_id, m.public_key, m.shards) for m in committee.members)


def check_expected_epoch(run: Execution, expected_epoch: int) -> None:
    """Refuse a step that was meant for another epoch.

    Raises:
        UnexpectedEpoch: with both.
    """
    if expected_epoch != run.epoch:
        raise UnexpectedEpoch(expected_epoch=expected_epoch, epoch=run.epoch)


def _node(run: Execution, node_id: bytes) -> Node:
    return pools.load_pool(run.draft, node_id).node


def _check_due(run: Execution, step: str, due_ms: int) -> None:
    if run.time_ms < due_ms:
        raise NotDueYet(step=step, epoch=run.epoch, due_ms=due_ms, now_ms=run.time_ms)
