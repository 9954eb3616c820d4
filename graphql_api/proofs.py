"""Certificates: what a verifier needs to check, alone, that a blob was stored by a quorum."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.context import Info
from graphql_api.event import Event
from graphql_api.fields import resolved
from graphql_api.ids import Node, global_id
from graphql_api.read_model.queries import Row
from graphql_api.scalars import Base64
from haulout.primitives import min_correct

if TYPE_CHECKING:
    from graphql_api.blobs import Blob, BlobObject


@strawberry.enum(description="Whether a blob object may be deleted before its end.")
class Persistence(enum.Enum):
    PERMANENT = strawberry.enum_value("PERMANENT", description="Stored until its end, whatever its owner does.")
    DELETABLE = strawberry.enum_value("DELETABLE", description="Its owner may delete it at any time.")


@strawberry.enum(description="Along which side of a blob's matrix a sliver lies.")
class Axis(enum.Enum):
    PRIMARY = strawberry.enum_value("PRIMARY", description="A row; the first rows hold the content itself.")
    SECONDARY = strawberry.enum_value("SECONDARY", description="A column.")


@strawberry.type(
    description="Signatures of nodes that own a quorum of shards, over the statement that they store a blob durably."
)
class AvailabilityCertificate(Node):
    epoch: int = strawberry.field(description="The epoch whose committee signed.")
    persistence: Persistence = strawberry.field(description="What kind of object was certified.")
    message: Base64 = strawberry.field(description="Exactly the bytes that were signed.")
    signature: Base64 = strawberry.field(description="Aggregate BLS12-381 signature of all signers, 96 bytes.")
    signers: list[int] = strawberry.field(
        description="Positions of the signers in the committee, whose members are sorted by node id."
    )
    weight: int = strawberry.field(description="Shards that the signers own.")
    quorum_threshold: int = strawberry.field(description="Shards that a certificate needs: n - f.")
    verified: bool = strawberry.field(
        description="Whether the signature, signers and message were checked again here and hold; computed once, when "
        "the certificate was read from the ledger."
    )
    sequence: strawberry.Private[int]
    blob_id: strawberry.Private[bytes]
    object_id: strawberry.Private[bytes]

    @resolved("The blob that is stored.")
    async def blob(self, info: Info) -> Annotated[Blob, strawberry.lazy("graphql_api.blobs")]:
        from graphql_api.blobs import load_blob

        blob = await load_blob(info, self.blob_id)
        if blob is None:
            raise AssertionError(f"certificate {self.sequence} is of a blob without a row")
        return blob

    @resolved("The blob object that was certified.")
    async def object(self, info: Info) -> Annotated[BlobObject, strawberry.lazy("graphql_api.blobs")]:
        from graphql_api.blobs import load_blob_object

        found = await load_blob_object(info, self.object_id)
        if found is None:
            raise AssertionError(f"certificate {self.sequence} is of an object without a row")
        return found

    @resolved("The event that carried it.")
    async def event(self, info: Info) -> Event | None:
        from graphql_api.events import load_event

        return await load_event(info, self.sequence)

    @classmethod
    def of(cls, row: Row, n_shards: int) -> AvailabilityCertificate:
        bitmap = row["signers"]
        return cls(
            id=global_id("AvailabilityCertificate", row["sequence"]),
            epoch=row["epoch"],
            persistence=Persistence.DELETABLE if row["deletable"] else Persistence.PERMANENT,
            message=Base64(row["message"]),
            signature=Base64(row["signature"]),
            signers=[8 * i + bit for i, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1],
            weight=row["weight"],
            quorum_threshold=min_correct(n_shards),
            verified=row["verified"],
            sequence=row["sequence"],
            blob_id=row["blob_id"],
            object_id=row["object_id"],
        )
