"""Which transactions may stand in a block at all.

Inadmissible is what no rule needs to be asked about: bytes that are no transaction, another chain, out of its time,
not signed by its sender, seen before. It is never in a block, and a block that holds one is invalid. The checks come
in order of cost; the signature, a tenth of a millisecond, is last but one.

A sequencer that wants to verify each signature only once calls `check_envelope` when a transaction comes in, and
leaves the signature to `apply_block`, which reports who failed; every replica does the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout import bcs
from haulout.crypto import ed25519
from haulout.errors import InvalidInput, UndecodableBytes
from haulout.ledger import keys, queries
from haulout.ledger.commands import COMMANDS, LAST_OF_PROTOCOL, UpdateProtocolVersion
from haulout.ledger.state import View
from haulout.ledger.transactions import (
    MAX_COMMANDS,
    MAX_LIFE_MS,
    MAX_TRANSACTION_BYTES,
    TRANSACTION_VERSION,
    SignedTransaction,
    digest_of_bytes,
)
from haulout.primitives import Digest, hex_id_text


@dataclass(eq=False)
class MalformedTransaction(InvalidInput):
    """Bytes that are no transaction of a known version."""

    code = "MALFORMED_TRANSACTION"
    template = "not a transaction: {problem}"
    problem: str


@dataclass(eq=False)
class CommandNotActive(InvalidInput):
    """A command that the version of the rules in force does not know yet."""

    code = "COMMAND_NOT_ACTIVE"
    template = "{command} is unknown to protocol version {protocol_version}, which the ledger follows"
    hint = "wait until the nodes have voted for a newer version"
    command: str
    protocol_version: int


@dataclass(eq=False)
class TransactionTooLarge(InvalidInput):
    """More bytes or commands than a transaction may have."""

    code = "TRANSACTION_TOO_LARGE"
    template = "a transaction has at most {limit} {unit}, this one {size}"
    hint = "split it"
    size: int
    limit: int
    unit: str


@dataclass(eq=False)
class WrongChain(InvalidInput):
    """Made for another network."""

    code = "WRONG_CHAIN"
    template = "the transaction is for chain {transaction_chain_id}, this is {chain_id}"
    hint = "use this network's genesis file"
    transaction_chain_id: str
    chain_id: str


@dataclass(eq=False)
class TransactionExpired(InvalidInput):
    """Its time is over; if it is not on the ledger now, it never will be."""

    code = "TRANSACTION_EXPIRED"
    template = "the transaction was valid until {valid_until_ms} ms, it is {now_ms} ms"
    hint = "sign a new one"
    valid_until_ms: int
    now_ms: int


@dataclass(eq=False)
class TransactionTooFarAhead(InvalidInput):
    """It would have to be remembered for too long."""

    code = "TRANSACTION_TOO_FAR_AHEAD"
    template = "the transaction is valid until {valid_until_ms} ms, at most {limit_ms} ms is allowed now"
    hint = "check the clock; sign for ten minutes at most"
    valid_until_ms: int
    limit_ms: int


@dataclass(eq=False)
class BadSignature(InvalidInput):
    """Not signed by its sender."""

    code = "BAD_SIGNATURE"
    template = "the transaction of {sender} is not validly signed: {problem}"
    sender: str
    problem: str


@dataclass(eq=False)
class DuplicateTransaction(InvalidInput):
    """It has been ordered already; its result stands."""

    code = "DUPLICATE_TRANSACTION"
    template = "transaction {digest} has been ordered already"
    hint = "ask for its result"
    digest: str


def check_admissible(view: View, raw: bytes, *, now_ms: int, chain_id: bytes) -> SignedTransaction:
    """Read a signed transaction and refuse it where it may not stand in the next block.

    Args:
        view: the state the transaction would meet.
        raw: canonical bytes of a `SignedTransaction`.
        now_ms: the block's time.
        chain_id: this network.

    Raises:
        MalformedTransaction, TransactionTooLarge, WrongChain, TransactionExpired, TransactionTooFarAhead,
        CommandNotActive, BadSignature, DuplicateTransaction: in this order.
    """
    signed = check_envelope(raw, now_ms=now_ms, chain_id=chain_id)
    check_known_commands(signed, queries.system(view).protocol_version)
    digest = digest_of_bytes(raw)
    check_signature(signed, digest)
    check_not_ordered(view, signed, digest)
    return signed


def check_envelope(raw: bytes, *, now_ms: int, chain_id: bytes) -> SignedTransaction:
    """The cheap part: everything but signature and repetition."""
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise TransactionTooLarge(size=len(raw), limit=MAX_TRANSACTION_BYTES, unit="bytes")
    try:
        signed: SignedTransaction = bcs.decode(SignedTransaction, raw)
    except UndecodableBytes as e:
        raise MalformedTransaction(problem=e.problem) from e
    transaction = signed.transaction
    if transaction.version != TRANSACTION_VERSION:
        raise MalformedTransaction(problem=f"version {transaction.version} is unknown")
    if not transaction.commands:
        raise MalformedTransaction(problem="it has no commands")
    if len(transaction.commands) > MAX_COMMANDS:
        raise TransactionTooLarge(size=len(transaction.commands), limit=MAX_COMMANDS, unit="commands")
    if transaction.chain_id != chain_id:
        raise WrongChain(transaction_chain_id=hex_id_text(transaction.chain_id), chain_id=hex_id_text(chain_id))
    if transaction.valid_until_ms < now_ms:
        raise TransactionExpired(valid_until_ms=transaction.valid_until_ms, now_ms=now_ms)
    if transaction.valid_until_ms > now_ms + MAX_LIFE_MS:
        raise TransactionTooFarAhead(valid_until_ms=transaction.valid_until_ms, limit_ms=now_ms + MAX_LIFE_MS)
    return signed


def check_known_commands(signed: SignedTransaction, protocol_version: int) -> None:
    """Refuse commands that the rules in force do not know, as every build of that version does.

    The one that changes the version is let through everywhere: else nobody could leave the first one.

    Raises:
        CommandNotActive: with the first such command.
    """
    last = LAST_OF_PROTOCOL.get(protocol_version)
    if last is None:
        return
    for command in signed.transaction.commands:
        if COMMANDS.tag_of(type(command)) > last and not isinstance(command, UpdateProtocolVersion):
            raise CommandNotActive(command=type(command).__name__, protocol_version=protocol_version)


def check_signature(signed: SignedTransaction, digest: Digest) -> None:
    """Refuse what its sender has not signed."""
    sender = signed.transaction.sender
    if ed25519.address_of(signed.public_key) != sender:
        raise BadSignature(sender=hex_id_text(sender), problem="the key is another account's")
    if not ed25519.verify(signed.public_key, digest, signed.signature):
        raise BadSignature(sender=hex_id_text(sender), problem="the signature does not match")


def check_not_ordered(view: View, signed: SignedTransaction, digest: Digest) -> None:
    """Refuse what has been ordered before; what the ledger has forgotten has expired."""
    if view.get(keys.receipt(signed.transaction.valid_until_ms, digest)) is not None:
        raise DuplicateTransaction(digest=hex_id_text(digest))
