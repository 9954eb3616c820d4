"""Transactions: an atomic list of commands, bound to one chain and a short life, signed by the sender's account.

There is no sequence number: sixteen random bytes make each one unique, so an account can store many blobs at once.
A transaction lives at most `MAX_LIFE_MS`; until then the ledger remembers its digest and answers it again with the
recorded result, afterwards it is inadmissible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulout import bcs
from haulout.bcs import U8, U64, Bytes16, Bytes32, Bytes64
from haulout.crypto import ed25519
from haulout.crypto.hashing import blake2b256
from haulout.ledger.commands import Command
from haulout.primitives import Digest

TRANSACTION_VERSION = 1
TRANSACTION_TAG = b"haulout/transaction/1"
MAX_LIFE_MS = 600_000
MAX_COMMANDS = 64
MAX_TRANSACTION_BYTES = 64 * 1024
NONCE_BYTES = 16
_SEAL_BYTES = 32 + 64  # public key and signature stand behind the transaction


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the sender signs."""

    version: U8
    chain_id: Bytes32
    sender: Bytes32
    nonce: Bytes16
    valid_until_ms: U64
    commands: tuple[Command, ...]

    def digest(self) -> Digest:
        """Names the transaction; the signature covers exactly these 32 bytes."""
        return blake2b256(TRANSACTION_TAG + bcs.encode(self))


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction with the Ed25519 key its sender's address is made from, and that key's signature of the digest."""

    transaction: Transaction
    public_key: Bytes32
    signature: Bytes64


def encode_transaction(signed: SignedTransaction) -> bytes:
    """Canonical bytes of a signed transaction: what is submitted, and what stands in a block."""
    return bcs.encode(signed)


def digest_of_bytes(raw: bytes) -> Digest:
    """The digest of a signed transaction given by its canonical bytes."""
    return blake2b256(TRANSACTION_TAG + raw[:-_SEAL_BYTES])


def sign_transaction(
    secret: bytes, chain_id: bytes, commands: Sequence[Command], *, nonce: bytes, valid_until_ms: int
) -> SignedTransaction:
    """Put commands into a transaction and sign it.

    Args:
        secret: the sender's Ed25519 secret, 32 bytes; the sender's address follows from it.
        commands: 1 to `MAX_COMMANDS`, applied in order, all or none.
        nonce: `NONCE_BYTES` random bytes; two transactions of one sender must not share them.
        valid_until_ms: at most `MAX_LIFE_MS` after the ledger's time, which is near the wall clock.
    """
    public_key = ed25519.public_key(secret)
    transaction = Transaction(
        version=TRANSACTION_VERSION,
        chain_id=chain_id,
        sender=ed25519.address_of(public_key),
        nonce=nonce,
        valid_until_ms=valid_until_ms,
        commands=tuple(commands),
    )
    return SignedTransaction(transaction, public_key, ed25519.sign(secret, transaction.digest()))
