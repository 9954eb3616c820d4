"""Whether a process that answers from a replica may be asked: the reasons behind its `/readyz`."""

from __future__ import annotations

from collections.abc import Sequence

from haulout.replica.replica import Replica


class Readiness:
    """Ready once the replica has caught up for the first time; unready again only when it may not go on.

    A ledger that is away later is no reason: what was verified is still true, and answers say how far it is.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._caught_up = False

    def reasons(self) -> Sequence[str]:
        """Why not, each with its code; empty when ready."""
        replica = self._replica
        if replica.diverged is not None:
            return (f"LEDGER_DIVERGED: {replica.diverged}",)
        if replica.upgrade_required is not None:
            return (f"UPGRADE_REQUIRED: {replica.upgrade_required}",)
        if not self._caught_up:
            if replica.problem is not None:
                return (f"LEDGER_UNREACHABLE: {replica.problem}",)
            if replica.heard_height is None:
                return ("CATCHING_UP: the ledger has not said yet where it stands",)
            if replica.head.height < replica.heard_height:
                return (f"CATCHING_UP: block {replica.head.height} of {replica.heard_height}",)
            self._caught_up = True
        return ()
