"""What the sequencer refuses."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import InvalidInput, Rejected, Unavailable


@dataclass(eq=False)
class LedgerBusy(Unavailable):
    """More transactions wait than the sequencer keeps."""

    code = "LEDGER_BUSY"
    template = "{pending} transactions are waiting already; try again in {retry_after_ms} ms"
    hint = "the transaction was not taken; the same bytes may be sent again"
    pending: int
    retry_after_ms: int


@dataclass(eq=False)
class LedgerStopping(Unavailable):
    """The sequencer is shutting down."""

    code = "LEDGER_STOPPING"
    template = "the ledger is shutting down"
    hint = "send the same bytes again when it is back: a transaction takes effect at most once"


@dataclass(eq=False)
class Inadmissible(InvalidInput):
    """No block may hold this transaction; `code` is the reason's own."""

    template = "the transaction cannot be in a block: {reason}"
    hint = "make a new one and sign it with the sender's key"
    reason: str

    def __post_init__(self) -> None:
        self.code = self.reason


@dataclass(eq=False)
class CheckpointRefused(Rejected):
    """A checkpoint signature that this ledger cannot use; it tells two histories, or who signs is nobody here."""

    code = "CHECKPOINT_REFUSED"
    template = "the signature for height {height} is refused: {problem}"
    hint = "compare the node's block with the ledger's; one of them is wrong"
    height: int
    problem: str
