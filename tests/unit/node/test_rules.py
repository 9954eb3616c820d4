"""Each rule of the node, by the ledger rows that decide it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout import bcs
from haulout.codec.errors import SliverIndexOutOfRange
from haulout.errors import WrongEpoch
from haulout.ledger import keys
from haulout.ledger.state import Blob, BlobRecord, Committee, Member, Params, System
from haulout.node import rules
from haulout.node.errors import (
    InvalidBlob,
    MissingSlivers,
    NotRegistered,
    ShardNotAssigned,
    SliverIndexMismatch,
    SliverNotFound,
    SliverTooLarge,
    TooManyTargets,
)
from haulout.node.records import Promise, bit_of
from haulout.primitives import Axis, BlobId, ObjectId, shard_of_pair
from haulout.world.memory_store import MemoryStore

OWN = ObjectId(b"\x01" * 32)
OTHER = ObjectId(b"\x02" * 32)
BLOB = BlobId(bytes(31) + b"\x03")  # read big-endian: 3, so pair p is on shard p + 3 mod 7
OBJECT = ObjectId(b"\x0f" * 32)
EPOCH = 5
RECORD = BlobRecord(
    version=1,
    size_bytes=100,
    encoding_type=1,
    root_hash=bytes(32),
    registered_end_epoch=9,
    certified_end_epoch=8,
    initial_certified_epoch=4,
    permanent_end_epoch=9,
    permanent_certified=True,
    permanent_total=1,
    deletable_total=1,
    deletable_certified=0,
    certified_height=3,
    certified_sequence=17,
)


def view_of(
    record: BlobRecord | None = RECORD, *, invalid: bool = False, deletable_end: int | None = None
) -> MemoryStore:
    """A state with n = 7 shards, three of them ours, in epoch 5."""
    members = (Member(OWN, bytes(48), (6, 0, 2)), Member(OTHER, bytes(48), (1, 3, 4, 5)))
    rows = {
        keys.PARAMS: bcs.encode(Params(1, bytes(32), 7, 1, 53, 1 << 30, 0, True, 0, False, 0)),
        keys.SYSTEM: bcs.encode(System(1, EPOCH, 1, None, 0, 0, 0, 0, 0, 0)),
        keys.committee(EPOCH): bcs.encode(Committee(1, EPOCH, members)),
    }
    if record is not None:
        rows[keys.blob_record(BLOB)] = bcs.encode(record)
    if invalid:
        rows[keys.invalid_blob(BLOB)] = (4).to_bytes(4, "little")
    if deletable_end is not None:
        blob = Blob(1, bytes(32), BLOB, 100, 1, 4, None, True, bytes(32), 4, deletable_end, 1 << 20, {})
        rows[keys.blob(OBJECT)] = bcs.encode(blob)
    return MemoryStore(rows)


DUTY = rules.duty_of(view_of(), OWN)


def test_the_duty_of_a_member_is_its_shards_in_order() -> None:
    assert (DUTY.epoch, DUTY.n_shards, DUTY.shards) == (EPOCH, 7, (0, 2, 6))
    assert DUTY.mask == 0b11_00_00_00_11_00_11


def test_a_node_outside_the_committee_has_no_duty() -> None:
    assert rules.duty_of(view_of(), ObjectId(b"\x09" * 32)).shards == ()


@pytest.mark.parametrize(
    ("change", "is_live", "is_wanted"),
    [
        ({}, True, True),
        ({"certified_end_epoch": None}, True, False),
        ({"certified_end_epoch": EPOCH}, True, False),
        ({"certified_end_epoch": EPOCH, "registered_end_epoch": EPOCH}, False, False),
        ({"certified_end_epoch": EPOCH + 1, "registered_end_epoch": EPOCH + 1}, True, True),
    ],
)
def test_a_blob_is_live_until_the_epoch_in_which_its_last_registration_ends(change, is_live, is_wanted) -> None:
    view = view_of(replace(RECORD, **change))
    assert rules.is_live(view, BLOB, EPOCH) is is_live
    assert rules.is_wanted(view, BLOB, EPOCH) is is_wanted


def test_an_invalid_blob_is_neither_live_nor_wanted() -> None:
    assert not rules.is_live(view_of(invalid=True), BLOB, EPOCH)
    assert not rules.is_wanted(view_of(invalid=True), BLOB, EPOCH)
    with pytest.raises(InvalidBlob):
        rules.check_not_invalid(view_of(invalid=True), BLOB)


def test_only_what_nobody_pays_for_may_be_dropped() -> None:
    assert not rules.may_drop(view_of(), BLOB, epoch=EPOCH, height=10, promise=None)
    assert rules.may_drop(view_of(None), BLOB, epoch=EPOCH, height=10, promise=None)
    assert rules.may_drop(view_of(invalid=True), BLOB, epoch=EPOCH, height=10, promise=None)
    expired = view_of(replace(RECORD, registered_end_epoch=EPOCH))
    assert rules.may_drop(expired, BLOB, epoch=EPOCH, height=10, promise=None)


def test_a_state_older_than_the_last_promise_drops_nothing() -> None:
    promise = Promise(EPOCH, None, height=11)
    assert not rules.may_drop(view_of(None), BLOB, epoch=EPOCH, height=10, promise=promise)
    assert rules.may_drop(view_of(None), BLOB, epoch=EPOCH, height=11, promise=promise)


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1, 0])
def test_refuses_a_request_for_another_epoch(epoch: int) -> None:
    with pytest.raises(WrongEpoch) as refusal:
        rules.check_epoch(DUTY, epoch)
    assert (refusal.value.request_epoch, refusal.value.server_epoch) == (epoch, EPOCH)


@pytest.mark.parametrize("record", [None, replace(RECORD, registered_end_epoch=EPOCH)], ids=["unknown", "expired"])
def test_refuses_a_blob_without_live_registration(record) -> None:
    with pytest.raises(NotRegistered):
        rules.check_registered(view_of(record), BLOB, epoch=EPOCH, height=1)


def test_checks_indices_and_sizes_of_a_sliver() -> None:
    rules.check_pair_index(6, 7)
    for pair_index in (7, 65_535):
        with pytest.raises(SliverIndexOutOfRange):
            rules.check_pair_index(pair_index, 7)
    rules.check_sliver_size(5 * 65_534 + 128, 7, in_stripes=False)
    rules.check_sliver_size(1 << 20, 7, in_stripes=True)
    with pytest.raises(SliverTooLarge):
        rules.check_sliver_size(5 * 65_534 + 129, 7, in_stripes=False)
    rules.check_sliver_index(2, Axis.PRIMARY, 2, 7)
    rules.check_sliver_index(2, Axis.SECONDARY, 4, 7)
    with pytest.raises(SliverIndexMismatch):
        rules.check_sliver_index(2, Axis.SECONDARY, 2, 7)


def test_a_pair_is_taken_only_by_the_owner_of_its_shard() -> None:
    assert rules.check_shard_owned(DUTY, BLOB, 3) == 6
    assert rules.check_shard_owned(DUTY, BLOB, 4) == 0
    with pytest.raises(ShardNotAssigned):
        rules.check_shard_owned(DUTY, BLOB, 0)  # on shard 3


def test_a_permanent_confirmation_needs_a_permanent_registration() -> None:
    rules.check_may_confirm(view_of(), BLOB, None, duty=DUTY, height=1)
    with pytest.raises(NotRegistered):
        rules.check_may_confirm(view_of(replace(RECORD, permanent_total=0)), BLOB, None, duty=DUTY, height=1)


@pytest.mark.parametrize(
    ("end_epoch", "blob_id", "is_allowed"),
    [(EPOCH + 1, BLOB, True), (EPOCH, BLOB, False), (None, BLOB, False), (EPOCH + 1, BlobId(b"\x07" * 32), False)],
    ids=["live", "expired", "no object", "object of another blob"],
)
def test_a_deletable_confirmation_needs_its_object(end_epoch, blob_id, is_allowed) -> None:
    view = view_of(deletable_end=end_epoch)
    if is_allowed:
        rules.check_may_confirm(view, blob_id, OBJECT, duty=DUTY, height=1)
    else:
        with pytest.raises(NotRegistered):
            rules.check_may_confirm(view, blob_id, OBJECT, duty=DUTY, height=1)


def test_a_node_without_shards_confirms_nothing() -> None:
    with pytest.raises(ShardNotAssigned):
        rules.check_may_confirm(view_of(), BLOB, None, duty=rules.Duty(EPOCH, 7, ()), height=1)


def test_a_confirmation_needs_every_sliver_of_every_own_shard() -> None:
    rules.check_complete(DUTY, BLOB, held=DUTY.mask, has_metadata=True)
    for shard_index in DUTY.shards:
        for axis in Axis:
            with pytest.raises(MissingSlivers) as refusal:
                rules.check_complete(DUTY, BLOB, held=DUTY.mask & ~bit_of(shard_index, axis), has_metadata=True)
            assert refusal.value.missing == 1
    with pytest.raises(MissingSlivers):
        rules.check_complete(DUTY, BLOB, held=DUTY.mask, has_metadata=False)
    with pytest.raises(MissingSlivers):
        rules.check_complete(DUTY, BLOB, held=1 << 40, has_metadata=True)


def test_missing_slivers_are_named_by_pair() -> None:
    held = DUTY.mask & ~bit_of(6, Axis.SECONDARY) & ~bit_of(0, Axis.PRIMARY)
    assert rules.missing_slivers(DUTY.shards, BLOB, held, DUTY.n_shards) == ((4, Axis.PRIMARY), (3, Axis.SECONDARY))


def test_reads_are_answered_for_own_shards_and_for_what_is_left_of_others() -> None:
    targets = [(0, Axis.PRIMARY), (3, Axis.PRIMARY), (3, Axis.PRIMARY), (4, Axis.SECONDARY)]
    found = rules.check_may_read_slivers(view_of(), BLOB, targets, duty=DUTY, held=0)
    assert found == [(3, Axis.PRIMARY, 6), (4, Axis.SECONDARY, 0)]
    foreign = shard_of_pair(0, BLOB, DUTY.n_shards)
    with pytest.raises(ShardNotAssigned):
        rules.check_may_read_slivers(
            view_of(), BLOB, [(0, Axis.PRIMARY)], duty=DUTY, held=bit_of(foreign, Axis.SECONDARY)
        )
    held = bit_of(foreign, Axis.PRIMARY)
    assert rules.check_may_read_slivers(view_of(), BLOB, [(0, Axis.PRIMARY)], duty=DUTY, held=held) == [
        (0, Axis.PRIMARY, foreign)
    ]
    with pytest.raises(SliverIndexOutOfRange):
        rules.check_may_read_slivers(view_of(), BLOB, [(7, Axis.PRIMARY)], duty=DUTY, held=0)
    with pytest.raises(TooManyTargets):
        rules.check_may_read_slivers(view_of(), BLOB, targets * 4, duty=DUTY, held=0)
    with pytest.raises(SliverNotFound):
        rules.check_may_read_slivers(view_of(None), BLOB, targets, duty=DUTY, held=0)
    with pytest.raises(InvalidBlob):
        rules.check_may_read_slivers(view_of(invalid=True), BLOB, targets, duty=DUTY, held=0)
