"""How safely a blob is stored right now: its margin, and its slivers with who holds them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.connections import Connection, assemble
from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.holdings import Margin
from graphql_api.inspection import PairHolding
from graphql_api.proofs import Axis
from graphql_api.read_model.paging import CursorCodec, page_of, read_window
from graphql_api.scalars import Base64, BigInt, at
from haulout.primitives import Axis as CodecAxis
from haulout.primitives import BlobId, sliver_index_of_pair

if TYPE_CHECKING:
    from graphql_api.nodes import StorageNode


@strawberry.type(
    description="How far a blob is from being lost, by what the nodes said within the last seconds. A node that does "
    "not answer counts as lost."
)
class Durability:
    live_shards: int = strawberry.field(description="Shards whose slivers of the blob are there and can be fetched.")
    required_shards: int = strawberry.field(description="So many are enough to read it: n - 2f.")
    margin_shards: int = strawberry.field(
        description="Shards that may still go before it cannot be read; negative when it already cannot."
    )
    tolerated_node_losses: int = strawberry.field(
        description="How many more of the nodes that hold most of it may vanish at once, and it can still be read."
    )
    checked_at: datetime = strawberry.field(description="When the node asked longest ago answered, or failed to.")

    @classmethod
    def of(cls, margin: Margin) -> Durability:
        return cls(
            live_shards=margin.live_shards,
            required_shards=margin.required_shards,
            margin_shards=margin.margin_shards,
            tolerated_node_losses=margin.tolerated_node_losses,
            checked_at=at(margin.checked_at_ms),
        )


@strawberry.type(description="One sliver of a blob: a row or a column of its matrix.")
class Sliver:
    pair: int = strawberry.field(description="Index of the sliver pair that it belongs to.")
    axis: Axis = strawberry.field(description="Row or column.")
    index: int = strawberry.field(description="Its index on its axis: that of the pair, mirrored on the secondary one.")
    shard: int = strawberry.field(description="The shard that stores the pair.")
    stored: bool | None = strawberry.field(
        description="Whether its node says that it holds it; null when the node did not answer in time."
    )
    verified_at: datetime | None = strawberry.field(
        description="Its node has compared it with its checksum at this time or later, by the node's clock; null when "
        "it is not held, and until the node has read everything once since it started."
    )
    blob_id_: strawberry.Private[BlobId]
    node_id: strawberry.Private[bytes]

    @resolved("The node that has to hold it: the shard's owner, or who hands the shard over.")
    async def node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.node_id)

    @resolved("Its size, in bytes.")
    async def size_bytes(self, info: Info) -> BigInt:
        metadata = await info.context.services.inspector.metadata(self.blob_id_)
        return BigInt(metadata.sliver_size_bytes(CodecAxis[self.axis.name]))

    @resolved("Its hash: the Merkle root over all symbols of its expansion.")
    async def hash(self, info: Info) -> Base64:
        metadata = await info.context.services.inspector.metadata(self.blob_id_)
        pair = metadata.pairs[self.pair]
        return Base64(pair.of(CodecAxis[self.axis.name]) or bytes(32))

    @classmethod
    def of(cls, holding: PairHolding, axis: Axis, blob_id: BlobId, n_shards: int) -> Sliver:
        on = CodecAxis[axis.name]
        return cls(
            pair=holding.pair,
            axis=axis,
            index=sliver_index_of_pair(holding.pair, on, n_shards),
            shard=holding.shard,
            stored=holding.is_stored[on],
            verified_at=at(holding.checked_ms) if holding.is_stored[on] and holding.checked_ms else None,
            blob_id_=blob_id,
            node_id=holding.node_id,
        )


async def slivers_connection(
    info: Info,
    blob_id: BlobId,
    axis: Axis,
    stored: bool | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Sliver]:
    """The slivers of a certified blob, by pair, asked from its holders now."""
    services = info.context.services
    cursors = CursorCodec(services.cursor_key, f"slivers {blob_id.hex()}", f"PAIR {axis.name}", stored=stored)
    window = read_window(cursors, first=first, after=after, last=last, before=before)
    on = CodecAxis[axis.name]
    holdings = [h for h in await services.inspector.holdings(blob_id) if stored is None or h.is_stored[on] is stored]

    def key_of(holding: PairHolding) -> tuple[int]:
        return (holding.pair,)

    async def count() -> int:
        return len(holdings)

    page = page_of(holdings, key_of, window, descending=False)
    n_shards = services.params.n_shards
    return assemble(page, lambda h: Sliver.of(h, axis, blob_id, n_shards), lambda h: cursors.encode(key_of(h)), count)
