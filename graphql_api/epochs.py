"""Epochs: their phase, parameters and committee."""

from __future__ import annotations

import enum
import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import select

from graphql_api.blob_filters import OrderDirection
from graphql_api.connections import After, Before, Connection, First, Last, Paging, assemble
from graphql_api.context import Context, Info
from graphql_api.event import Event
from graphql_api.fields import resolved
from graphql_api.ids import Node, global_id
from graphql_api.next_committee import NextCommittee, next_committee_of
from graphql_api.read_model import epoch_queries
from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import CursorCodec, page_of, read_window
from graphql_api.read_model.queries import Row
from graphql_api.scalars import BigInt, at
from graphql_api.transitions import EpochTransition, ShardMove, ShardMoveFilter, moves_connection, transition_of
from haulout.codec.sizes import encodings_of, max_network_blob_bytes
from haulout.primitives import STORAGE_UNIT_BYTES, max_faulty, min_correct, min_one_correct

if TYPE_CHECKING:
    from graphql_api.events import EventFilter
    from graphql_api.nodes import StorageNode
    from graphql_api.past import EpochQuery


@strawberry.enum(description="Where an epoch stands: Done, then Voted, then (in the next epoch) Sync, then Done.")
class EpochPhase(enum.Enum):
    DONE = strawberry.enum_value("DONE", description="The committee has its shards.")
    VOTED = strawberry.enum_value("VOTED", description="The next committee and parameters are chosen.")
    SYNC = strawberry.enum_value("SYNC", description="The committee has changed; shards are being handed over.")


@strawberry.enum(description="What a list of committee members can be ordered by.")
class MemberOrderField(enum.Enum):
    WEIGHT = strawberry.enum_value("WEIGHT", description="Number of shards.")
    STAKE = strawberry.enum_value("STAKE", description="Stake when the epoch started.")
    POSITION = strawberry.enum_value("POSITION", description="The member's bit in certificates.")


@strawberry.input(description="Order of a list of committee members.")
class MemberOrder:
    field: MemberOrderField = strawberry.field(default=MemberOrderField.WEIGHT, description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Up or down.")


@strawberry.type(description="A node in a committee.")
class CommitteeMember:
    position: int = strawberry.field(description="The member's bit in certificates of this epoch.")
    weight: int = strawberry.field(description="Number of shards.")
    stake: BigInt = strawberry.field(description="Stake when the epoch started, in FROST.")
    shards: list[int] = strawberry.field(description="Shards it owns, in the order that the next transition uses.")
    node_id: strawberry.Private[bytes]

    @resolved("The node.")
    async def node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")]:
        from graphql_api.nodes import load_node

        node = await load_node(info, self.node_id)
        if node is None:
            raise AssertionError(f"committee member {self.node_id.hex()} is not a registered node")
        return node

    @classmethod
    def of(cls, row: Row) -> CommitteeMember:
        return cls(
            position=row["position"],
            weight=row["weight"],
            stake=BigInt(row["stake_frost"]),
            shards=json.loads(row["shards"]),
            node_id=row["node_id"],
        )


@strawberry.type(description="Who holds which shards in an epoch; all weights are counted in shards.")
class Committee(Node):
    epoch: int = strawberry.field(description="The epoch it serves.")
    n_shards: int = strawberry.field(description="Shards over all members: n.")
    total_stake: BigInt = strawberry.field(description="Stake of all members when the epoch started, in FROST.")
    max_faulty_shards: int = strawberry.field(description="Shards that may be lost or lying: f, the third below n.")
    quorum_threshold: int = strawberry.field(description="Shards that certify a blob: n - f.")
    validity_threshold: int = strawberry.field(description="Shards among which one is correct: f + 1.")

    @resolved("Its members.")
    async def members(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        order_by: Annotated[
            MemberOrder | None, strawberry.argument(description="Order; by weight, largest first.")
        ] = None,
    ) -> Connection[CommitteeMember]:
        chosen = order_by or MemberOrder()
        order_name = f"{chosen.field.name} {chosen.direction.name}"
        cursors = CursorCodec(info.context.services.cursor_key, f"members {self.epoch}", order_name)
        window = read_window(cursors, first=first, after=after, last=last, before=before)
        rows = await info.context.loaders.members.load(self.epoch)
        column = {"WEIGHT": "weight", "STAKE": "stake_frost", "POSITION": "position"}[chosen.field.name]

        def key_of(row: Row) -> tuple[Any, ...]:
            return row[column], row["node_id"]

        async def count() -> int:
            return len(rows)

        page = page_of(rows, key_of, window, descending=chosen.direction is OrderDirection.DESC)
        return assemble(page, CommitteeMember.of, lambda row: cursors.encode(key_of(row)), count)

    @classmethod
    def of(cls, row: Row, n_shards: int) -> Committee:
        """The committee of a row of `epochs`."""
        return cls(
            id=global_id("Committee", row["epoch"]),
            epoch=row["epoch"],
            n_shards=n_shards,
            total_stake=BigInt(row["total_stake_frost"]),
            max_faulty_shards=max_faulty(n_shards),
            quorum_threshold=min_correct(n_shards),
            validity_threshold=min_one_correct(n_shards),
        )


@strawberry.type(description="Rules and prices of an epoch.")
class SystemParameters:
    n_shards: int = strawberry.field(description="Shards of the network; fixed at genesis.")
    max_epochs_ahead: int = strawberry.field(description="How many epochs ahead storage can be bought.")
    storage_unit_size: BigInt = strawberry.field(description="The unit in which storage is sold, in bytes.")
    max_blob_size: BigInt = strawberry.field(description="The largest blob that the network stores, in bytes.")
    storage_price_per_unit: BigInt = strawberry.field(description="FROST per started unit of encoded size and epoch.")
    write_price_per_unit: BigInt = strawberry.field(description="FROST per started unit of encoded size, once.")
    capacity_bytes: BigInt = strawberry.field(description="Encoded bytes that can be sold per epoch.")
    encoding_types: list[str] = strawberry.field(description="Encodings that blobs can be registered with.")


@strawberry.type(description="A span of time with one committee.")
class Epoch(Node):
    number: int = strawberry.field(description="Its number; genesis is epoch 1.")
    phase: EpochPhase = strawberry.field(description="Where it stands; a past epoch keeps its last phase.")
    forced: bool = strawberry.field(description="Whether it became Done by its deadline instead of by a quorum.")
    started_at: datetime = strawberry.field(description="When its committee took over, by the ledger's clock.")
    ends_at: datetime | None = strawberry.field(
        description="When it is due to end; null on networks whose epochs end by hand."
    )
    duration_seconds: int = strawberry.field(description="How long epochs last; fixed at genesis.")
    storage_capacity: BigInt = strawberry.field(description="Encoded bytes that can be sold for it.")
    row: strawberry.Private[Any]

    @resolved("Who holds which shards.")
    async def committee(self, info: Info) -> Committee:
        return Committee.of(self.row, info.context.services.params.n_shards)

    @resolved("Who will hold which shards in the next epoch; null before voting has ended.")
    async def next_committee(self, info: Info) -> NextCommittee | None:
        return await next_committee_of(info, self.row)

    @resolved("Its rules and prices.")
    async def parameters(self, info: Info) -> SystemParameters:
        params = info.context.services.params
        return SystemParameters(
            n_shards=params.n_shards,
            max_epochs_ahead=params.max_epochs_ahead,
            storage_unit_size=BigInt(STORAGE_UNIT_BYTES),
            max_blob_size=BigInt(max_network_blob_bytes(params.n_shards, params.max_blob_bytes)),
            storage_price_per_unit=BigInt(self.row["storage_price_frost"]),
            write_price_per_unit=BigInt(self.row["write_price_frost"]),
            capacity_bytes=BigInt(self.row["total_capacity_bytes"]),
            encoding_types=[encoding.name for encoding in encodings_of(params.n_shards)],
        )

    @resolved("Encoded bytes sold for it so far.")
    async def storage_used(self, info: Info) -> BigInt:
        booking = await info.context.loaders.ring.load(self.number)
        return BigInt(booking["used_bytes"] if booking else 0)

    @resolved("FROST collected for its committee so far.")
    async def rewards(self, info: Info) -> BigInt:
        booking = await info.context.loaders.ring.load(self.number)
        return BigInt(booking["rewards_frost"] if booking else 0)

    @resolved("How it took over from the epoch before.")
    async def transition(self, info: Info) -> EpochTransition:
        return await transition_of(info, self.row)

    @resolved("Shards that changed owner with it, ascending.")
    async def shard_moves(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[ShardMoveFilter | None, strawberry.argument(description="Which moves.")] = None,
    ) -> Connection[ShardMove]:
        return await moves_connection(
            info, filter, of_epoch=self.number, first=first, after=after, last=last, before=before
        )

    @resolved("The network as it was in its last block; for the current epoch, as it is.")
    async def query(self, info: Info) -> Annotated[EpochQuery, strawberry.lazy("graphql_api.past")]:
        from graphql_api.past import load_history

        found = await load_history(info, self.number)
        if found is None:
            raise AssertionError(f"epoch {self.number} has a row and has not begun")
        return found

    @resolved("FROST paid to its members' pools; null until the epoch is over.")
    async def paid_rewards(self) -> BigInt | None:
        paid = self.row["paid_frost"]
        return None if paid is None else BigInt(paid)

    @resolved("What happened in it, oldest first.")
    async def events(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[
            Annotated[EventFilter, strawberry.lazy("graphql_api.events")] | None,
            strawberry.argument(description="Which events."),
        ] = None,
    ) -> Connection[Event]:
        from graphql_api.events import events_connection

        return await events_connection(
            info, filter, of_epoch=self.number, first=first, after=after, last=last, before=before
        )

    @classmethod
    def of(cls, row: Row, context: Context) -> Epoch:
        params = context.services.params
        ends_ms = row["started_time_ms"] + params.epoch_duration_ms
        return cls(
            id=global_id("Epoch", row["epoch"]),
            number=row["epoch"],
            phase=EpochPhase[row["phase"]],
            forced=row["forced"],
            started_at=at(row["started_time_ms"]),
            ends_at=None if params.manual_epochs else at(ends_ms),
            duration_seconds=params.epoch_duration_ms // 1000,
            storage_capacity=BigInt(row["total_capacity_bytes"]),
            row=row,
        )


async def load_epoch(info: Info, number: int | None) -> Epoch | None:
    """An epoch by its number, the current one by default."""
    row = await info.context.loaders.epoch.load(await info.context.epoch() if number is None else number)
    return None if row is None else Epoch.of(row, info.context)


async def expected_start(info: Info, number: int) -> datetime | None:
    """When an epoch began, or is expected to; None for one to come on a network whose epochs end by hand."""
    row = await info.context.loaders.epoch.load(number)
    if row is not None:
        return at(row["started_time_ms"])
    params, epoch = info.context.services.params, await info.context.epoch()
    current = await info.context.loaders.epoch.load(epoch)
    if current is None or params.manual_epochs:
        return None
    return at(current["started_time_ms"] + (number - epoch) * params.epoch_duration_ms)


async def load_committee(info: Info, epoch: int | None) -> Committee | None:
    """The committee of an epoch, of the current one by default."""
    found = await load_epoch(info, epoch)
    return None if found is None else Committee.of(found.row, info.context.services.params.n_shards)


async def load_members(info: Info, epoch: int | None) -> list[CommitteeMember]:
    """All members of an epoch's committee in committee order."""
    rows = await info.context.loaders.members.load(await info.context.epoch() if epoch is None else epoch)
    return [CommitteeMember.of(row) for row in rows]


@strawberry.type(description="A shard in an epoch.")
class Shard:
    index: int = strawberry.field(description="Which shard.")
    epoch: int = strawberry.field(description="In which epoch.")
    member: strawberry.Private[CommitteeMember]

    @resolved("Who owns it.")
    async def owner(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")]:
        return await self.member.node(info)

    @resolved("How it came to its owner, if it changed hands with this epoch; else null.")
    async def move(self, info: Info) -> ShardMove | None:
        row = await info.context.reading.run(epoch_queries.move_of, self.epoch, self.index)
        return None if row is None else ShardMove.of(row)


async def load_shard(info: Info, index: int, epoch: int | None) -> Shard | None:
    """A shard in an epoch, in the current one by default; None when there is no such epoch or shard."""
    number = await info.context.epoch() if epoch is None else epoch
    members = await load_members(info, number)
    return next((Shard(index=index, epoch=number, member=one) for one in members if index in one.shards), None)


async def epochs_connection(
    info: Info, *, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[Epoch]:
    """All epochs, newest first."""
    paging = Paging(
        info, "epochs", epoch_queries.EPOCHS_ORDER, "NUMBER", first=first, after=after, last=last, before=before
    )
    return await paging.fetch(select(t.epochs), lambda row: Epoch.of(row, info.context))
