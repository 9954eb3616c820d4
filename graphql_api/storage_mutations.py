"""Mutations of storage resources: encoded bytes for a span of epochs, of the server's account."""

from __future__ import annotations

import strawberry

from graphql_api.accounts import StorageReservation, load_reservation
from graphql_api.context import Info
from graphql_api.payloads import CLIENT_ID
from graphql_api.scalars import BigInt, ObjectID
from graphql_api.transactions import Transaction, TransactionPayload, check_count, created, execute
from haulout.errors import InvalidField
from haulout.ledger.commands import (
    Command,
    Existing,
    FuseStorage,
    ReserveSpace,
    SplitStorageByEpoch,
    SplitStorageBySize,
)
from haulout.ledger.transactions import MAX_COMMANDS


@strawberry.input(description="Storage to buy.")
class ReserveStorageInput:
    size_bytes: BigInt = strawberry.field(description="Encoded bytes; `estimateCost` says how many a blob takes.")
    epochs: int = strawberry.field(description="How many epochs, the current one included.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="Storage to cut in two: exactly one of `atEpoch` and `atBytes`.")
class SplitStorageInput:
    object_id: ObjectID = strawberry.field(description="The storage, bound to no blob.")
    at_epoch: int | None = strawberry.field(default=None, description="The first epoch of the second part.")
    at_bytes: BigInt | None = strawberry.field(default=None, description="Encoded bytes that the first part keeps.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(
    description="Storage to put together: of one span of epochs, or of one size and spans that follow each other."
)
class MergeStorageInput:
    object_ids: list[ObjectID] = strawberry.field(description="Two or more; all is in the first of them afterwards.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.type(description="Storage as the transaction left it.")
class ReservationPayload(TransactionPayload):
    reservation: StorageReservation | None = strawberry.field(
        default=None, description="The new storage; of a split the second part, of a merge all of it."
    )
    reservations: list[StorageReservation] = strawberry.field(
        default_factory=list, description="All storage that was made or changed; of a split both parts in order."
    )


async def reserve_storage(info: Info, input: ReserveStorageInput) -> ReservationPayload:
    """Buy storage."""
    epoch = await info.context.epoch()
    end = epoch + check_count(input.epochs, "epochs", info.context.services.params.max_epochs_ahead)
    result = await execute(info, [ReserveSpace(input.size_bytes, epoch, end)])
    return await _payload(info, Transaction.of(result), created(result))


async def split_storage(info: Info, input: SplitStorageInput) -> ReservationPayload:
    """Cut storage in two, in time or in size."""
    storage = Existing(input.object_id)
    if (input.at_epoch is None) == (input.at_bytes is None):
        raise InvalidField(field="atEpoch", problem="give either atEpoch or atBytes")
    command: Command
    if input.at_bytes is not None:
        command = SplitStorageBySize(storage, input.at_bytes)
    else:
        epoch = input.at_epoch or 0
        if epoch < 0:
            raise InvalidField(field="atEpoch", problem="epochs are counted from 1")
        command = SplitStorageByEpoch(storage, epoch)
    result = await execute(info, [command])
    return await _payload(info, Transaction.of(result), input.object_id, created(result))


async def merge_storage(info: Info, input: MergeStorageInput) -> ReservationPayload:
    """Put storage together, all or nothing."""
    if not 2 <= len(input.object_ids) <= MAX_COMMANDS + 1:
        raise InvalidField(field="objectIds", problem=f"takes 2 to {MAX_COMMANDS + 1} ids")
    first, *others = input.object_ids
    result = await execute(info, [FuseStorage(Existing(first), Existing(other)) for other in others])
    return await _payload(info, Transaction.of(result), first)


async def _payload(info: Info, transaction: Transaction, *object_ids: bytes) -> ReservationPayload:
    found = [await load_reservation(info, object_id) for object_id in object_ids]
    return ReservationPayload(
        transaction=transaction, reservation=found[-1], reservations=[one for one in found if one is not None]
    )
