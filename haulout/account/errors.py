"""What sending a transaction can run into."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Unavailable


@dataclass(eq=False)
class TransactionUnsettled(Unavailable):
    """The ledger did not say in time what became of a transaction; it may still take effect."""

    code = "TRANSACTION_UNSETTLED"
    template = "the ledger has not settled transaction {digest} in time"
    hint = "try again: nothing is paid twice"
    digest: str
