"""What the sequencer counts of the blocks that it has made durable, since its process began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from haulout.ledger.apply import BlockOut
from haulout.ledger.events import EpochDone, EpochStarted
from haulout.ledger.state import Staking


class BlockTally:
    """Counts by what is known at start: rules and kinds of commands, never who sent them.

    Attributes:
        refusals: transactions that a rule refused, by its code.
        commands: commands by kind, and whether their transaction was executed.
        epoch_change_ms: how long the last change of epoch took by the blocks' time, from the new committee until it had
            its shards or a deadline ended the wait; None until one has ended.
    """

    def __init__(self, staking: Staking) -> None:
        self.refusals: Counter[str] = Counter()
        self.commands: Counter[tuple[str, bool]] = Counter()
        self.epoch_change_ms: int | None = None
        # In Sync the start of the change that is under way. In other phases the next change sets it before it is used.
        self._changed_ms = staking.phase_since_ms

    def note(self, out: BlockOut, kinds: Sequence[Sequence[str]]) -> None:
        """Count a block that is durable; `kinds` has those of each transaction's commands."""
        for result, of_transaction in zip(out.results, kinds, strict=True):
            if not result.is_ok:
                self.refusals[result.reason] += 1
            self.commands.update((kind, result.is_ok) for kind in of_transaction)
        for event in out.events:
            if isinstance(event.body, EpochStarted):
                self._changed_ms = event.time_ms
            elif isinstance(event.body, EpochDone):
                self.epoch_change_ms = event.time_ms - self._changed_ms
