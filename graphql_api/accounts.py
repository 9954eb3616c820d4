"""Accounts and the storage they own."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.blob_filters import BlobObjectFilter, object_query
from graphql_api.connections import After, Before, Connection, First, Last, Paging
from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.ids import Node, global_id
from graphql_api.read_model import node_queries
from graphql_api.read_model.queries import Row
from graphql_api.scalars import Address, BigInt, ObjectID
from haulout.ledger.state import NOBODY

if TYPE_CHECKING:
    from graphql_api.blobs import BlobObject
    from graphql_api.stakes import Stake, StakeFilter


@strawberry.interface(description="Something on the ledger that has an owner.")
class ChainObject:
    object_id: ObjectID = strawberry.field(description="The object's id on the ledger.")

    @resolved("Who owns it; null when it is shared.")
    async def owner(self, info: Info) -> Account | None:
        raise NotImplementedError("every type that implements ChainObject tells its owner")


@strawberry.type(description="What an account stores and pays, in the current epoch.")
class Usage:
    blobs: BigInt = strawberry.field(
        description="Its blob objects that are paid for, deleted and burned ones left out."
    )
    bytes: BigInt = strawberry.field(description="Encoded bytes of the storage bound to these.")
    address: strawberry.Private[builtins.bytes]

    @resolved(
        "What it has paid since the epoch began, in FROST: for storage, registrations, extensions, and into shared "
        "blobs. Null when that were more than 1,000 payments; extensions of shared blobs are paid from their funds."
    )
    async def cost_this_epoch(self, info: Info) -> BigInt | None:
        paid = await info.context.loaders.paid.load(self.address)
        return None if paid is None else BigInt(paid)


@strawberry.type(description="An account: an Ed25519 key that owns tokens, storage, blobs and stake.")
class Account(Node):
    address: Address = strawberry.field(description="The account's address.")
    wal_balance: BigInt = strawberry.field(description="Free tokens in FROST (1 WAL = 10^9 FROST), stake not included.")

    @resolved("Blob objects that the account owns, oldest first.")
    async def blob_objects(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[BlobObjectFilter | None, strawberry.argument(description="Which of them.")] = None,
    ) -> Connection[Annotated[BlobObject, strawberry.lazy("graphql_api.blobs")]]:
        from graphql_api.blobs import objects_of_parent

        return await objects_of_parent(
            info, "owner", self.address, object_query(filter), first=first, after=after, last=last, before=before
        )

    @resolved("Storage resources that the account owns and no blob uses, oldest first.")
    async def reservations(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[StorageReservation]:
        name = f"reservations {self.address.hex()}"
        paging = Paging(
            info, name, node_queries.STORAGE_ORDER, "CREATED_AT", first=first, after=after, last=last, before=before
        )
        return await paging.fetch_of("storage", "owner", self.address, None, StorageReservation.of)

    @resolved("Stakes of the account, oldest first.")
    async def stakes(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[
            Annotated[StakeFilter, strawberry.lazy("graphql_api.stakes")] | None,
            strawberry.argument(description="Which of them."),
        ] = None,
    ) -> Connection[Annotated[Stake, strawberry.lazy("graphql_api.stakes")]]:
        from graphql_api.stakes import stakes_of_parent

        return await stakes_of_parent(
            info, "owner", self.address, filter, first=first, after=after, last=last, before=before
        )

    @resolved("What it stores and pays; null when it has more than 10,000 blob objects.")
    async def usage(self, info: Info) -> Usage | None:
        stored = await info.context.loaders.stored.load(self.address)
        if stored is None:
            return None
        return Usage(blobs=BigInt(stored.n_objects), bytes=BigInt(stored.encoded_bytes), address=self.address)

    @classmethod
    def of(cls, address: bytes, row: Row | None) -> Account:
        """An account that holds nothing has no row."""
        return cls(
            id=global_id("Account", address),
            address=Address(address),
            wal_balance=BigInt(row["balance_frost"] if row else 0),
        )


async def load_account(info: Info, address: bytes) -> Account:
    """An account by its address, known or not."""
    return Account.of(address, await info.context.loaders.account.load(address))


@strawberry.type(description="Encoded bytes bought for a span of epochs: free, or bound to one blob object.")
class StorageReservation(Node, ChainObject):
    start_epoch: int = strawberry.field(description="First epoch that is paid for.")
    end_epoch: int = strawberry.field(description="First epoch that is not paid for any more.")
    size_bytes: BigInt = strawberry.field(description="Encoded bytes that fit in.")
    owner_address: strawberry.Private[bytes]
    blob_object_id: strawberry.Private[bytes | None]

    @resolved("Who owns it; null when it is bound to a shared blob.")
    async def owner(self, info: Info) -> Account | None:
        is_shared = self.blob_object_id is not None and self.owner_address == NOBODY
        return None if is_shared else await load_account(info, self.owner_address)

    @resolved("The blob object that uses it; null while it is free.")
    async def bound_to(self, info: Info) -> Annotated[BlobObject, strawberry.lazy("graphql_api.blobs")] | None:
        from graphql_api.blobs import BlobObject

        if self.blob_object_id is None:
            return None
        row = await info.context.loaders.blob_object.load(self.blob_object_id)
        return None if row is None else BlobObject.of(row)

    @classmethod
    def of(cls, row: Row) -> StorageReservation:
        return cls(
            id=global_id("StorageReservation", row["object_id"]),
            object_id=ObjectID(row["object_id"]),
            start_epoch=row["start_epoch"],
            end_epoch=row["end_epoch"],
            size_bytes=BigInt(row["size_bytes"]),
            owner_address=row["owner"],
            blob_object_id=row["blob_object_id"],
        )


async def load_reservation(info: Info, object_id: bytes) -> StorageReservation | None:
    """A storage resource by its id, free or bound; None when it is gone."""
    row = await info.context.loaders.storage.load(object_id)
    return None if row is None or row["deleted_height"] is not None else StorageReservation.of(row)
