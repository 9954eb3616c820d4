"""Commands on nodes and stake: registration, addresses, stake objects, and who may become a member.

Source and order of checks: Walrus's contracts, `staking.move`, `staking_pool.move`, `staked_wal.move`. Keys and
names are unique here, unlike in the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from haulout.crypto import messages
from haulout.crypto.schemes import SignatureScheme
from haulout.ledger import keys, queries
from haulout.ledger.commands import JoinStake, RegisterNode, SetNodeAddresses, SplitStake, Stake
from haulout.ledger.events import NodeAddressesChanged, NodeRegistered, StakeChanged
from haulout.ledger.execution import Execution
from haulout.ledger.pools import load_pool, next_vote_epoch, save_pool, update_active_set
from haulout.ledger.refusals import (
    AuthorizationFailure,
    IncorrectCommissionRate,
    InvalidAmount,
    InvalidNameLength,
    InvalidNetworkAddress,
    InvalidNetworkPublicKey,
    InvalidProofOfPossession,
    InvalidPublicKey,
    KeyTaken,
    NameTaken,
    PoolIsNotActive,
    PoolNotFound,
    SameObject,
    StakeBelowThreshold,
    StakesDiffer,
)
from haulout.ledger.state import STATE_VERSION, Node, ObjectKind, Phase, StakedWal, View
from haulout.primitives import BASIS_POINTS, FROST_PER_WAL, hex_id_text

MIN_STAKE_FROST: Final = FROST_PER_WAL
MAX_NAME_BYTES: Final = 100
MAX_ADDRESS_BYTES: Final = 259
MAX_ADDRESSES: Final = 8
NETWORK_KEY_BYTES: Final = 33


def register_node(run: Execution, command: RegisterNode) -> tuple[bytes, ...]:
    """Make a node and its pool; the sender governs it."""
    check_profile(
        run.draft,
        run.scheme,
        name=command.name,
        addresses=command.addresses,
        public_key=command.public_key,
        network_public_key=command.network_public_key,
        commission_rate_bps=command.commission_rate_bps,
    )
    check_possession(
        run.scheme,
        epoch=run.epoch,
        sender=run.sender,
        public_key=command.public_key,
        proof_of_possession=command.proof_of_possession,
    )
    phase = queries.staking(run.draft).phase
    node = Node(
        version=STATE_VERSION,
        name=command.name,
        addresses=command.addresses,
        public_key=command.public_key,
        next_public_key=None,
        network_public_key=command.network_public_key,
        governance=run.sender,
        capability=command.capability,
        registered_epoch=run.epoch,
        activation_epoch=run.epoch + (phase is Phase.VOTED),
        leaving=False,
        last_sync_done_epoch=0,
        storage_price_frost=command.storage_price_frost,
        write_price_frost=command.write_price_frost,
        node_capacity_bytes=command.node_capacity_bytes,
        commission_rate_bps=command.commission_rate_bps,
        commission_frost=0,
        commission_blocked_frost=0,
        balance_frost=0,
        n_shares=0,
        rewards_frost=0,
        pending_stake={},
    )
    node_id = run.new_object_id()
    insert_node(run, node_id, node)
    run.emit(node_registered(node_id, node))
    return (node_id,)


def set_addresses(run: Execution, command: SetNodeAddresses) -> tuple[bytes, ...]:
    """Replace a node's addresses; its capability and its governance account may."""
    node = find_node(run, command.node_id)
    if run.sender not in (node.capability, node.governance):
        raise AuthorizationFailure(sender=hex_id_text(run.sender), node_id=hex_id_text(command.node_id))
    check_addresses(command.addresses)
    run.put(keys.node(command.node_id), replace(node, addresses=command.addresses))
    run.emit(NodeAddressesChanged(command.node_id, command.addresses))
    return ()


def stake(run: Execution, command: Stake) -> tuple[bytes, ...]:
    """Lock FROST in a pool; it counts from the next epoch whose committee is not chosen yet."""
    node = find_node(run, command.node_id)
    if node.leaving:
        raise PoolIsNotActive(node_id=hex_id_text(command.node_id))
    check_stake_size(command.amount_frost)
    run.pay(command.amount_frost)
    activation = next_vote_epoch(run)
    pending = {**node.pending_stake, activation: node.pending_stake.get(activation, 0) + command.amount_frost}
    pool = load_pool(run.draft, command.node_id)
    pool = replace(pool, node=replace(node, pending_stake=pending))
    save_pool(run, pool)
    update_active_set(run, pool)
    staked = StakedWal(STATE_VERSION, run.sender, command.node_id, command.amount_frost, activation, None)
    object_id = run.new_object_id()
    run.insert(ObjectKind.STAKED_WAL, object_id, staked)
    run.emit(stake_changed(run, object_id, staked))
    return (object_id,)


def split_stake(run: Execution, command: SplitStake) -> tuple[bytes, ...]:
    """Cut a stake in two; both parts keep its state."""
    object_id, staked = run.own_stake(command.staked)
    if command.amount_frost >= staked.principal_frost:
        raise InvalidAmount(amount=command.amount_frost, problem=f"the stake has {staked.principal_frost}")
    check_stake_size(command.amount_frost)
    check_stake_size(staked.principal_frost - command.amount_frost)
    kept = replace(staked, principal_frost=staked.principal_frost - command.amount_frost)
    part = replace(staked, principal_frost=command.amount_frost)
    run.replace(ObjectKind.STAKED_WAL, object_id, kept)
    run.emit(stake_changed(run, object_id, kept))
    part_id = run.new_object_id()
    run.insert(ObjectKind.STAKED_WAL, part_id, part)
    run.emit(stake_changed(run, part_id, part))
    return (part_id,)


def join_stake(run: Execution, command: JoinStake) -> tuple[bytes, ...]:
    """Merge two stakes that differ in nothing but their size."""
    object_id, staked = run.own_stake(command.staked)
    other_id, other = run.own_stake(command.other)
    if object_id == other_id:
        raise SameObject(object_id=hex_id_text(object_id))
    if replace(staked, principal_frost=0) != replace(other, principal_frost=0):
        raise StakesDiffer(object_id=hex_id_text(object_id), other_id=hex_id_text(other_id))
    run.remove(ObjectKind.STAKED_WAL, other_id, other.owner)
    run.emit(stake_changed(run, other_id, replace(other, principal_frost=0)))
    joined = replace(staked, principal_frost=staked.principal_frost + other.principal_frost)
    run.replace(ObjectKind.STAKED_WAL, object_id, joined)
    run.emit(stake_changed(run, object_id, joined))
    return ()


# --- what genesis shares ------------------------------------------------------------------------------------


def check_profile(
    view: View,
    scheme: SignatureScheme,
    *,
    name: str,
    addresses: Sequence[str],
    public_key: bytes,
    network_public_key: bytes,
    commission_rate_bps: int,
) -> None:
    """Refuse a node's profile; everything but the proof of possession.

    Raises:
        InvalidNameLength, NameTaken, InvalidNetworkAddress, IncorrectCommissionRate, InvalidPublicKey,
        InvalidNetworkPublicKey, KeyTaken: in this order.
    """
    size_bytes = len(name.encode())
    if not 1 <= size_bytes <= MAX_NAME_BYTES:
        raise InvalidNameLength(limit_bytes=MAX_NAME_BYTES, size_bytes=size_bytes)
    if (holder := queries.node_id_of_name(view, name)) is not None:
        raise NameTaken(name=name, node_id=hex_id_text(holder))
    check_addresses(addresses)
    if commission_rate_bps > BASIS_POINTS:
        raise IncorrectCommissionRate(rate_bps=commission_rate_bps)
    if not scheme.validate_public_key(public_key):
        raise InvalidPublicKey(public_key=public_key.hex())
    if len(network_public_key) not in (0, NETWORK_KEY_BYTES):
        raise InvalidNetworkPublicKey(size_bytes=len(network_public_key))
    for key in (public_key, network_public_key):
        if key and (holder := queries.node_id_of_key(view, key)) is not None:
            raise KeyTaken(public_key=key.hex(), node_id=hex_id_text(holder))


def check_possession(
    scheme: SignatureScheme, *, epoch: int, sender: bytes, public_key: bytes, proof_of_possession: bytes
) -> None:
    """Refuse a key that the sender has not shown to hold.

    Raises:
        InvalidProofOfPossession: the signature is not over this epoch, sender and key.
    """
    message = messages.proof_of_possession(epoch, sender, public_key)
    if not scheme.verify(public_key, message, proof_of_possession):
        raise InvalidProofOfPossession(public_key=public_key.hex(), epoch=epoch, sender=hex_id_text(sender))


def check_addresses(addresses: Sequence[str]) -> None:
    """Refuse an empty list, too long a one, and too long addresses.

    Raises:
        InvalidNetworkAddress: with what is wrong.
    """
    if not 1 <= len(addresses) <= MAX_ADDRESSES:
        raise InvalidNetworkAddress(problem=f"{len(addresses)} where 1 to {MAX_ADDRESSES} belong")
    for address in addresses:
        if not 1 <= len(address.encode()) <= MAX_ADDRESS_BYTES:
            raise InvalidNetworkAddress(problem=f"{address[:40]!r} does not have 1 to {MAX_ADDRESS_BYTES} bytes")


def check_stake_size(amount_frost: int) -> None:
    """Refuse stakes too small to be worth their row.

    Raises:
        StakeBelowThreshold: less than 1 WAL.
    """
    if amount_frost < MIN_STAKE_FROST:
        raise StakeBelowThreshold(amount_frost=amount_frost, threshold_frost=MIN_STAKE_FROST)


def insert_node(run: Execution, node_id: bytes, node: Node) -> None:
    """Write a new node and claim its name and keys."""
    run.put(keys.node(node_id), node)
    run.draft.put(keys.node_name(node.name), node_id)
    run.draft.put(keys.node_key(node.public_key), node_id)
    if node.network_public_key:
        run.draft.put(keys.node_key(node.network_public_key), node_id)


def find_node(run: Execution, node_id: bytes) -> Node:
    """A node that must exist.

    Raises:
        PoolNotFound: it does not.
    """
    node = queries.node(run.draft, node_id)
    if node is None:
        raise PoolNotFound(node_id=hex_id_text(node_id))
    return node


def node_registered(node_id: bytes, node: Node) -> NodeRegistered:
    """The event of a new node."""
    return NodeRegistered(
        node_id=node_id,
        governance=node.governance,
        capability=node.capability,
        name=node.name,
        addresses=node.addresses,
        public_key=node.public_key,
        network_public_key=node.network_public_key,
        commission_rate_bps=node.commission_rate_bps,
        storage_price_frost=node.storage_price_frost,
        write_price_frost=node.write_price_frost,
        node_capacity_bytes=node.node_capacity_bytes,
        activation_epoch=node.activation_epoch,
    )


def stake_changed(run: Execution, object_id: bytes, staked: StakedWal) -> StakeChanged:
    """The event of a stake object as it is now, with what its pool waits for."""
    node = find_node(run, staked.node_id)
    return StakeChanged(
        object_id=object_id,
        owner=staked.owner,
        node_id=staked.node_id,
        principal_frost=staked.principal_frost,
        activation_epoch=staked.activation_epoch,
        withdraw_epoch=staked.withdraw_epoch,
        pool_pending_frost=node.pending_stake.get(staked.activation_epoch, 0),
    )
