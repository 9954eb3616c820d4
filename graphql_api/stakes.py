"""Stake: pools of nodes, and what accounts have locked in them."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from typing import Annotated, Any

import strawberry

from graphql_api.accounts import Account, load_account
from graphql_api.connections import After, Before, Connection, First, Last, Paging
from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.ids import Node, global_id
from graphql_api.nodes import StorageNode
from graphql_api.read_model import node_queries, queries
from graphql_api.read_model.node_queries import StakeQuery
from graphql_api.read_model.paging import Order
from graphql_api.read_model.queries import Row
from graphql_api.scalars import Address, BigInt, ObjectID
from haulout.ledger import queries as ledger_queries
from haulout.ledger.pools import compute_rewards, load_pool
from haulout.ledger.state import View


@strawberry.enum(description="Where a stake stands.")
class StakeState(enum.Enum):
    PENDING = strawberry.enum_value("PENDING", description="Counts from its activation epoch on.")
    ACTIVE = strawberry.enum_value("ACTIVE", description="Counts.")
    WITHDRAWING = strawberry.enum_value("WITHDRAWING", description="Withdrawal was asked for and is not due yet.")
    WITHDRAWABLE = strawberry.enum_value("WITHDRAWABLE", description="Can be taken out.")


@strawberry.input(description="Which stakes: all fields that are given hold.")
class StakeFilter:
    account: Address | None = strawberry.field(default=None, description="This account owns it.")
    node: ObjectID | None = strawberry.field(default=None, description="It is in this node's pool; the node's id.")
    state: list[StakeState] | None = strawberry.field(default=None, description="States it may be in.")


@strawberry.type(description="What a node asks for and offers.")
class ParameterVotes:
    storage_price: BigInt = strawberry.field(description="FROST per started MiB of encoded size and epoch.")
    write_price: BigInt = strawberry.field(description="FROST per started MiB of encoded size, once.")
    capacity_bytes: BigInt = strawberry.field(description="Encoded bytes that the node offers.")


@strawberry.type(description="An amount that is due with an epoch.")
class DueAmount:
    epoch: int = strawberry.field(description="The epoch.")
    amount: BigInt = strawberry.field(description="FROST, or shares of the pool, or basis points: as the list says.")

    @classmethod
    def all_of(cls, text: str) -> list[DueAmount]:
        """Of a column that maps epochs to amounts, by epoch."""
        amounts = sorted((int(epoch), amount) for epoch, amount in json.loads(text).items())
        return [cls(epoch=epoch, amount=BigInt(amount)) for epoch, amount in amounts]


@strawberry.type(description="What a pool holds, and what waits for later epochs.")
class PoolAccount:
    latest_epoch: int = strawberry.field(
        description="The epoch it was taken into last; later ones have not touched it."
    )
    balance: BigInt = strawberry.field(description="FROST at work: stake and rewards that stay in.")
    shares: BigInt = strawberry.field(description="Shares that the balance is divided into.")
    rewards: BigInt = strawberry.field(description="FROST that its stakes have earned so far and not taken out.")
    commission: BigInt = strawberry.field(description="FROST that its operator has earned and not collected.")
    commission_blocked: BigInt = strawberry.field(
        description="The part of it that can be collected once the current epoch is Done."
    )
    pending_stake: list[DueAmount] = strawberry.field(description="FROST that begin to work with an epoch.")
    pending_withdrawals: list[DueAmount] = strawberry.field(description="Shares that are taken out with an epoch.")
    pre_active_withdrawals: list[DueAmount] = strawberry.field(
        description="FROST of principal taken out with an epoch, at work since the one before."
    )
    pending_commission_rates: list[DueAmount] = strawberry.field(
        description="The node's share of rewards from an epoch on, in basis points."
    )

    @classmethod
    def of(cls, row: Row) -> PoolAccount:
        return cls(
            latest_epoch=row["latest_epoch"],
            balance=BigInt(row["balance_frost"]),
            shares=BigInt(row["n_shares"]),
            rewards=BigInt(row["rewards_frost"]),
            commission=BigInt(row["commission_frost"]),
            commission_blocked=BigInt(row["commission_blocked_frost"]),
            pending_stake=DueAmount.all_of(row["pending_stake"]),
            pending_withdrawals=DueAmount.all_of(row["pending_shares"]),
            pre_active_withdrawals=DueAmount.all_of(row["pre_active_withdrawals"]),
            pending_commission_rates=DueAmount.all_of(row["pending_commission_rates"]),
        )


@strawberry.type(description="What a pool's shares are worth from an epoch on.")
class ExchangeRate:
    epoch: int = strawberry.field(description="From this epoch on.")
    balance: BigInt = strawberry.field(description="FROST that all `shares` are worth; one for one when either is 0.")
    shares: BigInt = strawberry.field(description="Shares of the pool.")

    @classmethod
    def of(cls, row: Row) -> ExchangeRate:
        return cls(epoch=row["epoch"], balance=BigInt(row["balance_frost"]), shares=BigInt(row["n_shares"]))


@strawberry.type(description="What a node has earned in an epoch.")
class EpochReward:
    epoch: int = strawberry.field(description="The epoch.")
    reward: BigInt = strawberry.field(description="FROST altogether, commission included.")
    commission: BigInt = strawberry.field(description="The operator's part of it.")

    @classmethod
    def of(cls, row: Row) -> EpochReward:
        return cls(epoch=row["epoch"], reward=BigInt(row["reward_frost"]), commission=BigInt(row["commission_frost"]))


@strawberry.type(description="A node's pool of stake.")
class StakingPool(Node):
    stake: BigInt = strawberry.field(description="Stake that counts in the current epoch, in FROST.")
    next_epoch_stake: BigInt = strawberry.field(description="Stake that will count in the next, in FROST.")
    commission_bps: int = strawberry.field(description="The node's share of rewards, in basis points.")
    votes: ParameterVotes = strawberry.field(description="What the node asks for and offers.")
    row: strawberry.Private[Row]

    @resolved("What it holds beside stake, and what is due in later epochs; null until it first changes.")
    async def account(self, info: Info) -> PoolAccount | None:
        row = await info.context.loaders.pool.load(self.row["node_id"])
        return None if row is None else PoolAccount.of(row)

    @resolved("What its shares were worth from an epoch on, newest first; an epoch is left out when nothing was set.")
    async def exchange_rates(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[ExchangeRate]:
        return await self._history(
            info, "rates", node_queries.RATES_ORDER, ExchangeRate.of, first=first, after=after, last=last, before=before
        )

    @resolved("What its node has earned in each epoch that is over, newest first; none for epochs without shards.")
    async def reward_history(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[EpochReward]:
        return await self._history(
            info,
            "rewards",
            node_queries.REWARDS_ORDER,
            EpochReward.of,
            first=first,
            after=after,
            last=last,
            before=before,
        )

    async def _history(
        self, info: Info, list_name: str, order: Order, build: Callable[[Row], Any], **window: Any
    ) -> Connection[Any]:
        node_id = self.row["node_id"]
        paging = Paging(info, f"{list_name} {node_id.hex()}", order, "EPOCH", **window)
        return await paging.fetch_of(list_name, "node_id", node_id, None, build)

    @resolved("The node.")
    async def node(self) -> StorageNode:
        return StorageNode.of(self.row)

    @resolved("Stakes in the pool, oldest first.")
    async def stakes(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[StakeFilter | None, strawberry.argument(description="Which of them.")] = None,
    ) -> Connection[Stake]:
        node_id = self.row["node_id"]
        return await stakes_of_parent(
            info, "node_id", node_id, filter, first=first, after=after, last=last, before=before
        )

    @classmethod
    def of(cls, row: Row) -> StakingPool:
        """The pool of a row of `nodes`."""
        return cls(
            id=global_id("StakingPool", row["node_id"]),
            stake=BigInt(row["stake_frost"]),
            next_epoch_stake=BigInt(row["next_stake_frost"]),
            commission_bps=row["commission_rate_bps"],
            votes=ParameterVotes(
                storage_price=BigInt(row["storage_price_frost"]),
                write_price=BigInt(row["write_price_frost"]),
                capacity_bytes=BigInt(row["node_capacity_bytes"]),
            ),
            row=row,
        )


@strawberry.type(description="Principal that an account has locked in a pool.")
class Stake(Node):
    object_id: ObjectID = strawberry.field(description="The stake's id on the ledger.")
    principal: BigInt = strawberry.field(description="What was locked, in FROST.")
    state: StakeState = strawberry.field(description="Where it stands, as of the current epoch.")
    activation_epoch: int = strawberry.field(description="First epoch in which it counts.")
    withdraw_epoch: int | None = strawberry.field(
        description="First epoch in which it can be taken out, once asked for."
    )
    owner: strawberry.Private[bytes]
    node_id: strawberry.Private[bytes]

    @resolved("Who owns it.")
    async def account(self, info: Info) -> Account:
        return await load_account(info, self.owner)

    @resolved(
        "What it has earned so far, in FROST: what would be paid on top of the principal, by the ledger's own rule, "
        "were it taken out now; null once it has been."
    )
    async def rewards(self, info: Info) -> BigInt | None:
        earned = rewards_so_far(info.context.services.view(), self.object_id)
        return None if earned is None else BigInt(earned)

    @resolved("The pool it is in.")
    async def pool(self, info: Info) -> StakingPool:
        row = await info.context.loaders.node.load(self.node_id)
        if row is None:
            raise AssertionError(f"stake {self.object_id.hex()} is with a node that is not registered")
        return StakingPool.of(row)

    @classmethod
    def of(cls, row: Row, epoch: int) -> Stake:
        return cls(
            id=global_id("Stake", row["object_id"]),
            object_id=ObjectID(row["object_id"]),
            principal=BigInt(row["principal_frost"]),
            state=stake_state(row["activation_epoch"], row["withdraw_epoch"], epoch),
            activation_epoch=row["activation_epoch"],
            withdraw_epoch=row["withdraw_epoch"],
            owner=row["owner"],
            node_id=row["node_id"],
        )


def rewards_so_far(view: View, object_id: bytes) -> int | None:
    """FROST that a stake has earned in the current state; None when there is no such stake (any more)."""
    staked = ledger_queries.staked_wal(view, object_id)
    if staked is None:
        return None
    epoch = ledger_queries.system(view).epoch
    if staked.activation_epoch > epoch:
        return 0
    until = epoch if staked.withdraw_epoch is None else min(epoch, staked.withdraw_epoch)
    return compute_rewards(view, load_pool(view, staked.node_id), staked, until)


def stake_state(activation_epoch: int, withdraw_epoch: int | None, epoch: int) -> StakeState:
    """Where a stake stands in an epoch."""
    if withdraw_epoch is not None:
        return StakeState.WITHDRAWABLE if withdraw_epoch <= epoch else StakeState.WITHDRAWING
    return StakeState.ACTIVE if activation_epoch <= epoch else StakeState.PENDING


async def stakes_connection(
    info: Info,
    filter: StakeFilter | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Stake]:
    """Live stakes."""
    query = stake_query(filter)
    order = node_queries.STAKES_ORDER
    paging = Paging(
        info, "stakes", order, "CREATED_AT", first=first, after=after, last=last, before=before, query=query
    )
    epoch = await info.context.epoch()
    statement = node_queries.stakes_statement(query, epoch)
    if rare := node_queries.rare_stakes(query, epoch):
        statement = await info.context.reading.run(queries.narrowed, statement, rare)
    return await paging.fetch(statement, lambda row: Stake.of(row, epoch))


async def stakes_of_parent(
    info: Info,
    column: str,
    parent: bytes,
    filter: StakeFilter | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Stake]:
    """Live stakes of one owner or one pool; many parents of one answer are read together."""
    name = f"stakes {column} {parent.hex()}"
    query, order = stake_query(filter), node_queries.STAKES_ORDER
    paging = Paging(info, name, order, "CREATED_AT", first=first, after=after, last=last, before=before, query=query)
    epoch = await info.context.epoch()
    return await paging.fetch_of("stakes", column, parent, query, lambda row: Stake.of(row, epoch))


def stake_query(filter: StakeFilter | None) -> StakeQuery:
    """A filter in the read model's words."""
    if filter is None:
        return StakeQuery()
    return StakeQuery(filter.account, filter.node, tuple(sorted({state.name for state in filter.state or ()})))
