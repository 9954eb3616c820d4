"""Shared blobs: given up by their owner, funded and extended by anybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from haulout import bcs
from haulout.chain.block import TransactionResult
from haulout.crypto import messages
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import invariants, keys, queries
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.commands import (
    BurnBlob,
    Command,
    Created,
    DeleteBlob,
    Existing,
    ExtendBlob,
    ExtendBlobWithStorage,
    ExtendSharedBlob,
    FundSharedBlob,
    RegisterBlob,
    RemoveBlobAttribute,
    ReserveSpace,
    SetBlobAttribute,
    ShareBlob,
    Transfer,
    TransferObject,
    UpdateProtocolVersion,
)
from haulout.ledger.events import BalanceChanged, BlobCertified, BlobShared, SharedBlobExtended, SharedBlobFunded
from haulout.ledger.genesis import DevelopmentNetwork
from haulout.ledger.projection import Projection
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import NOBODY, ObjectKind

ROOT = bytes(range(32))
ENCODED = 6_940  # a blob of one byte on ten shards, as Walrus's `encoding/config.rs` has it
PRICE = 100_000  # of its one started MiB, per epoch
BLOB_ID = derive_blob_id(1, 1, ROOT)


def registered(world: Sandbox, *, end: int = 4, deletable: bool = False) -> bytes:
    result = world.run(
        "alice", ReserveSpace(ENCODED, 0, end), RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 1, deletable)
    )
    assert result.is_ok, result.message
    return result.created[1][0]


def certified(world: Sandbox, *, end: int = 4, deletable: bool = False) -> bytes:
    blob = registered(world, end=end, deletable=deletable)
    proof = world.certify_blob(Existing(blob), BLOB_ID, object_id=blob if deletable else None)
    assert world.run("alice", proof).is_ok
    return blob


def shared(world: Sandbox, amount: int = 0, *, end: int = 4) -> bytes:
    blob = certified(world, end=end)
    assert world.run("alice", ShareBlob(Existing(blob), amount)).is_ok
    return blob


def funds(world: Sandbox, blob: bytes) -> int:
    row = queries.shared_blob(world.state, blob)
    assert row is not None
    return row.funds_frost


def end_of(world: Sandbox, blob: bytes) -> int:
    row = queries.blob(world.state, blob)
    assert row is not None
    return row.end_epoch


def balance(world: Sandbox, account: str) -> int:
    return queries.balance(world.state, world.address(account))


def refusal(result: TransactionResult) -> str:
    assert not result.is_ok
    return result.reason


def check(world: Sandbox) -> None:
    """Invariants, conservation of FROST among them, and that events alone tell the state."""
    invariants.check(world.state)
    projection = Projection()
    for event in world.events:
        projection.follow(event)
    assert projection.find_differences(world.state) == []


def test_a_shared_blob_leaves_its_owner_and_keeps_what_was_given(world: Sandbox) -> None:
    blob = certified(world)
    before = balance(world, "alice")
    assert world.run("alice", ShareBlob(Existing(blob), 7 * PRICE)).is_ok
    assert before - balance(world, "alice") == funds(world, blob) == 7 * PRICE
    row = queries.blob(world.state, blob)
    assert row is not None and row.owner == NOBODY
    assert list(queries.owned_ids(world.state, world.address("alice"), ObjectKind.BLOB)) == []
    assert list(queries.owned_ids(world.state, NOBODY, ObjectKind.BLOB)) == [blob]
    assert queries.blob_existence(world.state, BLOB_ID) is not None
    told = BlobShared(blob, BLOB_ID, world.address("alice"), 7 * PRICE)
    assert [event.body for event in world.events if isinstance(event.body, BlobShared)] == [told]
    check(world)


def test_sharing_without_money_costs_nothing(world: Sandbox) -> None:
    blob = certified(world)
    seen = len(world.events)
    assert world.run("alice", ShareBlob(Existing(blob), 0)).is_ok
    assert funds(world, blob) == 0
    assert not [event for event in world.events[seen:] if isinstance(event.body, BalanceChanged)]
    check(world)


def test_only_the_owner_shares_and_only_what_is_paid_for(world: Sandbox) -> None:
    blob = certified(world)
    assert refusal(world.run("bob", ShareBlob(Existing(blob), 0))) == "NOT_OWNER"
    assert refusal(world.run("alice", ShareBlob(Existing(blob), 1 << 60))) == "INSUFFICIENT_FUNDS"
    assert refusal(world.run("alice", ShareBlob(Existing(bytes(32)), 0))) == "OBJECT_NOT_FOUND"
    assert world.run("alice", ShareBlob(Existing(blob), 1)).is_ok
    assert refusal(world.run("alice", ShareBlob(Existing(blob), 1))) == "BLOB_IS_SHARED"
    check(world)


def test_anybody_funds_it_and_anybody_extends_it_from_its_funds(world: Sandbox) -> None:
    blob = shared(world, PRICE)
    assert world.run("bob", FundSharedBlob(Existing(blob), PRICE + 5)).is_ok
    rich, poor, booked = balance(world, "bob"), balance(world, "poor"), queries.bucket(world.state, 5).used_bytes
    assert world.run("poor", ExtendSharedBlob(Existing(blob), 2)).is_ok
    assert (balance(world, "bob"), balance(world, "poor")) == (rich, poor)
    assert (funds(world, blob), end_of(world, blob)) == (5, 6)
    assert [queries.bucket(world.state, epoch).rewards_frost for epoch in (4, 5, 6)] == [PRICE, PRICE, 0]
    assert queries.bucket(world.state, 5).used_bytes == booked + ENCODED
    record = queries.blob_record(world.state, BLOB_ID)
    assert record is not None and record.certified_end_epoch == record.permanent_end_epoch == 6
    bodies = [event.body for event in world.events]
    assert SharedBlobFunded(blob, BLOB_ID, world.address("bob"), PRICE + 5, 2 * PRICE + 5) in bodies
    assert SharedBlobExtended(blob, BLOB_ID, world.address("poor"), 2, 2 * PRICE, 5) in bodies
    extension = [body for body in bodies if isinstance(body, BlobCertified) and body.is_extension]
    assert [(body.end_epoch, body.cost_frost) for body in extension] == [(6, 2 * PRICE)]
    check(world)


def test_funding_and_extending_in_one_transaction(world: Sandbox) -> None:
    blob = shared(world)
    assert world.run("bob", FundSharedBlob(Existing(blob), PRICE), ExtendSharedBlob(Existing(blob), 1)).is_ok
    assert (funds(world, blob), end_of(world, blob)) == (0, 5)
    check(world)


def test_storing_and_sharing_in_one_transaction(world: Sandbox) -> None:
    register = RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 1, False)
    certify = world.certify_blob(Created(1, 0), BLOB_ID)
    share, extend = ShareBlob(Created(1, 0), PRICE), ExtendSharedBlob(Created(1, 0), 1)
    result = world.run("alice", ReserveSpace(ENCODED, 0, 4), register, certify, share, extend)
    assert result.is_ok, result.message
    assert (funds(world, result.created[1][0]), end_of(world, result.created[1][0])) == (0, 5)
    check(world)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (lambda blob: FundSharedBlob(blob, 0), "INVALID_AMOUNT"),
        (lambda blob: FundSharedBlob(blob, 1 << 60), "INSUFFICIENT_FUNDS"),
        (lambda _: FundSharedBlob(Existing(bytes(32)), 1), "OBJECT_NOT_FOUND"),
        (lambda _: ExtendSharedBlob(Existing(bytes(32)), 1), "OBJECT_NOT_FOUND"),
        (lambda blob: ExtendSharedBlob(blob, 0), "INVALID_EPOCHS_AHEAD"),
        (lambda blob: ExtendSharedBlob(blob, 51), "INVALID_EPOCHS_AHEAD"),
        (lambda blob: ExtendSharedBlob(blob, (1 << 32) - 1), "INVALID_EPOCHS_AHEAD"),
        (lambda blob: ExtendSharedBlob(blob, 3), "INSUFFICIENT_SHARED_FUNDS"),
    ],
)
def test_refuses(world: Sandbox, command: Callable[[Existing], Command], reason: str) -> None:
    blob = shared(world, 3 * PRICE - 1)
    assert refusal(world.run("bob", command(Existing(blob)))) == reason
    assert (funds(world, blob), end_of(world, blob)) == (3 * PRICE - 1, 4)
    check(world)


def test_a_blob_with_an_owner_is_no_shared_one(world: Sandbox) -> None:
    blob = certified(world)
    assert refusal(world.run("bob", FundSharedBlob(Existing(blob), 1))) == "BLOB_NOT_SHARED"
    assert refusal(world.run("alice", ExtendSharedBlob(Existing(blob), 1))) == "BLOB_NOT_SHARED"


def test_what_is_given_to_nobody_is_not_shared(world: Sandbox) -> None:
    """The address of no key is an owner like others where a blob was sent to it; the row alone tells."""
    blob = certified(world)
    assert world.run("alice", TransferObject(Existing(blob), NOBODY)).is_ok
    assert refusal(world.run("alice", BurnBlob(Existing(blob)))) == "NOT_OWNER"
    assert refusal(world.run("alice", FundSharedBlob(Existing(blob), 1))) == "BLOB_NOT_SHARED"
    check(world)


def test_a_full_network_extends_nothing_and_takes_nothing(world: Sandbox) -> None:
    blob = shared(world, 10 * PRICE)
    capacity = queries.system(world.state).total_capacity_bytes
    assert world.run("alice", ReserveSpace(capacity, 4, 5)).is_ok
    assert refusal(world.run("bob", ExtendSharedBlob(Existing(blob), 1))) == "STORAGE_EXCEEDED"
    assert funds(world, blob) == 10 * PRICE
    check(world)


@pytest.mark.parametrize("deletable", [False, True])
def test_nobody_owns_it_any_more(world: Sandbox, deletable: bool) -> None:
    blob = certified(world, deletable=deletable)
    ref = Existing(blob)
    assert world.run("alice", SetBlobAttribute(ref, "a", "1"), ShareBlob(ref, 5)).is_ok
    proof = world.certify_blob(ref, BLOB_ID, object_id=blob if deletable else None)
    wanted: list[Command] = [
        DeleteBlob(ref),
        BurnBlob(ref),
        TransferObject(ref, world.address("alice")),
        SetBlobAttribute(ref, "a", "2"),
        RemoveBlobAttribute(ref, "a"),
        ExtendBlob(ref, 1),
        proof,
    ]
    for command in wanted:
        assert refusal(world.run("alice", command)) == "BLOB_IS_SHARED"
    with_storage = world.run("alice", ReserveSpace(ENCODED, 4, 5), ExtendBlobWithStorage(ref, Created(0, 0)))
    assert refusal(with_storage) == "BLOB_IS_SHARED"
    row = queries.blob(world.state, blob)
    assert row is not None and row.attributes == {"a": "1"}
    check(world)


def test_what_is_shared_uncertified_stays_so(world: Sandbox) -> None:
    blob = registered(world)
    assert world.run("alice", ShareBlob(Existing(blob), PRICE)).is_ok
    assert refusal(world.run("alice", world.certify_blob(Existing(blob), BLOB_ID))) == "BLOB_IS_SHARED"
    assert refusal(world.run("alice", ExtendSharedBlob(Existing(blob), 1))) == "NOT_CERTIFIED"
    check(world)


def test_it_expires_like_others_and_what_is_left_stays_counted(
    world: Sandbox, move_to_epoch: Callable[[int], None]
) -> None:
    blob = shared(world, PRICE + 3, end=2)
    assert world.run("bob", ExtendSharedBlob(Existing(blob), 1)).is_ok
    move_to_epoch(3)
    assert queries.blob_existence(world.state, BLOB_ID) is None
    assert refusal(world.run("bob", ExtendSharedBlob(Existing(blob), 1))) == "RESOURCE_BOUNDS"
    assert world.run("bob", FundSharedBlob(Existing(blob), 4)).is_ok  # as in the source: nobody gets them back
    assert funds(world, blob) == 7
    check(world)


def test_conservation_counts_the_funds(world: Sandbox) -> None:
    blob = shared(world, 5)
    row = queries.shared_blob(world.state, blob)
    assert row is not None
    world.write_rows({keys.shared_blob(blob): bcs.encode(replace(row, funds_frost=6))})
    assert any("FROST are held" in problem for problem in invariants.find_violations(world.state))


def test_older_rules_do_not_know_it_until_a_quorum_has_voted(network: DevelopmentNetwork) -> None:
    genesis = replace(network.genesis, protocol_version=2)
    nodes = tuple(replace(node, node_id=genesis.node_id(i)) for i, node in enumerate(network.nodes))
    world = Sandbox(replace(network, genesis=genesis, nodes=nodes), KeyedHash())
    blob = certified(world)
    ref = Existing(blob)
    for command in (ShareBlob(ref, 5), FundSharedBlob(ref, 5), ExtendSharedBlob(ref, 1)):
        out = world.apply([world.sign("alice", Transfer(world.address("bob"), 1), command)])
        assert out.inadmissible == ((0, "COMMAND_NOT_ACTIVE"),)
        assert not out.transactions
    message = messages.protocol_version(1, start_epoch=1, version=3)
    assert world.run("poor", UpdateProtocolVersion(message, *world.certify(message))).is_ok
    assert world.head.protocol_version == 2  # the block that decides follows the old rules
    assert world.run("alice", ShareBlob(ref, PRICE)).is_ok
    assert world.run("poor", ExtendSharedBlob(ref, 1)).is_ok
    assert world.head.protocol_version == 3
    check(world)
