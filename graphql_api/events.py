"""Events: what has happened on the ledger, in its order.

One type per kind of event, except that the phases of an epoch are one, and what concerns a node's pool or the rules is
`NodeChanged` or `NetworkChanged` with the ledger's name of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import strawberry

from graphql_api.accounts import Account, StorageReservation, load_account
from graphql_api.blobs import Attribute, Blob, BlobObject, EpochWindow, epoch_range, load_blob, load_blob_object
from graphql_api.connections import Connection, Paging
from graphql_api.context import Info
from graphql_api.epochs import Epoch, EpochPhase, load_epoch
from graphql_api.fields import resolved
from graphql_api.ids import Node, global_id
from graphql_api.nodes import StorageNode, load_node
from graphql_api.proofs import AvailabilityCertificate
from graphql_api.read_model import queries
from graphql_api.read_model.queries import EventQuery, Row
from graphql_api.scalars import Address, BigInt, BlobID, ObjectID, at
from graphql_api.stakes import Stake
from haulout import bcs
from haulout.errors import InvalidField
from haulout.ledger import events as e


@strawberry.interface(description="Something that happened on the ledger.")
class Event(Node):
    sequence: BigInt = strawberry.field(description="Its number among all events, from 0; the cursor to resume from.")
    height: BigInt = strawberry.field(description="The block that it happened in.")
    epoch: int = strawberry.field(description="The epoch that it happened in.")
    timestamp: datetime = strawberry.field(description="The block's time.")
    row: strawberry.Private[Row]

    @functools.cached_property
    def body(self) -> Any:
        """What the ledger says of it; most answers ask only when it was."""
        return bcs.decode(e.EventBody, self.row["payload"])


class _OfBlob:
    """Resolvers that events about a blob share."""

    row: Row

    async def _blob(self, info: Info) -> Blob:
        blob = await load_blob(info, self.row["blob_id"])
        if blob is None:
            raise AssertionError("an event names a blob without a row")
        return blob

    async def _object(self, info: Info) -> BlobObject:
        found = await load_blob_object(info, self.row["object_id"])
        if found is None:
            raise AssertionError("an event names a blob object without a row")
        return found


@strawberry.type(description="A blob object came to be.")
class BlobRegistered(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The new object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)


@strawberry.type(description="A blob object was certified, or its certified life was extended.")
class BlobCertified(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Whether it was certified before and lives longer now.")
    async def is_extension(self) -> bool:
        return bool(self.body.is_extension)

    @resolved("First epoch in which the object is gone, from this event on.")
    async def end_epoch(self) -> int:
        return int(self.body.end_epoch)

    @resolved("The certificate; null on an extension.")
    async def certificate(self, info: Info) -> AvailabilityCertificate | None:
        row = await info.context.loaders.certificate.load(self.row["sequence"])
        return None if row is None else AvailabilityCertificate.of(row, info.context.services.params.n_shards)


@strawberry.type(description="A deletable blob object was deleted by its owner; its storage is free again.")
class BlobDeleted(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The deleted object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Whether it had been certified.")
    async def was_certified(self) -> bool:
        return bool(self.body.was_certified)


@strawberry.type(description="A blob object was destroyed; the nodes keep its bytes until its end.")
class BlobBurned(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The burned object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)


@strawberry.type(description="A blob object has a new owner.")
class BlobTransferred(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who owns it from this event on.")
    async def new_owner(self, info: Info) -> Account:
        return await load_account(info, self.body.owner)


@strawberry.type(
    description="A blob object was given up by its owner: anyone funds it, anyone extends it from its funds."
)
class BlobShared(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object, which belongs to nobody from this event on.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who owned it until this event.")
    async def former_owner(self, info: Info) -> Account:
        return await load_account(info, self.body.former_owner)

    @resolved("What it was given for extensions, in FROST.")
    async def funds(self) -> BigInt:
        return BigInt(self.body.funds_frost)


@strawberry.type(description="Somebody put tokens into a shared blob.")
class SharedBlobFunded(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who did.")
    async def sender(self, info: Info) -> Account:
        return await load_account(info, self.body.sender)

    @resolved("What was put in, in FROST.")
    async def amount(self) -> BigInt:
        return BigInt(self.body.amount_frost)

    @resolved("What it holds from this event on, in FROST.")
    async def funds(self) -> BigInt:
        return BigInt(self.body.funds_frost)


@strawberry.type(description="Somebody had a shared blob pay for its extension, which a `BlobCertified` tells.")
class SharedBlobExtended(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who did.")
    async def sender(self, info: Info) -> Account:
        return await load_account(info, self.body.sender)

    @resolved("For how many epochs more.")
    async def epochs(self) -> int:
        return int(self.body.n_epochs)

    @resolved("What it paid, in FROST.")
    async def cost(self) -> BigInt:
        return BigInt(self.body.cost_frost)

    @resolved("What it holds from this event on, in FROST.")
    async def funds(self) -> BigInt:
        return BigInt(self.body.funds_frost)


@strawberry.type(description="The attributes of a blob object were changed.")
class BlobAttributesChanged(Event, _OfBlob):
    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("All its attributes from this event on.")
    async def attributes(self) -> list[Attribute]:
        return [Attribute(key=key, value=value) for key, value in sorted(self.body.attributes.items())]


@strawberry.type(description="A blob id was proven to be wrongly encoded: nobody stores or serves it any more.")
class BlobMarkedInvalid(Event):
    @resolved("The id.")
    async def blob_id(self) -> BlobID:
        return BlobID(self.body.blob_id)

    @resolved("The blob; null when nobody had registered it.")
    async def blob(self, info: Info) -> Blob | None:
        return await load_blob(info, self.body.blob_id)


@strawberry.type(description="A storage resource came to be, by purchase, by a split, or because its blob was deleted.")
class StorageReserved(Event):
    @resolved("The resource as it is now; null when it is gone.")
    async def reservation(self, info: Info) -> StorageReservation | None:
        return await load_reservation(info, self.body.object_id)

    @resolved("What it cost, in FROST.")
    async def cost(self) -> BigInt:
        return BigInt(self.body.cost_frost)


@strawberry.type(description="A storage resource has a new period, size or owner.")
class StorageChanged(Event):
    @resolved("The resource as it is now; null when it is gone.")
    async def reservation(self, info: Info) -> StorageReservation | None:
        return await load_reservation(info, self.body.object_id)


@strawberry.type(description="A storage resource is gone: destroyed, merged into another, or bound to a blob.")
class StorageDestroyed(Event):
    @resolved("Its id.")
    async def object_id(self) -> ObjectID:
        return ObjectID(self.body.object_id)


@strawberry.type(description="An account's balance after a transaction.")
class BalanceChanged(Event):
    @resolved("The account as it is now.")
    async def account(self, info: Info) -> Account:
        return await load_account(info, self.body.address)

    @resolved("The balance from this event on, in FROST.")
    async def balance(self) -> BigInt:
        return BigInt(self.body.balance_frost)


@strawberry.type(description="A storage node and its pool came to be.")
class NodeRegistered(Event):
    @resolved("The node.")
    async def node(self, info: Info) -> StorageNode | None:
        return await load_node(info, self.body.node_id)


@strawberry.type(description="A storage node is reached elsewhere.")
class NodeAddressesChanged(Event):
    @resolved("The node.")
    async def node(self, info: Info) -> StorageNode | None:
        return await load_node(info, self.body.node_id)

    @resolved("Where it is reached from this event on.")
    async def addresses(self) -> list[str]:
        return list(self.body.addresses)


@strawberry.type(description="A stake came to be, changed, or is gone.")
class StakeChanged(Event):
    @resolved("The stake as it is now.")
    async def stake(self, info: Info) -> Stake | None:
        row = await info.context.loaders.stake.load(self.body.object_id)
        return None if row is None else Stake.of(row, await info.context.epoch())

    @resolved("Its principal from this event on, in FROST; 0 when it is gone.")
    async def principal(self) -> BigInt:
        return BigInt(self.body.principal_frost)


_PHASES = {e.VotingEnded: EpochPhase.VOTED, e.EpochStarted: EpochPhase.SYNC, e.EpochDone: EpochPhase.DONE}


@strawberry.type(description="An epoch entered a phase.")
class EpochPhaseChanged(Event):
    @resolved("The phase.")
    async def phase(self) -> EpochPhase:
        return _PHASES[type(self.body)]

    @resolved("Whether a deadline brought it about instead of a quorum.")
    async def forced(self) -> bool:
        return bool(getattr(self.body, "forced", False))

    @resolved("The epoch.")
    async def of_epoch(self, info: Info) -> Epoch | None:
        is_voted = isinstance(self.body, e.VotingEnded)
        return await load_epoch(info, self.row["epoch"] if is_voted else self.body.epoch)


@strawberry.type(description="A storage node reported shards complete that were handed over to it.")
class ShardsReceived(Event):
    @resolved("The node.")
    async def node(self, info: Info) -> StorageNode | None:
        return await load_node(info, self.body.node_id)

    @resolved("The shards, ascending.")
    async def shards(self) -> list[int]:
        return list(self.body.shards)

    @resolved("Shards that are still on their way to it.")
    async def open_shards(self) -> int:
        return int(self.body.n_open)


@strawberry.type(description="Something about a storage node or its pool is different.")
class NodeChanged(Event):
    @resolved("What it is, such as `NodeVotesChanged` or `PoolChanged`.")
    async def change(self) -> str:
        return str(self.row["kind"])

    @resolved("The node as it is now.")
    async def node(self, info: Info) -> StorageNode | None:
        return await load_node(info, self.body.node_id)


@strawberry.type(description="Something about the network as a whole is different.")
class NetworkChanged(Event):
    @resolved("What it is, such as `HandOversOpened`, `CommitteeKept` or `PricesUpdated`.")
    async def change(self) -> str:
        return str(self.row["kind"])


@strawberry.type(description="What is booked for an epoch after a transaction.")
class EpochBookingChanged(Event):
    @resolved("The booked epoch.")
    async def booked_epoch(self) -> int:
        return int(self.body.epoch)

    @resolved("Encoded bytes sold for it, from this event on.")
    async def used_bytes(self) -> BigInt:
        return BigInt(self.body.used_bytes)

    @resolved("FROST collected for its committee, from this event on.")
    async def rewards(self) -> BigInt:
        return BigInt(self.body.rewards_frost)


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


async def load_reservation(info: Info, object_id: bytes) -> StorageReservation | None:
    """A storage resource by its id, free or bound; None when it is gone."""
    row = await info.context.loaders.storage.load(object_id)
    return None if row is None or row["deleted_height"] is not None else StorageReservation.of(row)


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
    order = queries.EVENTS_ORDER
    paging = Paging(info, name, order, "SEQUENCE", first=first, after=after, last=last, before=before, query=query)
    if of_epoch is not None:
        return await paging.fetch_of("events", "epoch", of_epoch, query, build_event)
    statement = queries.events_statement(query, to_height=to_height)
    return await paging.fetch(statement, build_event, any_of=queries.kinds_apart(query))
