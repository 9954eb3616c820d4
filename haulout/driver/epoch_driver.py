"""Epochs move on because somebody says so when it is time: this actor does.

Every step is open to all, is refused before it is due, and names the epoch it is meant for. So any number of drivers
may run: the first to land wins, the others are told that the epoch is another one, and that is fine. One place runs it
as *the epoch controller*, without delay; every node carries it as a fallback that waits `driver_grace_ms` longer, so
that epochs go on when that place is gone.

It keeps nothing. If it stops half-way, the ledger's state says what is to be done next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from haulout.chain.block import TransactionResult
from haulout.driver.due_step import DueStep, find_due_step
from haulout.errors import HauloutError, Rejected
from haulout.ledger.commands import Command
from haulout.ledger.state import View
from haulout.ports import Clock, Rng

LOOK_AGAIN_MS = 1_000
JITTER_MS_MAX = 2_000
FIRST_BACKOFF_MS = 500
MAX_BACKOFF_MS = 60_000

ReadState = Callable[[], Awaitable[View]]


class Account(Protocol):
    """Who signs the steps: a `Wallet`, or what stands around one."""

    async def execute(self, commands: Sequence[Command]) -> TransactionResult:
        """Have commands take effect; as `Wallet.execute`."""


class EpochDriver:
    """Takes each step of an epoch when it is due.

    Attributes:
        n_steps: steps that took effect because of this driver.
        problem: why the last attempt failed, or None; for metrics and status.
    """

    def __init__(self, state: ReadState, wallet: Account, *, clock: Clock, rng: Rng, grace_ms: int = 0) -> None:
        """Make a driver; `run()` it.

        Args:
            state: the rows under `SYSTEM`, `STAKING` and `PARAMS` as they are now, verified or not: what it gets wrong
                the ledger refuses.
            wallet: an account that signs; steps cost nothing.
            grace_ms: how much later than due it acts: 0 for the controller, `driver_grace_ms` for a fallback.
        """
        self._state = state
        self._wallet = wallet
        self._clock = clock
        self._rng = rng
        self._grace_ms = grace_ms
        self.n_steps = 0
        self.problem: HauloutError | None = None

    async def run(self) -> None:
        """Drive until cancelled."""
        backoff_ms = FIRST_BACKOFF_MS
        while True:
            try:
                wait_ms = await self.run_once()
                self.problem, backoff_ms = None, FIRST_BACKOFF_MS
            except HauloutError as e:  # the ledger is away, or its state cannot be read now
                self.problem = e
                wait_ms = backoff_ms + self._rng.below(backoff_ms)
                backoff_ms = min(2 * backoff_ms, MAX_BACKOFF_MS)
            await self._clock.sleep_ms(wait_ms)

    async def run_once(self) -> int:
        """Take the step that is due, if one is; returns how long to wait before looking again, in ms."""
        step = find_due_step(await self._state())
        if step is None:
            return LOOK_AGAIN_MS
        left_ms = step.due_ms + self._grace_ms - self._clock.now_ms()
        if left_ms > 0:
            return min(left_ms + self._jitter_ms(), LOOK_AGAIN_MS)
        return await self._take(step)

    async def _take(self, step: DueStep) -> int:
        try:
            await self._wallet.execute([step.command])
            self.n_steps += 1
            return 0
        except Rejected as e:
            if e.code == "NOT_DUE_YET":  # the ledger's clock is behind ours
                return FIRST_BACKOFF_MS
            return LOOK_AGAIN_MS if self._grace_ms else FIRST_BACKOFF_MS  # somebody else was faster

    def _jitter_ms(self) -> int:
        """Fallbacks do not all come at once."""
        return self._rng.below(min(self._grace_ms, JITTER_MS_MAX) + 1)
