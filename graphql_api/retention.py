"""Retention policies in the schema: how a blob object is kept without anybody extending it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.context import Info
from graphql_api.payloads import CLIENT_ID, Payload, UserError, user_error_of
from graphql_api.records import retentions as kept
from graphql_api.records.retentions import Retention, due_epoch
from graphql_api.retention_keeper import why_not_payable
from graphql_api.scalars import ObjectID
from graphql_api.transactions import wallet_of
from haulout.errors import InvalidField, from_wire
from haulout.ledger.refusals import ObjectNotFound, ResourceBounds
from haulout.primitives import hex_id_text

if TYPE_CHECKING:
    from graphql_api.blobs import BlobObject

BELOW_MIN = 2  # with fewer it would be looked at when its last epoch is over


@strawberry.type(description="How long the server keeps a blob object paid for.")
class RetentionPolicy:
    keep_epochs: int = strawberry.field(
        description="Epochs that are paid for after each extension, the current one included."
    )
    extend_when_below: int = strawberry.field(
        description="It is extended in the first epoch in which fewer epochs than this are paid for, that one included."
    )
    next_action_epoch: int | None = strawberry.field(
        description="The epoch in which it is looked at next; null when nothing can be done any more, as `error` says."
    )
    last_tried_epoch: int | None = strawberry.field(description="The epoch of the last extension; null before it.")
    error: UserError | None = strawberry.field(
        description="Why the last extension came to nothing, or why there will be none; else null. What the ledger "
        "refused is tried again in the next epoch, or at once when the policy is set again."
    )

    @classmethod
    def of(cls, policy: Retention) -> RetentionPolicy:
        """A policy as it is kept."""
        error = None
        if policy.problem is not None:
            code, text = policy.problem
            error = user_error_of(from_wire("FAILED_PRECONDITION", code, text, {}))
        return cls(
            keep_epochs=policy.keep_epochs,
            extend_when_below=policy.extend_when_below,
            next_action_epoch=policy.next_epoch,
            last_tried_epoch=policy.tried_epoch,
            error=error,
        )


@strawberry.input(
    description="How long a blob object of the server's account is to be kept, or one that is shared, from its funds."
)
class RetentionInput:
    object_id: ObjectID = strawberry.field(description="The object.")
    keep_epochs: int | None = strawberry.field(
        default=None,
        description="Epochs to be paid for after each extension, the current one included, as many as can be booked "
        "ahead at most; 0 or null: it is not extended any more.",
    )
    extend_when_below: int = strawberry.field(
        default=BELOW_MIN,
        description="Extend it when fewer epochs are paid for, the current one included: 2 to `keepEpochs`.",
    )
    client_mutation_id: str | None = CLIENT_ID


@strawberry.type(description="A blob object with its new policy.")
class RetentionPayload(Payload):
    object: Annotated[BlobObject, strawberry.lazy("graphql_api.blobs")] | None = strawberry.field(
        default=None, description="The object; null when something was refused."
    )


async def load_retention(info: Info, object_id: bytes) -> RetentionPolicy | None:
    """The policy of a blob object, as it is kept now."""
    policy = await info.context.loaders.retention.load(object_id)
    return None if policy is None else RetentionPolicy.of(policy)


async def set_retention(info: Info, input: RetentionInput) -> RetentionPayload:
    """Have a blob object kept, or not any more.

    Raises:
        NoAccount: the server could not pay.
        ObjectNotFound, NotOwner, ResourceBounds: it cannot be extended by this account.
        InvalidField: numbers that would lose it.
    """
    from graphql_api.blobs import BlobObject

    services, object_id, payer = info.context.services, input.object_id, wallet_of(info).address
    row = await info.context.loaders.blob_object.load(object_id)
    if row is None or row["deleted_height"] is not None:
        raise ObjectNotFound(noun="blob object", object_id=hex_id_text(object_id))
    if (refused := why_not_payable(object_id, row, payer)) is not None:
        raise refused
    if not input.keep_epochs:
        await services.records.write(kept.drop, object_id)
        return RetentionPayload(object=BlobObject.of(row))
    limit = services.params.max_epochs_ahead
    if not BELOW_MIN <= input.keep_epochs <= limit:
        raise InvalidField(field="keepEpochs", problem=f"{input.keep_epochs} is not between {BELOW_MIN} and {limit}")
    if not BELOW_MIN <= input.extend_when_below <= input.keep_epochs:
        problem = f"{input.extend_when_below} is not between {BELOW_MIN} and keepEpochs"
        raise InvalidField(field="extendWhenBelow", problem=problem)
    epoch, end_epoch = await info.context.epoch(), row["end_epoch"]
    if end_epoch <= epoch:
        raise ResourceBounds(start_epoch=row["start_epoch"], end_epoch=end_epoch, epoch=epoch)
    next_epoch = max(epoch, due_epoch(end_epoch, input.extend_when_below))
    await services.records.write(kept.put, object_id, input.keep_epochs, input.extend_when_below, next_epoch)
    services.retention.look()
    return RetentionPayload(object=BlobObject.of(row))
