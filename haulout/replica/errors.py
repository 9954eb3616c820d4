"""What keeping and following a ledger can run into."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Corrupt, InvalidInput, NotFound, Rejected, Unavailable


@dataclass(eq=False)
class LedgerDiverged(Corrupt):
    """The ledger handed out a block that the rules do not lead to; nothing after it is believed.

    Either its sequencer lies or is broken, or this build computes something else than the others. Both need a
    person: the reader keeps the last state it could verify and goes no further, also after a restart.
    """

    code = "LEDGER_DIVERGED"
    template = "the ledger's block {height} does not follow from its predecessor: {problem}"
    hint = "compare this block with the other nodes; keep the data, and ask the operator of the ledger"
    height: int
    problem: str


@dataclass(eq=False)
class CheckpointConflict(Corrupt):
    """The committee attests another block than the one that was executed here: the ledger showed two histories."""

    code = "CHECKPOINT_CONFLICT"
    template = "at height {height} the committee attests block {attested}, the ledger gave this reader {executed}"
    hint = "the sequencer handed out two chains; keep the data, and compare the nodes"
    height: int
    attested: str
    executed: str


@dataclass(eq=False)
class WrongGenesis(InvalidInput):
    """The store belongs to another network than the genesis it is opened with."""

    code = "WRONG_GENESIS"
    template = "this store belongs to chain {stored}, the given genesis is of chain {given}"
    hint = "use the folder of this network, or an empty one"
    stored: str
    given: str


@dataclass(eq=False)
class WrongLedger(Unavailable):
    """The ledger that answers is of another chain, or has lost blocks that this reader holds."""

    code = "WRONG_LEDGER"
    template = "the ledger at hand is not the one this reader follows: {problem}"
    hint = "check the ledger's address; a ledger that lost its disk is restored from the nodes"
    problem: str


@dataclass(eq=False)
class BlockNotKept(NotFound):
    """No such block is kept here: it is not made yet, or it has been pruned."""

    code = "BLOCK_NOT_KEPT"
    template = "block {height} is not here; blocks {oldest} to {head} are"
    height: int
    oldest: int
    head: int


@dataclass(eq=False)
class EventNotKept(NotFound):
    """Events before this one have been pruned."""

    code = "EVENT_NOT_KEPT"
    template = "event {sequence} is no longer kept; the oldest is {oldest}"
    hint = "start again from a snapshot"
    sequence: int
    oldest: int


@dataclass(eq=False)
class FellBehind(Unavailable):
    """The ledger has pruned the blocks that come next here: no following leads to its head any more."""

    code = "FELL_BEHIND"
    template = "the ledger keeps blocks from {oldest} on, and this replica ends at block {height}"
    hint = "start it again: a node and a gateway then begin with a snapshot"
    height: int
    oldest: int


@dataclass(eq=False)
class NotProven(Unavailable):
    """A snapshot whose block nobody attests, as far as can be told from the committee that is known here."""

    code = "SNAPSHOT_NOT_PROVEN"
    template = "the ledger's snapshot cannot be believed: {problem}"
    hint = "wait until the nodes have signed a checkpoint, or name another ledger"
    problem: str


@dataclass(eq=False)
class ReadOnlyLedger(Rejected):
    """A replica orders nothing and gathers nothing."""

    code = "READ_ONLY_LEDGER"
    template = "this is a replica of the ledger, it only answers"
    hint = "send it to the ledger itself"


@dataclass(eq=False)
class NotRestorable(Rejected):
    """The nodes that answer do not make the ledger certain."""

    code = "NOT_RESTORABLE"
    template = "the ledger cannot be restored: {problem}"
    hint = "start more nodes and restore again; what was fetched is kept"
    problem: str


@dataclass(eq=False)
class BadSnapshot(Corrupt):
    """A snapshot of the state that is damaged, or that does not have the root it claims."""

    code = "BAD_SNAPSHOT"
    template = "the snapshot cannot be used: {problem}"
    hint = "export it again, from another source if this happens twice"
    problem: str


@dataclass(eq=False)
class StoreNotEmpty(Rejected):
    """A snapshot goes into an empty store only."""

    code = "STORE_NOT_EMPTY"
    template = "the store already holds a ledger at height {height}"
    hint = "import into an empty folder"
    height: int
