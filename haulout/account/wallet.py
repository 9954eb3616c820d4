"""An account's key, and transactions that are sent until it is known what became of them.

A transaction is signed once and its bytes are sent again while the ledger does not answer: the same digest gives the
recorded result, so nothing takes effect twice. A refusal comes back as the error class its kind names, under the
ledger's own code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from haulout.account.errors import TransactionUnsettled
from haulout.chain.block import TransactionResult
from haulout.crypto import ed25519
from haulout.errors import InvalidField, Unavailable, from_wire
from haulout.ledger.commands import Command
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.ports import Clock, Ledger, Rng
from haulout.primitives import Digest, hex_id_text

LIFE_MS = 60_000
NONCE_BYTES = 16
SUBMIT_WAIT_MS = 5_000
RETRY_PAUSE_MS = 200
PATIENCE_MS = 15_000


def read_secret(path: Path) -> bytes:
    """The Ed25519 secret in a wallet file.

    Raises:
        InvalidField: no such file, or not a wallet.
    """
    try:
        document = json.loads(path.read_text())
        secret = bytes.fromhex(document["secret"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InvalidField(field="wallet", problem=f"{path} is not a wallet file ({type(e).__name__})") from e
    if len(secret) != ed25519.SEED_BYTES:
        raise InvalidField(field="wallet", problem=f"{path} does not hold a secret of {ed25519.SEED_BYTES} bytes")
    return secret


class Wallet:
    """Signs and sends for one account."""

    def __init__(self, secret: bytes, *, chain_id: bytes, ledger: Ledger, clock: Clock, rng: Rng) -> None:
        self._secret = secret
        self._chain_id = chain_id
        self._ledger = ledger
        self._clock = clock
        self._rng = rng
        self.address = ed25519.address_of(ed25519.public_key(secret))

    async def execute(self, commands: Sequence[Command]) -> TransactionResult:
        """Have commands take effect together; returns once that is durable.

        Raises:
            InvalidInput: inadmissible, under the ledger's code.
            Rejected: a rule said no, under the ledger's code; nothing has changed.
            Unavailable, TransactionUnsettled: the ledger did not answer in time; it may still take effect.
        """
        signed = sign_transaction(
            self._secret,
            self._chain_id,
            commands,
            nonce=self._rng.random_bytes(NONCE_BYTES),
            valid_until_ms=self._clock.now_ms() + LIFE_MS,
        )
        return await settle(
            encode_transaction(signed),
            signed.transaction.digest(),
            ledger=self._ledger,
            clock=self._clock,
            rng=self._rng,
        )


async def settle(raw: bytes, digest: Digest, *, ledger: Ledger, clock: Clock, rng: Rng) -> TransactionResult:
    """Send a signed transaction until it is known what became of it, and that is durable.

    Args:
        raw: the transaction, canonical bytes.
        digest: its digest.

    Raises:
        as `Wallet.execute`.
    """
    deadline_us = clock.monotonic_us() + PATIENCE_MS * 1000
    while True:
        try:
            result = await ledger.submit(raw, wait_ms=SUBMIT_WAIT_MS)
            if result is not None:
                break
            problem: Unavailable = TransactionUnsettled(digest=hex_id_text(digest))
        except Unavailable as e:
            problem = e
        if clock.monotonic_us() > deadline_us:
            raise problem
        await clock.sleep_ms(RETRY_PAUSE_MS + rng.below(RETRY_PAUSE_MS))
    if result.reason:
        raise from_wire("FAILED_PRECONDITION", result.reason, result.message, {})
    return result
