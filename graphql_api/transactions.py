"""Transactions behind mutations: signed with this server's account, or handed in as the caller signed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import strawberry

from graphql_api.context import Info
from graphql_api.payloads import CLIENT_ID, Payload
from graphql_api.scalars import Base64, BigInt, ObjectID
from haulout import bcs
from haulout.account.wallet import Wallet, settle
from haulout.chain.block import TransactionResult
from haulout.errors import InvalidField, Rejected, UndecodableBytes
from haulout.ledger.commands import Command
from haulout.ledger.transactions import MAX_TRANSACTION_BYTES, SignedTransaction

CATCH_UP_MS = 5_000


@dataclass(eq=False)
class NoAccount(Rejected):
    """The server has no key to sign with."""

    code = "NO_ACCOUNT"
    template = "this server holds no account"
    hint = "sign the transaction yourself and send it with executeTransaction, or start the server with --wallet"


@strawberry.type(description="A transaction that took effect.")
class Transaction:
    digest: ObjectID = strawberry.field(description="Its name: 32 bytes.")
    height: BigInt = strawberry.field(description="The block that it is in.")
    created_ids: list[ObjectID] = strawberry.field(description="Objects that it made, in the order of its commands.")

    @classmethod
    def of(cls, result: TransactionResult) -> Transaction:
        ids = [ObjectID(object_id) for made in result.created for object_id in made]
        return cls(digest=ObjectID(result.digest), height=BigInt(result.height), created_ids=ids)


@strawberry.interface(description="What a mutation answers that is one transaction on the ledger.")
class TransactionPayload(Payload):
    transaction: Transaction | None = strawberry.field(
        default=None, description="The transaction; null when something was refused."
    )


@strawberry.input(description="A transaction that is signed already.")
class ExecuteTransactionInput:
    transaction: Base64 = strawberry.field(description="Canonical bytes of the signed transaction, at most 64 KiB.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.type(description="A transaction that its caller signed.")
class ExecuteTransactionPayload(TransactionPayload):
    """Nothing but the transaction."""


def wallet_of(info: Info) -> Wallet:
    """What the server's account signs with.

    Raises:
        NoAccount: there is none.
    """
    wallet = info.context.services.wallet
    if wallet is None:
        raise NoAccount()
    return wallet


async def execute(info: Info, commands: Sequence[Command]) -> TransactionResult:
    """Have commands take effect together, paid by the server's account, and let the read model catch up.

    Raises:
        NoAccount: there is none.
        InvalidInput, Rejected, Unavailable: as `Wallet.execute`.
    """
    result = await wallet_of(info).execute(commands)
    await see(info, result.height)
    return result


async def execute_transaction(info: Info, input: ExecuteTransactionInput) -> ExecuteTransactionPayload:
    """Hand in what a caller has signed.

    Raises:
        InvalidField: it is no transaction.
        InvalidInput, Rejected, Unavailable: as `Wallet.execute`.
    """
    raw, services = input.transaction, info.context.services
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise InvalidField(field="transaction", problem=f"has more than {MAX_TRANSACTION_BYTES} bytes")
    try:
        signed: SignedTransaction = bcs.decode(SignedTransaction, raw)
    except UndecodableBytes as e:
        raise InvalidField(field="transaction", problem=str(e)) from e
    digest = signed.transaction.digest()
    result = await settle(raw, digest, ledger=services.ledger, clock=services.clock, rng=services.rng)
    await see(info, result.height)
    return ExecuteTransactionPayload(transaction=Transaction.of(result))


async def see(info: Info, height: int) -> None:
    """Have the rest of the answer be as of this block, or of the newest one that is here in time."""
    await info.context.services.follower.wait_for_height(height, timeout_ms=CATCH_UP_MS)
    await info.context.renew()


def created(result: TransactionResult) -> bytes:
    """The object that the last command made."""
    return result.created[-1][0]


def check_count(value: int, field: str, limit: int) -> int:
    """A number from 1 to `limit`.

    Raises:
        InvalidField: it is none.
    """
    if not 1 <= value <= limit:
        raise InvalidField(field=field, problem=f"{value} is not between 1 and {limit}")
    return value
