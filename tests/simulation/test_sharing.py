"""Shared blobs in a world: what is done with them, and that whoever takes one back or miscounts is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout import bcs
from haulout.ledger import keys
from haulout.ledger.events import (
    BlobBurned,
    BlobDeleted,
    BlobShared,
    BlobTransferred,
    EventBody,
    SharedBlobExtended,
    SharedBlobFunded,
)
from haulout.ledger.state import NOBODY, STATE_VERSION, Blob, SharedBlob
from haulout.sim.plan import SHARED, draw_plan
from haulout.sim.scenarios import small
from haulout.sim.shared_funds import SharedFunds
from haulout.sim.story import play
from haulout.world.memory_store import MemoryStore

OBJECT, OTHER, BLOB_ID, ALICE, BOB = (bytes([n]) * 32 for n in range(1, 6))


def after(*bodies: EventBody) -> SharedFunds:
    funds = SharedFunds()
    assert [funds.note(body) for body in bodies] == [""] * len(bodies)
    return funds


SHARE = BlobShared(OBJECT, BLOB_ID, ALICE, 5)
FUND = SharedBlobFunded(OBJECT, BLOB_ID, BOB, 10, 15)
EXTEND = SharedBlobExtended(OBJECT, BLOB_ID, BOB, 1, 9, 6)


def test_blobs_are_stored_as_everybodys_kept_by_others_and_never_taken_back() -> None:
    plan = replace(small(draw_plan(0), SHARED), epoch_ms=10_000, duration_ms=40_000, n_blobs=6)
    run = play(plan)
    assert run.violation is None
    assert run.faults[SHARED] > 0
    assert run.operations["store shared: ok"] > 0
    assert run.operations["take back shared: ok"] > 0


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (SHARE, "shared twice"),
        (replace(FUND, object_id=OTHER), "never shared"),
        (replace(EXTEND, object_id=OTHER), "never shared"),
        (replace(FUND, funds_frost=26), "held 6 FROST"),
        (replace(FUND, funds_frost=16, amount_frost=9), "held 6 FROST"),
        (replace(EXTEND, cost_frost=1, funds_frost=6), "held 6 FROST"),
        (BlobTransferred(OBJECT, BLOB_ID, ALICE), "everybody's"),
        (BlobBurned(OBJECT, BLOB_ID, 9), "everybody's"),
        (BlobDeleted(OBJECT, BLOB_ID, 9, True, OTHER), "everybody's"),
    ],
)
def test_what_may_not_happen_to_a_shared_blob_is_told(body: EventBody, problem: str) -> None:
    assert problem in after(SHARE, FUND, EXTEND).note(body)


@pytest.mark.parametrize("body", [BlobTransferred(OTHER, BLOB_ID, ALICE), BlobBurned(OTHER, BLOB_ID, 9)])
def test_what_is_not_shared_is_its_owners(body: EventBody) -> None:
    assert after(SHARE).note(body) == ""


@pytest.mark.parametrize(
    ("owner", "funds_frost", "is_right"),
    [(NOBODY, 5, True), (NOBODY, 4, False), (ALICE, 5, False), (NOBODY, None, False)],
)
def test_the_state_has_to_say_what_the_events_said(owner: bytes, funds_frost: int | None, is_right: bool) -> None:
    rows = {keys.blob(OBJECT): bcs.encode(blob_of(owner))}
    if funds_frost is not None:
        rows[keys.shared_blob(OBJECT)] = bcs.encode(SharedBlob(STATE_VERSION, funds_frost))
    assert (list(after(SHARE).compare(MemoryStore(rows))) == []) is is_right


def blob_of(owner: bytes) -> Blob:
    return Blob(
        version=STATE_VERSION,
        owner=owner,
        blob_id=BLOB_ID,
        size_bytes=1,
        encoding_type=1,
        registered_epoch=0,
        certified_epoch=0,
        deletable=False,
        storage_id=OTHER,
        start_epoch=0,
        end_epoch=4,
        storage_size_bytes=1,
        attributes={},
    )
