"""Storage nodes: what the ledger knows of them, and how they say they are."""

from __future__ import annotations

import asyncio
import enum
import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import Select

from graphql_api.blob_filters import OrderDirection
from graphql_api.connections import Connection, Paging
from graphql_api.context import Info
from graphql_api.diagnosis import Condition, Diagnosis, Known, conditions_of, diagnose
from graphql_api.fields import resolved
from graphql_api.health import Checkup
from graphql_api.ids import Node, global_id
from graphql_api.read_model import node_queries, queries
from graphql_api.read_model import schema as t
from graphql_api.read_model.node_queries import NodeQuery
from graphql_api.read_model.paging import Order, Window, fetch_page
from graphql_api.read_model.queries import Row
from graphql_api.scalars import Base64, BigInt, ObjectID, at
from haulout.errors import InvalidField
from haulout.ledger import queries as ledger_queries

if TYPE_CHECKING:
    from graphql_api.stakes import StakingPool


@strawberry.enum(description="What a node is doing.")
class NodePhase(enum.Enum):
    PENDING = strawberry.enum_value("PENDING", description="Registered; its pool is not active yet.")
    STANDBY = strawberry.enum_value("STANDBY", description="Answers, but owns no shard.")
    ACTIVE = strawberry.enum_value("ACTIVE", description="Owns shards and serves them.")
    CATCHING_UP = strawberry.enum_value("CATCHING_UP", description="Behind the ledger, executing blocks.")
    RECOVERING = strawberry.enum_value("RECOVERING", description="Fetching or rebuilding slivers that it lacks.")
    FAILED = strawberry.enum_value("FAILED", description="Answers that it has stopped; see `health.nodeStatus`.")
    UNREACHABLE = strawberry.enum_value("UNREACHABLE", description="Did not answer in time.")


@strawberry.enum(description="What a list of nodes can be ordered by.")
class NodeOrderField(enum.Enum):
    STAKE = strawberry.enum_value("STAKE", description="Active stake.")
    WEIGHT = strawberry.enum_value("WEIGHT", description="Shards in the current epoch.")
    NAME = strawberry.enum_value("NAME", description="Name, byte by byte.")


@strawberry.input(description="Order of a list of nodes.")
class NodeOrder:
    field: NodeOrderField = strawberry.field(default=NodeOrderField.STAKE, description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Up or down.")


@strawberry.input(description="Which nodes: all fields that are given hold.")
class NodeFilter:
    in_committee: bool | None = strawberry.field(
        default=None, description="Whether it owns shards in the current epoch."
    )
    name_contains: str | None = strawberry.field(
        default=None, description="Its name holds these 1 to 128 characters; capitals are not small letters."
    )
    phase: list[NodePhase] | None = strawberry.field(
        default=None,
        description="Phases it may be in, by the ledger and by its own answer of the last two seconds. Of the nodes "
        "that all else leaves, the 500 with most stake are asked.",
    )


@strawberry.type(description="What a node said about itself.")
class NodeHealth:
    uptime_seconds: BigInt = strawberry.field(description="How long its process has been running.")
    epoch: int = strawberry.field(description="The epoch it is in.")
    node_status: str = strawberry.field(description="Its own words: `Active`, `Standby`, ….")
    protocol_version: int | None = strawberry.field(
        description="Newest rules of the ledger that its release knows; null when it does not tell."
    )
    height: BigInt = strawberry.field(description="The last block that it executed and agrees with.")
    shards_owned: int = strawberry.field(description="Shards that it serves.")
    shards_gaining: int = strawberry.field(description="Shards on their way to it.")
    shards_giving: int = strawberry.field(description="Shards that it keeps until their new owners have everything.")
    stored_slivers: BigInt = strawberry.field(description="Slivers on its disk.")
    stored_bytes: BigInt = strawberry.field(description="Bytes of slivers on its disk.")
    incomplete_blobs: int = strawberry.field(description="Certified blobs of which it lacks something.")
    corrupt_slivers: int = strawberry.field(description="Slivers found corrupt since its process started.")
    checked_at: datetime = strawberry.field(description="When it said so.")

    @classmethod
    def of(cls, checkup: Checkup) -> NodeHealth | None:
        health = checkup.health
        if health is None:
            return None
        return cls(
            uptime_seconds=BigInt(health.uptime_ms // 1000),
            epoch=health.epoch,
            node_status=health.status,
            protocol_version=health.protocol_version or None,
            height=BigInt(health.height),
            shards_owned=len(health.shards),
            shards_gaining=len(health.gaining),
            shards_giving=len(health.giving),
            stored_slivers=BigInt(health.stored_slivers),
            stored_bytes=BigInt(health.stored_bytes),
            incomplete_blobs=health.incomplete_blobs,
            corrupt_slivers=health.corrupt_slivers,
            checked_at=at(checkup.checked_at_ms),
        )


@strawberry.type(description="A storage node: its entry on the ledger, and its answers of the last two seconds.")
class StorageNode(Node):
    node_id: ObjectID = strawberry.field(description="Its id on the ledger.")
    name: str = strawberry.field(description="Its name, unique on the network.")
    endpoint: str = strawberry.field(description="The first of its addresses.")
    addresses: list[str] = strawberry.field(description="Where it can be reached, in order of preference.")
    public_key: Base64 = strawberry.field(description="BLS12-381 key that it signs confirmations with.")
    network_public_key: Base64 = strawberry.field(description="Key that secures connections to it.")
    weight: int = strawberry.field(description="Shards that it owns in the current epoch.")
    registered_epoch: int = strawberry.field(description="Epoch in which it was registered.")
    row: strawberry.Private[Row]

    @resolved("What it is doing, by the ledger and by its own answer.")
    async def phase(self, info: Info) -> NodePhase:
        return await phase_of(info, self)

    @resolved("Release of the software that it runs; null when it does not tell, or did not answer in time.")
    async def version(self, info: Info) -> str | None:
        health = (await self.check(info)).health
        return None if health is None else health.release or None

    @resolved("Shards that it owns in the current epoch, ascending.")
    async def shards(self, info: Info) -> list[int]:
        members = await info.context.loaders.members.load(await info.context.epoch())
        return sorted(
            shard for member in members if member["node_id"] == self.node_id for shard in json.loads(member["shards"])
        )

    @resolved("What it says about itself; null when it did not answer in time.")
    async def health(self, info: Info) -> NodeHealth | None:
        return NodeHealth.of(await self.check(info))

    @resolved("Bytes of slivers that it stores; null when it did not answer in time.")
    async def used_bytes(self, info: Info) -> BigInt | None:
        health = (await self.check(info)).health
        return None if health is None else BigInt(health.stored_bytes)

    @resolved("Encoded bytes that it offers to the network.")
    async def capacity_bytes(self) -> BigInt:
        return BigInt(self.row["node_capacity_bytes"])

    @resolved("Blocks of the ledger that it has not executed yet; null when it did not answer in time.")
    async def event_lag(self, info: Info) -> BigInt | None:
        health = (await self.check(info)).health
        if health is None:
            return None
        head = max(health.head_height, (await info.context.reading.snapshot()).height)
        return BigInt(max(0, head - health.height))

    @resolved("Its stake, prices and commission.")
    async def staking_pool(self) -> Annotated[StakingPool, strawberry.lazy("graphql_api.stakes")]:
        from graphql_api.stakes import StakingPool

        return StakingPool.of(self.row)

    @resolved("Why it is not as it should be, worst first; empty when it is well.")
    async def diagnosis(self, info: Info) -> list[Diagnosis]:
        services = info.context.services
        report = services.holdings.report_of(bytes(self.node_id))
        return diagnose(await self.check(info), report, await self._known(info))

    @resolved(
        "What holds of it, and what does not: reachable, serving, caught up, complete, in the committee, leaving."
    )
    async def conditions(self, info: Info) -> list[Condition]:
        return conditions_of(await self.check(info), await self._known(info))

    async def _known(self, info: Info) -> Known:
        view, node_id = info.context.services.view(), bytes(self.node_id)
        progress = await info.context.reading.snapshot()
        return Known(
            address=self.endpoint,
            epoch=progress.epoch,
            height=progress.height,
            weight=self.weight,
            stake_frost=self.row["stake_frost"],
            arriving=sum(1 for _ in ledger_queries.open_hand_overs(view, to_node=node_id)),
            leaving=sum(1 for _ in ledger_queries.open_hand_overs(view, from_node=node_id)),
            is_asked_to_leave=self.row["leaving"],
        )

    async def check(self, info: Info) -> Checkup:
        if not self.addresses:
            return Checkup(None, 0)
        return await info.context.services.health.check(self.addresses[0])

    @classmethod
    def of(cls, row: Row) -> StorageNode:
        addresses = json.loads(row["addresses"])
        return cls(
            id=global_id("StorageNode", row["node_id"]),
            node_id=ObjectID(row["node_id"]),
            name=row["name"],
            endpoint=addresses[0] if addresses else "",
            addresses=addresses,
            public_key=Base64(row["public_key"]),
            network_public_key=Base64(row["network_public_key"]),
            weight=row["weight"],
            registered_epoch=row["registered_epoch"],
            row=row,
        )


CATCHING_UP_BLOCKS = 50
NAME_MAX = 128
ASKED_MAX = 500  # nodes that are asked for their phases by one filter


def node_phase(checkup: Checkup, *, activation_epoch: int, epoch: int) -> NodePhase:
    """A node's phase from its answer."""
    health = checkup.health
    if health is None:
        return NodePhase.UNREACHABLE
    if not health.is_serving:
        return NodePhase.FAILED
    if activation_epoch > epoch:
        return NodePhase.PENDING
    if health.head_height - health.height > CATCHING_UP_BLOCKS:
        return NodePhase.CATCHING_UP
    if health.incomplete_blobs:
        return NodePhase.RECOVERING
    return NodePhase.ACTIVE if health.shards else NodePhase.STANDBY


async def phase_of(info: Info, node: StorageNode) -> NodePhase:
    """A node's phase, by asking it."""
    checkup = await node.check(info)
    return node_phase(checkup, activation_epoch=node.row["activation_epoch"], epoch=await info.context.epoch())


async def load_node(info: Info, node_id: bytes) -> StorageNode | None:
    """A node by its id."""
    row = await info.context.loaders.node.load(node_id)
    return None if row is None else StorageNode.of(row)


async def find_node(info: Info, node_id: bytes | None, name: str | None) -> StorageNode | None:
    """A node by its id or its name.

    Raises:
        InvalidField: none or both are given.
    """
    if (node_id is None) == (name is None):
        raise InvalidField(field="storageNode", problem="pass either nodeId or name")
    if node_id is not None:
        return await load_node(info, node_id)
    found = await info.context.reading.run(queries.rows_by, t.nodes.c.name, [name])
    row = next(iter(found.values()), None)
    return None if row is None else StorageNode.of(row)


async def nodes_connection(
    info: Info,
    filter: NodeFilter | None,
    order_by: NodeOrder | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[StorageNode]:
    """All registered nodes."""
    chosen = order_by or NodeOrder()
    order = Order(node_queries.NODE_ORDERS[chosen.field.name], chosen.direction is OrderDirection.DESC)
    paging = Paging(
        info,
        "storageNodes",
        order,
        chosen.field.name,
        first=first,
        after=after,
        last=last,
        before=before,
        query=node_query(filter),
        phases=sorted(phase.name for phase in _phases(filter)),
    )
    return await paging.fetch(await nodes_statement(info, filter), StorageNode.of)


def node_query(filter: NodeFilter | None) -> NodeQuery:
    """What of a filter the read model knows, in its words.

    Raises:
        InvalidField: no name holds such a part.
    """
    if filter is None:
        return NodeQuery()
    if filter.name_contains is not None and not 0 < len(filter.name_contains) <= NAME_MAX:
        raise InvalidField(field="filter.nameContains", problem=f"has 1 to {NAME_MAX} characters")
    return NodeQuery(in_committee=filter.in_committee, name_part=filter.name_contains)


async def nodes_statement(info: Info, filter: NodeFilter | None) -> Select[Any]:
    """All nodes that a filter asks for, without order; for their phases they are asked themselves.

    Raises:
        InvalidField: as `node_query`.
    """
    statement, phases = node_queries.nodes_statement(node_query(filter)), _phases(filter)
    if not phases:
        return statement
    order = Order(node_queries.NODE_ORDERS[NodeOrderField.STAKE.name], descending=True)
    page = await info.context.reading.run(fetch_page, statement, order, Window(ASKED_MAX))
    nodes = [StorageNode.of(row) for row in page.rows]
    found = await asyncio.gather(*(phase_of(info, node) for node in nodes))
    chosen = [bytes(node.node_id) for node, phase in zip(nodes, found, strict=True) if phase in phases]
    return statement.where(t.nodes.c.node_id.in_(chosen))


def _phases(filter: NodeFilter | None) -> set[NodePhase]:
    return set() if filter is None else set(filter.phase or ())
