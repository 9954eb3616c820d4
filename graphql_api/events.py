"""Events: what has happened on the ledger, in its order.

One type per kind of event, except that the phases of an epoch are one, and what concerns a node's pool or the rules is
`NodeChanged` or `NetworkChanged` with the ledger's name of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import strawberry

from graphql_api.blob_events import (
    BlobAttributesChanged,
    BlobBurned,
    BlobCertified,
    BlobDeleted,
    BlobMarkedInvalid,
    BlobRegistered,
    BlobShared,
    BlobTransferred,
    SharedBlobExtended,
    SharedBlobFunded,
)
from graphql_api.blob_filters import EpochWindow, epoch_range
from graphql_api.connections import Connection, Paging
from graphql_api.context import Info
from graphql_api.event import Event
from graphql_api.ids import global_id
from graphql_api.network_events import (
    BalanceChanged,
    EpochBookingChanged,
    EpochPhaseChanged,
    NetworkChanged,
    NodeAddressesChanged,
    NodeChanged,
    NodeRegistered,
    ShardsReceived,
    StakeChanged,
    StorageChanged,
    StorageDestroyed,
    StorageReserved,
)
from graphql_api.read_model import event_queries
from graphql_api.read_model.event_queries import EventQuery
from graphql_api.read_model.queries import Row
from graphql_api.scalars import Address, BigInt, BlobID, ObjectID, at
from haulout.errors import InvalidField

# The ledger's kinds, by the type that shows them.
TYPES: Mapping[str, Callable[..., Event]] = {
    "BalanceChanged": BalanceChanged,
    "StorageReserved": StorageReserved,
    "StorageChanged": StorageChanged,
    "StorageDestroyed": StorageDestroyed,
    "BlobRegistered": BlobRegistered,
    "BlobCertified": BlobCertified,
    "BlobDeleted": BlobDeleted,
    "BlobBurned": BlobBurned,
    "BlobTransferred": BlobTransferred,
    "BlobAttributesChanged": BlobAttributesChanged,
    "BlobInvalidated": BlobMarkedInvalid,
    "NodeRegistered": NodeRegistered,
    "NodeAddressesChanged": NodeAddressesChanged,
    "StakeChanged": StakeChanged,
    "EpochStarted": EpochPhaseChanged,
    "EpochDone": EpochPhaseChanged,
    "RingChanged": EpochBookingChanged,
    "VotingEnded": EpochPhaseChanged,
    "CommitteeKept": NetworkChanged,
    "HandOversOpened": NetworkChanged,
    "ShardsReceived": ShardsReceived,
    "RewardsDistributed": NetworkChanged,
    "NodeRewarded": NodeChanged,
    "PoolChanged": NodeChanged,
    "ExchangeRateSet": NodeChanged,
    "ActiveSetChanged": NodeChanged,
    "NodeVotesChanged": NodeChanged,
    "PricesUpdated": NetworkChanged,
    "NodeLeaveRequested": NodeChanged,
    "NodeLeaveCancelled": NodeChanged,
    "NodeAccountsChanged": NodeChanged,
    "NodeKeyChosen": NodeChanged,
    "NodeKeyRotated": NodeChanged,
    "CommissionCollected": NodeChanged,
    "ProtocolVersionChosen": NetworkChanged,
    "ProtocolVersionActivated": NetworkChanged,
    "SubsidiesChanged": NetworkChanged,
    "BlobShared": BlobShared,
    "SharedBlobFunded": SharedBlobFunded,
    "SharedBlobExtended": SharedBlobExtended,
}


@strawberry.input(description="Which events: `types` means any of its values, all fields that are given hold.")
class EventFilter:
    types: list[str] | None = strawberry.field(
        default=None, description="Names of types that implement `Event`, such as `BlobCertified`."
    )
    blob: BlobID | None = strawberry.field(default=None, description="It is about this blob.")
    object: ObjectID | None = strawberry.field(default=None, description="It is about this object on the ledger.")
    node: ObjectID | None = strawberry.field(default=None, description="It is about this storage node; the node's id.")
    account: Address | None = strawberry.field(default=None, description="It is about what this account owns.")
    epoch: EpochWindow | None = strawberry.field(default=None, description="The epoch that it happened in.")
    after_sequence: BigInt | None = strawberry.field(default=None, description="It has a higher number than this.")


def event_query(filter: EventFilter | None) -> EventQuery:
    """A filter, checked and put into the read model's words.

    Raises:
        InvalidField: a type that no event has.
    """
    if filter is None:
        return EventQuery()
    return EventQuery(
        kinds=None if filter.types is None else _kinds(filter.types),
        blob_id=filter.blob,
        object_id=filter.object,
        account=filter.account,
        node_id=filter.node,
        epochs=epoch_range(filter.epoch),
        after_sequence=None if filter.after_sequence is None else min(filter.after_sequence, (1 << 63) - 1),
    )


def _kinds(types: list[str]) -> tuple[str, ...]:
    known = {cls.__name__ for cls in TYPES.values()}
    unknown = sorted(set(types) - known)
    if unknown:
        names = ", ".join(sorted(known))
        raise InvalidField(field="filter.types", problem=f"{unknown[0][:60]!r} is no type of event; there are {names}")
    return tuple(kind for kind, cls in TYPES.items() if cls.__name__ in types)


def build_event(row: Row) -> Event:
    """The event of a row of `events`."""
    return TYPES[row["kind"]](
        id=global_id("Event", row["sequence"]),
        sequence=BigInt(row["sequence"]),
        height=BigInt(row["height"]),
        epoch=row["epoch"],
        timestamp=at(row["time_ms"]),
        row=row,
    )


async def load_event(info: Info, sequence: int) -> Event | None:
    """An event by its number."""
    row = await info.context.loaders.event.load(sequence)
    return None if row is None else build_event(row)


async def events_connection(
    info: Info,
    filter: EventFilter | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    of_epoch: int | None = None,
    to_height: int | None = None,
) -> Connection[Event]:
    """Events in the ledger's order, of the whole network or of one epoch, or as they were at a block."""
    query = event_query(filter)
    name = "events" if to_height is None else f"events to {to_height}"
    if of_epoch is not None:
        name = f"epoch.events {of_epoch}"
    order = event_queries.EVENTS_ORDER
    paging = Paging(info, name, order, "SEQUENCE", first=first, after=after, last=last, before=before, query=query)
    if of_epoch is not None:
        return await paging.fetch_of("events", "epoch", of_epoch, query, build_event)
    statement = event_queries.events_statement(query, to_height=to_height)
    return await paging.fetch(statement, build_event, any_of=event_queries.kinds_apart(query))
