"""What a storage node may do, as pure functions of its own ledger view and of what it holds.

Each operation has its checks in the order in which they are answered, which is that of Walrus's nodes; the actor calls
them and does the rest. Nothing here reads a clock, a disk or a peer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from haulout.codec.errors import SliverIndexOutOfRange
from haulout.codec.sizes import max_segment_bytes
from haulout.errors import InvalidField, WrongEpoch
from haulout.ledger import queries
from haulout.ledger.state import BlobRecord, View
from haulout.node.errors import (
    InvalidBlob,
    MetadataNotFound,
    MetadataNotStored,
    MissingSlivers,
    NotRegistered,
    ShardNotAssigned,
    SliverIndexMismatch,
    SliverNotFound,
    SliverTooLarge,
    TooManyTargets,
)
from haulout.node.records import Promise, bit_of
from haulout.primitives import (
    Axis,
    BlobId,
    ObjectId,
    ShardIndex,
    SliverPairIndex,
    blob_id_text,
    min_correct,
    pair_of_shard,
    shard_of_pair,
    sliver_index_of_pair,
)

MAX_SYMBOL_BYTES = 65_534
SLIVER_OVERHEAD_BYTES = 128
SYMBOL_OVERHEAD_BYTES = 16  # of a proven symbol besides its data and path
PROOF_BYTES_MAX = 2 * 32 * 32  # two nodes on each level of a tree over 2^32 stripes


@dataclass(frozen=True, slots=True)
class Duty:
    """What the ledger asks of one node: the shards it owns, those on their way to it, and those it still hands over.

    A shard on its way is owned already: new blobs are stored on it, and older ones are fetched.
    """

    epoch: int
    n_shards: int
    shards: tuple[ShardIndex, ...]  # ascending; empty for a node outside the committee
    gaining: tuple[ShardIndex, ...] = ()  # on their way here
    giving: tuple[ShardIndex, ...] = ()  # read-only here, until their new owner has everything

    @property
    def mask(self) -> int:
        """All slivers of all own shards, as bits of `records.bit_of`."""
        return mask_of(self.shards)

    @property
    def wanted_shards(self) -> tuple[ShardIndex, ...]:
        """Shards of which every certified blob belongs here; one that moved on before it came is among them."""
        return tuple(sorted({*self.shards, *self.gaining}))

    @property
    def wanted_mask(self) -> int:
        """All slivers of all wanted shards."""
        return mask_of(self.wanted_shards)

    @property
    def has_shards(self) -> bool:
        """There is something to keep or to fetch."""
        return bool(self.shards or self.gaining)


def mask_of(shards: Iterable[int]) -> int:
    """Both slivers of each shard, as bits of `records.bit_of`."""
    mask = 0
    for shard_index in shards:
        mask |= bit_of(shard_index, Axis.PRIMARY) | bit_of(shard_index, Axis.SECONDARY)
    return mask


def duty_of(view: View, node_id: ObjectId) -> Duty:
    """Epoch, number of shards and own shards in the latest committee."""
    epoch = queries.system(view).epoch
    committee = queries.find_committee(view, epoch)
    shards: tuple[ShardIndex, ...] = ()
    for member in () if committee is None else committee.members:
        if member.node_id == node_id:
            shards = tuple(ShardIndex(shard_index) for shard_index in sorted(member.shards))
    gaining = {ShardIndex(record.shard_index) for record in queries.open_hand_overs(view, to_node=node_id)}
    giving = {ShardIndex(record.shard_index) for record in queries.open_hand_overs(view, from_node=node_id)}
    return Duty(
        epoch, queries.params(view).n_shards, shards, tuple(sorted(gaining)), tuple(sorted(giving.difference(shards)))
    )


def holders_of(view: View, certified_epoch: int) -> dict[ObjectId, tuple[int, ...]]:
    """Who has the slivers of a blob first certified in an epoch, by node, with its shards: the owner of each shard, or
    whoever still hands it over."""
    return queries.shard_holders(queries.committee(view), queries.open_hand_overs(view), certified_epoch)


def takers_of(view: View) -> dict[ObjectId, tuple[int, ...]]:
    """Whom shards are on their way to, by node, with these shards: each may have some of their slivers already."""
    shards_of: dict[ObjectId, set[int]] = {}
    for record in queries.open_hand_overs(view):
        shards_of.setdefault(ObjectId(record.to_node), set()).add(record.shard_index)
    return {node_id: tuple(sorted(shards)) for node_id, shards in shards_of.items()}


def may_drop_shard(view: View, duty: Duty, node_id: ObjectId, shard_index: int) -> bool:
    """A shard belongs to others for good: not owned, not on its way here or from here, and not coming back; and not on
    the word of its new owner alone, but once the epoch is settled."""
    if shard_index in duty.shards or shard_index in duty.gaining or shard_index in duty.giving:
        return False
    if not queries.is_settled(view):
        return False
    coming = queries.next_committee(view)
    return coming is None or all(m.node_id != node_id or shard_index not in m.shards for m in coming.members)


# --- the ledger's word on a blob ----------------------------------------------------------------------------


def is_live(view: View, blob_id: BlobId, epoch: int) -> bool:
    """Somebody pays for the blob in this epoch, and it is not invalid."""
    record = queries.blob_record(view, blob_id)
    return (
        record is not None and record.registered_end_epoch > epoch and queries.invalidated_epoch(view, blob_id) is None
    )


def is_wanted(view: View, blob_id: BlobId, epoch: int) -> bool:
    """The blob is certified and live: every owner of a shard must have its slivers."""
    record = queries.blob_record(view, blob_id)
    if record is None or record.certified_end_epoch is None or queries.invalidated_epoch(view, blob_id) is not None:
        return False
    return record.certified_end_epoch > epoch


def may_drop(view: View, blob_id: BlobId, *, epoch: int, height: int, promise: Promise | None) -> bool:
    """The one decision behind every deletion of a blob's bytes.

    No live registration is left, or the blob is invalid; and the view is not older than the state in which the last
    confirmation was signed: a replica that was set back by a crash must not undo a promise made later.
    """
    if promise is not None and height < promise.height:
        return False
    return not is_live(view, blob_id, epoch)


# --- checks every request starts with -----------------------------------------------------------------------


def check_epoch(duty: Duty, epoch: int) -> None:
    """Raises WrongEpoch when the request was made for another committee."""
    if epoch != duty.epoch:
        raise WrongEpoch(request_epoch=epoch, server_epoch=duty.epoch)


def check_read_epoch(duty: Duty, epoch: int) -> None:
    """Raises WrongEpoch when the request is more than one epoch away: what is read is verified by the reader, and
    nodes see an epoch begin one after the other."""
    if abs(epoch - duty.epoch) > 1:
        raise WrongEpoch(request_epoch=epoch, server_epoch=duty.epoch)


def check_not_invalid(view: View, blob_id: BlobId) -> None:
    """Raises InvalidBlob when the ledger says so."""
    if queries.invalidated_epoch(view, blob_id) is not None:
        raise InvalidBlob(blob_id=blob_id_text(blob_id))


def check_registered(view: View, blob_id: BlobId, *, epoch: int, height: int) -> BlobRecord:
    """The blob's record, when a registration of it is live in this epoch.

    Raises:
        NotRegistered: none is, or they have all expired.
    """
    record = queries.blob_record(view, blob_id)
    if record is None or record.registered_end_epoch <= epoch:
        raise NotRegistered(blob_id=blob_id_text(blob_id), height=height)
    return record


# --- storing ------------------------------------------------------------------------------------------------


def check_pair_index(pair_index: int, n_shards: int) -> None:
    """Raises SliverIndexOutOfRange."""
    if not 0 <= pair_index < n_shards:
        raise SliverIndexOutOfRange(what="sliver pair", index=pair_index, limit=n_shards)


def check_sliver_size(size_bytes: int, n_shards: int, *, in_stripes: bool) -> None:
    """Raises SliverTooLarge beyond the largest sliver of any blob with this many shards, or the largest segment."""
    if in_stripes:
        limit_bytes = max_segment_bytes(n_shards) + PROOF_BYTES_MAX + SLIVER_OVERHEAD_BYTES
    else:
        limit_bytes = min_correct(n_shards) * MAX_SYMBOL_BYTES + SLIVER_OVERHEAD_BYTES
    if size_bytes > limit_bytes:
        raise SliverTooLarge(size_bytes=size_bytes, limit_bytes=limit_bytes)


def check_proof_size(size_bytes: int, n_shards: int) -> None:
    """Raises InvalidField beyond what a proof of a wrong encoding can have in a network of this many shards."""
    path_bytes = 32 * n_shards.bit_length() + SYMBOL_OVERHEAD_BYTES
    limit_bytes = min_correct(n_shards) * (MAX_SYMBOL_BYTES + path_bytes) + SLIVER_OVERHEAD_BYTES
    if size_bytes > limit_bytes:
        raise InvalidField(field="proof", problem=f"{size_bytes} bytes, can have at most {limit_bytes}")


def check_sliver_index(pair_index: SliverPairIndex, axis: Axis, sliver_index: int, n_shards: int) -> None:
    """Raises SliverIndexMismatch when the sliver says another index than the one that belongs to its pair."""
    expected = sliver_index_of_pair(pair_index, axis, n_shards)
    if sliver_index != expected:
        raise SliverIndexMismatch(
            axis=axis.name.lower(), pair_index=pair_index, expected_index=expected, sliver_index=sliver_index
        )


def check_shard_owned(duty: Duty, blob_id: BlobId, pair_index: SliverPairIndex) -> ShardIndex:
    """The shard of a pair, when this node owns it.

    Raises:
        ShardNotAssigned: another node does.
    """
    shard_index = shard_of_pair(pair_index, blob_id, duty.n_shards)
    if shard_index not in duty.shards:
        raise ShardNotAssigned(shard_index=shard_index, epoch=duty.epoch)
    return shard_index


def check_has_metadata(has_metadata: bool, blob_id: BlobId) -> None:
    """Raises MetadataNotStored: slivers come after the metadata they are checked against."""
    if not has_metadata:
        raise MetadataNotStored(blob_id=blob_id_text(blob_id))


# --- confirming ---------------------------------------------------------------------------------------------


def check_may_confirm(view: View, blob_id: BlobId, object_id: ObjectId | None, *, duty: Duty, height: int) -> None:
    """The registration that a confirmation would be about exists and is live.

    Raises:
        InvalidBlob: marked invalid on the ledger.
        NotRegistered: no live permanent registration, or not this deletable object.
        ShardNotAssigned: the node is in no committee, it has nothing to promise.
    """
    check_not_invalid(view, blob_id)
    record = check_registered(view, blob_id, epoch=duty.epoch, height=height)
    if object_id is None:
        if not record.permanent_total:
            raise NotRegistered(blob_id=blob_id_text(blob_id), height=height)
    else:
        blob = queries.blob(view, object_id)
        if blob is None or blob.blob_id != blob_id or not blob.deletable or blob.end_epoch <= duty.epoch:
            raise NotRegistered(blob_id=blob_id_text(blob_id), height=height)
    if not duty.shards:
        raise ShardNotAssigned(shard_index=0, epoch=duty.epoch)


def check_complete(duty: Duty, blob_id: BlobId, *, held: int, has_metadata: bool) -> None:
    """Raises MissingSlivers unless all slivers of all own shards are here, and the metadata."""
    missing = (duty.mask & ~held).bit_count() or (not has_metadata)
    if missing:
        raise MissingSlivers(blob_id=blob_id_text(blob_id), missing=int(missing))


def missing_slivers(
    shards: Iterable[ShardIndex], blob_id: BlobId, held: int, n_shards: int
) -> tuple[tuple[SliverPairIndex, Axis], ...]:
    """What of some shards is not held, in their order."""
    return tuple(
        (pair_of_shard(shard_index, blob_id, n_shards), axis)
        for shard_index in shards
        for axis in Axis
        if not held & bit_of(shard_index, axis)
    )


def check_may_attest(view: View, blob_id: BlobId, *, duty: Duty, height: int) -> None:
    """The node's word would count, and is about a blob that nodes keep.

    Raises:
        InvalidBlob: marked invalid on the ledger already.
        NotRegistered: no live registration.
        ShardNotAssigned: the node is in no committee.
    """
    check_not_invalid(view, blob_id)
    check_registered(view, blob_id, epoch=duty.epoch, height=height)
    if not duty.shards:
        raise ShardNotAssigned(shard_index=0, epoch=duty.epoch)


# --- serving ------------------------------------------------------------------------------------------------


def check_may_read_metadata(view: View, blob_id: BlobId, *, duty: Duty) -> None:
    """Raises InvalidBlob, or MetadataNotFound for a blob without live registration."""
    check_not_invalid(view, blob_id)
    if not is_live(view, blob_id, duty.epoch):
        raise MetadataNotFound(blob_id=blob_id_text(blob_id))


def check_may_read_slivers(
    view: View, blob_id: BlobId, targets: Sequence[tuple[SliverPairIndex, Axis]], *, duty: Duty, held: int
) -> list[tuple[SliverPairIndex, Axis, ShardIndex]]:
    """The targets whose shards this node owns or still has, without repetitions.

    Raises:
        TooManyTargets: more than a blob has slivers.
        SliverIndexOutOfRange: a pair index beyond the shards.
        InvalidBlob: marked invalid on the ledger.
        SliverNotFound: no live registration.
        ShardNotAssigned: none of the targets is on a shard of this node, or held from when it was.
    """
    if len(targets) > 2 * duty.n_shards:
        raise TooManyTargets(count=len(targets), limit=2 * duty.n_shards)
    for pair_index, _ in targets:
        check_pair_index(pair_index, duty.n_shards)
    check_not_invalid(view, blob_id)
    if not is_live(view, blob_id, duty.epoch):
        raise SliverNotFound(blob_id=blob_id_text(blob_id))
    owned = []
    for pair_index, axis in dict.fromkeys(targets):
        shard_index = shard_of_pair(pair_index, blob_id, duty.n_shards)
        if shard_index in duty.shards or held & bit_of(shard_index, axis):
            owned.append((pair_index, axis, shard_index))
    if targets and not owned:
        raise ShardNotAssigned(shard_index=shard_of_pair(targets[0][0], blob_id, duty.n_shards), epoch=duty.epoch)
    return owned
