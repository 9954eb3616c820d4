"""What is true of every state, as code.

Reads the whole state, so it is for tests, simulations and `fsck`-like commands, never for a block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from haulout import bcs
from haulout.chain import tree
from haulout.ledger import keys, pools, queries
from haulout.ledger.committee import ACTIVE_SET_LIMIT
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.events import EpochDone, EpochStarted, Event, VotingEnded
from haulout.ledger.indexes import derive_index_keys
from haulout.ledger.state import (
    FIRST_DERIVED,
    NOBODY,
    Account,
    Blob,
    BlobRecord,
    Bucket,
    Committee,
    Node,
    Phase,
    SharedBlob,
    StakedWal,
    Storage,
    View,
)
from haulout.primitives import BASIS_POINTS, is_quorum

T = TypeVar("T")
_STATE_START, _STATE_END = b"\x00", bytes((FIRST_DERIVED,))
_DERIVED_END = tree.PREFIX
ROUNDING_FROST = (
    1_000  # principal is paid out whole where shares are worth a little less: the pool keeps the difference
)


def check(view: View) -> None:
    """Refuse a state in which anything is wrong.

    Raises:
        AssertionError: with everything that is.
    """
    problems = find_violations(view)
    if problems:
        raise AssertionError("the state violates its invariants:\n  " + "\n  ".join(problems))


def find_violations(view: View) -> list[str]:
    """Everything that is wrong with a state; empty for a right one."""
    return [
        *_conservation(view),
        *_committees(view),
        *_sync(view),
        *_hand_overs(view),
        *_ring(view),
        *_pools(view),
        *_active_set(view),
        *_objects(view),
        *_blob_records(view),
        *_uniqueness(view),
        *_indexes(view),
        *_state_tree(view),
    ]


def check_epoch_events(events: Iterable[Event]) -> None:
    """Refuse a history whose epochs do not go their way: voted, started, done, and nothing twice.

    Raises:
        AssertionError: with the event that is out of order.
    """
    expected: type = EpochStarted
    epoch = 1
    for event in events:
        body = event.body
        if not isinstance(body, VotingEnded | EpochStarted | EpochDone):
            continue
        of_epoch = body.next_epoch if isinstance(body, VotingEnded) else body.epoch
        if not isinstance(body, expected) or of_epoch != epoch:
            raise AssertionError(f"{type(body).__name__} of epoch {of_epoch} where {expected.__name__} {epoch} belongs")
        if isinstance(body, EpochDone):
            epoch += 1
        expected = {VotingEnded: EpochStarted, EpochStarted: EpochDone, EpochDone: VotingEnded}[type(body)]


def _conservation(view: View) -> Iterator[str]:
    """Supply less what was burned is what everybody holds together."""
    system = queries.system(view)
    held = sum(account.balance_frost for _, account in _rows(view, keys.ACCOUNT, Account))
    held += sum(bucket.rewards_frost for _, bucket in _rows(view, keys.BUCKET, Bucket))
    held += sum(staked.principal_frost for _, staked in _rows(view, keys.STAKED_WAL, StakedWal))
    held += sum(node.commission_frost + node.rewards_frost for _, node in _rows(view, keys.NODE, Node))
    fund = queries.subsidies(view)
    held += 0 if fund is None else fund.balance_frost
    held += sum(shared.funds_frost for _, shared in _rows(view, keys.SHARED_BLOB, SharedBlob))
    if held != system.supply_frost - system.burned_frost:
        yield f"{held} FROST are held, {system.supply_frost} - {system.burned_frost} exist"
    for key, account in _rows(view, keys.ACCOUNT, Account):
        if account.balance_frost == 0:
            yield f"account {key.hex()} has a row without a balance"


def _committees(view: View) -> Iterator[str]:
    """Every shard has one owner; members are sorted, hold something, and are known nodes."""
    params, system, staking = queries.params(view), queries.system(view), queries.staking(view)
    is_voted = staking.phase is Phase.VOTED
    known = {system.epoch, *([system.epoch + 1] if is_voted else [])}
    known.update([] if staking.previous_epoch is None else [staking.previous_epoch])
    if {int.from_bytes(key, "big") for key, _ in _rows(view, keys.COMMITTEE, Committee)} != known:
        yield f"other committees are remembered than those of {sorted(known)}"
    if is_voted != (queries.next_epoch(view) is not None):
        yield "the next epoch is fixed without a vote, or not fixed after one"
    for _, committee in _rows(view, keys.COMMITTEE, Committee):
        shards = sorted(shard for member in committee.members for shard in member.shards)
        ids = [member.node_id for member in committee.members]
        if shards != list(range(params.n_shards)):
            yield f"committee {committee.epoch} does not hold every shard once"
        if ids != sorted(set(ids)) or any(member.weight == 0 for member in committee.members):
            yield f"committee {committee.epoch} is not sorted, or a member holds nothing"
        if any(queries.node(view, node_id) is None for node_id in ids):
            yield f"committee {committee.epoch} has a member that is no node"


def _sync(view: View) -> Iterator[str]:
    """The weight of those who reported is right, and an epoch is Done by it or by force."""
    params, system, staking = queries.params(view), queries.system(view), queries.staking(view)
    if staking.previous_epoch is None:
        return
    members = [(member, queries.node(view, member.node_id)) for member in queries.committee(view).members]
    reported = sum(m.weight for m, node in members if node is not None and node.last_sync_done_epoch == system.epoch)
    if staking.sync_weight != reported:
        yield f"{reported} shards were reported, {staking.sync_weight} are counted"
    has_quorum = is_quorum(reported, params.n_shards)
    if staking.phase is Phase.SYNC and has_quorum:
        yield "a quorum reported, but the epoch is not Done"
    if staking.phase is not Phase.SYNC and not has_quorum and not staking.forced:
        yield "the epoch is Done without a quorum, and nobody forced it"


def _hand_overs(view: View) -> Iterator[str]:
    """Open hand-overs of a shard follow from each other and end at its owner."""
    committee = queries.committee(view)
    chains: dict[int, list[queries.ShardHandOver]] = defaultdict(list)
    for record in queries.open_hand_overs(view):
        chains[record.shard_index].append(record)
    for shard_index, chain in chains.items():
        givers = [record.from_node for record in chain[1:]] + [committee.owner_of(shard_index).node_id]
        if [record.to_node for record in chain] != givers:
            yield f"the open hand-overs of shard {shard_index} do not lead to its owner"
        if any(record.from_node == record.to_node or record.epoch > committee.epoch for record in chain):
            yield f"shard {shard_index} is handed over to its giver, or in an epoch to come"


def _ring(view: View) -> Iterator[str]:
    """Bookings lie in the ring and within capacity; what is bound is booked."""
    params, system = queries.params(view), queries.system(view)
    bound: dict[int, int] = defaultdict(int)
    for _, storage in _rows(view, keys.STORAGE, Storage):
        for epoch in range(max(storage.start_epoch, system.epoch), storage.end_epoch):
            bound[epoch] += storage.size_bytes
    for _, blob in _rows(view, keys.BLOB, Blob):
        for epoch in range(max(blob.start_epoch, system.epoch), blob.end_epoch):
            bound[epoch] += blob.storage_size_bytes
    for key, bucket in _rows(view, keys.BUCKET, Bucket):
        epoch = int.from_bytes(key, "big")
        if not system.epoch <= epoch < system.epoch + params.max_epochs_ahead:
            yield f"epoch {epoch} is booked, but outside the ring"
        # Later epochs may have sold more: capacity votes can fall below what is sold already.
        if epoch == system.epoch and bucket.used_bytes > system.total_capacity_bytes:
            yield f"epoch {epoch} has sold {bucket.used_bytes} of {system.total_capacity_bytes} bytes"
    for epoch, size_bytes in bound.items():
        if size_bytes > queries.bucket(view, epoch).used_bytes:
            yield f"epoch {epoch}: {size_bytes} bytes are in resources and blobs, more than were booked"


def _pools(view: View) -> Iterator[str]:
    """Pools hold what their stakes say, and owe no more than they hold."""
    epoch = queries.system(view).epoch
    stakes: dict[bytes, list[StakedWal]] = defaultdict(list)
    for key, staked in _rows(view, keys.STAKED_WAL, StakedWal):
        if staked.principal_frost == 0:
            yield f"stake {key.hex()} has no principal"
        stakes[staked.node_id].append(staked)
    for node_id, node in _rows(view, keys.NODE, Node):
        pool = pools.load_pool(view, node_id)
        latest = pool.schedule.latest_epoch
        pending: dict[int, int] = defaultdict(int)
        for staked in stakes[node_id]:
            if staked.activation_epoch > latest:
                pending[staked.activation_epoch] += staked.principal_frost
        if pending != node.pending_stake:
            yield f"pool {node_id.hex()} waits for {node.pending_stake}, its stakes for {dict(pending)}"
        held = sum(staked.principal_frost for staked in stakes.pop(node_id)) + node.rewards_frost
        # Shares that are due and still there were paid out while the node was in no committee.
        paid = pools.current_rate(pool).to_frost(pools.sum_until(pool.schedule.pending_shares, epoch))
        owed = node.balance_frost + sum(pending.values()) - paid
        if owed > held + ROUNDING_FROST:
            yield f"pool {node_id.hex()} owes {owed} FROST and holds {held}"
        if node.n_shares > node.balance_frost:
            yield f"pool {node_id.hex()} has more shares than FROST"
        if latest > epoch:
            yield f"pool {node_id.hex()} is ahead of its time"
        if node.commission_blocked_frost > node.commission_frost or node.commission_rate_bps > BASIS_POINTS:
            yield f"pool {node_id.hex()} has an impossible commission"
    for node_id in stakes:
        yield f"stake lies in a pool that does not exist: {node_id.hex()}"


def _active_set(view: View) -> Iterator[str]:
    """The active set lists what its pools will have when the next committee is chosen; leaving nodes are not in it."""
    system, staking = queries.system(view), queries.staking(view)
    vote_epoch = system.epoch + (2 if staking.phase is Phase.VOTED else 1)
    listed = dict(staking.active_set)
    if len(listed) != len(staking.active_set) or 0 in listed.values():
        yield "the active set lists a node twice, or one without stake"
    for node_id, node in _rows(view, keys.NODE, Node):
        stake = 0 if node.leaving else pools.balance_at(view, pools.load_pool(view, node_id), vote_epoch)
        if node_id in listed and listed[node_id] != stake:
            yield f"the active set lists {listed[node_id]} FROST for pool {node_id.hex()}, which will have {stake}"
        if node_id not in listed and stake and len(listed) < ACTIVE_SET_LIMIT:
            yield f"pool {node_id.hex()} has {stake} FROST, but no place in the active set"


def _objects(view: View) -> Iterator[str]:
    """Periods are not empty; a blob is certified after its registration and before its end; nobody owns shared ones."""
    for key, storage in _rows(view, keys.STORAGE, Storage):
        if storage.start_epoch >= storage.end_epoch:
            yield f"storage {key.hex()} has an empty period"
    for key, blob in _rows(view, keys.BLOB, Blob):
        if not blob.start_epoch <= blob.registered_epoch < blob.end_epoch:
            yield f"blob {key.hex()} was registered outside its period"
        if blob.certified_epoch is not None and not blob.registered_epoch <= blob.certified_epoch < blob.end_epoch:
            yield f"blob {key.hex()} was certified outside its life"
        if queries.blob_record(view, blob.blob_id) is None:
            yield f"blob {key.hex()} has no record"
    for key, _ in _rows(view, keys.SHARED_BLOB, SharedBlob):
        shared = queries.blob(view, key)
        if shared is None or shared.owner != NOBODY:
            yield f"blob {key.hex()} is shared, but not there or owned by somebody"


def _blob_records(view: View) -> Iterator[str]:
    """A record says what its objects say, burned ones included."""
    epoch = queries.system(view).epoch
    objects: dict[bytes, list[Blob]] = defaultdict(list)
    for _, blob in _rows(view, keys.BLOB, Blob):
        objects[blob.blob_id].append(blob)
    for blob_id, record in _rows(view, keys.BLOB_RECORD, BlobRecord):
        blobs = objects[blob_id]
        certified = [blob for blob in blobs if blob.certified_epoch is not None]
        permanent = [blob for blob in blobs if not blob.deletable]
        ends = [blob.end_epoch for blob in blobs] + [record.burned_end_epoch or 0]
        if record.registered_end_epoch != max(ends):
            yield f"record {blob_id.hex()} ends in {record.registered_end_epoch}, its objects in {max(ends)}"
        end = max([blob.end_epoch for blob in certified] + [record.burned_certified_end_epoch or 0])
        if max(record.certified_end_epoch or 0, epoch) != max(end, epoch):
            yield f"record {blob_id.hex()} is certified until {record.certified_end_epoch}, its objects until {end}"
        firsts = (record.initial_certified_epoch, record.certified_height, record.certified_sequence)
        if any((first is None) != (record.certified_end_epoch is None) for first in firsts):
            yield f"record {blob_id.hex()} is certified in part"
        if len(permanent) > record.permanent_total or len(blobs) - len(permanent) > record.deletable_total:
            yield f"record {blob_id.hex()} counts too few objects"
        if record.burned_end_epoch is None and len(blobs) != record.permanent_total + record.deletable_total:
            yield f"record {blob_id.hex()} counts objects that are not there"
        if record.deletable_certified > record.deletable_total or not record.permanent_total + record.deletable_total:
            yield f"record {blob_id.hex()} has impossible counts"
        lasting = [
            blob.end_epoch for blob in permanent if blob.certified_epoch is not None or not record.permanent_certified
        ]
        if max([record.permanent_end_epoch or 0, epoch]) < max([*lasting, epoch]):
            yield f"record {blob_id.hex()} forgets a permanent object"


def _uniqueness(view: View) -> Iterator[str]:
    """Names and keys of nodes lead back to them, and to nobody else."""
    names = 0
    for node_id, node in _rows(view, keys.NODE, Node):
        own_keys = [key for key in (node.public_key, node.next_public_key, node.network_public_key) if key]
        names += 1
        if queries.node_id_of_name(view, node.name) != node_id:
            yield f"the name {node.name!r} does not lead to its node"
        if any(queries.node_id_of_key(view, key) != node_id for key in own_keys):
            yield f"a key of node {node_id.hex()} does not lead to it"
    if _count(view, keys.NODE_NAME) != names:
        yield "a name is taken by nobody"
    for _, holder in view.scan(*keys.table_range(keys.NODE_KEY)):  # keys of the past stay taken
        if queries.node(view, holder) is None:
            yield "a key is taken by nobody"


def _indexes(view: View) -> Iterator[str]:
    """The derived tables are exactly what the committed ones imply."""
    expected: set[bytes] = set()
    for key, value in view.scan(_STATE_START, _STATE_END):
        expected.update(derive_index_keys(key, value))
    actual = {key for key, _ in view.scan(_STATE_END, _DERIVED_END)}
    for key in sorted(expected ^ actual):
        yield f"index row {key.hex()} is {'missing' if key in expected else 'left over'}"


def _state_tree(view: View) -> Iterator[str]:
    """The stored tree is, page by page, the one that the rows make when built anew."""
    root, pages = tree.update(Draft(EmptyView()), dict(view.scan(_STATE_START, _STATE_END)))
    stored = dict(view.scan(*keys.table_range(tree.PREFIX)))
    if tree.read_root(view) != root:
        yield "the root of the state tree is not that of its rows"
    if stored != pages:
        yield "the stored pages of the state tree are not those of its rows"


def _rows(view: View, table: bytes, row: type[T]) -> Iterator[tuple[bytes, T]]:
    for key, raw in view.scan(*keys.table_range(table)):
        yield key[1:], bcs.decode(row, raw)


def _count(view: View, table: bytes) -> int:
    return sum(1 for _ in view.scan(*keys.table_range(table)))
