"""Typed reads of the state over any view: what everybody asks, in one place.

Functions return None where a row may be missing, and raise `StateIncomplete` where it must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

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
    NextEpoch,
    Node,
    ObjectKind,
    Params,
    Phase,
    PoolSchedule,
    Receipt,
    SharedBlob,
    StakedWal,
    Staking,
    Storage,
    Subsidies,
    System,
    View,
)
from haulout.primitives import BlobId, ObjectId, is_quorum, storage_units

T = TypeVar("T")
ASKED_FOR_ALL_THE_TIME: Final = frozenset({Params, System, Staking, Committee, BlobRecord, Bucket})
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
class ShardHandOver:
    """A hand-over with its place: the shard that `from_node` gives `to_node` since `epoch` began."""

    epoch: int
    shard_index: int
    from_node: bytes
    to_node: bytes
    done: bool


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


def next_committee(view: View) -> Committee | None:
    """Committee of the next epoch, once the vote has ended."""
    return find_committee(view, system(view).epoch + 1)


def next_epoch(view: View) -> NextEpoch | None:
    """What else the vote has fixed for the next epoch."""
    return _find(view, keys.NEXT, NextEpoch)


def phase(view: View) -> Phase:
    """Where the epoch stands."""
    return staking(view).phase


def subsidies(view: View) -> Subsidies | None:
    """The fund for subsidies, once it is open."""
    return _find(view, keys.SUBSIDIES, Subsidies)


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


def shared_blob(view: View, object_id: bytes) -> SharedBlob | None:
    """The funds of a blob object, if it is shared."""
    return _find(view, keys.shared_blob(object_id), SharedBlob)


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


def pool_schedule(view: View, node_id: bytes, node: Node) -> PoolSchedule:
    """What a node's pool does in later epochs."""
    return _find(view, keys.pool_schedule(node_id), PoolSchedule) or empty_schedule(node)


def empty_schedule(node: Node) -> PoolSchedule:
    """What the pool of a new node does: nothing."""
    return PoolSchedule(STATE_VERSION, node.registered_epoch, {}, {}, {}, None)


# --- hand-overs ---------------------------------------------------------------------------------------------


def hand_over(view: View, epoch: int, shard_index: int) -> HandOver | None:
    """The hand-over of a shard in an epoch."""
    return _find(view, keys.hand_over(epoch, shard_index), HandOver)


def hand_overs_of_epoch(view: View, epoch: int) -> Iterator[ShardHandOver]:
    """All hand-overs with which an epoch began, by shard, done ones included while they are remembered."""
    for key, raw in view.scan(*keys.hand_overs_of(epoch)):
        yield _shard_hand_over(key, raw)


def open_hand_overs(
    view: View, *, from_node: bytes | None = None, to_node: bytes | None = None, shard_index: int | None = None
) -> Iterator[ShardHandOver]:
    """Hand-overs that are not done, by epoch: all, or those of one giver, of one taker, or of one shard."""
    if shard_index is not None:
        of_shard = shard_index.to_bytes(2, "big")
        for key, _ in view.scan(*keys.open_hand_overs_range(keys.HAND_OVER_OF_SHARD, of_shard)):
            yield _require_hand_over(view, key[-4:] + of_shard)
    elif from_node is not None or to_node is not None:
        table, of = (keys.HAND_OVER_FROM, from_node) if from_node is not None else (keys.HAND_OVER_TO, to_node)
        for key, _ in view.scan(*keys.open_hand_overs_range(table, of or b"")):
            yield _require_hand_over(view, key[-6:])
    else:
        for key, raw in view.scan(*keys.table_range(keys.HAND_OVER)):
            record = _shard_hand_over(key, raw)
            if not record.done:
                yield record


def is_handed_over(view: View, epoch: int) -> bool:
    """Whether every shard that moved with an epoch has arrived."""
    return all(record.done for record in hand_overs_of_epoch(view, epoch))


def is_settled(view: View) -> bool:
    """Whether members with a quorum of shards have said of this epoch that they have what they gained; a forced Done
    comes without that."""
    return is_quorum(staking(view).sync_weight, params(view).n_shards)


def kept_hand_overs(view: View, *, is_settled: bool) -> list[ShardHandOver]:
    """Hand-overs of which the giver keeps what it gave: open ones, and until the epoch is settled those that are done,
    for the word of one taker is no proof."""
    found = (_shard_hand_over(key, raw) for key, raw in view.scan(*keys.table_range(keys.HAND_OVER)))
    return [record for record in found if not (record.done and is_settled)]


def shard_holder(view: View, shard_index: int, certified_epoch: int) -> bytes:
    """The node that has a shard's slivers of a blob first certified in an epoch: the giver while it is on its way.

    Of a shard on its way twice, each giver has what was certified until it gave it away.
    """
    for record in open_hand_overs(view, shard_index=shard_index):
        if certified_epoch < record.epoch:
            return record.from_node
    return committee(view).owner_of(shard_index).node_id


def shard_holders(
    committee: Committee, open_records: Iterable[ShardHandOver], certified_epoch: int
) -> dict[ObjectId, tuple[int, ...]]:
    """As `shard_holder`, for all shards at once: by node, ascending.

    Args:
        committee: the current one.
        open_records: all hand-overs that are not done.
        certified_epoch: of the blob's first certification.
    """
    holders = {shard_index: member.node_id for member in committee.members for shard_index in member.shards}
    # Of several hand-overs of a shard the earliest that comes after the certification counts, so it is set last.
    for record in sorted(open_records, key=lambda record: record.epoch, reverse=True):
        if certified_epoch < record.epoch:
            holders[record.shard_index] = record.from_node
    shards_of: dict[ObjectId, list[int]] = {}
    for shard_index in sorted(holders):
        shards_of.setdefault(ObjectId(holders[shard_index]), []).append(shard_index)
    return {node_id: tuple(shards) for node_id, shards in shards_of.items()}


def _shard_hand_over(key: bytes, raw: bytes) -> ShardHandOver:
    record: HandOver = bcs.decode(HandOver, raw)
    epoch, shard_index = int.from_bytes(key[-6:-2], "big"), int.from_bytes(key[-2:], "big")
    return ShardHandOver(epoch, shard_index, record.from_node, record.to_node, record.done)


def find_hand_over(view: View, place: bytes) -> ShardHandOver | None:
    """The hand-over at a place: its epoch and its shard, as its row key ends."""
    raw = view.get(keys.HAND_OVER + place)
    return None if raw is None else _shard_hand_over(place, raw)


def _require_hand_over(view: View, place: bytes) -> ShardHandOver:
    record = find_hand_over(view, place)
    if record is None:
        raise StateIncomplete(row="HandOver")
    return record


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
    return None if raw is None else _decode(row, raw)


def _require(view: View, key: bytes, row: type[T]) -> T:
    raw = view.get(key)
    if raw is None:
        raise StateIncomplete(row=row.__name__)
    return _decode(row, raw)


def _decode(row: type[T], raw: bytes) -> T:
    return cast(T, _decode_once(row, raw)) if row in ASKED_FOR_ALL_THE_TIME else bcs.decode(row, raw)


# The value of a row that cannot be changed, all of it: the same bytes may give the same value.
_decode_once: Callable[[Any, bytes], Any] = lru_cache(maxsize=1024)(bcs.decode)
