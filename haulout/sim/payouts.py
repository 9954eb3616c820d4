"""That a stake is paid out once and not before its time, told from the ledger's events alone."""

from __future__ import annotations

from haulout.ledger.events import EpochDone, EpochStarted, Event, StakeChanged


class Payouts:
    """Follows every stake that its owner asked back, until it is gone. Nobody joins two stakes in these worlds."""

    def __init__(self) -> None:
        self._in_sync = False
        self._due: dict[bytes, int] = {}  # the epoch from which on a stake is paid out, by object
        self._gone: set[bytes] = set()

    def note(self, event: Event) -> str:
        """Look at an event; says what is wrong with it, or nothing."""
        body = event.body
        if isinstance(body, EpochStarted | EpochDone):
            self._in_sync = isinstance(body, EpochStarted)
        if not isinstance(body, StakeChanged):
            return ""
        if body.object_id in self._gone:
            return f"stake {body.object_id.hex()} was paid out before"
        if body.principal_frost:
            if body.withdraw_epoch is not None:
                self._due[body.object_id] = body.withdraw_epoch
            return ""
        self._gone.add(body.object_id)
        due = self._due.pop(body.object_id, None)
        if due is not None and (event.epoch < due or (event.epoch == due and self._in_sync)):
            return f"stake {body.object_id.hex()} ended in epoch {event.epoch}, due was Done of epoch {due}"
        return ""
