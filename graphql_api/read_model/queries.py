"""Every question the API asks the tables, as functions of a connection. Nothing here knows GraphQL.

Single rows and pages come back as the mappings that SQL gave; batches as dictionaries by key, for the loaders. Lists
are paged by keyset, with the orders named here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, exists, false, func, or_, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import Order, Page, Window, fetch_first_pages
from graphql_api.read_model.text_search import holds

if TYPE_CHECKING:
    from graphql_api.holdings import LowRegion

Row = Mapping[str, Any]

SEQUENCE_END = (1 << 63) - 1

BLOB_ORDERS: Mapping[str, tuple[ColumnElement[Any], ...]] = {
    "CREATED_AT": (t.blobs.c.registered_sequence,),
    "SIZE": (t.blobs.c.size_bytes, t.blobs.c.blob_id),
    "END_EPOCH": (t.blobs.c.end_epoch, t.blobs.c.blob_id),
}
NODE_ORDERS: Mapping[str, tuple[ColumnElement[Any], ...]] = {
    "STAKE": (t.nodes.c.stake_frost, t.nodes.c.node_id),
    "WEIGHT": (t.nodes.c.weight, t.nodes.c.node_id),
    "NAME": (t.nodes.c.name, t.nodes.c.node_id),
}
OBJECTS_ORDER = Order((t.blob_objects.c.registered_sequence,))
STORAGE_ORDER = Order((t.storage.c.registered_sequence, t.storage.c.object_id))
STAKES_ORDER = Order((t.stakes.c.registered_sequence,))
EVENTS_ORDER = Order((t.events.c.sequence,))
MOVES_ORDER = Order((t.hand_overs.c.epoch, t.hand_overs.c.shard_index))
RATES_ORDER = Order((t.exchange_rates.c.epoch,), descending=True)
REWARDS_ORDER = Order((t.epoch_rewards.c.epoch,), descending=True)
EPOCHS_ORDER = Order((t.epochs.c.epoch,), descending=True)


def rows_by(connection: Connection, column: ColumnElement[Any], keys: Sequence[Any]) -> dict[Any, Row]:
    """Rows of the column's table by a unique column; keys that are not there are left out."""
    table: Table = column.table
    found = connection.execute(select(table).where(column.in_(keys))).mappings()
    return {row[column.name]: dict(row) for row in found}


# --- blobs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EpochRange:
    """Epochs strictly between two bounds, or one epoch."""

    after: int | None = None
    before: int | None = None
    at: int | None = None

    def of(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        bounds = ((self.after, column.__gt__), (self.before, column.__lt__), (self.at, column.__eq__))
        return [compare(bound) for bound, compare in bounds if bound is not None]


@dataclass(frozen=True, slots=True)
class BlobQuery:
    """Which blobs; all conditions hold.

    Attributes:
        ids: the first and the last id.
        attributes: per condition a key and the values that it may have; any if these are empty.
        margin_below: only the nodes know it; `low_blobs` puts what they said into SQL.
    """

    states: tuple[str, ...] = ()
    deletable: bool | None = None
    owner: bytes | None = None
    certified: EpochRange = EpochRange()
    ends: EpochRange = EpochRange()
    size_min: int | None = None
    size_max: int | None = None
    ids: tuple[bytes, bytes] | None = None
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    margin_below: int | None = None


def blob_state(epoch: int) -> Mapping[str, ColumnElement[bool]]:
    """The states of a blob in an epoch; exactly one holds. `state_of_blob` says the same of a row."""
    c = t.blobs.c
    valid = c.invalid_height.is_(None)
    held = and_(valid, c.deleted_height.is_(None))
    certified = and_(c.certified_end_epoch.is_not(None), c.certified_end_epoch > epoch)
    return {
        "INCONSISTENT": c.invalid_height.is_not(None),
        "DELETED": and_(valid, c.deleted_height.is_not(None)),
        "CERTIFIED": and_(held, certified),
        "REGISTERED": and_(held, or_(c.certified_end_epoch.is_(None), c.certified_end_epoch <= epoch))
        & (c.registered_end_epoch > epoch),
        "EXPIRED": and_(held, or_(c.certified_end_epoch.is_(None), c.certified_end_epoch <= epoch))
        & (c.registered_end_epoch <= epoch),
    }


def state_of_blob(blob: Row, epoch: int) -> str:
    """The state of a row of `blobs` in an epoch."""
    if blob["invalid_height"] is not None:
        return "INCONSISTENT"
    if blob["deleted_height"] is not None:
        return "DELETED"
    if blob["certified_end_epoch"] is not None and blob["certified_end_epoch"] > epoch:
        return "CERTIFIED"
    return "REGISTERED" if blob["registered_end_epoch"] > epoch else "EXPIRED"


def blobs_statement(query: BlobQuery, epoch: int) -> Select[Any]:
    """All blobs that a query asks for, without order."""
    c = t.blobs.c
    statement = select(t.blobs)
    if query.states:
        states = blob_state(epoch)
        statement = statement.where(or_(*(states[name] for name in query.states)))
    for condition in (*query.certified.of(c.first_certified_epoch), *query.ends.of(c.end_epoch)):
        statement = statement.where(condition)
    if query.size_min is not None:
        statement = statement.where(c.size_bytes >= query.size_min)
    if query.size_max is not None:
        statement = statement.where(c.size_bytes <= query.size_max)
    if query.ids is not None:
        statement = statement.where(c.blob_id.between(*query.ids))
    if query.deletable is not None and query.owner is None and not query.attributes:
        # Nearly every blob has one: it is looked for blob by blob, in the order of the page.
        o = t.blob_objects.c
        its_own = (o.blob_id == c.blob_id, o.deleted_height.is_(None), o.deletable.is_(query.deletable))
        statement = statement.where(exists().where(*its_own))
    elif query.owner is not None or query.attributes:
        objects = ObjectQuery(owner=query.owner, deletable=query.deletable, attributes=query.attributes)
        found = objects_statement(objects, epoch).with_only_columns(t.blob_objects.c.blob_id)
        statement = statement.where(c.blob_id.in_(found))
    return statement


RARE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Rare:
    """Conditions of which each row that is asked for fulfils one; an index has the rows of each.

    In the order of a page, rows that hardly any other is like are found by looking at all of them. So when these are
    few, they are fetched first, whatever their order.
    """

    key: ColumnElement[Any]
    any_of: tuple[ColumnElement[bool], ...]


def rare_blobs(query: BlobQuery, epoch: int) -> list[Rare]:
    """What may leave few of all blobs."""
    c = t.blobs.c
    of_state: Mapping[str, tuple[ColumnElement[bool], ...]] = {
        "INCONSISTENT": (c.invalid_height.is_not(None),),
        "DELETED": (c.deleted_height.is_not(None),),
        "CERTIFIED": (c.end_epoch > epoch,),
        "EXPIRED": (c.end_epoch <= epoch,),
        "REGISTERED": (
            and_(c.certified_end_epoch.is_(None), c.deleted_height.is_(None)),
            c.registered_end_epoch > c.certified_end_epoch,
        ),
    }
    found = [tuple(condition for name in query.states for condition in of_state[name])]
    found += [_all_of(query.certified.of(c.first_certified_epoch)), _all_of(query.ends.of(c.end_epoch))]
    sizes = [c.size_bytes >= query.size_min] if query.size_min is not None else []
    sizes += [c.size_bytes <= query.size_max] if query.size_max is not None else []
    ids = [] if query.ids is None else [c.blob_id.between(*query.ids)]
    return [Rare(c.blob_id, conditions) for conditions in (_all_of(ids), *found, _all_of(sizes)) if conditions]


def rare_objects(query: ObjectQuery) -> list[Rare]:
    """What may leave few of all undeleted objects."""
    c = t.blob_objects.c
    uncertified = (c.certified_epoch.is_(None),) if query.certified is False else ()
    shared = (c.shared_funds_frost.is_not(None),) if query.shared else ()
    found = (uncertified, shared, _all_of(query.ends.of(c.end_epoch)))
    return [Rare(c.object_id, some) for some in found if some]


def _all_of(conditions: Sequence[ColumnElement[bool]]) -> tuple[ColumnElement[bool], ...]:
    return (and_(*conditions),) if conditions else ()


def narrowed(connection: Connection, statement: Select[Any], conditions: Sequence[Rare]) -> Select[Any]:
    """The statement, of few rows by their keys where a condition leaves only few."""
    for rare in conditions:
        keys: set[Any] = set()
        for condition in rare.any_of:
            some = select(rare.key).where(condition).limit(RARE_MAX + 1 - len(keys))
            keys.update(connection.execute(some).scalars())
            if len(keys) > RARE_MAX:
                break
        if len(keys) <= RARE_MAX:
            return statement.where(rare.key.in_(keys))
    return statement


def low_blobs(regions: Sequence[LowRegion], epoch: int) -> ColumnElement[bool]:
    """Certified blobs in any of these regions."""
    c = t.blobs.c
    found: list[ColumnElement[bool]] = [false()]
    for region in regions:
        conditions = [c.first_certified_epoch >= region.from_epoch]
        if region.to_epoch is not None:
            conditions.append(c.first_certified_epoch < region.to_epoch)
        if region.blob_ids is not None:
            conditions.append(c.blob_id.in_(region.blob_ids))
        elif region.after is not None:
            conditions.append(c.blob_id > region.after)
        if region.blob_ids is None and region.through is not None:
            conditions.append(c.blob_id <= region.through)
        found.append(and_(*conditions))
    return and_(blob_state(epoch)["CERTIFIED"], or_(*found))


# --- objects ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ObjectQuery:
    """Which undeleted blob objects; all conditions hold."""

    owner: bytes | None = None
    blob_id: bytes | None = None
    certified: bool | None = None
    deletable: bool | None = None
    shared: bool | None = None
    ends: EpochRange = EpochRange()
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()


def objects_statement(query: ObjectQuery, epoch: int) -> Select[Any]:
    """All undeleted blob objects that a query asks for, without order."""
    c = t.blob_objects.c
    statement = select(t.blob_objects).where(c.deleted_height.is_(None))
    if query.owner is not None:
        statement = statement.where(c.owner == query.owner)
    if query.blob_id is not None:
        statement = statement.where(c.blob_id == query.blob_id)
    if query.certified is not None:
        statement = statement.where(c.certified_epoch.is_not(None) if query.certified else c.certified_epoch.is_(None))
    if query.deletable is not None:
        statement = statement.where(c.deletable.is_(query.deletable))
    if query.shared is not None:
        funds = c.shared_funds_frost
        statement = statement.where(funds.is_not(None) if query.shared else funds.is_(None))
    for condition in query.ends.of(c.end_epoch):
        statement = statement.where(condition)
    a = t.blob_attributes.c
    for key, values in query.attributes:
        pairs = select(a.object_id).where(a.key == key)
        statement = statement.where(c.object_id.in_(pairs.where(a.value.in_(values)) if values else pairs))
    return statement


def attributes_by_object(connection: Connection, object_ids: Sequence[bytes]) -> dict[bytes, list[tuple[str, str]]]:
    """Attributes of many objects, by key."""
    a = t.blob_attributes.c
    found: dict[bytes, list[tuple[str, str]]] = {}
    statement = select(a.object_id, a.key, a.value).where(a.object_id.in_(object_ids)).order_by(a.object_id, a.key)
    for object_id, key, value in connection.execute(statement):
        found.setdefault(object_id, []).append((key, value))
    return found


def newest_certificate(connection: Connection, blob_id: bytes, epoch: int | None) -> Row | None:
    """The newest certificate of a blob, in an epoch if one is named."""
    c = t.certificates.c
    statement = select(t.certificates).where(c.blob_id == blob_id).order_by(c.sequence.desc()).limit(1)
    if epoch is not None:
        statement = statement.where(c.epoch == epoch)
    row = connection.execute(statement).mappings().first()
    return dict(row) if row else None


# --- epochs, nodes, stake -----------------------------------------------------------------------------------


def members_by_epoch(connection: Connection, epochs: Sequence[int]) -> dict[int, list[Row]]:
    """The committees of many epochs, members in committee order."""
    c = t.committee_members.c
    found: dict[int, list[Row]] = {}
    statement = select(t.committee_members).where(c.epoch.in_(epochs)).order_by(c.epoch, c.position)
    for row in connection.execute(statement).mappings():
        found.setdefault(row["epoch"], []).append(dict(row))
    return found


@dataclass(frozen=True, slots=True)
class NodeQuery:
    """Which nodes; all conditions hold. What a node is doing is not among them: only the node knows."""

    in_committee: bool | None = None
    name_part: str | None = None


def nodes_statement(query: NodeQuery) -> Select[Any]:
    """All nodes that a query asks for, without order."""
    c = t.nodes.c
    statement = select(t.nodes).where(c.deleted_height.is_(None))
    if query.in_committee is not None:
        statement = statement.where(c.weight > 0 if query.in_committee else c.weight == 0)
    if query.name_part is not None:
        statement = statement.where(holds(c.name, query.name_part))
    return statement


@dataclass(frozen=True, slots=True)
class StakeQuery:
    """Which live stakes; all conditions hold."""

    owner: bytes | None = None
    node_id: bytes | None = None
    states: tuple[str, ...] = ()


def _stake_states(states: Sequence[str], epoch: int) -> list[ColumnElement[bool]]:
    """The states of a stake in an epoch, each with an index of its own; `stakes.stake_state` says the same of a row."""
    c = t.stakes.c
    stays = c.withdraw_epoch.is_(None)
    conditions = {
        "PENDING": and_(stays, c.activation_epoch > epoch),
        "ACTIVE": and_(stays, c.activation_epoch <= epoch),
        "WITHDRAWING": c.withdraw_epoch > epoch,
        "WITHDRAWABLE": c.withdraw_epoch <= epoch,
    }
    return [and_(c.deleted_height.is_(None), conditions[state]) for state in states]


def rare_stakes(query: StakeQuery, epoch: int) -> list[Rare]:
    """What may leave few of all live stakes."""
    found = _stake_states(query.states, epoch)
    return [Rare(t.stakes.c.object_id, tuple(found))] if found else []


def stakes_statement(query: StakeQuery, epoch: int) -> Select[Any]:
    """All live stakes that a query asks for, without order."""
    c = t.stakes.c
    statement = select(t.stakes).where(c.deleted_height.is_(None))
    if query.states:
        statement = statement.where(or_(*_stake_states(query.states, epoch)))
    if query.owner is not None:
        statement = statement.where(c.owner == query.owner)
    if query.node_id is not None:
        statement = statement.where(c.node_id == query.node_id)
    return statement


def free_storage_statement() -> Select[Any]:
    """Storage resources that are neither bound to a blob nor gone."""
    c = t.storage.c
    return select(t.storage).where(c.deleted_height.is_(None), c.blob_object_id.is_(None))


def system_totals(connection: Connection, epoch: int) -> Row:
    """Sums over what is stored in an epoch."""
    c = t.blob_totals.c
    totals = {"n_blobs": 0, "size_bytes": 0, "encoded_size_bytes": 0}
    for row in connection.execute(select(t.blob_totals).where(c.end_epoch > epoch)).mappings():
        for name in totals:
            totals[name] += row[name]
    stake = 0
    n_members = 0
    members = select(t.committee_members.c.stake_frost).where(t.committee_members.c.epoch == epoch)
    for (frost,) in connection.execute(members):
        stake += frost
        n_members += 1
    return {**totals, "total_stake_frost": stake, "n_members": n_members}


@dataclass(frozen=True, slots=True)
class MoveQuery:
    """Which hand-overs of shards; all conditions hold."""

    done: bool | None = None
    from_node: bytes | None = None
    to_node: bytes | None = None


def moves_statement(query: MoveQuery) -> Select[Any]:
    """All hand-overs that a query asks for, without order."""
    c = t.hand_overs.c
    statement = select(t.hand_overs)
    if query.done is not None:
        statement = statement.where(c.done_height.is_not(None) if query.done else c.done_height.is_(None))
    if query.from_node is not None:
        statement = statement.where(c.from_node == query.from_node)
    if query.to_node is not None:
        statement = statement.where(c.to_node == query.to_node)
    return statement


def move_of(connection: Connection, epoch: int, shard_index: int) -> Row | None:
    """The hand-over of a shard that an epoch began with."""
    c = t.hand_overs.c
    found = connection.execute(select(t.hand_overs).where(c.epoch == epoch, c.shard_index == shard_index))
    row = found.mappings().first()
    return dict(row) if row else None


def move_counts(connection: Connection, epochs: Sequence[int]) -> dict[int, tuple[int, int]]:
    """How many shards moved with each of many epochs, and how many of these have arrived."""
    c = t.hand_overs.c
    statement = select(c.epoch, func.count(), func.count(c.done_height)).where(c.epoch.in_(epochs)).group_by(c.epoch)
    return {epoch: (planned, done) for epoch, planned, done in connection.execute(statement)}


def open_takers(connection: Connection, epoch: int) -> list[bytes]:
    """Who still waits for shards that an epoch began with."""
    c = t.hand_overs.c
    statement = select(c.to_node).where(c.epoch == epoch, c.done_height.is_(None)).distinct().order_by(c.to_node)
    return list(connection.execute(statement).scalars())


# --- events -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events; all conditions hold. `kinds` None means all, empty means none."""

    kinds: tuple[str, ...] | None = None
    blob_id: bytes | None = None
    object_id: bytes | None = None
    account: bytes | None = None
    node_id: bytes | None = None
    epochs: EpochRange = EpochRange()
    after_sequence: int | None = None


def before_height(height: int) -> ColumnElement[int]:
    """A sequence that no event up to this block has reached: lists ordered by sequence begin there."""
    e = t.epochs.c
    begun_later = select(func.min(e.started_sequence)).where(e.started_height > height).scalar_subquery()
    return func.coalesce(begun_later, SEQUENCE_END)


def events_statement(query: EventQuery, *, to_height: int | None = None) -> Select[Any]:
    """All events that a query asks for, without order; those up to a block if it is given."""
    c = t.events.c
    statement = select(t.events)
    if to_height is not None:
        statement = statement.where(c.height <= to_height, c.sequence < before_height(to_height))
    if query.kinds is not None:
        statement = statement.where(c.kind.in_(query.kinds) if query.kinds else false())
    pairs = (
        (c.blob_id, query.blob_id),
        (c.object_id, query.object_id),
        (c.account, query.account),
        (c.node_id, query.node_id),
    )
    for column, value in pairs:
        if value is not None:
            statement = statement.where(column == value)
    for condition in query.epochs.of(c.epoch):
        statement = statement.where(condition)
    if query.after_sequence is not None:
        statement = statement.where(c.sequence > query.after_sequence)
    return statement


def votes_by_epoch(connection: Connection, epochs: Sequence[int]) -> dict[int, Row]:
    """The events that ended voting in many epochs: those from the first to the last of them are read."""
    c, e = t.events.c, t.epochs.c
    begun = select(e.started_sequence).where(e.epoch == min(epochs)).scalar_subquery()
    over = select(e.started_sequence).where(e.epoch == max(epochs) + 1).scalar_subquery()
    between = (c.sequence > begun, c.sequence < func.coalesce(over, SEQUENCE_END))
    rows = connection.execute(select(t.events).where(c.kind == "VotingEnded", *between)).mappings()
    return {row["epoch"]: dict(row) for row in rows}


def invalidations_by_blob(connection: Connection, blob_ids: Sequence[bytes]) -> dict[bytes, Row]:
    """The events that told of many blob ids that they are wrongly encoded."""
    c = t.events.c
    rows = connection.execute(select(t.events).where(c.kind == "BlobInvalidated", c.blob_id.in_(blob_ids))).mappings()
    return {row["blob_id"]: dict(row) for row in rows}


def kinds_apart(query: EventQuery) -> list[ColumnElement[bool]]:
    """What `fetch_page` reads apart: kinds, unless something else leaves fewer events than they do."""
    is_narrow = any((query.blob_id, query.object_id, query.account, query.node_id))
    kinds = () if is_narrow or query.kinds is None else query.kinds
    return [t.events.c.kind == kind for kind in kinds] if len(kinds) > 1 else []


# --- lists that belong to a parent --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that is read for many parents at once."""

    table: Table
    order: Order
    statement: Callable[[Any, int], Select[Any]]


LISTS: Mapping[str, Listing] = {
    "objects": Listing(t.blob_objects, OBJECTS_ORDER, objects_statement),
    "storage": Listing(t.storage, STORAGE_ORDER, lambda _query, _epoch: free_storage_statement()),
    "stakes": Listing(t.stakes, STAKES_ORDER, stakes_statement),
    "moves": Listing(t.hand_overs, MOVES_ORDER, lambda query, _epoch: moves_statement(query)),
    "rates": Listing(t.exchange_rates, RATES_ORDER, lambda _query, _epoch: select(t.exchange_rates)),
    "rewards": Listing(t.epoch_rewards, REWARDS_ORDER, lambda _query, _epoch: select(t.epoch_rewards)),
    "events": Listing(t.events, EVENTS_ORDER, lambda query, _epoch: events_statement(query)),
}


def pages_by_parent(
    connection: Connection,
    list_name: str,
    column_name: str,
    parents: Sequence[Any],
    query: Any,
    epoch: int,
    window: Window,
) -> dict[Any, Page[Row]]:
    """The first page of a list for each of many parents."""
    listing = LISTS[list_name]
    statement = listing.statement(query, epoch)
    return fetch_first_pages(connection, statement, listing.order, listing.table.c[column_name], parents, window)
