"""What an epoch begins with: shards that change hands, and how far that is."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.connections import Connection, Paging
from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.read_model import epoch_queries
from graphql_api.read_model.epoch_queries import MoveQuery
from graphql_api.read_model.queries import Row
from graphql_api.scalars import BigInt, ObjectID, at
from haulout.primitives import min_correct

if TYPE_CHECKING:
    from graphql_api.nodes import StorageNode


@strawberry.enum(description="Whether a shard has arrived.")
class MoveState(enum.Enum):
    RUNNING = strawberry.enum_value("RUNNING", description="On its way: the giver still serves what it had.")
    DONE = strawberry.enum_value("DONE", description="The taker has everything of it.")


@strawberry.input(description="Which moves of shards: all fields that are given hold.")
class ShardMoveFilter:
    state: MoveState | None = strawberry.field(default=None, description="Whether it has arrived.")
    from_node: ObjectID | None = strawberry.field(default=None, description="Who gives it; the node's id.")
    to_node: ObjectID | None = strawberry.field(default=None, description="Who takes it; the node's id.")


@strawberry.type(description="A shard that changed owner with an epoch.")
class ShardMove:
    epoch: int = strawberry.field(description="The epoch that began with it.")
    shard: int = strawberry.field(description="The shard.")
    state: MoveState = strawberry.field(description="Whether it has arrived.")
    opened_height: BigInt = strawberry.field(description="Block in which it began.")
    done_height: BigInt | None = strawberry.field(description="Block in which it was reported to have arrived.")
    giver: strawberry.Private[bytes]
    taker: strawberry.Private[bytes]

    @resolved("Who gives it.")
    async def from_node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.giver)

    @resolved("Who takes it.")
    async def to_node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.taker)

    @classmethod
    def of(cls, row: Row) -> ShardMove:
        done = row["done_height"]
        return cls(
            epoch=row["epoch"],
            shard=row["shard_index"],
            state=MoveState.RUNNING if done is None else MoveState.DONE,
            opened_height=BigInt(row["opened_height"]),
            done_height=None if done is None else BigInt(done),
            giver=row["from_node"],
            taker=row["to_node"],
        )


@strawberry.type(description="How an epoch took over from the one before.")
class EpochTransition:
    epoch: strawberry.Private[int]
    begun_ms: strawberry.Private[int]
    started_at: datetime = strawberry.field(description="When its committee took over, by the ledger's clock.")
    finished_at: datetime | None = strawberry.field(description="When it became Done; null before.")
    forced: bool = strawberry.field(description="Whether a deadline made it Done instead of a quorum.")
    done_weight: int = strawberry.field(description="Shards of members that have all they gained.")
    quorum_weight: int = strawberry.field(description="So many make the epoch Done: n - f.")
    planned_moves: int = strawberry.field(description="Shards that changed owner.")
    finished_moves: int = strawberry.field(description="How many of them have arrived; may grow after Done.")

    @resolved(
        "Bytes of slivers that have arrived of `bytesTotal`, by the takers' own count; null while one does not answer."
    )
    async def bytes_moved(self, info: Info) -> BigInt | None:
        moving = await _moving_bytes(info, self.epoch)
        return None if moving is None else BigInt(moving[0])

    @resolved("Bytes of slivers on the shards that are still on their way; 0 when all have arrived.")
    async def bytes_total(self, info: Info) -> BigInt | None:
        moving = await _moving_bytes(info, self.epoch)
        return None if moving is None else BigInt(moving[1])

    @resolved(
        "When all of `bytesTotal` will have arrived at the rate since the start; null when nothing is on its way, when "
        "nothing has arrived yet, and while a taker does not answer."
    )
    async def eta(self, info: Info) -> datetime | None:
        moving = await _moving_bytes(info, self.epoch)
        now_ms = info.context.services.clock.now_ms()
        eta_ms = None if moving is None else compute_eta_ms(*moving, begun_ms=self.begun_ms, now_ms=now_ms)
        return None if eta_ms is None else at(eta_ms)


async def _moving_bytes(info: Info, epoch: int) -> tuple[int, int] | None:
    """What has come to those who take shards over with an epoch, and what will have come."""
    from graphql_api.nodes import load_node

    moved = total = 0
    for node in [
        await load_node(info, taker) for taker in await info.context.reading.run(epoch_queries.open_takers, epoch)
    ]:
        health = None if node is None else (await node.check(info)).health
        if health is None:
            return None
        moved, total = moved + health.moved_bytes, total + health.moving_bytes
    return moved, total


def compute_eta_ms(moved_bytes: int, total_bytes: int, *, begun_ms: int, now_ms: int) -> int | None:
    """When everything will be there, at the rate since the beginning; None when nothing tells a rate."""
    if moved_bytes == 0 or now_ms <= begun_ms:
        return None
    return now_ms + (now_ms - begun_ms) * max(0, total_bytes - moved_bytes) // moved_bytes


async def transition_of(info: Info, row: Row) -> EpochTransition:
    """The transition of a row of `epochs`."""
    planned, finished = await info.context.loaders.move_counts.load(row["epoch"])
    return EpochTransition(
        epoch=row["epoch"],
        begun_ms=row["started_time_ms"],
        started_at=at(row["started_time_ms"]),
        finished_at=None if row["done_time_ms"] is None else at(row["done_time_ms"]),
        forced=row["forced"],
        done_weight=row["sync_weight"],
        quorum_weight=min_correct(info.context.services.params.n_shards),
        planned_moves=planned,
        finished_moves=finished,
    )


async def moves_connection(
    info: Info,
    filter: ShardMoveFilter | None,
    *,
    of_epoch: int | None = None,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[ShardMove]:
    """Moves of the whole network or of one epoch, by epoch and shard."""
    query = MoveQuery() if filter is None else move_query(filter)
    name = "shardMoves" if of_epoch is None else f"moves {of_epoch}"
    paging = Paging(
        info, name, epoch_queries.MOVES_ORDER, "SHARD", first=first, after=after, last=last, before=before, query=query
    )
    if of_epoch is not None:
        return await paging.fetch_of("moves", "epoch", of_epoch, query, ShardMove.of)
    return await paging.fetch(epoch_queries.moves_statement(query), ShardMove.of)


def move_query(filter: ShardMoveFilter) -> MoveQuery:
    """A filter in the read model's words."""
    done = None if filter.state is None else filter.state is MoveState.DONE
    return MoveQuery(done=done, from_node=filter.from_node, to_node=filter.to_node)
