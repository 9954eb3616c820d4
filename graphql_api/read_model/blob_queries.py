"""What is asked of blobs, their objects, attributes and certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, false, or_, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import Order
from graphql_api.read_model.queries import ANY_EPOCH, EpochRange, Rare, Row, all_of

if TYPE_CHECKING:
    from graphql_api.holdings import LowRegion

BLOB_ORDERS: Mapping[str, tuple[ColumnElement[Any], ...]] = {
    "CREATED_AT": (t.blobs.c.registered_sequence,),
    "SIZE": (t.blobs.c.size_bytes, t.blobs.c.blob_id),
    "END_EPOCH": (t.blobs.c.end_epoch, t.blobs.c.blob_id),
}
OBJECTS_ORDER = Order((t.blob_objects.c.registered_sequence,))


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
    certified: EpochRange = ANY_EPOCH
    ends: EpochRange = ANY_EPOCH
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
    found += [all_of(query.certified.of(c.first_certified_epoch)), all_of(query.ends.of(c.end_epoch))]
    sizes = [c.size_bytes >= query.size_min] if query.size_min is not None else []
    sizes += [c.size_bytes <= query.size_max] if query.size_max is not None else []
    ids = [] if query.ids is None else [c.blob_id.between(*query.ids)]
    return [Rare(c.blob_id, conditions) for conditions in (all_of(ids), *found, all_of(sizes)) if conditions]


def rare_objects(query: ObjectQuery) -> list[Rare]:
    """What may leave few of all undeleted objects."""
    c = t.blob_objects.c
    uncertified = (c.certified_epoch.is_(None),) if query.certified is False else ()
    shared = (c.shared_funds_frost.is_not(None),) if query.shared else ()
    found = (uncertified, shared, all_of(query.ends.of(c.end_epoch)))
    return [Rare(c.object_id, some) for some in found if some]


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


@dataclass(frozen=True, slots=True)
class ObjectQuery:
    """Which undeleted blob objects; all conditions hold."""

    owner: bytes | None = None
    blob_id: bytes | None = None
    certified: bool | None = None
    deletable: bool | None = None
    shared: bool | None = None
    ends: EpochRange = ANY_EPOCH
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
