"""Blobs: what is stored under one id, and the objects that keep it there."""

from __future__ import annotations

import base64
import enum
import string
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, cast

import strawberry

from graphql_api.accounts import Account, ChainObject, StorageReservation, load_account
from graphql_api.connections import After, Before, Connection, First, Last, Paging, nothing
from graphql_api.context import Context, Info
from graphql_api.durability import Durability, Sliver, slivers_connection
from graphql_api.fields import resolved
from graphql_api.ids import Node, global_id
from graphql_api.proofs import AvailabilityCertificate, Axis, Persistence
from graphql_api.read_model import queries
from graphql_api.read_model.paging import Order
from graphql_api.read_model.queries import BlobQuery, EpochRange, ObjectQuery, Row
from graphql_api.retention import RetentionPolicy, load_retention
from graphql_api.scalars import Address, Base64, BigInt, BlobID, ObjectID, at
from graphql_api.sliver_proofs import RangeProof, SliverProof, range_proof, sliver_proof
from haulout.errors import InvalidField
from haulout.primitives import BlobId, EncodingType, blob_id_text

if TYPE_CHECKING:
    from graphql_api.events import BlobMarkedInvalid, Event


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


@strawberry.type(description="A pair that the owner attached to a blob object.")
class Attribute:
    key: str = strawberry.field(description="The key.")
    value: str = strawberry.field(description="The value.")


@strawberry.type(description="Some bytes, named by their content: everything registered under one blob id.")
class Blob(Node):
    blob_id: BlobID = strawberry.field(description="The id, computed from the content.")
    decimal_id: BigInt = strawberry.field(description="The id as the number that Walrus's explorers show.")
    state: BlobState = strawberry.field(description="What has become of it, as of the current epoch.")
    encoding_type: str = strawberry.field(description="How it is encoded: `RS2` or `RS8`.")
    unencoded_size: BigInt = strawberry.field(description="Size of the content, in bytes.")
    encoded_size: BigInt = strawberry.field(description="Size over all shards, metadata included, in bytes.")
    symbol_size: int = strawberry.field(description="Size of one symbol, in bytes.")
    first_certified_epoch: int | None = strawberry.field(
        description="Epoch of the first certification; null before it."
    )
    end_epoch: int | None = strawberry.field(description="First epoch in which it is gone.")
    created_at: datetime = strawberry.field(description="When it was first registered, by the ledger's clock.")
    permanent_count: int = strawberry.field(
        description="Its objects that cannot be deleted before their end; burned ones count, since their bytes stay."
    )
    deletable_count: int = strawberry.field(description="Its undeleted objects that can be deleted; burned ones count.")
    certified_deletable_count: int = strawberry.field(description="Those of the deletable ones that are certified.")
    content_url: str = strawberry.field(description="Where the content can be read by HTTP.")
    metadata_root: Base64 = strawberry.field(description="Merkle root over its slivers' hashes.")
    certificate_sequence: strawberry.Private[int | None]

    @resolved(
        "When its end comes, by the ledger's clock; before that, when it is expected if epochs last as long as they "
        "should, and null on networks whose epochs end by hand."
    )
    async def expires_at(self, info: Info) -> datetime | None:
        from graphql_api.epochs import expected_start

        return None if self.end_epoch is None else await expected_start(info, self.end_epoch)

    @resolved("Proof that a quorum of shards stores it: the newest one; null before certification.")
    async def certificate(self, info: Info) -> AvailabilityCertificate | None:
        if self.certificate_sequence is None:
            return None
        row = await info.context.loaders.certificate.load(self.certificate_sequence)
        return None if row is None else AvailabilityCertificate.of(row, info.context.services.params.n_shards)

    @resolved(
        "How far it is from being lost, right now; null unless it is certified, and until the nodes have been asked."
    )
    async def durability(self, info: Info) -> Durability | None:
        if self.state is not BlobState.CERTIFIED or self.first_certified_epoch is None:
            return None
        margin = info.context.services.holdings.margin_of(BlobId(self.blob_id), self.first_certified_epoch)
        return None if margin is None else Durability.of(margin)

    @resolved("Where the ledger says that it is wrongly encoded; null unless it does.")
    async def inconsistency(
        self, info: Info
    ) -> Annotated[BlobMarkedInvalid, strawberry.lazy("graphql_api.events")] | None:
        from graphql_api.events import BlobMarkedInvalid, build_event

        if self.state is not BlobState.INCONSISTENT:
            return None
        row = await info.context.loaders.invalidation.load(self.blob_id)
        return None if row is None else cast(BlobMarkedInvalid, build_event(row))

    @resolved("Its slivers along one axis with who holds them, asked from the nodes now; none unless it is certified.")
    async def slivers(
        self,
        info: Info,
        axis: Annotated[Axis, strawberry.argument(description="Rows or columns.")] = Axis.PRIMARY,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        stored: Annotated[
            bool | None, strawberry.argument(description="Only those that are held, or that are known to be lacking.")
        ] = None,
    ) -> Connection[Sliver]:
        if self.state is not BlobState.CERTIFIED:
            return nothing()
        return await slivers_connection(
            info, BlobId(self.blob_id), axis, stored, first=first, after=after, last=last, before=before
        )

    @resolved("Proof that one of its slivers belongs to it; null unless it is certified.")
    async def proof(
        self,
        info: Info,
        pair: Annotated[int, strawberry.argument(description="Index of the sliver pair, from 0 to n - 1.")],
        axis: Annotated[Axis, strawberry.argument(description="Which sliver of the pair.")] = Axis.PRIMARY,
    ) -> SliverProof | None:
        if self.state is not BlobState.CERTIFIED:
            return None
        return await sliver_proof(info, BlobId(self.blob_id), pair, axis)

    @resolved("Proof of some of its bytes; null unless it is certified.")
    async def range_proof(
        self,
        info: Info,
        start: Annotated[BigInt, strawberry.argument(description="The first byte.")],
        length: Annotated[BigInt, strawberry.argument(description="How many bytes, at least 1.")],
    ) -> RangeProof | None:
        if self.state is not BlobState.CERTIFIED:
            return None
        return await range_proof(info, BlobId(self.blob_id), start, length)

    @resolved("Undeleted objects with this blob id, oldest first.")
    async def objects(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[BlobObjectFilter | None, strawberry.argument(description="Which objects.")] = None,
    ) -> Connection[BlobObject]:
        query = object_query(filter)
        return await objects_of_parent(
            info, "blob_id", self.blob_id, query, first=first, after=after, last=last, before=before
        )

    @resolved("What happened to it, oldest first.")
    async def events(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Annotated[Event, strawberry.lazy("graphql_api.events")]]:
        from graphql_api.events import build_event

        name = f"blob.events {self.blob_id.hex()}"
        paging = Paging(
            info, name, queries.EVENTS_ORDER, "SEQUENCE", first=first, after=after, last=last, before=before
        )
        return await paging.fetch_of("events", "blob_id", self.blob_id, queries.EventQuery(), build_event)

    @classmethod
    def of(cls, row: Row, context: Context, epoch: int) -> Blob:
        """A blob as of an epoch."""
        blob_id = row["blob_id"]
        return cls(
            id=global_id("Blob", blob_id),
            blob_id=BlobID(blob_id),
            decimal_id=BigInt(int.from_bytes(blob_id, "little")),
            state=BlobState[queries.state_of_blob(row, epoch)],
            encoding_type=EncodingType(row["encoding_type"]).name,
            unencoded_size=BigInt(row["size_bytes"]),
            encoded_size=BigInt(row["encoded_size_bytes"]),
            symbol_size=row["symbol_size_bytes"],
            first_certified_epoch=row["first_certified_epoch"],
            end_epoch=row["end_epoch"],
            created_at=at(row["registered_time_ms"]),
            permanent_count=row["permanent_count"],
            deletable_count=row["deletable_count"],
            certified_deletable_count=row["certified_deletable_count"],
            content_url=f"{context.services.public_gateway_url}/v1/blobs/{blob_id_text(blob_id)}",
            metadata_root=Base64(row["root_hash"]),
            certificate_sequence=row["certificate_sequence"],
        )


@strawberry.type(description="What a blob has that belongs to nobody.")
class SharedBlob:
    funds: BigInt = strawberry.field(description="What is left for its extensions, in FROST; anyone may add to it.")


@strawberry.type(description="One registration of a blob by an owner, with the storage bound to it.")
class BlobObject(Node, ChainObject):
    registered_epoch: int = strawberry.field(description="Epoch of its registration.")
    certified_epoch: int | None = strawberry.field(description="Epoch of its certification; null before it.")
    end_epoch: int = strawberry.field(description="First epoch that is not paid for any more.")
    persistence: Persistence = strawberry.field(description="Whether its owner may delete it before its end.")
    deleted: bool = strawberry.field(description="Whether it has been deleted or burned.")
    cost: BigInt = strawberry.field(
        description="What registration and extensions cost, in FROST; its storage excluded."
    )
    created_at: datetime = strawberry.field(description="When it was registered, by the ledger's clock.")
    shared: SharedBlob | None = strawberry.field(
        description="Its funds, if it is shared: anyone may extend it from them, nobody may delete or change it."
    )
    owner_address: strawberry.Private[bytes]
    blob_id_: strawberry.Private[bytes]
    storage_id: strawberry.Private[bytes]

    @resolved("Who owns it; null when it is shared.")
    async def owner(self, info: Info) -> Account | None:
        return None if self.shared is not None else await load_account(info, self.owner_address)

    @resolved("The blob it registers.")
    async def blob(self, info: Info) -> Blob:
        blob = await load_blob(info, self.blob_id_)
        if blob is None:
            raise AssertionError(f"object {self.object_id.hex()} is of a blob without a row")
        return blob

    @resolved("The storage bound to it; null once it is deleted.")
    async def storage(self, info: Info) -> StorageReservation | None:
        row = await info.context.loaders.storage.load(self.storage_id)
        if row is None or row["blob_object_id"] != self.object_id:
            return None
        return StorageReservation.of(row)

    @resolved("What its owner attached to it, by key.")
    async def attributes(self, info: Info) -> list[Attribute]:
        pairs = await info.context.loaders.attributes.load(self.object_id)
        return [Attribute(key=key, value=value) for key, value in pairs]

    @resolved("How long the server keeps it paid for, as of now; null while nobody has set it.")
    async def retention(self, info: Info) -> RetentionPolicy | None:
        return await load_retention(info, self.object_id)

    @classmethod
    def of(cls, row: Row) -> BlobObject:
        funds = row["shared_funds_frost"]
        return cls(
            id=global_id("BlobObject", row["object_id"]),
            object_id=ObjectID(row["object_id"]),
            registered_epoch=row["registered_epoch"],
            certified_epoch=row["certified_epoch"],
            end_epoch=row["end_epoch"],
            persistence=Persistence.DELETABLE if row["deletable"] else Persistence.PERMANENT,
            deleted=row["deleted_height"] is not None,
            cost=BigInt(row["cost_frost"]),
            created_at=at(row["registered_time_ms"]),
            shared=None if funds is None else SharedBlob(funds=BigInt(funds)),
            owner_address=row["owner"],
            blob_id_=row["blob_id"],
            storage_id=row["storage_id"],
        )


async def load_blob(info: Info, blob_id: bytes) -> Blob | None:
    """A blob by its id, or None when nobody registered it."""
    row = await info.context.loaders.blob.load(blob_id)
    return None if row is None else Blob.of(row, info.context, await info.context.epoch())


async def load_blob_object(info: Info, object_id: bytes) -> BlobObject | None:
    """A blob object by its id, deleted ones included."""
    row = await info.context.loaders.blob_object.load(object_id)
    return None if row is None else BlobObject.of(row)


async def blobs_connection(
    info: Info,
    filter: BlobFilter | None,
    order_by: BlobOrder | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Blob]:
    """Blobs of the whole network."""
    chosen = order_by or BlobOrder()
    order = Order(queries.BLOB_ORDERS[chosen.field.name], chosen.direction is OrderDirection.DESC)
    query = blob_query(filter)
    paging = Paging(
        info, "blobs", order, chosen.field.name, first=first, after=after, last=last, before=before, query=query
    )
    epoch = await info.context.epoch()
    statement = queries.blobs_statement(query, epoch)
    if query.margin_below is not None:
        regions = info.context.services.holdings.low_regions(query.margin_below)
        statement = statement.where(queries.low_blobs(regions, epoch))
    if rare := queries.rare_blobs(query, epoch):
        statement = await info.context.reading.run(queries.narrowed, statement, rare)
    return await paging.fetch(statement, lambda row: Blob.of(row, info.context, epoch))


async def objects_connection(
    info: Info,
    filter: BlobObjectFilter | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[BlobObject]:
    """Undeleted blob objects of the whole network."""
    query = object_query(filter)
    order = queries.OBJECTS_ORDER
    paging = Paging(
        info, "blobObjects", order, "CREATED_AT", first=first, after=after, last=last, before=before, query=query
    )
    statement = queries.objects_statement(query, await info.context.epoch())
    if rare := queries.rare_objects(query):
        statement = await info.context.reading.run(queries.narrowed, statement, rare)
    return await paging.fetch(statement, BlobObject.of)


async def objects_of_parent(
    info: Info,
    column: str,
    parent: bytes,
    query: ObjectQuery,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[BlobObject]:
    """Undeleted objects of one blob or one owner; many parents of one answer are read together."""
    name = f"objects {column} {parent.hex()}"
    order = queries.OBJECTS_ORDER
    paging = Paging(info, name, order, "CREATED_AT", first=first, after=after, last=last, before=before, query=query)
    return await paging.fetch_of("objects", column, parent, query, BlobObject.of)


# --- filters ------------------------------------------------------------------------------------------------

ATTRIBUTES_MAX = 8
VALUES_MAX = 50
ID_ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
ID_CHARACTERS = 43


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
