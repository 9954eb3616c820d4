"""Transactions: an atomic list of commands, bound to one chain and a short life, signed by the sender's account.

There is no sequence number: sixteen random bytes make each one unique, so an account can store many blobs at once.
A transaction lives at most `MAX_LIFE_MS`; until then the ledger remembers its digest and answers it again with the
recorded result, afterwards it is inadmissible.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout import bcs
from haulout.bcs import U8, U64, Bytes16, Bytes32, Bytes64
from haulout.crypto.hashing import blake2b256
from haulout.ledger.commands import Command
from haulout.primitives import Digest

TRANSACTION_VERSION = 1
TRANSACTION_TAG = b"haulout/transaction/1"
MAX_LIFE_MS = 600_000
MAX_COMMANDS = 64
MAX_TRANSACTION_BYTES = 64 * 1024


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
