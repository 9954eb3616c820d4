"""Mutations of stake, tokens and epochs, by the server's account."""

from __future__ import annotations

import strawberry

from graphql_api.accounts import Account, load_account
from graphql_api.cluster import begin_epoch_operation
from graphql_api.context import Info
from graphql_api.epochs import Epoch, load_epoch
from graphql_api.operations import Operation
from graphql_api.payloads import CLIENT_ID
from graphql_api.scalars import Address, BigInt, ObjectID
from graphql_api.stakes import Stake
from graphql_api.transactions import Transaction, TransactionPayload, created, execute
from haulout.ledger.commands import (
    AdvanceEpoch,
    Command,
    Created,
    Existing,
    RequestWithdraw,
    SplitStake,
    Transfer,
    Withdraw,
)
from haulout.ledger.commands import Stake as StakeCommand


@strawberry.input(description="Tokens to lock in a node's pool.")
class StakeInput:
    node_id: ObjectID = strawberry.field(description="The node's id on the ledger.")
    amount: BigInt = strawberry.field(description="How much, in FROST.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A stake to take out of its pool.")
class RequestUnstakeInput:
    stake_id: ObjectID = strawberry.field(description="The stake's id on the ledger.")
    amount: BigInt | None = strawberry.field(
        default=None, description="Only so much of it, in FROST: it is split first; all if left out."
    )
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A stake to be paid out.")
class WithdrawStakeInput:
    stake_id: ObjectID = strawberry.field(description="The stake's id on the ledger.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="Tokens to give to another account.")
class TransferFundsInput:
    to: Address = strawberry.field(description="Who gets them.")
    amount: BigInt = strawberry.field(description="How much, in FROST.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="The epoch to end.")
class AdvanceEpochInput:
    expected_epoch: int | None = strawberry.field(
        default=None, description="Only if this is still the current one; else whichever is."
    )
    client_mutation_id: str | None = CLIENT_ID


@strawberry.type(description="A stake as the transaction left it.")
class StakePayload(TransactionPayload):
    stake: Stake | None = strawberry.field(
        default=None, description="The stake; null when something was refused, and once it is paid out."
    )


@strawberry.type(description="The server's account after the transaction.")
class AccountPayload(TransactionPayload):
    account: Account | None = strawberry.field(default=None, description="The account that paid.")


@strawberry.type(description="The epoch that has begun.")
class EpochPayload(TransactionPayload):
    operation: Operation | None = strawberry.field(default=None, description="What tells how far its shards are.")
    epoch: Epoch | None = strawberry.field(default=None, description="The new epoch; its `transition` goes on.")


async def stake(info: Info, input: StakeInput) -> StakePayload:
    """Lock tokens in a node's pool."""
    result = await execute(info, [StakeCommand(input.node_id, input.amount)])
    return StakePayload(transaction=Transaction.of(result), stake=await _load(info, created(result)))


async def request_unstake(info: Info, input: RequestUnstakeInput) -> StakePayload:
    """Have a stake, or a part of it, leave its pool with a later epoch."""
    commands: list[Command] = []
    leaving: Existing | Created = Existing(input.stake_id)
    if input.amount is not None:
        commands.append(SplitStake(Existing(input.stake_id), input.amount))
        leaving = Created(0, 0)
    commands.append(RequestWithdraw(leaving))
    result = await execute(info, commands)
    object_id = input.stake_id if input.amount is None else result.created[0][0]
    return StakePayload(transaction=Transaction.of(result), stake=await _load(info, object_id))


async def withdraw_stake(info: Info, input: WithdrawStakeInput) -> AccountPayload:
    """Pay a stake out, with its rewards."""
    return await _of_account(info, Withdraw(Existing(input.stake_id)))


async def transfer_funds(info: Info, input: TransferFundsInput) -> AccountPayload:
    """Give tokens away."""
    return await _of_account(info, Transfer(input.to, input.amount))


async def advance_epoch(info: Info, input: AdvanceEpochInput) -> EpochPayload:
    """Begin the next epoch now."""
    epoch = await info.context.epoch() if input.expected_epoch is None else max(0, input.expected_epoch)
    result = await execute(info, [AdvanceEpoch(epoch)])
    operation = await begin_epoch_operation(info, epoch + 1)
    return EpochPayload(transaction=Transaction.of(result), epoch=await load_epoch(info, None), operation=operation)


async def _of_account(info: Info, command: Command) -> AccountPayload:
    result = await execute(info, [command])
    wallet = info.context.services.wallet
    account = None if wallet is None else await load_account(info, wallet.address)
    return AccountPayload(transaction=Transaction.of(result), account=account)


async def _load(info: Info, object_id: bytes) -> Stake | None:
    row = await info.context.loaders.stake.load(object_id)
    return None if row is None else Stake.of(row, await info.context.epoch())
