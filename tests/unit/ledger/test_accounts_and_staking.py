"""Accounts, node registration and stake objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from haulout.chain.block import TransactionResult
from haulout.crypto import messages
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import invariants, queries
from haulout.ledger.commands import (
    Command,
    Created,
    Existing,
    JoinStake,
    RegisterNode,
    SetNodeAddresses,
    SplitStake,
    Stake,
    Transfer,
    TransferObject,
)
from haulout.ledger.pools import balance_at, load_pool
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Node, ObjectKind, Phase, StakedWal

WAL = 10**9
SECRET = KeyedHash().generate(b"s" * 32)
KEY = KeyedHash().public_key(SECRET)


def refusal(result: TransactionResult) -> str:
    assert not result.is_ok
    return result.reason


def registration(world: Sandbox, account: str = "alice", *, epoch: int = 1) -> RegisterNode:
    sender = world.address(account)
    return RegisterNode(
        name="fresh",
        addresses=("10.0.0.1:1",),
        public_key=KEY,
        network_public_key=b"\x02" * 33,
        proof_of_possession=KeyedHash().sign(SECRET, messages.proof_of_possession(epoch, sender, KEY)),
        commission_rate_bps=500,
        storage_price_frost=1,
        write_price_frost=2,
        node_capacity_bytes=3,
        capability=world.address("bob"),
    )


def node(world: Sandbox, node_id: bytes) -> Node:
    found = queries.node(world.state, node_id)
    assert found is not None
    return found


def staked(world: Sandbox, object_id: bytes) -> StakedWal:
    found = queries.staked_wal(world.state, object_id)
    assert found is not None
    return found


# --- accounts -----------------------------------------------------------------------------------------------


def test_frost_moves_and_an_empty_account_leaves_no_row(world: Sandbox) -> None:
    poor, bob = world.address("poor"), world.address("bob")
    before = queries.balance(world.state, bob)
    assert world.run("poor", Transfer(bob, 10)).is_ok
    assert (queries.balance(world.state, poor), queries.balance(world.state, bob)) == (0, before + 10)
    assert world.state.get(b"\x10" + poor) is None
    invariants.check(world.state)


def test_a_transfer_to_oneself_changes_nothing(world: Sandbox) -> None:
    assert world.run("poor", Transfer(world.address("poor"), 10)).is_ok
    assert queries.balance(world.state, world.address("poor")) == 10


def test_refuses_to_move_nothing_or_too_much(world: Sandbox) -> None:
    assert refusal(world.run("poor", Transfer(world.address("bob"), 0))) == "INVALID_AMOUNT"
    assert refusal(world.run("poor", Transfer(world.address("bob"), 11))) == "INSUFFICIENT_FUNDS"
    assert refusal(world.run("poor", Transfer(world.address("poor"), 11))) == "INSUFFICIENT_FUNDS"


# --- nodes --------------------------------------------------------------------------------------------------


def test_a_registered_node_is_found_by_id_name_and_keys(world: Sandbox) -> None:
    node_id = world.run("alice", registration(world)).created[0][0]
    found = node(world, node_id)
    assert (found.name, found.governance, found.capability) == ("fresh", world.address("alice"), world.address("bob"))
    assert (found.registered_epoch, found.activation_epoch, found.balance_frost) == (1, 1, 0)
    assert queries.node_id_of_name(world.state, "fresh") == node_id
    assert queries.node_id_of_key(world.state, KEY) == queries.node_id_of_key(world.state, b"\x02" * 33) == node_id
    assert len(list(queries.nodes(world.state))) == 6
    assert node_id not in dict(queries.staking(world.state).active_set)
    invariants.check(world.state)


def test_refuses_registrations(world: Sandbox) -> None:
    good = registration(world)
    taken_key = world.network.genesis.nodes[0].public_key
    cases: list[tuple[RegisterNode, str]] = [
        (replace(good, name=""), "INVALID_NAME_LENGTH"),
        (replace(good, name="é" * 51), "INVALID_NAME_LENGTH"),
        (replace(good, name="node-3"), "NAME_TAKEN"),
        (replace(good, addresses=()), "INVALID_NETWORK_ADDRESS_LENGTH"),
        (replace(good, addresses=("a:1",) * 9), "INVALID_NETWORK_ADDRESS_LENGTH"),
        (replace(good, addresses=("",)), "INVALID_NETWORK_ADDRESS_LENGTH"),
        (replace(good, addresses=("a" * 260,)), "INVALID_NETWORK_ADDRESS_LENGTH"),
        (replace(good, commission_rate_bps=10_001), "INCORRECT_COMMISSION_RATE"),
        (replace(good, public_key=bytes(48)), "INVALID_PUBLIC_KEY"),
        (replace(good, public_key=taken_key), "KEY_TAKEN"),
        (replace(good, network_public_key=b"\x02" * 32), "INVALID_NETWORK_PUBLIC_KEY"),
        (replace(good, proof_of_possession=bytes(96)), "INVALID_PROOF_OF_POSSESSION"),
        (registration(world, "bob"), "INVALID_PROOF_OF_POSSESSION"),
        (registration(world, epoch=0), "INVALID_PROOF_OF_POSSESSION"),
    ]
    for command, reason in cases:
        assert refusal(world.run("alice", command)) == reason
    assert world.run("alice", good).is_ok
    again = replace(good, name="other")
    assert refusal(world.run("alice", again)) == "KEY_TAKEN"
    fresh_secret = KeyedHash().generate(b"t" * 32)
    key = KeyedHash().public_key(fresh_secret)
    proof = KeyedHash().sign(fresh_secret, messages.proof_of_possession(1, world.address("alice"), key))
    same_network_key = replace(again, public_key=key, proof_of_possession=proof)
    assert refusal(world.run("alice", same_network_key)) == "KEY_TAKEN"
    assert world.run("alice", replace(same_network_key, network_public_key=b"")).is_ok


def test_a_node_registered_after_the_vote_is_active_an_epoch_later(
    world: Sandbox, enter_phase: Callable[[Phase], None]
) -> None:
    enter_phase(Phase.VOTED)
    assert node(world, world.run("alice", registration(world)).created[0][0]).activation_epoch == 2


def test_governance_and_capability_change_addresses_and_nobody_else(world: Sandbox) -> None:
    node_id = world.run("alice", registration(world)).created[0][0]
    for account in ("alice", "bob"):
        assert world.run(account, SetNodeAddresses(node_id, (f"{account}:1", "x:2"))).is_ok
        assert node(world, node_id).addresses == (f"{account}:1", "x:2")
    assert refusal(world.run("poor", SetNodeAddresses(node_id, ("p:1",)))) == "AUTHORIZATION_FAILURE"
    assert refusal(world.run("alice", SetNodeAddresses(node_id, ()))) == "INVALID_NETWORK_ADDRESS_LENGTH"
    assert refusal(world.run("alice", SetNodeAddresses(bytes(32), ("p:1",)))) == "POOL_NOT_FOUND"


# --- stake --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "activation"), [(Phase.DONE, 2), (Phase.SYNC, 3), (Phase.VOTED, 3)])
def test_stake_counts_from_the_next_committee_that_is_not_chosen_yet(
    world: Sandbox, enter_phase: Callable[[Phase], None], phase: Phase, activation: int
) -> None:
    enter_phase(phase)
    node_id = world.run("alice", registration(world, epoch=activation - 1 - (phase is Phase.VOTED))).created[0][0]
    stake = world.run("bob", Stake(node_id, 5 * WAL)).created[0][0]
    world.run("bob", Stake(node_id, 2 * WAL))
    expected = StakedWal(1, world.address("bob"), node_id, 5 * WAL, activation, None)
    assert staked(world, stake) == expected
    assert node(world, node_id).pending_stake == {activation: 7 * WAL}
    assert balance_at(world.state, load_pool(world.state, node_id), activation - 1) == 0
    assert balance_at(world.state, load_pool(world.state, node_id), activation) == 7 * WAL
    assert queries.staking(world.state).active_set[-1] == (node_id, 7 * WAL)
    assert queries.balance(world.state, world.address("bob")) == 993 * WAL
    assert stake in queries.owned_ids(world.state, world.address("bob"), ObjectKind.STAKED_WAL)
    invariants.check(world.state)


def test_stake_in_a_genesis_pool_adds_to_what_is_there(world: Sandbox) -> None:
    node_id = world.network.nodes[2].node_id
    world.run("alice", Stake(node_id, 10 * WAL))
    assert dict(queries.staking(world.state).active_set)[node_id] == 2010 * WAL
    assert node(world, node_id).balance_frost == 2000 * WAL
    invariants.check(world.state)


def test_refuses_stakes(world: Sandbox) -> None:
    node_id = world.network.nodes[0].node_id
    cases: list[tuple[str, Command, str]] = [
        ("alice", Stake(bytes(32), WAL), "POOL_NOT_FOUND"),
        ("alice", Stake(node_id, 0), "STAKE_BELOW_THRESHOLD"),
        ("alice", Stake(node_id, WAL - 1), "STAKE_BELOW_THRESHOLD"),
        ("alice", Stake(node_id, 1001 * WAL), "INSUFFICIENT_FUNDS"),
        ("alice", SplitStake(Existing(bytes(32)), WAL), "OBJECT_NOT_FOUND"),
    ]
    for account, command, reason in cases:
        assert refusal(world.run(account, command)) == reason


def test_a_stake_is_cut_and_joined_again(world: Sandbox) -> None:
    node_id = world.network.nodes[0].node_id
    stake = world.run("alice", Stake(node_id, 5 * WAL)).created[0][0]
    part = world.run("alice", SplitStake(Existing(stake), 2 * WAL)).created[0][0]
    assert (staked(world, stake).principal_frost, staked(world, part).principal_frost) == (3 * WAL, 2 * WAL)
    invariants.check(world.state)
    assert world.run("alice", JoinStake(Existing(part), Existing(stake))).is_ok
    assert staked(world, part).principal_frost == 5 * WAL
    assert queries.staked_wal(world.state, stake) is None
    invariants.check(world.state)


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (2 * WAL, "INVALID_AMOUNT"),
        (3 * WAL, "INVALID_AMOUNT"),
        (WAL - 1, "STAKE_BELOW_THRESHOLD"),
        (WAL + 1, "STAKE_BELOW_THRESHOLD"),
    ],
)
def test_both_parts_of_a_cut_are_stakes(world: Sandbox, amount: int, reason: str) -> None:
    stake = world.run("alice", Stake(world.network.nodes[0].node_id, 2 * WAL)).created[0][0]
    assert refusal(world.run("alice", SplitStake(Existing(stake), amount))) == reason


def test_only_like_stakes_are_joined(world: Sandbox, enter_phase: Callable[[Phase], None]) -> None:
    first, second = (world.network.nodes[i].node_id for i in (0, 1))
    stake = world.run("alice", Stake(first, WAL)).created[0][0]
    elsewhere = world.run("alice", Stake(second, WAL)).created[0][0]
    enter_phase(Phase.VOTED)
    later = world.run("alice", Stake(first, WAL)).created[0][0]
    for other, reason in [(elsewhere, "METADATA_MISMATCH"), (later, "METADATA_MISMATCH"), (stake, "SAME_OBJECT")]:
        assert refusal(world.run("alice", JoinStake(Existing(stake), Existing(other)))) == reason
    foreign = world.run("bob", Stake(first, WAL)).created[0][0]
    assert refusal(world.run("alice", JoinStake(Existing(stake), Existing(foreign)))) == "NOT_OWNER"


def test_a_stake_changes_hands(world: Sandbox) -> None:
    node_id = world.network.nodes[0].node_id
    result = world.run("alice", Stake(node_id, WAL), TransferObject(Created(0, 0), world.address("bob")))
    assert result.is_ok
    assert staked(world, result.created[0][0]).owner == world.address("bob")
    invariants.check(world.state)


def test_an_object_that_is_none_is_not_handed_over(world: Sandbox) -> None:
    assert refusal(world.run("alice", TransferObject(Existing(bytes(32)), bytes(32)))) == "OBJECT_NOT_FOUND"
