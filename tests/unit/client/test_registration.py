"""Where a blob object comes from, as cheaply as the account allows; all costs worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout.client.registration import Plan, StoreRequest, plan_registration
from haulout.ledger.state import Blob, Storage, System
from haulout.primitives import ObjectId

MIB = 1 << 20
EPOCH = 10
SYSTEM = System(1, EPOCH, 1, None, 1 << 40, 7, 11, 10**18, 0, 0)  # 7 FROST per unit and epoch, 11 per unit written
OWNER = bytes(32)


def object_id(number: int) -> ObjectId:
    return ObjectId(number.to_bytes(32, "big"))


def blob(*, end: int, certified: bool = True, deletable: bool = True) -> Blob:
    return Blob(1, OWNER, bytes(32), 5, 1, 1, 1 if certified else None, deletable, bytes(32), 1, end, 3 * MIB, {})


def storage(*, end: int = 15, start: int = 9, size: int = 3 * MIB) -> Storage:
    return Storage(1, OWNER, start, end, size)


def plan(request: StoreRequest, *, blobs=(), storages=(), encoded_bytes: int = 2 * MIB + 1) -> Plan:
    return plan_registration(
        request,
        system=SYSTEM,
        encoded_bytes=encoded_bytes,
        blobs=[(object_id(number), found) for number, found in enumerate(blobs)],
        storages=[(object_id(100 + number), found) for number, found in enumerate(storages)],
    )


FRESH = Plan("registerFromScratch", None, None, 5, 3 * 5 * 7 + 3 * 11)
FOR_5 = StoreRequest(5)
REUSING = StoreRequest(5, reuse_resources=True)


def test_an_account_with_nothing_buys() -> None:
    assert plan(FOR_5) == plan(REUSING) == FRESH


@pytest.mark.parametrize("request_", [FOR_5, REUSING, replace(FOR_5, force=True)])
def test_what_an_earlier_try_paid_for_is_always_used(request_) -> None:
    assert plan(request_, blobs=[blob(end=15, certified=False)]) == Plan("reuseRegistration", object_id(0), None, 0, 0)


@pytest.mark.parametrize(
    "unfit",
    [
        blob(end=14, certified=False),
        blob(end=15, certified=False, deletable=False),
        blob(end=10, certified=False),
        blob(end=14),
    ],
)
def test_unfit_objects_are_left_alone_without_leave_to_reuse(unfit) -> None:
    assert plan(FOR_5, blobs=[unfit], storages=[storage()]) == FRESH


def test_the_object_that_ends_last_is_extended() -> None:
    found = plan(REUSING, blobs=[blob(end=12), blob(end=13), blob(end=11)])
    assert found == Plan("reuseAndExtend", object_id(1), None, 2, 2 * 3 * 7)


def test_an_uncertified_object_is_extended_as_it_is_certified() -> None:
    found = plan(REUSING, blobs=[blob(end=14, certified=False)])
    assert found == Plan("reuseAndExtendNonCertified", object_id(0), None, 1, 3 * 7)
    assert found.extends


def test_expired_objects_and_those_of_the_other_kind_are_not_extended() -> None:
    assert plan(REUSING, blobs=[blob(end=10), blob(end=13, deletable=False)]) == FRESH


def test_force_does_not_extend_what_is_certified() -> None:
    assert plan(replace(REUSING, force=True), blobs=[blob(end=12)]) == FRESH


def test_the_smallest_fitting_storage_is_used() -> None:
    storages = [
        storage(size=9 * MIB),
        storage(size=4 * MIB, end=40),
        storage(size=4 * MIB, end=15),
        storage(size=2 * MIB),  # too small
        storage(end=14),  # too short
        storage(start=11),  # not yet
    ]
    assert plan(REUSING, storages=storages) == Plan("reuseStorage", None, object_id(102), 0, 3 * 11)
