"""What would be: what storing costs, and who would own which shards. Nothing here changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.ids import bytes_key, read_global_id
from graphql_api.scalars import BigInt
from haulout.codec import sizes
from haulout.errors import InvalidField
from haulout.ledger import queries
from haulout.ledger.plan import plan_next_committee
from haulout.primitives import storage_units

if TYPE_CHECKING:
    from graphql_api.nodes import StorageNode

SIZES_MAX = 100
CHANGES_MAX = 50
STAKE_CHANGE_MAX = 1 << 62


@strawberry.type(description="What storing some blobs would cost now, in FROST.")
class CostEstimate:
    encoded_size: BigInt = strawberry.field(description="Size of all blobs over all shards, metadata included.")
    units: BigInt = strawberry.field(description="Started storage units of all blobs.")
    storage_cost: BigInt = strawberry.field(description="For the storage, over all epochs.")
    write_cost: BigInt = strawberry.field(description="For the writes, once.")
    total: BigInt = strawberry.field(description="Both together.")
    epochs: int = strawberry.field(description="Epochs that were asked for, the current one included.")
    encoding_types: list[str] = strawberry.field(description="The encoding of each blob, in the order asked.")


@strawberry.input(description="Stake that would be added to a node, or taken away.")
class StakeChangeInput:
    node: strawberry.ID = strawberry.field(description="The node's global `id`.")
    delta: str = strawberry.field(description='FROST as a decimal string; negative to take away: `"-5000000000"`.')


@strawberry.type(description="A node's place in a plan.")
class PlannedMember:
    weight_before: int = strawberry.field(description="Shards that it owns in the committee chosen last.")
    weight_after: int = strawberry.field(description="Shards that it would own.")
    shards: list[int] = strawberry.field(description="The shards that it would own.")
    stake: BigInt = strawberry.field(description="Stake that counts for it in the plan, in FROST.")
    node_id: strawberry.Private[bytes]

    @resolved("The node.")
    async def node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.node_id)


@strawberry.type(description="A shard that would change hands.")
class PlannedMove:
    shard: int = strawberry.field(description="The shard.")
    from_id: strawberry.Private[bytes]
    to_id: strawberry.Private[bytes]

    @resolved("Who gives it away.")
    async def from_node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.from_id)

    @resolved("Who receives it.")
    async def to_node(self, info: Info) -> Annotated[StorageNode, strawberry.lazy("graphql_api.nodes")] | None:
        from graphql_api.nodes import load_node

        return await load_node(info, self.to_id)


@strawberry.type(
    description="The committee of the first epoch for which none is chosen, by the very function that voting end calls."
)
class AssignmentPlan:
    epoch: int = strawberry.field(description="The epoch it would serve.")
    possible: bool = strawberry.field(description="Whether these nodes and stakes can hold all shards.")
    members: list[PlannedMember] = strawberry.field(description="Members before or after, by node id.")
    moves: list[PlannedMove] = strawberry.field(description="Shards that would change hands, ascending.")
    extra_moves: int = strawberry.field(
        description="How many more shards would move than without what was asked; negative when fewer would."
    )
    bytes_to_move: BigInt = strawberry.field(
        description="What would travel with them at most: as if all storage sold for this epoch were filled."
    )
    warnings: list[str] = strawberry.field(description="Why the committee would stay as it is; else empty.")


async def estimate_cost(info: Info, blob_sizes: list[BigInt], epochs: int) -> CostEstimate:
    """What storing blobs of these sizes would cost now.

    Raises:
        InvalidField: too many sizes, or epochs that cannot be bought.
        BlobTooLarge: more than the network stores.
    """
    services = info.context.services
    params = services.params
    if not 0 < len(blob_sizes) <= SIZES_MAX:
        raise InvalidField(field="sizes", problem=f"takes 1 to {SIZES_MAX} sizes")
    if not 0 < epochs <= params.max_epochs_ahead:
        raise InvalidField(field="epochs", problem=f"is from 1 to {params.max_epochs_ahead}")
    limit = sizes.max_network_blob_bytes(params.n_shards, params.max_blob_bytes)
    encoded_sizes, names = [], []
    for size in blob_sizes:
        if size > limit:
            raise InvalidField(field="sizes", problem=f"{size} bytes: this network stores blobs of up to {limit}")
        encoding = sizes.choose_encoding(size, params.n_shards)
        names.append(encoding.name)
        encoded_sizes.append(sizes.encoded_length(size, params.n_shards, encoding))
    view = services.view()
    quotes = [queries.quote(view, encoded_bytes=encoded, n_epochs=epochs) for encoded in encoded_sizes]
    return CostEstimate(
        encoded_size=BigInt(sum(encoded_sizes)),
        units=BigInt(sum(storage_units(encoded) for encoded in encoded_sizes)),
        storage_cost=BigInt(sum(quote.storage_frost for quote in quotes)),
        write_cost=BigInt(sum(quote.write_frost for quote in quotes)),
        total=BigInt(sum(quote.total_frost for quote in quotes)),
        epochs=epochs,
        encoding_types=names,
    )


async def simulate_assignment(
    info: Info, stake_changes: list[StakeChangeInput], leaving: list[strawberry.ID] | None
) -> AssignmentPlan:
    """The next committee, were stakes changed and nodes gone.

    Raises:
        InvalidField: an id that is no node's, a number that is none, too many of either.
    """
    if len(stake_changes) + len(leaving or ()) > CHANGES_MAX:
        raise InvalidField(field="stakeChanges", problem=f"at most {CHANGES_MAX} changes and leavers together")
    view = info.context.services.view()
    changes: dict[bytes, int] = {}
    for change in stake_changes:
        node_id = _node_id(change.node, field="stakeChanges.node")
        if queries.node(view, node_id) is None:
            raise InvalidField(field="stakeChanges.node", problem="is not a registered node")
        changes[node_id] = changes.get(node_id, 0) + _delta(change.delta)
    gone = [_node_id(node, field="leaving") for node in leaving or ()]
    # No await between these: both see the same block.
    plan = plan_next_committee(view, leaving=gone, stake_changes=changes)
    alone = plan_next_committee(view)
    stakes = dict(plan.active_set)
    return AssignmentPlan(
        epoch=plan.epoch,
        possible=plan.is_possible,
        members=[
            PlannedMember(
                weight_before=len(plan.before.get(node_id, ())),
                weight_after=len(plan.assignment.get(node_id, ())),
                shards=list(plan.assignment.get(node_id, ())),
                stake=BigInt(stakes.get(node_id, 0)),
                node_id=node_id,
            )
            for node_id in sorted({*plan.before, *plan.assignment})
        ],
        moves=[PlannedMove(shard=m.shard_index, from_id=m.from_node, to_id=m.to_node) for m in plan.moves],
        extra_moves=len(plan.moves) - len(alone.moves),
        bytes_to_move=BigInt(plan.moved_bytes),
        warnings=[] if plan.kept_because is None else [str(plan.kept_because)],
    )


def _node_id(text: str, *, field: str) -> bytes:
    type_name, key = read_global_id(text)
    if type_name != "StorageNode":
        raise InvalidField(field=field, problem="is not the id of a node")
    return bytes_key(key)


def _delta(text: str) -> int:
    try:
        value = int(text) if len(text) <= 20 else STAKE_CHANGE_MAX + 1
    except ValueError as e:
        raise InvalidField(field="stakeChanges.delta", problem=f"{text!r} is not a whole number") from e
    if abs(value) > STAKE_CHANGE_MAX:
        raise InvalidField(field="stakeChanges.delta", problem=f"is at most {STAKE_CHANGE_MAX}, up or down")
    return value
