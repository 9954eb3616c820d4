"""What can be listened to. Each feed begins with how things are, then tells what changes.

A feed looks when a block has come, and every two seconds where it shows what nodes say of themselves. Between two looks
it holds no snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, TypeVar, cast

import strawberry
from sqlalchemy import ColumnElement, or_

from graphql_api.access import Requires, Scope
from graphql_api.blob_filters import BlobState
from graphql_api.blobs import Blob, BlobObject, load_blob
from graphql_api.context import Info
from graphql_api.epochs import Epoch, load_epoch
from graphql_api.event import Event
from graphql_api.events import EventFilter, build_event, event_query
from graphql_api.nodes import NodeFilter, StorageNode, nodes_statement
from graphql_api.operations import ENDED, Operation, wait_for_operation
from graphql_api.read_model import blob_queries, epoch_queries, event_queries, queries
from graphql_api.read_model import schema as t
from graphql_api.read_model.blob_queries import BlobQuery, ObjectQuery
from graphql_api.read_model.paging import PAGE_MAX, Window, fetch_page
from graphql_api.read_model.queries import EpochRange, Row
from graphql_api.scalars import Address, BigInt, BlobID
from graphql_api.system import SystemStats, load_system, load_worst_durability
from graphql_api.transitions import ShardMove, ShardMoveFilter, move_query
from haulout.errors import InvalidField
from haulout.primitives import BlobId

LOOK_MS = 2_000
SEQUENCE_MAX = (1 << 63) - 1
ALERTS_MAX = 500  # blobs that lack most, looked at each time
EPOCHS_AHEAD_MAX = 1_000

F = TypeVar("F", bound=Callable[..., Any])


def streamed(description: str) -> Callable[[F], F]:
    """Make an async generator the source of the field of its name."""
    return cast(Callable[[F], F], strawberry.subscription(description=description))


@strawberry.type(
    description="Everything that can be listened to, over a WebSocket (graphql-transport-ws) or as server-sent events.",
    directives=[Requires(scope=Scope.READ)],
)
class Subscription:
    @streamed(
        "Events of the network in the ledger's order, none left out: from now on, or from `afterSequence`. Who was "
        "disconnected resumes with the last sequence it has seen."
    )
    async def events(
        self,
        info: Info,
        filter: Annotated[EventFilter | None, strawberry.argument(description="Which events.")] = None,
        after_sequence: Annotated[
            BigInt | None, strawberry.argument(description="Only events behind this one; those that were missed first.")
        ] = None,
    ) -> AsyncGenerator[Event, None]:
        query = event_query(filter)
        start = info.context.services.follower.progress.sequence if after_sequence is None else after_sequence
        position = min(start, SEQUENCE_MAX)
        while True:
            await info.context.renew()
            progress = await info.context.reading.snapshot()
            statement = event_queries.events_statement(query).where(t.events.c.sequence > position)
            page = await _first(info, statement, event_queries.EVENTS_ORDER)
            for row in page:
                yield build_event(row)
                position = row["sequence"]
            if len(page) < PAGE_MAX:
                position = max(position, progress.sequence)
                await info.context.close()
                await info.context.services.follower.wait_for_news(progress)

    @streamed("A blob each time that something about it or its durability changes; first as it is, if it is there.")
    async def blob(
        self, info: Info, blob_id: Annotated[BlobID, strawberry.argument(description="The blob's id.")]
    ) -> AsyncGenerator[Blob, None]:
        seen: Any = None
        while True:
            await info.context.renew()
            row = await info.context.loaders.blob.load(blob_id)
            epoch = row and (await info.context.epoch())
            margin = row and _margin(info, blob_id, row)
            state = (row, epoch, margin and (margin.live_shards, margin.tolerated_node_losses))
            if row is not None and state != seen:
                seen = state
                blob = await load_blob(info, blob_id)
                if blob is not None:
                    info.context.item = blob_id
                    yield blob
            await _look_again(info)

    @streamed("Long work: as it stands, then with each step, to its end.")
    async def operation(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
    ) -> AsyncGenerator[Operation, None]:
        seen: Operation | None = None
        while seen is None or seen.phase not in ENDED:
            seen = await wait_for_operation(info, id, seen)
            if seen is None:
                return
            info.context.item = "operation"
            yield seen

    @streamed("The current epoch: as it is, then with every step of its phases and of its `transition`.")
    async def epoch_transition(self, info: Info) -> AsyncGenerator[Epoch, None]:
        seen: Any = None
        while True:
            await info.context.renew()
            progress = await info.context.reading.snapshot()
            row = await info.context.loaders.epoch.load(progress.epoch)
            moves = await info.context.loaders.move_counts.load(progress.epoch)
            if (row, moves) != seen:
                seen = (row, moves)
                epoch = await load_epoch(info, None)
                if epoch is not None:
                    info.context.item = "epoch"
                    yield epoch
            await info.context.close()
            await info.context.services.follower.wait_for_news(progress)

    @streamed("Shards that change owner: those that are on their way, then each that sets out or arrives.")
    async def shard_moves(
        self,
        info: Info,
        filter: Annotated[ShardMoveFilter | None, strawberry.argument(description="Which moves.")] = None,
    ) -> AsyncGenerator[list[ShardMove], None]:
        statement = epoch_queries.moves_statement(epoch_queries.MoveQuery() if filter is None else move_query(filter))
        c = t.hand_overs.c
        changed: ColumnElement[bool] = c.done_height.is_(None)
        while True:
            await info.context.renew()
            progress = await info.context.reading.snapshot()
            rows = await info.context.reading.run(_all, statement.where(changed).order_by(c.epoch, c.shard_index))
            if rows:
                info.context.item = progress.height
                yield [ShardMove.of(row) for row in rows]
            changed = or_(c.opened_height > progress.height, c.done_height > progress.height)
            await info.context.close()
            await info.context.services.follower.wait_for_news(progress)

    @streamed(
        "Storage nodes: each as it is, then each whose record, health or shards are different, or that the filter has "
        "come to hold of."
    )
    async def storage_nodes(
        self, info: Info, filter: Annotated[NodeFilter | None, strawberry.argument(description="Which nodes.")] = None
    ) -> AsyncGenerator[StorageNode, None]:
        seen: dict[bytes, Any] = {}
        while True:
            await info.context.renew()
            statement = await nodes_statement(info, filter)
            rows = await info.context.reading.run(_all, statement.order_by(t.nodes.c.node_id))
            seen = {row["node_id"]: seen[row["node_id"]] for row in rows if row["node_id"] in seen}
            states = await asyncio.gather(*(_state_of_node(info, row) for row in rows))
            for row, state in zip(rows, states, strict=True):
                if seen.get(row["node_id"]) != state:
                    seen[row["node_id"]] = state
                    info.context.item = row["node_id"]
                    yield StorageNode.of(row)
            await _look_again(info)

    @streamed("The network in numbers: as it is, then whenever one of them is another.")
    async def system(self, info: Info) -> AsyncGenerator[SystemStats, None]:
        seen: Any = None
        while True:
            await info.context.renew()
            stats = await load_system(info)
            row = await info.context.loaders.epoch.load(await info.context.epoch())
            worst = await load_worst_durability(info)
            state = (stats, row, worst and (worst.live_shards, worst.tolerated_node_losses))
            if stats is not None and state != seen:
                seen = state
                info.context.item = "system"
                yield stats
            await _look_again(info)

    @streamed(
        "Blobs whose durability falls: each once when its margin is below, and again when it falls further. At most "
        "500 at a time, those that lack most first."
    )
    async def durability_alerts(
        self,
        info: Info,
        margin_below: Annotated[
            int, strawberry.argument(description="Alert when fewer shards than this could still be lost.")
        ] = 1,
    ) -> AsyncGenerator[Blob, None]:
        told: dict[bytes, int] = {}
        while True:
            await info.context.renew()
            low = await _low_margins(info, margin_below)
            for blob_id, margin in low.items():
                if margin < told.get(blob_id, margin + 1):
                    blob = await load_blob(info, blob_id)
                    if blob is not None:
                        info.context.item = blob_id
                        yield blob
            for blob_id in told.keys() - low.keys():
                info.context.told.pop(blob_id, None)
            told = low
            await _look_again(info)

    @streamed("Blob objects that end soon: each once, when no more than so many epochs are left to it.")
    async def expiring_soon(
        self,
        info: Info,
        owner: Annotated[Address | None, strawberry.argument(description="Only those of this account.")] = None,
        within_epochs: Annotated[
            int, strawberry.argument(description="How many epochs may be left, the current one not counted.")
        ] = 1,
    ) -> AsyncGenerator[BlobObject, None]:
        if not 0 <= within_epochs <= EPOCHS_AHEAD_MAX:
            raise InvalidField(field="withinEpochs", problem=f"is not between 0 and {EPOCHS_AHEAD_MAX}")
        told: dict[bytes, int] = {}  # object: its end when it was told; one that was extended is told again
        while True:
            await info.context.renew()
            progress = await info.context.reading.snapshot()
            soon = EpochRange(after=progress.epoch, before=progress.epoch + 2 + within_epochs)
            query = ObjectQuery(owner=owner, ends=soon)
            statement = blob_queries.objects_statement(query, progress.epoch)
            statement = await info.context.reading.run(queries.narrowed, statement, blob_queries.rare_objects(query))
            after: Any = None
            while True:
                page = await _first(info, statement, blob_queries.OBJECTS_ORDER, after)
                for row in page:
                    if told.get(row["object_id"]) != row["end_epoch"]:
                        told[row["object_id"]] = row["end_epoch"]
                        info.context.item = row["object_id"]
                        yield BlobObject.of(row)
                if len(page) < PAGE_MAX:
                    break
                after = tuple(page[-1][column.name] for column in blob_queries.OBJECTS_ORDER.columns)
            told = {object_id: end for object_id, end in told.items() if end > progress.epoch}
            await info.context.close()
            await info.context.services.follower.wait_for_news(progress)


async def _look_again(info: Info) -> None:
    """Let go of the snapshot until something may be different."""
    await info.context.close()
    await info.context.services.clock.sleep_ms(LOOK_MS)


async def _first(info: Info, statement: Any, order: Any, after: Any = None) -> list[Row]:
    page = await info.context.reading.run(fetch_page, statement, order, Window(PAGE_MAX, False, after, None))
    return list(page.rows)


def _all(connection: Any, statement: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(statement).mappings()]


def _margin(info: Info, blob_id: bytes, row: Row) -> Any:
    certified = row["first_certified_epoch"]
    return None if certified is None else info.context.services.holdings.margin_of(BlobId(blob_id), certified)


async def _state_of_node(info: Info, row: Row) -> Any:
    """What a change of is worth telling: not the block that a node has come to, which changes all the time."""
    health = (await StorageNode.of(row).check(info)).health
    if health is None:
        return (row, None)
    owned = (health.shards, health.gaining, health.giving)
    return (row, health.status, owned, health.incomplete_blobs, health.corrupt_slivers)


async def _low_margins(info: Info, margin_below: int) -> dict[bytes, int]:
    """Certified blobs with less margin: of those that lack most, and the newest of all when even whole ones have."""
    holdings, epoch = info.context.services.holdings, await info.context.epoch()
    rows = [row for row in await info.context.loaders.blob.load_many(holdings.suspects()) if row is not None]
    whole = holdings.worst_margin(epoch, ())
    if whole is not None and whole.margin_shards < margin_below:
        newest = blob_queries.blobs_statement(BlobQuery(states=(BlobState.CERTIFIED.name,)), epoch)
        order = t.blobs.c.registered_sequence.desc()
        rows += await info.context.reading.run(_all, newest.order_by(order).limit(ALERTS_MAX))
    low: dict[bytes, int] = {}
    for row in rows:
        margin = _margin(info, row["blob_id"], row)
        is_low = margin is not None and margin.margin_shards < margin_below
        if is_low and blob_queries.state_of_blob(row, epoch) == BlobState.CERTIFIED.name:
            low[row["blob_id"]] = margin.margin_shards
    return low
