"""Where the epoch stands, for the table of `haulout up` and for `haulout status`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from haulout.client.view import LedgerView
from haulout.driver.due_step import find_due_step
from haulout.embedded.desk import LedgerDesk
from haulout.errors import HauloutError
from haulout.ledger import queries
from haulout.ledger.state import Phase
from haulout.ports import Clock
from haulout.primitives import ObjectId

LOOK_AGAIN_MS = 1_000


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """One look at the epoch."""

    epoch: int
    phase: Phase
    forced: bool
    due_ms: int | None  # of the next step; None where epochs are advanced by hand
    n_moving: int  # shards on their way
    syncing: tuple[str, ...]  # names of the nodes that wait for them

    def text(self, now_ms: int) -> str:
        """One line for people."""
        parts = [f"epoch {self.epoch} · {self.phase.name.capitalize()}{' (forced)' if self.forced else ''}"]
        if self.due_ms is not None:
            parts.append(f"next step in {max(0, self.due_ms - now_ms) // 1000} s")
        if self.n_moving:
            plural = "" if self.n_moving == 1 else "s"
            parts.append(f"{self.n_moving} shard{plural} on the way to {', '.join(self.syncing)}")
        return " · ".join(parts)


async def fetch_epoch_status(view: LedgerView) -> EpochStatus:
    """Look at the ledger. Raises what reading it raises."""
    rows = await view.epoch_state()
    moving = await view.open_hand_overs()
    takers = dict.fromkeys(ObjectId(record.to_node) for record in moving)
    nodes = await view.nodes(list(takers))
    step, staking = find_due_step(rows), queries.staking(rows)
    return EpochStatus(
        epoch=queries.system(rows).epoch,
        phase=staking.phase,
        forced=staking.forced,
        due_ms=None if step is None else step.due_ms,
        n_moving=len(moving),
        syncing=tuple(sorted(node.name for node in nodes.values())),
    )


class EpochWatch:
    """The last look; None before the first."""

    def __init__(self) -> None:
        self.status: EpochStatus | None = None

    async def follow(self, desk: LedgerDesk, clock: Clock) -> None:
        """Look again and again until cancelled; while the ledger is away the last look stays."""
        while True:
            with contextlib.suppress(HauloutError):
                self.status = await fetch_epoch_status(desk.view)
            await clock.sleep_ms(LOOK_AGAIN_MS)
