"""The network as a whole, and the limits of this service."""

from __future__ import annotations

from datetime import datetime

import strawberry

from graphql_api.context import Info
from graphql_api.durability import Durability
from graphql_api.epochs import Epoch, load_epoch
from graphql_api.fields import resolved
from graphql_api.read_model import blob_queries, epoch_queries
from graphql_api.read_model.paging import DEFAULT_PAGE, PAGE_MAX
from graphql_api.scalars import Base64, BigInt, at
from haulout.primitives import BlobId


@strawberry.type(description="The network in numbers, as of the answer's watermark.")
class SystemStats:
    chain_id: Base64 = strawberry.field(description="Which network this is, 32 bytes.")
    blob_count: BigInt = strawberry.field(description="Blob ids that were ever registered.")
    certified_blob_count: BigInt = strawberry.field(description="Blobs that are certified and not gone.")
    certified_bytes: BigInt = strawberry.field(description="Size of their content.")
    encoded_bytes: BigInt = strawberry.field(description="Their size over all shards.")
    average_blob_size: BigInt = strawberry.field(description="Mean size of their content; 0 when there is none.")
    capacity_bytes: BigInt = strawberry.field(description="Encoded bytes that can be sold for the current epoch.")
    accounts: BigInt = strawberry.field(description="Accounts that ever held tokens.")
    total_stake: BigInt = strawberry.field(description="Stake of the committee when its epoch started, in FROST.")
    nodes_active: int = strawberry.field(description="Nodes in the committee.")
    nodes_total: int = strawberry.field(description="Registered nodes.")

    @resolved(
        "Durability of the blob that is nearest to being lost; null when nothing is certified, and until the nodes "
        "have been asked."
    )
    async def worst_durability(self, info: Info) -> Durability | None:
        return await load_worst_durability(info) if self.certified_blob_count else None

    @resolved("The current epoch.")
    async def epoch(self, info: Info) -> Epoch:
        epoch = await load_epoch(info, None)
        if epoch is None:
            raise AssertionError("the current epoch has no row")
        return epoch


async def load_system(info: Info) -> SystemStats | None:
    """The numbers; None before genesis is in the read model."""
    progress = await info.context.reading.snapshot()
    epoch = await info.context.loaders.epoch.load(progress.epoch)
    if epoch is None:
        return None
    totals = await info.context.reading.run(epoch_queries.system_totals, progress.epoch)
    n_blobs = totals["n_blobs"]
    return SystemStats(
        chain_id=Base64(info.context.services.params.chain_id),
        blob_count=BigInt(progress.n_blobs),
        certified_blob_count=BigInt(n_blobs),
        certified_bytes=BigInt(totals["size_bytes"]),
        encoded_bytes=BigInt(totals["encoded_size_bytes"]),
        average_blob_size=BigInt(totals["size_bytes"] // n_blobs if n_blobs else 0),
        capacity_bytes=BigInt(epoch["total_capacity_bytes"]),
        accounts=BigInt(progress.n_accounts),
        total_stake=BigInt(totals["total_stake_frost"]),
        nodes_active=totals["n_members"],
        nodes_total=progress.n_nodes,
    )


async def load_worst_durability(info: Info) -> Durability | None:
    """The smallest margin: of all blobs that some node lacks a part of, and of one that is whole but for dead nodes."""
    holdings, epoch = info.context.services.holdings, await info.context.epoch()
    rows = await info.context.loaders.blob.load_many(holdings.suspects())
    certified = [
        (BlobId(row["blob_id"]), row["first_certified_epoch"])
        for row in rows
        if row is not None and blob_queries.state_of_blob(row, epoch) == "CERTIFIED"
    ]
    worst = holdings.worst_margin(epoch, certified)
    return None if worst is None else Durability.of(worst)


@strawberry.type(description="A span of epochs, both ends included.")
class EpochSpan:
    first: int = strawberry.field(description="The first.")
    last: int = strawberry.field(description="The last.")


@strawberry.type(description="Limits that every request is held to; all are checked before anything is executed.")
class ServiceConfig:
    version: str = strawberry.field(description="Version of this software.")
    max_query_bytes: int = strawberry.field(description="Longest document, in bytes.")
    max_tokens: int = strawberry.field(description="Most tokens in a document.")
    max_depth: int = strawberry.field(description="Deepest selection.")
    max_aliases: int = strawberry.field(description="Most aliases and repeated fields.")
    max_cost: int = strawberry.field(
        description="Most fields that a request may resolve at worst: a list counts its fields as many times as the "
        "page that is asked for has rows, and inside of it so does the next. Callers with a token may ask for more."
    )
    default_page_size: int = strawberry.field(description="Rows of a page when neither `first` nor `last` is given.")
    max_page_size: int = strawberry.field(description="Most rows of a page.")
    max_multi_get: int = strawberry.field(description="Most ids that `nodes` and `multiGetBlobs` take.")
    max_subscriptions: int = strawberry.field(description="Most subscriptions of one connection at a time.")
    available_epochs: EpochSpan = strawberry.field(description="Epochs that `epoch` and its `query` answer for.")
    timeout_ms: int = strawberry.field(description="Longest time that a query may take, in milliseconds.")
    mutation_timeout_ms: int = strawberry.field(description="Longest time that a mutation may take, in milliseconds.")


@strawberry.type(description="What the caller may still ask for; a request takes its `cost` in points.")
class RateLimit:
    points_per_hour: int = strawberry.field(description="Points that come back in an hour; 0 when there is no limit.")
    limit: int = strawberry.field(description="Points that a caller has at most.")
    remaining: int = strawberry.field(description="Points that are left, this request's own taken already.")
    cost: int = strawberry.field(description="What this request has taken.")
    reset_at: datetime = strawberry.field(description="When all points are back, if nothing more is asked.")


def load_rate_limit(info: Info) -> RateLimit:
    """What the caller may still ask for."""
    services = info.context.services
    allowance = services.rates.allowance(info.context.caller.client)
    return RateLimit(
        points_per_hour=services.rates.points_per_hour,
        limit=allowance.limit,
        remaining=allowance.remaining,
        cost=info.context.cost,
        reset_at=at(services.clock.now_ms() + allowance.full_after_ms),
    )


async def load_service_config(info: Info) -> ServiceConfig:
    """The limits in force."""
    bounds = info.context.services.bounds
    return ServiceConfig(
        version=info.context.services.version,
        max_query_bytes=bounds.query_bytes,
        max_tokens=bounds.tokens,
        max_depth=bounds.depth,
        max_aliases=bounds.aliases,
        max_cost=bounds.cost_of(has_token=info.context.caller.token is not None),
        default_page_size=DEFAULT_PAGE,
        max_page_size=PAGE_MAX,
        max_multi_get=PAGE_MAX,
        max_subscriptions=bounds.subscriptions,
        available_epochs=EpochSpan(first=1, last=await info.context.epoch()),
        timeout_ms=bounds.timeout_ms,
        mutation_timeout_ms=bounds.mutation_timeout_ms,
    )
