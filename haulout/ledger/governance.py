"""Commands of those who run nodes: leaving and coming back, votes, commission, keys, accounts, and the rules' version.

The governance account decides what concerns the node as a business (leave, accounts); the capability account what it
does day by day (votes, commission rate, keys). Source and order of checks: Walrus's contracts, `staking.move`,
`staking_pool.move`; leaving is ours.
"""

from __future__ import annotations

from dataclasses import replace

from haulout.crypto import messages
from haulout.ledger import keys, queries
from haulout.ledger.blobs import check_quorum, parse_body
from haulout.ledger.commands import (
    CancelLeave,
    CollectCommission,
    JoinActiveSet,
    RequestLeave,
    SetCommission,
    SetNextPublicKey,
    SetNodeAccounts,
    SetVotes,
    UpdatePrices,
    UpdateProtocolVersion,
)
from haulout.ledger.epochs import check_expected_epoch, vote_prices
from haulout.ledger.events import (
    CommissionCollected,
    NodeAccountsChanged,
    NodeKeyChosen,
    NodeLeaveCancelled,
    NodeLeaveRequested,
    NodeVotesChanged,
    PricesUpdated,
    ProtocolVersionActivated,
    ProtocolVersionChosen,
)
from haulout.ledger.execution import Execution
from haulout.ledger.plan import plan_next_committee
from haulout.ledger.pools import Pool, load_pool, save_pool, update_active_set
from haulout.ledger.refusals import (
    AuthorizationFailure,
    CommitteeSelected,
    IncorrectCommissionRate,
    InvalidProtocolVersion,
    InvalidPublicKey,
    KeyTaken,
    NodeNotLeaving,
    PoolAlreadyWithdrawing,
    PoolIsNotActive,
)
from haulout.ledger.staking import check_possession
from haulout.ledger.withdrawals import find_memberships
from haulout.primitives import BASIS_POINTS, U32_MAX, hex_id_text, is_quorum

COMMISSION_DELAY_EPOCHS = 2


# --- leaving ------------------------------------------------------------------------------------------------


def request_leave(run: Execution, command: RequestLeave) -> tuple[bytes, ...]:
    """Take a node out of the committees to come, unless too few would be left to hold all shards."""
    check_expected_epoch(run, command.expected_epoch)
    pool = _governed(run, command.node_id)
    if pool.node.leaving:
        raise PoolAlreadyWithdrawing(node_id=hex_id_text(pool.node_id))
    if any(node_id == pool.node_id for node_id, _ in queries.staking(run.draft).active_set):
        plan = plan_next_committee(run.draft, leaving=(pool.node_id,))
        if plan.kept_because is not None:
            raise plan.kept_because
    pool = replace(pool, node=replace(pool.node, leaving=True))
    run.put(keys.node(pool.node_id), pool.node)
    run.emit(NodeLeaveRequested(pool.node_id))
    update_active_set(run, pool)
    return ()


def cancel_leave(run: Execution, command: CancelLeave) -> tuple[bytes, ...]:
    """Let a node stay, or come back; not between the vote that left it out and the change."""
    check_expected_epoch(run, command.expected_epoch)
    pool = _governed(run, command.node_id)
    if not pool.node.leaving:
        raise NodeNotLeaving(node_id=hex_id_text(pool.node_id))
    is_current, is_next = find_memberships(run.draft, pool.node_id)
    if queries.next_committee(run.draft) is not None and is_current and not is_next:
        raise CommitteeSelected(node_id=hex_id_text(pool.node_id), next_epoch=run.epoch + 1)
    pool = replace(pool, node=replace(pool.node, leaving=False))
    run.put(keys.node(pool.node_id), pool.node)
    run.emit(NodeLeaveCancelled(pool.node_id))
    update_active_set(run, pool)
    return ()


def join_active_set(run: Execution, command: JoinActiveSet) -> tuple[bytes, ...]:
    """Ask for a place among possible members again."""
    pool = _operated(run, command.node_id)
    if pool.node.leaving:
        raise PoolIsNotActive(node_id=hex_id_text(pool.node_id))
    update_active_set(run, pool)
    return ()


# --- votes and prices ---------------------------------------------------------------------------------------


def set_votes(run: Execution, command: SetVotes) -> tuple[bytes, ...]:
    """Remember what a node asks for; prices follow with the next update, capacity with the next vote."""
    pool = _operated(run, command.node_id)
    before = pool.node
    storage, write, capacity = command.storage_price_frost, command.write_price_frost, command.node_capacity_bytes
    node = replace(
        before,
        storage_price_frost=before.storage_price_frost if storage is None else storage,
        write_price_frost=before.write_price_frost if write is None else write,
        node_capacity_bytes=before.node_capacity_bytes if capacity is None else capacity,
    )
    run.put(keys.node(pool.node_id), node)
    run.emit(NodeVotesChanged(pool.node_id, node.storage_price_frost, node.write_price_frost, node.node_capacity_bytes))
    return ()


def update_prices(run: Execution, command: UpdatePrices) -> tuple[bytes, ...]:
    """Let the current committee's votes take effect."""
    storage_price, write_price = vote_prices(run, queries.committee(run.draft, run.epoch))
    if (storage_price, write_price) != (run.system.storage_price_frost, run.system.write_price_frost):
        run.update_system(storage_price_frost=storage_price, write_price_frost=write_price)
        run.emit(PricesUpdated(run.epoch, storage_price, write_price))
    return ()


# --- commission, accounts, keys -----------------------------------------------------------------------------


def set_commission(run: Execution, command: SetCommission) -> tuple[bytes, ...]:
    """Change what the operator keeps, two epochs ahead, so that stakers can go before."""
    pool = _operated(run, command.node_id)
    if command.rate_bps > BASIS_POINTS:
        raise IncorrectCommissionRate(rate_bps=command.rate_bps)
    rates = {**pool.schedule.pending_commission_rates, run.epoch + COMMISSION_DELAY_EPOCHS: command.rate_bps}
    save_pool(run, replace(pool, schedule=replace(pool.schedule, pending_commission_rates=rates)))
    return ()


def collect_commission(run: Execution, command: CollectCommission) -> tuple[bytes, ...]:
    """Pay out what is not blocked; its receiver asks for it, and the governance account may on its behalf."""
    pool = load_pool(run.draft, command.node_id)
    receiver = pool.schedule.commission_receiver or pool.node.governance
    if run.sender not in (receiver, pool.node.governance):
        raise AuthorizationFailure(sender=hex_id_text(run.sender), node_id=hex_id_text(pool.node_id))
    amount = pool.node.commission_frost - pool.node.commission_blocked_frost
    save_pool(run, replace(pool, node=replace(pool.node, commission_frost=pool.node.commission_blocked_frost)))
    run.credit(receiver, amount)
    run.emit(CommissionCollected(pool.node_id, receiver, amount))
    return ()


def set_node_accounts(run: Execution, command: SetNodeAccounts) -> tuple[bytes, ...]:
    """Hand a node's accounts to others."""
    pool = _governed(run, command.node_id)
    before = pool.schedule.commission_receiver
    receiver = before if command.commission_receiver is None else command.commission_receiver
    node = replace(
        pool.node,
        governance=pool.node.governance if command.governance is None else command.governance,
        capability=pool.node.capability if command.capability is None else command.capability,
    )
    save_pool(run, Pool(pool.node_id, node, replace(pool.schedule, commission_receiver=receiver)))
    run.emit(NodeAccountsChanged(pool.node_id, node.governance, node.capability, receiver))
    return ()


def set_next_public_key(run: Execution, command: SetNextPublicKey) -> tuple[bytes, ...]:
    """Choose the key that the next vote fixes; the key in use stays valid until then."""
    pool = _operated(run, command.node_id)
    if not run.scheme.validate_public_key(command.public_key):
        raise InvalidPublicKey(public_key=command.public_key.hex())
    holder = queries.node_id_of_key(run.draft, command.public_key)
    if holder is not None and holder != pool.node_id:
        raise KeyTaken(public_key=command.public_key.hex(), node_id=hex_id_text(holder))
    check_possession(
        run.scheme,
        epoch=run.epoch,
        sender=run.sender,
        public_key=command.public_key,
        proof_of_possession=command.proof_of_possession,
    )
    run.put(keys.node(pool.node_id), replace(pool.node, next_public_key=command.public_key))
    run.draft.put(keys.node_key(command.public_key), pool.node_id)
    run.emit(NodeKeyChosen(pool.node_id, command.public_key))
    return ()


# --- the rules themselves -----------------------------------------------------------------------------------


def update_protocol_version(run: Execution, command: UpdateProtocolVersion) -> tuple[bytes, ...]:
    """Choose the next version of the rules; blocks follow it from its epoch on, or at once if that has begun."""
    check_quorum(run, command.message, command.signature, command.signers, is_quorum)
    body = parse_body(run, command.message, messages.ProtocolVersion, "vote for a protocol version")
    if (
        body.start_epoch < run.epoch
        or body.protocol_version > U32_MAX
        or body.protocol_version != run.protocol_version + 1
    ):
        raise InvalidProtocolVersion(
            protocol_version=body.protocol_version,
            from_epoch=body.start_epoch,
            current=run.protocol_version,
            epoch=run.epoch,
        )
    run.emit(ProtocolVersionChosen(body.protocol_version, body.start_epoch))
    if body.start_epoch == run.epoch:
        run.update_system(protocol_version=body.protocol_version, next_protocol=None)
        run.emit(ProtocolVersionActivated(body.protocol_version))
    else:
        run.update_system(next_protocol=(body.protocol_version, body.start_epoch))
    return ()


# --- who asks -----------------------------------------------------------------------------------------------


def _governed(run: Execution, node_id: bytes) -> Pool:
    """A node for whom the sender decides as its governance account."""
    pool = load_pool(run.draft, node_id)
    if run.sender != pool.node.governance:
        raise AuthorizationFailure(sender=hex_id_text(run.sender), node_id=hex_id_text(node_id))
    return pool


def _operated(run: Execution, node_id: bytes) -> Pool:
    """A node for whom the sender acts, as its capability or its governance account."""
    pool = load_pool(run.draft, node_id)
    if run.sender not in (pool.node.capability, pool.node.governance):
        raise AuthorizationFailure(sender=hex_id_text(run.sender), node_id=hex_id_text(node_id))
    return pool
