"""The committee that voting end has chosen for the next epoch: what is known of it before it begins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.read_model.queries import Row
from graphql_api.scalars import BigInt
from haulout import bcs
from haulout.ledger import events as e
from haulout.ledger.plan import compute_moves

if TYPE_CHECKING:
    from graphql_api.nodes import StorageNode


@strawberry.type(description="A node in the committee that was chosen for the next epoch.")
class NextMember:
    position: int = strawberry.field(description="The member's bit in certificates of that epoch.")
    weight: int = strawberry.field(description="Number of shards that it will own.")
    weight_before: int = strawberry.field(description="Number of shards that it owns in this epoch.")
    shards: list[int] = strawberry.field(description="Shards that it will own, in the order that a transition uses.")
    node_id: strawberry.Private[bytes]

    @resolved("The node.")
    async def node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.node_id)


@strawberry.type(description="Who will hold which shards in the next epoch, as voting end has fixed it.")
class NextCommittee:
    epoch: int = strawberry.field(description="The epoch it is chosen for.")
    storage_capacity: BigInt = strawberry.field(description="Encoded bytes that can be sold for that epoch.")
    kept_because: str | None = strawberry.field(
        description="Why it is this epoch's committee again, such as `COMMITTEE_TOO_SMALL`; null when it was chosen."
    )
    moving_shards: int = strawberry.field(description="Shards that will change owner.")
    members: list[NextMember] = strawberry.field(description="Its members, in committee order.")


async def next_committee_of(info: Info, epoch: Row) -> NextCommittee | None:
    """What was voted in the epoch of a row of `epochs`; None before voting has ended."""
    number = epoch["epoch"]
    if epoch["voted_height"] is None:
        return None
    voted = await info.context.loaders.vote.load(number)
    if voted is None:
        raise AssertionError(f"voting of epoch {number} has ended without an event")
    body: e.VotingEnded = bcs.decode(e.EventBody, voted["payload"])
    before = {row["node_id"]: row for row in await info.context.loaders.members.load(number)}
    held = {node_id: tuple(json.loads(row["shards"])) for node_id, row in before.items()}
    chosen = {member.node_id: member.shards for member in body.members}
    return NextCommittee(
        epoch=body.next_epoch,
        storage_capacity=BigInt(body.total_capacity_bytes),
        kept_because=epoch["kept_because"],
        moving_shards=len(compute_moves(held, chosen)),
        members=[
            NextMember(
                position=position,
                weight=len(member.shards),
                weight_before=before[member.node_id]["weight"] if member.node_id in before else 0,
                shards=list(member.shards),
                node_id=member.node_id,
            )
            for position, member in enumerate(body.members)
        ],
    )
