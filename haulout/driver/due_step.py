"""Which step of an epoch comes next, and when it is due: pure, from the ledger's own state.

    Done    half an epoch after Done: end the vote
    Voted   an epoch after Done: begin the next epoch
    Sync    half an epoch after the change, if the shards have not arrived: force Done

On a network that was founded with manual epochs nothing is ever due. Source: Walrus's contracts, `staking_inner.move`;
to force Done is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout.ledger import queries
from haulout.ledger.commands import ChangeEpoch, EndVoting, ForceDone
from haulout.ledger.state import Phase, View


@dataclass(frozen=True, slots=True)
class DueStep:
    """A step that somebody has to take; it names the epoch that it is meant for, so a second one does no harm."""

    command: EndVoting | ChangeEpoch | ForceDone
    due_ms: int  # on the ledger's clock, below which it is refused


def find_due_step(view: View) -> DueStep | None:
    """The next step of the current epoch; None on a network with manual epochs."""
    params, epoch, staking = queries.params(view), queries.system(view).epoch, queries.staking(view)
    if params.manual_epochs:
        return None
    since_ms, duration_ms = staking.phase_since_ms, params.epoch_duration_ms
    if staking.phase is Phase.DONE:
        return DueStep(EndVoting(epoch), since_ms + duration_ms // 2)
    if staking.phase is Phase.VOTED:
        return DueStep(ChangeEpoch(epoch), since_ms + duration_ms)
    return DueStep(ForceDone(epoch), since_ms + duration_ms // 2)
