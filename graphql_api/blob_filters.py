"""Which blobs and blob objects a list is asked for, in which order: inputs, and what the read model makes of them."""

from __future__ import annotations

import base64
import enum
import string

import strawberry

from graphql_api.proofs import Persistence
from graphql_api.read_model.blob_queries import BlobQuery, ObjectQuery
from graphql_api.read_model.queries import EpochRange
from graphql_api.scalars import Address, BigInt, BlobID
from haulout.errors import InvalidField

ATTRIBUTES_MAX = 8
VALUES_MAX = 50
ID_ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
ID_CHARACTERS = 43


@strawberry.enum(description="What has become of a blob, as of the current epoch.")
class BlobState(enum.Enum):
    REGISTERED = strawberry.enum_value("REGISTERED", description="Paid for, not yet proven to be stored.")
    CERTIFIED = strawberry.enum_value("CERTIFIED", description="A quorum of shards has signed that it is stored.")
    EXPIRED = strawberry.enum_value("EXPIRED", description="No epoch of it is paid for any more.")
    DELETED = strawberry.enum_value("DELETED", description="All its objects were deleted before their end.")
    INCONSISTENT = strawberry.enum_value("INCONSISTENT", description="Proven to be wrongly encoded: nobody serves it.")


@strawberry.enum(description="What a list of blobs can be ordered by.")
class BlobOrderField(enum.Enum):
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="Order of first registration.")
    SIZE = strawberry.enum_value("SIZE", description="Size before encoding.")
    END_EPOCH = strawberry.enum_value("END_EPOCH", description="The epoch in which the blob is gone.")


@strawberry.enum(description="Up or down.")
class OrderDirection(enum.Enum):
    ASC = strawberry.enum_value("ASC", description="Smallest or oldest first.")
    DESC = strawberry.enum_value("DESC", description="Largest or newest first.")


@strawberry.input(description="Order of a list of blobs.")
class BlobOrder:
    field: BlobOrderField = strawberry.field(default=BlobOrderField.CREATED_AT, description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Up or down.")


@strawberry.input(description="A span of epochs; bounds are exclusive, all that are given hold.")
class EpochWindow:
    after: int | None = strawberry.field(default=None, description="Later than this epoch.")
    before: int | None = strawberry.field(default=None, description="Earlier than this epoch.")
    at: int | None = strawberry.field(default=None, description="Exactly this epoch.")


@strawberry.input(description="A span of sizes or numbers; bounds are inclusive.")
class IntRange:
    min: BigInt | None = strawberry.field(default=None, description="At least this.")
    max: BigInt | None = strawberry.field(default=None, description="At most this.")


@strawberry.input(description="A condition on one attribute.")
class AttributeMatch:
    key: str = strawberry.field(description="The attribute's key; it must be there.")
    value: str | None = strawberry.field(default=None, description="Its value; any if left out.")
    any_of: list[str] | None = strawberry.field(default=None, description="Values it may have; not with `value`.")


@strawberry.input(description="Which blobs: lists mean any of their values, all fields that are given hold.")
class BlobFilter:
    state: list[BlobState] | None = strawberry.field(default=None, description="States it may be in.")
    persistence: Persistence | None = strawberry.field(default=None, description="It has such an undeleted object.")
    owner: Address | None = strawberry.field(default=None, description="This account owns an object of it.")
    certified: EpochWindow | None = strawberry.field(default=None, description="Epoch of its first certification.")
    expires: EpochWindow | None = strawberry.field(default=None, description="Epoch in which it is gone.")
    size: IntRange | None = strawberry.field(default=None, description="Size before encoding, in bytes.")
    id_prefix: str | None = strawberry.field(
        default=None, description="Its `blobId` begins with these 1 to 43 characters; capitals are not small letters."
    )
    attributes: list[AttributeMatch] | None = strawberry.field(
        default=None, description="Attributes that one of its objects has, all of them; at most 8."
    )
    margin_below: int | None = strawberry.field(
        default=None,
        description="It is certified and can lose fewer shards than this, by what the nodes said within the last "
        "seconds. Of blobs that lack something at nodes that answer, the 10,000 that lack most are looked at.",
    )


@strawberry.input(description="Which blob objects: all fields that are given hold.")
class BlobObjectFilter:
    owner: Address | None = strawberry.field(default=None, description="This account owns it.")
    blob_id: BlobID | None = strawberry.field(default=None, description="It is of this blob.")
    certified: bool | None = strawberry.field(default=None, description="Whether it has been certified.")
    persistence: Persistence | None = strawberry.field(default=None, description="Whether it can be deleted.")
    shared: bool | None = strawberry.field(default=None, description="Whether it belongs to nobody.")
    expires: EpochWindow | None = strawberry.field(default=None, description="Epoch in which it ends.")
    attributes: list[AttributeMatch] | None = strawberry.field(
        default=None, description="Attributes it has, all of them; at most 8."
    )


def blob_query(filter: BlobFilter | None) -> BlobQuery:
    """A filter, checked and put into the read model's words."""
    if filter is None:
        return BlobQuery()
    return BlobQuery(
        states=tuple(sorted({state.name for state in filter.state or ()})),
        deletable=_deletable(filter.persistence),
        owner=filter.owner,
        certified=epoch_range(filter.certified),
        ends=epoch_range(filter.expires),
        size_min=filter.size.min if filter.size else None,
        size_max=filter.size.max if filter.size else None,
        ids=None if filter.id_prefix is None else blob_ids_from(filter.id_prefix),
        attributes=_attributes(filter.attributes),
        margin_below=filter.margin_below,
    )


def blob_ids_from(prefix: str) -> tuple[bytes, bytes]:
    """The first and the last blob id whose text begins with this.

    Raises:
        InvalidField: no blob id's text does.
    """
    if not is_beginning(prefix):
        problem = f"has 1 to {ID_CHARACTERS} letters, digits, - and _, as blob ids do"
        raise InvalidField(field="filter.idPrefix", problem=problem)
    first, last = (prefix.ljust(ID_CHARACTERS, character) for character in (ID_ALPHABET[0], ID_ALPHABET[-1]))
    return base64.urlsafe_b64decode(first + "="), base64.urlsafe_b64decode(last + "=")


def is_beginning(text: str) -> bool:
    """Whether the text of a blob id may begin so."""
    return 1 <= len(text) <= ID_CHARACTERS and set(text) <= set(ID_ALPHABET)


def object_query(filter: BlobObjectFilter | None) -> ObjectQuery:
    """A filter, checked and put into the read model's words."""
    if filter is None:
        return ObjectQuery()
    return ObjectQuery(
        owner=filter.owner,
        blob_id=filter.blob_id,
        certified=filter.certified,
        deletable=_deletable(filter.persistence),
        shared=filter.shared,
        ends=epoch_range(filter.expires),
        attributes=_attributes(filter.attributes),
    )


def epoch_range(window: EpochWindow | None) -> EpochRange:
    """An input window in the read model's words."""
    return EpochRange() if window is None else EpochRange(window.after, window.before, window.at)


def _deletable(persistence: Persistence | None) -> bool | None:
    return None if persistence is None else persistence is Persistence.DELETABLE


def _attributes(matches: list[AttributeMatch] | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if matches is None:
        return ()
    if len(matches) > ATTRIBUTES_MAX:
        raise InvalidField(field="filter.attributes", problem=f"at most {ATTRIBUTES_MAX} conditions")
    found = []
    for match in matches:
        if match.value is not None and match.any_of is not None:
            raise InvalidField(field="filter.attributes", problem="pass value or anyOf, not both")
        if match.any_of is not None and not 0 < len(match.any_of) <= VALUES_MAX:
            raise InvalidField(field="filter.attributes", problem=f"anyOf takes 1 to {VALUES_MAX} values")
        values = (match.value,) if match.value is not None else tuple(match.any_of or ())
        found.append((match.key, values))
    return tuple(found)
