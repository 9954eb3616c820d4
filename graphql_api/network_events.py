"""Events about storage, accounts, nodes, stake, epochs and the rules."""

from __future__ import annotations

import strawberry

from graphql_api.accounts import Account, StorageReservation, load_account, load_reservation
from graphql_api.context import Info
from graphql_api.epochs import Epoch, EpochPhase, load_epoch
from graphql_api.event import Event
from graphql_api.fields import resolved
from graphql_api.nodes import StorageNode, load_node
from graphql_api.scalars import BigInt, ObjectID
from graphql_api.stakes import Stake
from haulout.ledger import events as e


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
