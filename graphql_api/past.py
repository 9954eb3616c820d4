"""The network as it was at the end of an epoch: what the read model keeps of the past, and nothing that it does not."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.blob_filters import BlobState
from graphql_api.blobs import Blob, load_blob
from graphql_api.connections import After, Before, Connection, First, Last, Paging
from graphql_api.context import Info
from graphql_api.event import Event
from graphql_api.events import EventFilter, events_connection
from graphql_api.fields import resolved
from graphql_api.read_model import blob_queries, history
from graphql_api.read_model.queries import Row
from graphql_api.scalars import BigInt, BlobID, at

if TYPE_CHECKING:
    from graphql_api.epochs import CommitteeMember
    from graphql_api.nodes import StorageNode


@strawberry.type(description="A blob as it was.")
class PastBlob:
    blob_id: BlobID = strawberry.field(description="The id, computed from the content.")
    state: BlobState = strawberry.field(description="What had become of it.")
    unencoded_size: BigInt = strawberry.field(description="Size of the content, in bytes.")
    encoded_size: BigInt = strawberry.field(description="Size over all shards, metadata included, in bytes.")
    first_certified_epoch: int | None = strawberry.field(description="Epoch of the first certification; null before.")
    end_epoch: int = strawberry.field(description="First epoch that was not paid for, extensions until then included.")
    permanent_count: int = strawberry.field(description="Its objects that could not be deleted before their end.")
    deletable_count: int = strawberry.field(description="Its undeleted objects that could be deleted.")
    created_at: datetime = strawberry.field(description="When it was first registered, by the ledger's clock.")

    @resolved("The blob as it is now.")
    async def now(self, info: Info) -> Blob | None:
        return await load_blob(info, self.blob_id)

    @classmethod
    def of(cls, row: Row, epoch: int) -> PastBlob:
        return cls(
            blob_id=BlobID(row["blob_id"]),
            state=BlobState[blob_queries.state_of_blob(row, epoch)],
            unencoded_size=BigInt(row["size_bytes"]),
            encoded_size=BigInt(row["encoded_size_bytes"]),
            first_certified_epoch=row["first_certified_epoch"],
            end_epoch=row["end_epoch"],
            permanent_count=row["permanent_count"],
            deletable_count=row["deletable_count"],
            created_at=at(row["registered_time_ms"]),
        )


@strawberry.type(description="What a pool had at work when an epoch began.")
class PoolStake:
    stake: BigInt = strawberry.field(description="FROST.")
    node_id: strawberry.Private[bytes]

    @resolved("The pool's node.")
    async def node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.node_id)


@strawberry.type(
    description="The network as it was in the last block of an epoch; for the current one, as it is. Only what is kept "
    "of the past is here: what nodes say of themselves, balances and stakes of accounts are not."
)
class EpochQuery:
    epoch: int = strawberry.field(description="The epoch.")
    height: BigInt = strawberry.field(description="The block that everything here is as of.")

    @resolved("A blob as it was; null when nobody had registered it.")
    async def blob(
        self, info: Info, blob_id: Annotated[BlobID, strawberry.argument(description="The blob's id.")]
    ) -> PastBlob | None:
        n_shards = info.context.services.params.n_shards
        rows = await info.context.reading.run(history.blobs_at, [blob_id], self.height, n_shards)
        return PastBlob.of(rows[blob_id], self.epoch) if blob_id in rows else None

    @resolved("All blobs that had been registered, newest first.")
    async def blobs(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[PastBlob]:
        name, order = f"blobs {self.height}", history.ORDER
        paging = Paging(info, name, order, "CREATED_AT", first=first, after=after, last=last, before=before)
        n_shards = info.context.services.params.n_shards
        page = await info.context.reading.run(history.page_at, paging.window, self.height, n_shards)
        return paging.connect(page, lambda row: PastBlob.of(row, self.epoch), lambda: history.known_blobs(self.height))

    @resolved("Who owned which shards: all members of the committee, in committee order.")
    async def shard_map(self, info: Info) -> list[Annotated[CommitteeMember, strawberry.lazy("graphql_api.epochs")]]:
        from graphql_api.epochs import load_members

        return await load_members(info, self.epoch)

    @resolved("What every pool had at work when the epoch began, most first; pools without stake are left out.")
    async def pool_stakes(self, info: Info) -> list[PoolStake]:
        rows = await info.context.reading.run(history.stakes_at, self.epoch)
        return [PoolStake(stake=BigInt(row["stake_frost"]), node_id=row["node_id"]) for row in rows]

    @resolved("Everything that had happened, oldest first.")
    async def events(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[EventFilter | None, strawberry.argument(description="Which events.")] = None,
    ) -> Connection[Event]:
        return await events_connection(
            info, filter, first=first, after=after, last=last, before=before, to_height=self.height
        )


async def load_history(info: Info, epoch: int) -> EpochQuery | None:
    """The network at the end of an epoch; None when that has not begun."""
    height = await info.context.reading.run(history.last_height, epoch)
    return None if height is None else EpochQuery(epoch=epoch, height=BigInt(height))
