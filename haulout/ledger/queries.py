"""Typed reads of the state over any view: what everybody asks, in one place.

Functions return None where a row may be missing, and raise `StateIncomplete` where it must be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from haulout import bcs
from haulout.errors import Corrupt
from haulout.ledger import keys
from haulout.ledger.state import (
    STATE_VERSION,
    Account,
    Blob,
    BlobRecord,
    Bucket,
    Committee,
    HandOver,
    Node,
    ObjectKind,
    Params,
    Receipt,
    StakedWal,
    Staking,
    Storage,
    System,
    View,
)
from haulout.primitives import BlobId, ObjectId, storage_units

T = TypeVar("T")
NO_BOOKING = Bucket(STATE_VERSION, 0, 0)


@dataclass(eq=False)
class StateIncomplete(Corrupt):
    """A row that every state has is missing."""

    code = "STATE_INCOMPLETE"
    template = "the state has no {row}"
    hint = "the store is empty or damaged; follow the ledger from genesis or restore a snapshot"
    row: str


@dataclass(frozen=True, slots=True)
class BlobExistence:
    """A certified blob as readers need it."""

    certified_epoch: int  # of its first certification: decides which committee serves it during Sync
    end_epoch: int
    record: BlobRecord


@dataclass(frozen=True, slots=True)
class Quote:
    """What storing would cost now."""

    encoded_bytes: int
    n_epochs: int
    storage_frost: int
    write_frost: int

    @property
    def total_frost(self) -> int:
        return self.storage_frost + self.write_frost


# --- singletons ---------------------------------------------------------------------------------------------


def params(view: View) -> Params:
    """What genesis fixed."""
    return _require(view, keys.PARAMS, Params)


def system(view: View) -> System:
    """Epoch, prices, capacity, supply."""
    return _require(view, keys.SYSTEM, System)


def staking(view: View) -> Staking:
    """The epoch's phase and the active set."""
    return _require(view, keys.STAKING, Staking)


def committee(view: View, epoch: int | None = None) -> Committee:
    """Committee of an epoch, of the current one when none is named."""
    return _require(view, keys.committee(system(view).epoch if epoch is None else epoch), Committee)


def find_committee(view: View, epoch: int) -> Committee | None:
    """Committee of an epoch, if it is remembered."""
    return _find(view, keys.committee(epoch), Committee)


def previous_committee(view: View) -> Committee | None:
    """Committee of the epoch before, if there was one."""
    epoch = staking(view).previous_epoch
    return None if epoch is None else find_committee(view, epoch)


def bucket(view: View, epoch: int) -> Bucket:
    """Booking of an epoch; nothing where nothing was booked."""
    return _find(view, keys.bucket(epoch), Bucket) or NO_BOOKING


# --- accounts and objects -----------------------------------------------------------------------------------


def balance(view: View, address: bytes) -> int:
    """Free FROST of an account."""
    account = _find(view, keys.account(address), Account)
    return 0 if account is None else account.balance_frost


def receipt(view: View, valid_until_ms: int, digest: bytes) -> Receipt | None:
    """Where a transaction stands, while it is remembered."""
    return _find(view, keys.receipt(valid_until_ms, digest), Receipt)


def storage(view: View, object_id: bytes) -> Storage | None:
    """A storage resource."""
    return _find(view, keys.storage(object_id), Storage)


def blob(view: View, object_id: bytes) -> Blob | None:
    """A blob object."""
    return _find(view, keys.blob(object_id), Blob)


def staked_wal(view: View, object_id: bytes) -> StakedWal | None:
    """A stake object."""
    return _find(view, keys.staked_wal(object_id), StakedWal)


def owned_ids(
    view: View, owner: bytes, kind: ObjectKind, *, after: bytes | None = None, limit: int | None = None
) -> Iterator[ObjectId]:
    """Ids of an account's objects of a kind, ascending, behind `after`."""
    start, end = keys.owned_range(owner, kind)
    if after is not None:
        start = keys.owned(owner, kind, after) + b"\x00"
    return (ObjectId(key[-32:]) for key, _ in view.scan(start, end, limit=limit))


# --- blobs --------------------------------------------------------------------------------------------------


def blob_record(view: View, blob_id: bytes) -> BlobRecord | None:
    """All objects of a blob id, summed up."""
    return _find(view, keys.blob_record(blob_id), BlobRecord)


def invalidated_epoch(view: View, blob_id: bytes) -> int | None:
    """The epoch in which a blob id was proven inconsistent, or None."""
    raw = view.get(keys.invalid_blob(blob_id))
    return None if raw is None else int.from_bytes(raw, "little")


def blob_existence(view: View, blob_id: bytes) -> BlobExistence | None:
    """The blob as readers need it, or None when it does not exist: never certified, deleted, expired or invalid."""
    record = blob_record(view, blob_id)
    if record is None or record.certified_end_epoch is None or record.initial_certified_epoch is None:
        return None
    if record.certified_end_epoch <= system(view).epoch or invalidated_epoch(view, blob_id) is not None:
        return None
    return BlobExistence(record.initial_certified_epoch, record.certified_end_epoch, record)


def is_registered(view: View, blob_id: bytes) -> bool:
    """Whether nodes take data for a blob id: some registration is live, and it is not invalid."""
    record = blob_record(view, blob_id)
    return (
        record is not None
        and record.registered_end_epoch > system(view).epoch
        and invalidated_epoch(view, blob_id) is None
    )


def blob_object_ids(view: View, blob_id: bytes, *, is_certified: bool, limit: int | None = None) -> Iterator[ObjectId]:
    """Live objects of a blob id, those that end last first."""
    start, end = keys.blob_object_range(blob_id, is_certified)
    return (ObjectId(key[-32:]) for key, _ in view.scan(start, end, reverse=True, limit=limit))


def blob_ids_by_end(view: View, start_epoch: int, end_epoch: int, *, limit: int | None = None) -> Iterator[BlobId]:
    """Blob ids whose certified life ends in [start, end)."""
    start, end = keys.blob_end_range(start_epoch, end_epoch)
    return (BlobId(key[-32:]) for key, _ in view.scan(start, end, limit=limit))


# --- nodes --------------------------------------------------------------------------------------------------


def node(view: View, node_id: bytes) -> Node | None:
    """A storage node."""
    return _find(view, keys.node(node_id), Node)


def nodes(view: View, *, after: bytes | None = None, limit: int | None = None) -> Iterator[tuple[ObjectId, Node]]:
    """All storage nodes by id, behind `after`."""
    start, end = keys.table_range(keys.NODE, None if after is None else keys.node(after))
    for key, raw in view.scan(start, end, limit=limit):
        decoded: Node = bcs.decode(Node, raw)
        yield ObjectId(key[1:]), decoded


def node_id_of_name(view: View, name: str) -> ObjectId | None:
    """The node with this name."""
    raw = view.get(keys.node_name(name))
    return None if raw is None else ObjectId(raw)


def node_id_of_key(view: View, public_key: bytes) -> ObjectId | None:
    """The node that registered this BLS or network key."""
    raw = view.get(keys.node_key(public_key))
    return None if raw is None else ObjectId(raw)


def hand_over(view: View, epoch: int, shard_index: int) -> HandOver | None:
    """The hand-over of a shard in an epoch."""
    return _find(view, keys.hand_over(epoch, shard_index), HandOver)


# --- costs --------------------------------------------------------------------------------------------------


def quote(view: View, *, encoded_bytes: int, n_epochs: int, storage_bytes: int | None = None) -> Quote:
    """What reserving storage for `n_epochs` and registering a blob in it would cost now.

    Args:
        encoded_bytes: encoded size of the blob; the write fee follows it.
        storage_bytes: size of the storage to buy, `encoded_bytes` when not named, 0 when it is owned already.
    """
    now = system(view)
    bought = encoded_bytes if storage_bytes is None else storage_bytes
    return Quote(
        encoded_bytes,
        n_epochs,
        storage_units(bought) * n_epochs * now.storage_price_frost,
        storage_units(encoded_bytes) * now.write_price_frost,
    )


def _find(view: View, key: bytes, row: type[T]) -> T | None:
    raw = view.get(key)
    return None if raw is None else bcs.decode(row, raw)


def _require(view: View, key: bytes, row: type[T]) -> T:
    raw = view.get(key)
    if raw is None:
        raise StateIncomplete(row=row.__name__)
    value: T = bcs.decode(row, raw)
    return value
