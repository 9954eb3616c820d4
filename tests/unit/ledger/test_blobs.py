"""Blobs: register, certify, extend, delete, burn, attributes, invalid ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from haulout.chain.block import TransactionResult
from haulout.crypto import messages
from haulout.ledger import invariants, keys, queries
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.commands import (
    BurnBlob,
    CertifyBlob,
    Command,
    Created,
    DeleteBlob,
    Existing,
    ExtendBlob,
    ExtendBlobWithStorage,
    InvalidateBlobId,
    RegisterBlob,
    RemoveBlobAttribute,
    ReserveSpace,
    SetBlobAttribute,
    Transfer,
    TransferObject,
)
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Blob, BlobRecord, ObjectKind

ROOT = bytes(range(32))
ENCODED_1 = 6_940  # a blob of one byte on ten shards, as Walrus's `encoding/config.rs` has it
ENCODED_2800 = 17_720
WRITE_PRICE = 20_000
BLOB_ID = derive_blob_id(1, 1, ROOT)


def registered(world: Sandbox, *, end: int = 4, deletable: bool = False, account: str = "alice") -> bytes:
    result = world.run(
        account, ReserveSpace(ENCODED_1, 0, end), RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 1, deletable)
    )
    assert result.is_ok, result.message
    return result.created[1][0]


def certified(world: Sandbox, *, end: int = 4, deletable: bool = False, account: str = "alice") -> bytes:
    blob = registered(world, end=end, deletable=deletable, account=account)
    object_id = blob if deletable else None
    assert world.run(account, world.certify_blob(Existing(blob), BLOB_ID, object_id=object_id)).is_ok
    return blob


def found(world: Sandbox, object_id: bytes) -> Blob:
    blob = queries.blob(world.state, object_id)
    assert blob is not None
    return blob


def record(world: Sandbox) -> BlobRecord:
    found = queries.blob_record(world.state, BLOB_ID)
    assert found is not None
    return found


def ends(world: Sandbox) -> tuple[int, int | None, int | None, bool]:
    r = record(world)
    return r.registered_end_epoch, r.certified_end_epoch, r.permanent_end_epoch, r.permanent_certified


def exists(world: Sandbox) -> bool:
    return queries.blob_existence(world.state, BLOB_ID) is not None


def refusal(result: TransactionResult) -> str:
    assert not result.is_ok
    return result.reason


def test_blob_id_binds_encoding_size_and_root() -> None:
    assert len({BLOB_ID, derive_blob_id(8, 1, ROOT), derive_blob_id(1, 2, ROOT), derive_blob_id(1, 1, bytes(32))}) == 4


# --- register -----------------------------------------------------------------------------------------------


def test_registering_binds_storage_and_charges_the_write_price(world: Sandbox) -> None:
    storage = world.run("alice", ReserveSpace(ENCODED_1 + 5, 0, 4)).created[0][0]
    before = queries.balance(world.state, world.address("alice"))
    result = world.run("alice", RegisterBlob(Existing(storage), BLOB_ID, ROOT, 1, 1, False))
    blob = found(world, result.created[0][0])
    assert before - queries.balance(world.state, world.address("alice")) == WRITE_PRICE
    assert queries.bucket(world.state, 1).rewards_frost == 100_000 + WRITE_PRICE
    assert queries.storage(world.state, storage) is None
    assert (blob.storage_id, blob.storage_size_bytes, blob.start_epoch, blob.end_epoch) == (storage, 6_945, 1, 4)
    assert (blob.registered_epoch, blob.certified_epoch, blob.deletable) == (1, None, False)
    assert queries.is_registered(world.state, BLOB_ID)
    assert not exists(world)
    assert ends(world) == (4, None, 4, False)
    invariants.check(world.state)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 2800, 1, False), "RESOURCE_SIZE"),
        (RegisterBlob(Created(0, 0), BLOB_ID, bytes(32), 1, 1, False), "INVALID_BLOB_ID"),
        (RegisterBlob(Created(0, 0), bytes(32), ROOT, 1, 1, False), "INVALID_BLOB_ID"),
        (RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 0, False), "INVALID_ENCODING_TYPE"),
        (RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 2, False), "INVALID_ENCODING_TYPE"),
        (RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1_834_953, 1, False), "BLOB_TOO_LARGE"),
        (RegisterBlob(Created(0, 0), BLOB_ID, ROOT, (16 << 30) + 1, 8, False), "BLOB_TOO_LARGE"),
    ],
)
def test_refuses_registrations(world: Sandbox, command: Command, reason: str) -> None:
    assert refusal(world.run("alice", ReserveSpace(ENCODED_1, 0, 2), command)) == reason
    assert queries.bucket(world.state, 1).used_bytes == 0


def test_storage_of_exactly_the_encoded_size_is_enough(world: Sandbox) -> None:
    blob_id = derive_blob_id(1, 2800, ROOT)
    register = RegisterBlob(Created(0, 0), blob_id, ROOT, 2800, 1, False)
    assert refusal(world.run("alice", ReserveSpace(ENCODED_2800 - 1, 0, 2), register)) == "RESOURCE_SIZE"
    assert world.run("alice", ReserveSpace(ENCODED_2800, 0, 2), register).is_ok


def test_the_second_encoding_is_accepted_beyond_the_first(world: Sandbox) -> None:
    size = 1_834_953  # one byte more than RS2 holds on ten shards
    blob_id = derive_blob_id(8, size, ROOT)
    result = world.run("alice", ReserveSpace(8 << 20, 0, 2), RegisterBlob(Created(0, 0), blob_id, ROOT, size, 8, False))
    assert result.is_ok, result.message


@pytest.mark.parametrize(("start", "end"), [(2, 4), (3, 4)])
def test_storage_that_has_not_begun_is_refused(world: Sandbox, start: int, end: int) -> None:
    register = RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 1, False)
    assert refusal(world.run("alice", ReserveSpace(ENCODED_1, start, end), register)) == "RESOURCE_BOUNDS"


def test_storage_that_is_over_is_refused(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    storage = world.run("alice", ReserveSpace(ENCODED_1, 0, 3)).created[0][0]
    register = RegisterBlob(Existing(storage), BLOB_ID, ROOT, 1, 1, False)
    move_to_epoch(3)
    assert refusal(world.run("alice", register)) == "RESOURCE_BOUNDS"


def test_the_last_epoch_of_storage_is_good_enough(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    storage = world.run("alice", ReserveSpace(ENCODED_1, 0, 3)).created[0][0]
    move_to_epoch(2)
    assert world.run("alice", RegisterBlob(Existing(storage), BLOB_ID, ROOT, 1, 1, False)).is_ok


def test_nothing_is_registered_that_cannot_be_paid(world: Sandbox) -> None:
    assert refusal(world.run("poor", ReserveSpace(ENCODED_1, 0, 2))) == "INSUFFICIENT_FUNDS"
    storage = world.run("alice", ReserveSpace(ENCODED_1, 0, 2)).created[0][0]
    world.run("alice", TransferObject(Existing(storage), world.address("poor")))
    result = world.run("poor", RegisterBlob(Existing(storage), BLOB_ID, ROOT, 1, 1, False))
    assert refusal(result) == "INSUFFICIENT_FUNDS"
    assert "holds 10 FROST, 20000 are needed" in result.message


# --- certify ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deletable", [False, True])
def test_a_certified_blob_exists(world: Sandbox, deletable: bool) -> None:
    blob = certified(world, deletable=deletable)
    assert found(world, blob).certified_epoch == 1
    existence = queries.blob_existence(world.state, BLOB_ID)
    assert existence is not None
    assert (existence.certified_epoch, existence.end_epoch) == (1, 4)
    event = world.events[-1]
    assert record(world).certified_sequence == event.sequence
    assert record(world).certified_height == event.height == world.head.height
    assert list(queries.blob_ids_by_end(world.state, 0, 5)) == [BLOB_ID]
    invariants.check(world.state)


def test_seven_of_ten_shards_certify_and_six_do_not(world: Sandbox) -> None:
    blob = registered(world)
    message = messages.storage_confirmation(1, BLOB_ID, None)
    signature, signers = world.certify(message, signers=[0, 1, 2])
    result = world.run("alice", CertifyBlob(Existing(blob), message, signature, signers))
    assert refusal(result) == "NOT_ENOUGH_STAKE"
    assert "6 of 10 shards" in result.message
    signature, signers = world.certify(message, signers=[0, 1, 2, 4])
    assert world.run("alice", CertifyBlob(Existing(blob), message, signature, signers)).is_ok


def test_refuses_certificates(world: Sandbox) -> None:
    blob = registered(world)
    good = world.certify_blob(Existing(blob), BLOB_ID)
    of_another_epoch = messages.storage_confirmation(2, BLOB_ID, None)
    signature, signers = world.certify(of_another_epoch)
    invalidation = messages.invalid_blob_id(1, BLOB_ID)
    cases = {
        "SIG_VERIFICATION": replace(good, signature=bytes(96)),
        "INVALID_BITMAP": replace(good, signers=b"\x20"),
        "NOT_ENOUGH_STAKE": replace(good, signers=b""),
        "INVALID_BLOB_ID": world.certify_blob(Existing(blob), bytes(32)),
        "INVALID_BLOB_PERSISTENCE_TYPE": world.certify_blob(Existing(blob), BLOB_ID, object_id=blob),
        "INCORRECT_EPOCH": CertifyBlob(Existing(blob), of_another_epoch, signature, signers),
        "INVALID_MSG_TYPE": CertifyBlob(Existing(blob), invalidation, *world.certify(invalidation)),
        "OBJECT_NOT_FOUND": replace(good, blob=Existing(bytes(32))),
    }
    for reason, command in cases.items():
        assert refusal(world.run("alice", command)) == reason
    junk = b"\x01\x00\x03"
    assert refusal(world.run("alice", CertifyBlob(Existing(blob), junk, *world.certify(junk)))) == "INVALID_MSG_TYPE"
    assert refusal(world.run("bob", good)) == "NOT_OWNER"
    assert world.run("alice", good).is_ok
    assert refusal(world.run("alice", good)) == "ALREADY_CERTIFIED"


def test_a_deletable_blob_is_certified_for_its_own_object_only(world: Sandbox) -> None:
    first, second = registered(world, deletable=True), registered(world, deletable=True)
    for_first = world.certify_blob(Existing(second), BLOB_ID, object_id=first)
    assert refusal(world.run("alice", for_first)) == "INVALID_BLOB_OBJECT"
    permanent = world.certify_blob(Existing(second), BLOB_ID)
    assert refusal(world.run("alice", permanent)) == "INVALID_BLOB_PERSISTENCE_TYPE"


def test_an_expired_blob_cannot_be_certified(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    blob = registered(world, end=2)
    move_to_epoch(2)
    assert refusal(world.run("alice", world.certify_blob(Existing(blob), BLOB_ID))) == "RESOURCE_BOUNDS"
    assert not queries.is_registered(world.state, BLOB_ID)


def test_a_certificate_of_the_last_epoch_is_worthless(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    blob = registered(world)
    command = world.certify_blob(Existing(blob), BLOB_ID)
    move_to_epoch(2)
    assert refusal(world.run("alice", command)) == "INCORRECT_EPOCH"
    assert world.run("alice", world.certify_blob(Existing(blob), BLOB_ID)).is_ok
    assert found(world, blob).certified_epoch == 2


# --- what the record says of several objects ----------------------------------------------------------------


def test_a_blob_is_gone_in_the_epoch_it_ends(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    certified(world, end=3)
    move_to_epoch(2)
    assert exists(world)
    move_to_epoch(3)
    assert not exists(world)


def test_first_certification_is_remembered_until_the_blob_is_gone(
    world: Sandbox, move_to_epoch: Callable[[int], None]
) -> None:
    certified(world, end=3)
    first = record(world).certified_sequence
    move_to_epoch(2)
    certified(world, end=5)
    assert (record(world).initial_certified_epoch, record(world).certified_sequence) == (1, first)
    move_to_epoch(5)
    assert not exists(world)
    certified(world, end=7)
    assert record(world).initial_certified_epoch == 5
    assert record(world).certified_sequence != first
    assert ends(world) == (7, 7, 7, True)
    invariants.check(world.state)


def test_the_longest_lived_object_keeps_the_blob(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    certified(world, end=5)
    certified(world, end=3, account="bob")
    assert ends(world) == (5, 5, 5, True)
    assert record(world).permanent_total == 2
    move_to_epoch(4)
    assert exists(world)


def test_an_uncertified_registration_does_not_prolong(world: Sandbox) -> None:
    certified(world, end=3)
    registered(world, end=9, account="bob")
    assert ends(world) == (9, 3, 3, True)
    registered(world, end=7, deletable=True)
    assert ends(world) == (9, 3, 3, True)


def test_deleting_one_of_two_leaves_the_other(world: Sandbox) -> None:
    long, short = certified(world, end=5, deletable=True), certified(world, end=3, deletable=True)
    world.run("alice", DeleteBlob(Existing(long)))
    assert ends(world) == (3, 3, None, False)
    assert record(world).deletable_certified == 1
    assert exists(world)
    invariants.check(world.state)
    world.run("alice", DeleteBlob(Existing(short)))
    assert queries.blob_record(world.state, BLOB_ID) is None
    assert list(queries.blob_ids_by_end(world.state, 0, 99)) == []
    invariants.check(world.state)


def test_deleting_the_certified_one_leaves_a_registration(world: Sandbox) -> None:
    certain = certified(world, end=5, deletable=True)
    registered(world, end=9)
    world.run("alice", DeleteBlob(Existing(certain)))
    assert ends(world) == (9, None, 9, False)
    assert record(world).initial_certified_epoch is None
    assert queries.is_registered(world.state, BLOB_ID)
    assert not exists(world)


# --- extend -------------------------------------------------------------------------------------------------


def test_extending_pays_for_the_new_epochs_only(world: Sandbox) -> None:
    blob = certified(world)
    before = queries.balance(world.state, world.address("alice"))
    assert world.run("alice", ExtendBlob(Existing(blob), 2)).is_ok
    assert before - queries.balance(world.state, world.address("alice")) == 2 * 100_000
    assert found(world, blob).end_epoch == 6
    assert ends(world) == (6, 6, 6, True)
    assert queries.bucket(world.state, 5).used_bytes == ENCODED_1
    assert list(queries.blob_ids_by_end(world.state, 0, 6)) == []
    assert list(queries.blob_ids_by_end(world.state, 6, 7)) == [BLOB_ID]
    invariants.check(world.state)


def test_extending_with_storage_that_follows(world: Sandbox) -> None:
    blob = certified(world, deletable=True)
    result = world.run("alice", ReserveSpace(ENCODED_1, 4, 7), ExtendBlobWithStorage(Existing(blob), Created(0, 0)))
    assert result.is_ok, result.message
    assert found(world, blob).end_epoch == 7
    assert ends(world) == (7, 7, None, False)
    assert list(queries.owned_ids(world.state, world.address("alice"), ObjectKind.STORAGE)) == []
    invariants.check(world.state)


@pytest.mark.parametrize(
    ("size", "start", "end", "reason"),
    [
        (ENCODED_1 + 1, 4, 7, "INCOMPATIBLE_AMOUNT"),
        (ENCODED_1, 5, 7, "INCOMPATIBLE_EPOCHS"),
        (ENCODED_1, 3, 7, "INCOMPATIBLE_EPOCHS"),
        (ENCODED_1, 2, 4, "INCOMPATIBLE_EPOCHS"),
    ],
)
def test_refuses_to_extend_with_other_storage(world: Sandbox, size: int, start: int, end: int, reason: str) -> None:
    blob = certified(world)
    command = ExtendBlobWithStorage(Existing(blob), Created(0, 0))
    assert refusal(world.run("alice", ReserveSpace(size, start, end), command)) == reason


def test_refuses_to_extend_nothing_too_far_or_too_late(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    blob = registered(world)
    assert refusal(world.run("alice", ExtendBlob(Existing(blob), 1))) == "NOT_CERTIFIED"
    assert world.run("alice", world.certify_blob(Existing(blob), BLOB_ID)).is_ok
    assert refusal(world.run("alice", ExtendBlob(Existing(blob), 0))) == "INVALID_EPOCHS_AHEAD"
    assert refusal(world.run("alice", ExtendBlob(Existing(blob), 51))) == "INVALID_EPOCHS_AHEAD"
    assert world.run("alice", ExtendBlob(Existing(blob), 50)).is_ok
    move_to_epoch(54)
    assert refusal(world.run("alice", ExtendBlob(Existing(blob), 1))) == "RESOURCE_BOUNDS"


# --- delete, burn -------------------------------------------------------------------------------------------


def test_deleting_gives_the_storage_back_for_reuse(world: Sandbox) -> None:
    blob = certified(world, deletable=True)
    storage_id = found(world, blob).storage_id
    result = world.run("alice", DeleteBlob(Existing(blob)), RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 1, False))
    assert result.is_ok, result.message
    assert result.created[0] == (storage_id,)
    assert queries.blob(world.state, blob) is None
    assert found(world, result.created[1][0]).storage_id == storage_id
    invariants.check(world.state)


def test_permanent_foreign_and_expired_blobs_are_not_deleted(
    world: Sandbox, move_to_epoch: Callable[[int], None]
) -> None:
    permanent, deletable = certified(world), certified(world, deletable=True)
    assert refusal(world.run("alice", DeleteBlob(Existing(permanent)))) == "BLOB_NOT_DELETABLE"
    assert refusal(world.run("bob", DeleteBlob(Existing(deletable)))) == "NOT_OWNER"
    move_to_epoch(4)
    assert refusal(world.run("alice", DeleteBlob(Existing(deletable)))) == "RESOURCE_BOUNDS"


def test_burning_destroys_the_object_and_keeps_the_bytes(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    blob = certified(world, deletable=True)
    assert world.run("alice", BurnBlob(Existing(blob))).is_ok
    assert queries.blob(world.state, blob) is None
    assert list(queries.owned_ids(world.state, world.address("alice"), ObjectKind.STORAGE)) == []
    assert exists(world)
    invariants.check(world.state)
    other = certified(world, end=6, deletable=True, account="bob")
    world.run("bob", DeleteBlob(Existing(other)))
    assert ends(world) == (4, 4, None, False)
    invariants.check(world.state)
    move_to_epoch(4)
    assert not exists(world)


def test_an_expired_blob_can_be_burned(world: Sandbox, move_to_epoch: Callable[[int], None]) -> None:
    blob = certified(world)
    move_to_epoch(4)
    assert world.run("alice", BurnBlob(Existing(blob))).is_ok


# --- attributes, transfer, invalid --------------------------------------------------------------------------


def test_attributes_come_change_and_go(world: Sandbox) -> None:
    blob = registered(world)
    world.run("alice", SetBlobAttribute(Existing(blob), "b", "1"), SetBlobAttribute(Existing(blob), "a", "2"))
    world.run("alice", SetBlobAttribute(Existing(blob), "b", "3"))
    assert found(world, blob).attributes == {"a": "2", "b": "3"}
    world.run("alice", RemoveBlobAttribute(Existing(blob), "b"))
    assert found(world, blob).attributes == {"a": "2"}
    assert refusal(world.run("alice", RemoveBlobAttribute(Existing(blob), "b"))) == "MISSING_METADATA"


@pytest.mark.parametrize(("key", "value"), [("", "x"), ("k" * 129, "x"), ("k", "v" * 1025)])
def test_attributes_are_bounded(world: Sandbox, key: str, value: str) -> None:
    blob = registered(world)
    assert refusal(world.run("alice", SetBlobAttribute(Existing(blob), key, value))) == "INVALID_ATTRIBUTE"


def test_a_blob_has_at_most_32_attributes(world: Sandbox) -> None:
    blob = registered(world)
    assert world.run("alice", *(SetBlobAttribute(Existing(blob), str(i), "") for i in range(32))).is_ok
    assert refusal(world.run("alice", SetBlobAttribute(Existing(blob), "one more", ""))) == "INVALID_ATTRIBUTE"
    assert world.run("alice", SetBlobAttribute(Existing(blob), "31", "changed")).is_ok


def test_a_blob_changes_hands(world: Sandbox) -> None:
    blob = registered(world)
    assert world.run("alice", TransferObject(Existing(blob), world.address("bob"))).is_ok
    assert refusal(world.run("alice", BurnBlob(Existing(blob)))) == "NOT_OWNER"
    assert list(queries.owned_ids(world.state, world.address("bob"), ObjectKind.BLOB)) == [blob]
    assert world.run("bob", world.certify_blob(Existing(blob), BLOB_ID)).is_ok
    invariants.check(world.state)


def test_an_invalid_blob_is_neither_registered_nor_certified_nor_read(world: Sandbox) -> None:
    certified(world)
    waiting = registered(world, account="bob")
    message = messages.invalid_blob_id(1, BLOB_ID)
    too_few, signers = world.certify(message, signers=[0])
    assert refusal(world.run("poor", InvalidateBlobId(message, too_few, signers))) == "NOT_ENOUGH_STAKE"
    enough, signers = world.certify(message, signers=[1, 3])  # 4 of 10 shards: f + 1
    assert world.run("poor", InvalidateBlobId(message, enough, signers)).is_ok
    assert queries.invalidated_epoch(world.state, BLOB_ID) == 1
    assert world.state.get(keys.invalid_blob(BLOB_ID)) is not None
    assert not exists(world)
    assert not queries.is_registered(world.state, BLOB_ID)
    register = RegisterBlob(Created(0, 0), BLOB_ID, ROOT, 1, 1, False)
    assert refusal(world.run("alice", ReserveSpace(ENCODED_1, 0, 2), register)) == "BLOB_IS_INVALID"
    assert refusal(world.run("bob", world.certify_blob(Existing(waiting), BLOB_ID))) == "BLOB_IS_INVALID"
    assert refusal(world.run("poor", InvalidateBlobId(message, enough, signers))) == "ALREADY_INVALID"


def test_one_failing_command_undoes_those_before_it(world: Sandbox) -> None:
    before = queries.balance(world.state, world.address("bob"))
    result = world.run(
        "alice",
        Transfer(world.address("bob"), 5),
        ReserveSpace(ENCODED_1, 0, 2),
        RegisterBlob(Created(1, 0), bytes(32), ROOT, 1, 1, False),
    )
    assert refusal(result) == "INVALID_BLOB_ID"
    assert queries.balance(world.state, world.address("bob")) == before
    assert queries.bucket(world.state, 1).used_bytes == 0
