"""Long work: what a mutation has begun, and how far it is. `operation_keeper` follows it; here is how it is shown."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from datetime import datetime
from typing import Annotated

import strawberry

from graphql_api.blob_mutations import AttributeInput, Encoding
from graphql_api.blobs import Blob, load_blob
from graphql_api.connections import Connection, Paging
from graphql_api.context import Info
from graphql_api.epochs import Epoch, load_epoch
from graphql_api.fields import resolved
from graphql_api.guard import digest_of_input
from graphql_api.ids import Node, bytes_key, global_id, read_global_id
from graphql_api.nodes import StorageNode, load_node
from graphql_api.operation_keeper import ID_BYTES, UPLOAD, upload_standing
from graphql_api.payloads import CLIENT_ID, Payload, UserError, user_error_of
from graphql_api.proofs import Persistence
from graphql_api.records import operations as kept
from graphql_api.records.operations import Name
from graphql_api.scalars import BigInt, at
from haulout.errors import InvalidField, from_wire
from haulout.primitives import hex_id_text

LOOK_S = 0.5
KEY_MAX = 128


@strawberry.enum(description="What kind of work an operation is.")
class OperationKind(enum.Enum):
    UPLOAD = strawberry.enum_value("UPLOAD", description="A blob that is put to the gateway.")
    DRAIN_NODE = strawberry.enum_value("DRAIN_NODE", description="A storage node that hands over all it has.")
    SCALE_CLUSTER = strawberry.enum_value("SCALE_CLUSTER", description="Another number of storage nodes.")
    ADVANCE_EPOCH = strawberry.enum_value("ADVANCE_EPOCH", description="An epoch that was begun by hand.")


@strawberry.enum(description="Where an operation stands.")
class OperationPhase(enum.Enum):
    WAITING = strawberry.enum_value("WAITING", description="Nothing has been put to its URL yet.")
    RECEIVING = strawberry.enum_value("RECEIVING", description="The gateway takes the content in.")
    ENCODING = strawberry.enum_value("ENCODING", description="Slivers are made of it.")
    REGISTERING = strawberry.enum_value("REGISTERING", description="The ledger registers it; this is paid for.")
    UPLOADING = strawberry.enum_value("UPLOADING", description="Slivers go to the nodes, which confirm them.")
    CERTIFYING = strawberry.enum_value("CERTIFYING", description="The ledger is shown the confirmations.")
    REQUESTED = strawberry.enum_value("REQUESTED", description="Accepted; the ledger does not know of it yet.")
    LEAVING = strawberry.enum_value("LEAVING", description="The node leaves the committee with the next epoch.")
    MOVING = strawberry.enum_value("MOVING", description="Shards are on their way to their new owners.")
    CHANGING = strawberry.enum_value("CHANGING", description="Storage nodes come or go, one by one.")
    DONE = strawberry.enum_value("DONE", description="All of it is done.")
    FAILED = strawberry.enum_value("FAILED", description="It came to nothing; `error` says why.")


ENDED = (OperationPhase.DONE, OperationPhase.FAILED)


@strawberry.enum(description="What has become of an operation.")
class OperationState(enum.Enum):
    RUNNING = strawberry.enum_value("RUNNING", description="It goes on, or waits for its content.")
    SUCCEEDED = strawberry.enum_value("SUCCEEDED", description="All of it is done.")
    FAILED = strawberry.enum_value("FAILED", description="It came to nothing, or another one took its place.")


OUTCOMES = {  # how a state is kept: by the phase that an operation has ended in
    OperationState.RUNNING: None,
    OperationState.SUCCEEDED: OperationPhase.DONE.name,
    OperationState.FAILED: OperationPhase.FAILED.name,
}


@strawberry.type(description="A storage node's part in an operation.")
class NodeOutcome:
    weight: int = strawberry.field(description="Shards that it is about.")
    has_confirmed: bool = strawberry.field(
        description="Whether it has done its part: signed that it holds all of its slivers, or all shards have arrived."
    )
    problem: str | None = strawberry.field(description="What it answered last, when that was no confirmation.")
    node_id: strawberry.Private[bytes]

    @resolved("The node.")
    async def node(self, info: Info) -> StorageNode | None:
        return await load_node(info, self.node_id)


@strawberry.type(description="A phase that an operation has come to.")
class OperationStep:
    phase: OperationPhase = strawberry.field(description="The phase.")
    started_at: datetime = strawberry.field(description="When it was first seen in it.")


OperationResult = Annotated[
    Blob | StorageNode | Epoch, strawberry.union("OperationResult", description="What an operation was for.")
]


@strawberry.type(
    description="Long work that a mutation began. It is kept over restarts of everything, its end for good."
)
class Operation(Node):
    kind: OperationKind = strawberry.field(description="What kind of work it is.")
    state: OperationState = strawberry.field(description="What has become of it.")
    phase: OperationPhase = strawberry.field(description="Where it stands.")
    progress: float = strawberry.field(description="How much of the phase is done, from 0 to 1.")
    done_bytes: BigInt = strawberry.field(description="Bytes of an upload's phase that are done; else 0.")
    total_bytes: BigInt = strawberry.field(description="Bytes of an upload's phase altogether; 0 when it has none.")
    done_parts: int = strawberry.field(description="Shards that have arrived, or nodes that are there; 0 of an upload.")
    total_parts: int = strawberry.field(description="Shards that move, or nodes that were asked for; 0 of an upload.")
    started_at: datetime = strawberry.field(description="When it was begun.")
    finished_at: datetime | None = strawberry.field(description="When it was seen to have ended; null before.")
    steps: list[OperationStep] = strawberry.field(description="The phases it was seen in, in order.")
    per_node: list[NodeOutcome] = strawberry.field(description="What each storage node has done of it so far.")
    error: UserError | None = strawberry.field(description="Why it failed, or what is in its way; else null.")
    record: strawberry.Private[kept.Operation]

    @resolved("The stored blob; null before an upload is done, and while it is not read back yet.")
    async def blob(self, info: Info) -> Blob | None:
        blob_id = self.record.standing.blob_id
        return None if blob_id is None else await load_blob(info, blob_id)

    @resolved("What it is for: the blob once it is stored, the node that goes, the epoch once it has begun; else null.")
    async def result(self, info: Info) -> OperationResult | None:
        target = self.record.target
        if self.kind is OperationKind.UPLOAD:
            return await self.blob(info)
        if self.kind is OperationKind.DRAIN_NODE:
            return await load_node(info, bytes.fromhex(target["nodeId"]))
        return await load_epoch(info, target["epoch"]) if self.kind is OperationKind.ADVANCE_EPOCH else None

    @classmethod
    def of(cls, operation: kept.Operation) -> Operation:
        """An operation as it is kept."""
        standing, is_upload = operation.standing, operation.kind == UPLOAD
        phase, failure = OperationPhase[standing.phase], None
        share = standing.done / standing.total if standing.total else 0.0
        if standing.error is not None:
            code, text = standing.error
            failure = user_error_of(from_wire("FAILED_PRECONDITION", code, text, {}))
        return cls(
            id=global_id("Operation", bytes.fromhex(operation.operation_id)),
            kind=OperationKind[operation.kind],
            state=state_of(phase),
            phase=phase,
            progress=1.0 if phase is OperationPhase.DONE else min(1.0, share),
            done_bytes=BigInt(standing.done if is_upload else 0),
            total_bytes=BigInt(standing.total if is_upload else 0),
            done_parts=0 if is_upload else standing.done,
            total_parts=0 if is_upload else standing.total,
            started_at=at(operation.started_ms),
            finished_at=None if operation.ended_ms is None else at(operation.ended_ms),
            steps=[
                OperationStep(phase=OperationPhase[name], started_at=at(time_ms)) for name, time_ms in operation.steps
            ],
            per_node=[
                NodeOutcome(weight=part.weight, has_confirmed=part.is_done, problem=part.problem, node_id=part.node_id)
                for part in standing.parts
            ],
            error=failure,
            record=operation,
        )


def state_of(phase: OperationPhase) -> OperationState:
    """The state of an operation in a phase."""
    if phase not in ENDED:
        return OperationState.RUNNING
    return OperationState.SUCCEEDED if phase is OperationPhase.DONE else OperationState.FAILED


@strawberry.type(description="Work that has begun.")
class OperationPayload(Payload):
    operation: Operation | None = strawberry.field(default=None, description="What tells how far it is.")


@strawberry.input(description="A blob that is going to be uploaded.")
class CreateUploadInput:
    epochs: int = strawberry.field(description="For how many epochs it is to be kept, the current one included.")
    persistence: Persistence = strawberry.field(
        default=Persistence.DELETABLE, description="Whether it can be deleted before its end."
    )
    encoding: Encoding | None = strawberry.field(
        default=None, description="How it is encoded; as its size asks for if left out."
    )
    size: BigInt | None = strawberry.field(
        default=None, description="Its size in bytes, if it is known: the URL takes exactly so many."
    )
    attributes: list[AttributeInput] = strawberry.field(
        default_factory=list,
        description="Attributes that its object has when the operation is done; a blob that is stored already as "
        "somebody else's permanent one gets no object, and none of them.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Any text of 1 to 128 characters. Who sends it again with the same input gets the same operation; "
        "with another input, `IDEMPOTENCY_KEY_REUSED`. Keys of one token are not those of another.",
    )
    client_mutation_id: str | None = CLIENT_ID


@strawberry.type(description="Where to put the content.")
class CreateUploadPayload(OperationPayload):
    upload_url: str | None = strawberry.field(
        default=None, description="PUT the content here, once, within an hour; its body is the blob."
    )


@strawberry.input(description="Which operations: all fields that are given hold.")
class OperationFilter:
    kind: list[OperationKind] | None = strawberry.field(default=None, description="Kinds it may be of.")
    finished: bool | None = strawberry.field(default=None, description="Whether it has ended.")
    state: list[OperationState] | None = strawberry.field(default=None, description="States it may be in.")


async def create_upload(info: Info, input: CreateUploadInput) -> CreateUploadPayload:
    """Announce an upload to the gateway, or find the one that was announced under the same key."""
    services = info.context.services
    name = None if input.idempotency_key is None else _name(info, input, input.idempotency_key)
    known = None if name is None else await services.operations.find_named(name)
    if known is not None:
        return _upload_payload(info, await services.operations.look(known, info.context.reading))
    options = {"epochs": str(input.epochs), input.persistence.name.lower(): "true"}
    if input.encoding is not None:
        options["encoding_type"] = input.encoding.name
    if services.wallet is not None:  # else nobody here could extend, share or delete it
        options["send_object_to"] = hex_id_text(services.wallet.address)
    attributes = {attribute.key: attribute.value for attribute in input.attributes}
    if len(attributes) < len(input.attributes):
        raise InvalidField(field="attributes", problem="a key is given twice")
    body = {"sizeBytes": input.size, "attributes": attributes}
    document = await services.gateway.ask("POST", "/v1/uploads", body=body, **options)
    target = {"uploadId": document["id"]}
    return _upload_payload(info, await services.operations.begin(UPLOAD, target, upload_standing(document), name))


def _name(info: Info, input: CreateUploadInput, key: str) -> Name:
    if not 0 < len(key) <= KEY_MAX:
        raise InvalidField(field="idempotencyKey", problem=f"has 1 to {KEY_MAX} characters")
    token = info.context.caller.token
    caller = None if token is None else token.number
    asked = dataclasses.replace(input, client_mutation_id=None)
    return Name(digest_of_input([caller, key]).hex(), digest_of_input(asked).hex())


def _upload_payload(info: Info, operation: kept.Operation) -> CreateUploadPayload:
    url = f"{info.context.services.public_gateway_url}/v1/uploads/{operation.target['uploadId']}"
    return CreateUploadPayload(upload_url=url, operation=Operation.of(operation))


async def load_operation(info: Info, id: str) -> Operation | None:
    """An operation by its id, as it stands now; None when there never was one, or when it is long past.

    Raises:
        InvalidField: not an id of an operation.
    """
    type_name, key = read_global_id(id)
    if type_name != "Operation":
        raise InvalidField(field="id", problem="is not an id of this API")
    return await find_operation(info, key)


async def find_operation(info: Info, key: str) -> Operation | None:
    """As `load_operation`, by the key in the id."""
    operation_id = bytes_key(key)
    if len(operation_id) != ID_BYTES:
        raise InvalidField(field="id", problem="is not an id of this API")
    keeper = info.context.services.operations
    found = await keeper.find(operation_id.hex())
    return None if found is None else Operation.of(await keeper.look(found, info.context.reading))


async def operations_connection(
    info: Info,
    filter: OperationFilter | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Operation]:
    """Operations as they were looked at last, newest first."""
    wanted = filter or OperationFilter()
    kinds = sorted(kind.name for kind in wanted.kind or ())
    states = sorted(state.name for state in wanted.state or ())
    paging = Paging(
        info,
        "operations",
        kept.ORDER,
        "STARTED",
        first=first,
        after=after,
        last=last,
        before=before,
        kinds=kinds,
        finished=wanted.finished,
        states=states,
    )
    outcomes = [OUTCOMES[OperationState[state]] for state in states]
    return await paging.fetch(
        kept.statement(kinds, outcomes, ended=wanted.finished),
        lambda row: Operation.of(kept.operation_of(row)),
        read=info.context.services.records.read,
    )


async def wait_for_operation(info: Info, id: str, seen: Operation | None) -> Operation | None:
    """An operation as soon as it is another one than was `seen`."""
    while True:
        await info.context.renew()
        operation = await load_operation(info, id)
        if operation != seen or (operation is None and seen is None):
            return operation
        await info.context.close()
        await asyncio.sleep(LOOK_S)
