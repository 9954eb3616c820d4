"""Blobs: what is stored under one id, and the objects that keep it there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, cast

import strawberry

from graphql_api.accounts import Account, ChainObject, StorageReservation, load_account
from graphql_api.blob_filters import (
    BlobFilter,
    BlobObjectFilter,
    BlobOrder,
    BlobState,
    OrderDirection,
    blob_query,
    object_query,
)
from graphql_api.connections import After, Before, Connection, First, Last, Paging, nothing
from graphql_api.context import Context, Info
from graphql_api.durability import Durability, Sliver, slivers_connection
from graphql_api.event import Event
from graphql_api.fields import resolved
from graphql_api.ids import Node, global_id
from graphql_api.proofs import AvailabilityCertificate, Axis, Persistence
from graphql_api.read_model import blob_queries, event_queries, queries
from graphql_api.read_model.blob_queries import ObjectQuery
from graphql_api.read_model.paging import Order
from graphql_api.read_model.queries import Row
from graphql_api.retention import RetentionPolicy, load_retention
from graphql_api.scalars import Base64, BigInt, BlobID, ObjectID, at
from graphql_api.sliver_proofs import RangeProof, SliverProof, range_proof, sliver_proof
from haulout.primitives import BlobId, EncodingType, blob_id_text

if TYPE_CHECKING:
    from graphql_api.blob_events import BlobMarkedInvalid


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
    ) -> Annotated[BlobMarkedInvalid, strawberry.lazy("graphql_api.blob_events")] | None:
        from graphql_api.events import build_event

        if self.state is not BlobState.INCONSISTENT:
            return None
        row = await info.context.loaders.invalidation.load(self.blob_id)
        return None if row is None else cast("BlobMarkedInvalid", build_event(row))

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
    ) -> Connection[Event]:
        from graphql_api.events import build_event

        name = f"blob.events {self.blob_id.hex()}"
        paging = Paging(
            info, name, event_queries.EVENTS_ORDER, "SEQUENCE", first=first, after=after, last=last, before=before
        )
        return await paging.fetch_of("events", "blob_id", self.blob_id, event_queries.EventQuery(), build_event)

    @classmethod
    def of(cls, row: Row, context: Context, epoch: int) -> Blob:
        """A blob as of an epoch."""
        blob_id = row["blob_id"]
        return cls(
            id=global_id("Blob", blob_id),
            blob_id=BlobID(blob_id),
            decimal_id=BigInt(int.from_bytes(blob_id, "little")),
            state=BlobState[blob_queries.state_of_blob(row, epoch)],
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
    order = Order(blob_queries.BLOB_ORDERS[chosen.field.name], chosen.direction is OrderDirection.DESC)
    query = blob_query(filter)
    paging = Paging(
        info, "blobs", order, chosen.field.name, first=first, after=after, last=last, before=before, query=query
    )
    epoch = await info.context.epoch()
    statement = blob_queries.blobs_statement(query, epoch)
    if query.margin_below is not None:
        regions = info.context.services.holdings.low_regions(query.margin_below)
        statement = statement.where(blob_queries.low_blobs(regions, epoch))
    if rare := blob_queries.rare_blobs(query, epoch):
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
    order = blob_queries.OBJECTS_ORDER
    paging = Paging(
        info, "blobObjects", order, "CREATED_AT", first=first, after=after, last=last, before=before, query=query
    )
    statement = blob_queries.objects_statement(query, await info.context.epoch())
    if rare := blob_queries.rare_objects(query):
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
    order = blob_queries.OBJECTS_ORDER
    paging = Paging(info, name, order, "CREATED_AT", first=first, after=after, last=last, before=before, query=query)
    return await paging.fetch_of("objects", column, parent, query, BlobObject.of)
