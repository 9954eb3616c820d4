"""The root of the schema, put together from its domains.

`python -m graphql_api.schema` prints the SDL that `schema.graphql` holds.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from typing import Annotated, Any, cast

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    Undefined,
)
from strawberry.extensions import MaxTokensLimiter, ParserCache
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter
from strawberry.types import ExecutionContext
from strawberry.utils.str_converters import to_camel_case

from graphql_api.access import Requires, Scope
from graphql_api.accounts import Account, load_account
from graphql_api.blob_filters import BlobFilter, BlobObjectFilter, BlobOrder
from graphql_api.blobs import (
    Blob,
    BlobObject,
    blobs_connection,
    load_blob,
    load_blob_object,
    objects_connection,
)
from graphql_api.cluster import Cluster, load_cluster
from graphql_api.connections import After, Before, Connection, First, Last
from graphql_api.context import Info
from graphql_api.epochs import (
    Committee,
    CommitteeMember,
    Epoch,
    Shard,
    epochs_connection,
    load_committee,
    load_epoch,
    load_members,
    load_shard,
)
from graphql_api.errors import label_error
from graphql_api.event import Event
from graphql_api.events import TYPES as EVENT_TYPES
from graphql_api.events import EventFilter, events_connection
from graphql_api.execution import LevelExecutor
from graphql_api.fields import resolved
from graphql_api.finders import find_by_id
from graphql_api.guard import requires
from graphql_api.ids import Node
from graphql_api.limits import DEFAULT_BOUNDS, CachedValidation, Limits
from graphql_api.mutations import Mutation
from graphql_api.nodes import NodeFilter, NodeOrder, StorageNode, find_node, nodes_connection
from graphql_api.operations import Operation, OperationFilter, load_operation, operations_connection
from graphql_api.planning import AssignmentPlan, CostEstimate, StakeChangeInput, estimate_cost, simulate_assignment
from graphql_api.proofs import AvailabilityCertificate
from graphql_api.read_model import blob_queries
from graphql_api.read_model.paging import DEFAULT_PAGE, PAGE_MAX, PageTooLarge
from graphql_api.scalars import SCALARS, Address, Base64, BigInt, BlobID, ObjectID
from graphql_api.sdl import print_document
from graphql_api.search import SearchHit, find_blob, search
from graphql_api.stakes import Stake, StakeFilter, stakes_connection
from graphql_api.subscriptions import Subscription
from graphql_api.system import (
    RateLimit,
    ServiceConfig,
    SystemStats,
    load_rate_limit,
    load_service_config,
    load_system,
)
from graphql_api.tokens import AccessToken, AuditEvent, Viewer, audit_connection, load_tokens
from graphql_api.transitions import ShardMove, ShardMoveFilter, moves_connection
from graphql_api.verification import Verification, verify_blob, verify_certificate

DOCUMENTS_REMEMBERED = 64  # parsed: the largest that is allowed takes about a megabyte, refused ones too

EpochArgument = Annotated[
    int | None, strawberry.argument(description="Number of the epoch; the current one if left out.")
]


@strawberry.type(
    description="Everything that can be read. Each answer is as of one block: `extensions.watermark`.",
    directives=[Requires(scope=Scope.READ)],
)
class Query:
    @resolved("Anything by its global id; null when it is not there.")
    async def node(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="An `id` that this API gave out.")],
    ) -> Node | None:
        return await find_by_id(info, id)

    @resolved("The network in numbers; null until genesis has been read.")
    async def system(self, info: Info) -> SystemStats | None:
        return await load_system(info)

    @resolved("Limits that every request is held to.")
    async def service_config(self, info: Info) -> ServiceConfig:
        return await load_service_config(info)

    @resolved("What the caller may still ask for.")
    async def rate_limit(self, info: Info) -> RateLimit:
        return load_rate_limit(info)

    @resolved(
        "What a text names: a blob id as text or as the decimal number of other explorers, the id of an object, a node "
        "or an account, a node's name, the number of an epoch. When it is the name of nothing here, nodes whose name "
        "holds it, and blobs whose id begins with it (from 4 characters on)."
    )
    async def search(
        self,
        info: Info,
        text: Annotated[str, strawberry.argument(description="The text, at most 128 characters.")],
        first: Annotated[
            int | None, strawberry.argument(description="How many hits: 20 if left out, 100 at most.")
        ] = None,
    ) -> list[SearchHit]:
        return await search(info, text, DEFAULT_PAGE if first is None else first)

    @resolved("Many things by their global ids, in this order; null for each that is not there.")
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="Ids, at most 100.")]
    ) -> list[Node | None]:
        if len(ids) > PAGE_MAX:
            raise PageTooLarge(asked=len(ids), limit=PAGE_MAX)
        return await asyncio.gather(*(find_by_id(info, id) for id in ids))

    @resolved("A blob by exactly one of its names; null when nobody registered it.")
    async def blob(
        self,
        info: Info,
        blob_id: Annotated[BlobID | None, strawberry.argument(description="The blob's id.")] = None,
        decimal_id: Annotated[
            str | None, strawberry.argument(description="Its id as the number that other explorers show.")
        ] = None,
        object_id: Annotated[
            ObjectID | None, strawberry.argument(description="The id of an object of it, deleted or not.")
        ] = None,
    ) -> Blob | None:
        return await find_blob(info, blob_id, decimal_id, object_id)

    @resolved("Blobs by their ids, in this order; null for each that nobody registered.")
    async def multi_get_blobs(
        self, info: Info, blob_ids: Annotated[list[BlobID], strawberry.argument(description="Ids, at most 100.")]
    ) -> list[Blob | None]:
        if len(blob_ids) > PAGE_MAX:
            raise PageTooLarge(asked=len(blob_ids), limit=PAGE_MAX)
        return await asyncio.gather(*(load_blob(info, blob_id) for blob_id in blob_ids))

    @resolved("Blobs of the whole network, registered but uncertified ones included.")
    async def blobs(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[BlobFilter | None, strawberry.argument(description="Which blobs.")] = None,
        order_by: Annotated[
            BlobOrder | None, strawberry.argument(description="Order; by registration, newest first.")
        ] = None,
    ) -> Connection[Blob]:
        return await blobs_connection(info, filter, order_by, first=first, after=after, last=last, before=before)

    @resolved("A blob object by its id on the ledger, deleted ones included; null when it never was.")
    async def blob_object(
        self, info: Info, object_id: Annotated[ObjectID, strawberry.argument(description="The object's id.")]
    ) -> BlobObject | None:
        return await load_blob_object(info, object_id)

    @resolved("Undeleted blob objects of the whole network, oldest first.")
    async def blob_objects(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[BlobObjectFilter | None, strawberry.argument(description="Which objects.")] = None,
    ) -> Connection[BlobObject]:
        return await objects_connection(info, filter, first=first, after=after, last=last, before=before)

    @resolved("The newest certificate of a blob; null when there is none.")
    async def certificate(
        self,
        info: Info,
        blob_id: Annotated[BlobID, strawberry.argument(description="The blob's id.")],
        epoch: Annotated[
            int | None, strawberry.argument(description="Only one signed in this epoch; any if left out.")
        ] = None,
    ) -> AvailabilityCertificate | None:
        row = await info.context.reading.run(blob_queries.newest_certificate, blob_id, epoch)
        n_shards = info.context.services.params.n_shards
        return None if row is None else AvailabilityCertificate.of(row, n_shards)

    @resolved("Check a certificate, wherever it is from, with the keys of an epoch's committee.")
    async def verify_certificate(
        self,
        info: Info,
        message: Annotated[Base64, strawberry.argument(description="Exactly the bytes that were signed.")],
        signature: Annotated[Base64, strawberry.argument(description="Aggregate signature, 96 bytes.")],
        signers: Annotated[list[int], strawberry.argument(description="Positions of the signers in the committee.")],
        epoch: Annotated[int, strawberry.argument(description="The epoch whose committee signed.")],
    ) -> Verification:
        return await verify_certificate(info, message, signature, signers, epoch)

    @resolved("Check a blob as it is now: ledger, certificate, metadata, and whether its slivers are there.")
    async def verify_blob(
        self,
        info: Info,
        blob_id: Annotated[BlobID, strawberry.argument(description="The blob's id.")],
        strict: Annotated[
            bool, strawberry.argument(description="Also read it and encode it again; for blobs of up to 4 MiB.")
        ] = False,
    ) -> Verification:
        return await verify_blob(info, blob_id, strict)

    @resolved("What storing blobs would cost now.")
    async def estimate_cost(
        self,
        info: Info,
        sizes: Annotated[list[BigInt], strawberry.argument(description="Size of each blob in bytes; at most 100.")],
        epochs: Annotated[int, strawberry.argument(description="How many epochs, the current one included.")],
    ) -> CostEstimate:
        return await estimate_cost(info, sizes, epochs)

    @resolved("Who would own which shards, were stakes changed or nodes gone; decides exactly as voting end does.")
    async def simulate_assignment(
        self,
        info: Info,
        stake_changes: Annotated[
            list[StakeChangeInput], strawberry.argument(description="Stake that would come or go; may be empty.")
        ],
        leaving: Annotated[
            list[strawberry.ID] | None, strawberry.argument(description="Nodes that would leave, by global `id`.")
        ] = None,
    ) -> AssignmentPlan:
        return await simulate_assignment(info, stake_changes, leaving)

    @resolved("An epoch; null when it has not begun.")
    async def epoch(self, info: Info, number: EpochArgument = None) -> Epoch | None:
        return await load_epoch(info, number)

    @resolved("All epochs, newest first.")
    async def epochs(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Epoch]:
        return await epochs_connection(info, first=first, after=after, last=last, before=before)

    @resolved("The committee of an epoch; null when it has not begun.")
    async def committee(self, info: Info, epoch: EpochArgument = None) -> Committee | None:
        return await load_committee(info, epoch)

    @resolved("Who owns which shards: all members of a committee at once, in committee order.")
    async def shard_map(self, info: Info, epoch: EpochArgument = None) -> list[CommitteeMember]:
        return await load_members(info, epoch)

    @resolved("A shard and who owns it in an epoch; null when there is no such shard, or the epoch has not begun.")
    async def shard(
        self,
        info: Info,
        index: Annotated[int, strawberry.argument(description="Which shard, from 0 to n - 1.")],
        epoch: EpochArgument = None,
    ) -> Shard | None:
        return await load_shard(info, index, epoch)

    @resolved("Shards that changed owner with any epoch, by epoch and shard.")
    async def shard_moves(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[ShardMoveFilter | None, strawberry.argument(description="Which moves.")] = None,
    ) -> Connection[ShardMove]:
        return await moves_connection(info, filter, first=first, after=after, last=last, before=before)

    @resolved("A storage node by its id or its name; null when there is none.")
    async def storage_node(
        self,
        info: Info,
        node_id: Annotated[ObjectID | None, strawberry.argument(description="The node's id on the ledger.")] = None,
        name: Annotated[str | None, strawberry.argument(description="The node's name.")] = None,
    ) -> StorageNode | None:
        return await find_node(info, node_id, name)

    @resolved("All registered storage nodes.")
    async def storage_nodes(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[NodeFilter | None, strawberry.argument(description="Which nodes.")] = None,
        order_by: Annotated[
            NodeOrder | None, strawberry.argument(description="Order; by stake, largest first.")
        ] = None,
    ) -> Connection[StorageNode]:
        return await nodes_connection(info, filter, order_by, first=first, after=after, last=last, before=before)

    @resolved("An account by its address; one that never held anything has a balance of 0.")
    async def account(
        self, info: Info, address: Annotated[Address, strawberry.argument(description="The account's address.")]
    ) -> Account | None:
        return await load_account(info, address)

    @resolved("Live stakes of the whole network, oldest first.")
    async def stakes(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[StakeFilter | None, strawberry.argument(description="Which stakes.")] = None,
    ) -> Connection[Stake]:
        return await stakes_connection(info, filter, first=first, after=after, last=last, before=before)

    @resolved("Events of the whole network in the ledger's order, oldest first.")
    async def events(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[EventFilter | None, strawberry.argument(description="Which events.")] = None,
    ) -> Connection[Event]:
        return await events_connection(info, filter, first=first, after=after, last=last, before=before)

    @resolved("Long work by the id that its mutation gave, as it stands now; null when there never was such.")
    async def operation(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
    ) -> Operation | None:
        return await load_operation(info, id)

    @requires(Scope.OPERATE, "Long work as it was looked at last, newest first; the last 10,000 that have ended.")
    async def operations(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[OperationFilter | None, strawberry.argument(description="Which operations.")] = None,
    ) -> Connection[Operation]:
        return await operations_connection(info, filter, first=first, after=after, last=last, before=before)

    @requires(
        Scope.OPERATE,
        "The network's processes, asked of who runs them; null when this server was not told who that is.",
    )
    async def cluster(self, info: Info) -> Cluster | None:
        return await load_cluster(info)

    @resolved("Who is asking, and what that allows.")
    async def viewer(self, info: Info) -> Viewer:
        return Viewer.of(info)

    @requires(Scope.ADMIN, "All tokens, oldest first, revoked ones included.")
    async def tokens(self, info: Info) -> list[AccessToken]:
        return await load_tokens(info)

    @requires(Scope.ADMIN, "Mutations that were called, newest first.")
    async def audit_events(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[AuditEvent]:
        return await audit_connection(info, first=first, after=after, last=last, before=before)


# --- errors -------------------------------------------------------------------------------------------------


class Schema(strawberry.Schema):
    """A schema whose errors carry a code; what was not meant for clients is logged once and masked."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for type_ in self._schema.type_map.values():
            if isinstance(type_, GraphQLInputObjectType):
                _forget_null_defaults(type_.fields.values())
            elif isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
                for field in type_.fields.values():
                    _forget_null_defaults(field.args.values())

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        trace_id = getattr(execution_context and execution_context.context, "trace_id", "")
        for error in errors:
            label_error(error, trace_id)


def _forget_null_defaults(arguments: Iterable[GraphQLArgument | GraphQLInputField]) -> None:
    """An argument that may be left out is no argument with the default null: `= null` says nothing."""
    for argument in arguments:
        if argument.default_value is None:
            argument.default_value = Undefined


class Names(NameConverter):
    """Strawberry asks for the name of every argument each time that a field is resolved: each is made once."""

    def apply_naming_config(self, name: str) -> str:
        return _camel_case(name)


@functools.cache
def _camel_case(name: str) -> str:
    return to_camel_case(name)


EVENT_CLASSES = tuple(dict.fromkeys(cast(type, cls) for cls in EVENT_TYPES.values()))

# One per process: Strawberry applies resolvers of shared types in place.
schema = Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    types=EVENT_CLASSES,
    config=StrawberryConfig(scalar_map=SCALARS, name_converter=Names()),
    execution_context_class=LevelExecutor,
    extensions=[
        lambda: MaxTokensLimiter(max_token_count=DEFAULT_BOUNDS.tokens),
        lambda: ParserCache(maxsize=DOCUMENTS_REMEMBERED),
        Limits,
        lambda: CachedValidation(maxsize=DOCUMENTS_REMEMBERED),
    ],
)


def sdl() -> str:
    """The schema as a document."""
    return print_document(schema.as_str())


if __name__ == "__main__":
    print(sdl(), end="")
