"""Uploads through the gateway: a link that works once, and an operation that tells how far it is.

The gateway keeps the operation; it is asked each time, so nothing here can be out of date.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import strawberry

from graphql_api.blobs import Blob, load_blob
from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.ids import bytes_key, global_id, read_global_id
from graphql_api.nodes import StorageNode, load_node
from graphql_api.payloads import Payload, UserError, user_error_of
from graphql_api.proofs import Persistence
from graphql_api.scalars import BigInt
from haulout.errors import InvalidField, NotFound, Unavailable, Unreachable, from_wire
from haulout.primitives import parse_blob_id, parse_object_id

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 5
LOOK_S = 0.5
ID_BYTES = 16


@strawberry.enum(description="Where an upload stands.")
class OperationPhase(enum.Enum):
    WAITING = strawberry.enum_value("WAITING", description="Nothing has been put to its URL yet.")
    RECEIVING = strawberry.enum_value("RECEIVING", description="The gateway takes the content in.")
    ENCODING = strawberry.enum_value("ENCODING", description="Slivers are made of it.")
    REGISTERING = strawberry.enum_value("REGISTERING", description="The ledger registers it; this is paid for.")
    UPLOADING = strawberry.enum_value("UPLOADING", description="Slivers go to the nodes, which confirm them.")
    CERTIFYING = strawberry.enum_value("CERTIFYING", description="The ledger is shown the confirmations.")
    DONE = strawberry.enum_value("DONE", description="The blob is certified.")
    FAILED = strawberry.enum_value("FAILED", description="It came to nothing; `error` says why.")


ENDED = (OperationPhase.DONE, OperationPhase.FAILED)


@strawberry.type(description="What became of an upload at one storage node.")
class NodeOutcome:
    weight: int = strawberry.field(description="Shards that the node stores slivers for.")
    has_confirmed: bool = strawberry.field(description="Whether it has signed that it holds all of its slivers.")
    problem: str | None = strawberry.field(description="What it answered last, when that was no confirmation.")
    node_id: strawberry.Private[bytes]

    @resolved("The node.")
    async def node(self, info: Info) -> StorageNode | None:
        return await load_node(info, self.node_id)


@strawberry.type(description="An upload under way, as the gateway tells it.")
class Operation:
    id: strawberry.ID = strawberry.field(description="Opaque id; who knows it may put the content.")
    phase: OperationPhase = strawberry.field(description="Where it stands.")
    done_bytes: BigInt = strawberry.field(description="Bytes of the phase that are done.")
    total_bytes: BigInt = strawberry.field(description="Bytes of the phase altogether; 0 when it has none.")
    per_node: list[NodeOutcome] = strawberry.field(description="What each storage node has answered so far.")
    error: UserError | None = strawberry.field(description="Why it failed; null unless it did.")
    blob_id_: strawberry.Private[bytes | None]

    @resolved("The stored blob; null before it is done, and while it is not read back yet.")
    async def blob(self, info: Info) -> Blob | None:
        return None if self.blob_id_ is None else await load_blob(info, self.blob_id_)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Operation:
        """An operation from the gateway's document of it."""
        error, result = document["error"], document["result"]
        failure = None
        if error is not None:
            failure = user_error_of(from_wire("FAILED_PRECONDITION", error["code"], error["message"], {}))
        return cls(
            id=global_id("Operation", bytes.fromhex(document["id"])),
            phase=OperationPhase[document["phase"].upper()],
            done_bytes=BigInt(document["doneBytes"]),
            total_bytes=BigInt(document["totalBytes"]),
            per_node=[
                NodeOutcome(
                    weight=node["weight"],
                    has_confirmed=node["hasConfirmed"],
                    problem=node["problem"],
                    node_id=parse_object_id(node["nodeId"]),
                )
                for node in document["nodes"]
            ],
            error=failure,
            blob_id_=None if result is None else _stored_id(result),
        )


def _stored_id(result: Mapping[str, Any]) -> bytes:
    """The blob id in the answer to a store."""
    kept = result.get("alreadyCertified") or result["newlyCreated"]["blobObject"]
    return parse_blob_id(kept["blobId"])


@strawberry.input(description="A blob that is going to be uploaded.")
class CreateUploadInput:
    epochs: int = strawberry.field(description="For how many epochs it is to be kept, the current one included.")
    persistence: Persistence = strawberry.field(
        default=Persistence.DELETABLE, description="Whether it can be deleted before its end."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back as it is.")


@strawberry.type(description="Where to put the content.")
class CreateUploadPayload(Payload):
    upload_url: str | None = strawberry.field(
        default=None, description="PUT the content here, once, within an hour; its body is the blob."
    )
    operation: Operation | None = strawberry.field(default=None, description="What tells how far it is.")


class Gateway:
    """The gateway as this service asks it. Its client is loaded when the first upload is announced."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Let go of all connections."""
        if self._http is not None:
            await self._http.aclose()

    async def ask(self, method: str, path: str, **parameters: str) -> dict[str, Any]:
        """The document that a request is answered with.

        Raises:
            Unreachable: no answer, or none of a gateway.
            InvalidInput, Rejected, NotFound, Unavailable: as the gateway refuses, under its code.
        """
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False)
        try:
            response = await self._http.request(method, self.url + path, params=parameters, timeout=TIMEOUT_S)
            document = response.json()
        except (httpx.HTTPError, ValueError) as e:
            raise Unreachable(peer="the gateway", problem=type(e).__name__) from e
        if response.is_success and isinstance(document, dict):
            return document
        try:
            error = document["error"]
            raise from_wire(error["status"], error["details"][0]["reason"], error["message"], {})
        except (KeyError, TypeError, IndexError) as e:
            raise Unreachable(peer="the gateway", problem=f"it answers {response.status_code}") from e


async def create_upload(info: Info, input: CreateUploadInput) -> CreateUploadPayload:
    """Announce an upload to the gateway."""
    gateway = info.context.services.gateway
    kind = input.persistence.name.lower()
    document = await gateway.ask("POST", "/v1/uploads", **{"epochs": str(input.epochs), kind: "true"})
    url = f"{gateway.url}/v1/uploads/{document['id']}"
    return CreateUploadPayload(upload_url=url, operation=Operation.of(document))


async def load_operation(info: Info, id: str) -> Operation | None:
    """An operation by its id; None when the gateway does not know it (any more)."""
    type_name, key = read_global_id(id)
    upload_id = bytes_key(key)
    if type_name != "Operation" or len(upload_id) != ID_BYTES:
        raise InvalidField(field="id", problem="is not an id of this API")
    try:
        return Operation.of(await info.context.services.gateway.ask("GET", f"/v1/uploads/{upload_id.hex()}"))
    except NotFound:
        return None


async def wait_for_operation(info: Info, id: str, seen: Operation | None) -> Operation | None:
    """An operation as soon as it is another one than was `seen`."""
    while True:
        try:
            operation = await load_operation(info, id)
        except Unavailable:
            operation = seen  # the gateway is away: it may come back
        if operation != seen or (operation is None and seen is None):
            return operation
        await asyncio.sleep(LOOK_S)
