"""Blocks that nobody needs any more are forgotten: those before the last two epochs, a few at a time.

State, tree and history stay, so proofs are what they were. What is kept longer than its epoch:

    the last quarter of an hour        a client may still ask what became of its transaction
    blocks that are not attested       nobody could be shown a snapshot above them
    an epoch without closing signature the way from committee to committee would end there
    what is still being followed       by whoever reads these blocks in the same process

If it stops half-way, it goes on with the oldest block that is kept.
"""

from __future__ import annotations

from collections.abc import Callable

from haulout.errors import DiskFull
from haulout.ledger import queries
from haulout.ports import Clock
from haulout.replica.ledger_store import LedgerStore

KEEP_EPOCHS = 2
KEEP_MS = 15 * 60_000  # longer than a transaction is valid
PAGE = 100
PAUSE_MS = 20  # between two pages: commits of blocks go before
LOOK_AGAIN_MS = 10_000


class Pruner:
    """Prunes one store. Keep `run()` going as a task."""

    def __init__(
        self,
        store: LedgerStore,
        clock: Clock,
        *,
        keep_epochs: int = KEEP_EPOCHS,
        keep_ms: int = KEEP_MS,
        is_source: bool = True,
        needed_from: Callable[[], int] | None = None,
    ) -> None:
        """Make a pruner.

        Args:
            keep_epochs: whose blocks are kept, the present one among them; 0 keeps all.
            keep_ms: how long blocks are kept in any case.
            is_source: others begin with this ledger's snapshots, so it keeps what is not attested.
            needed_from: the first height that is still being read here.
        """
        self._store = store
        self._clock = clock
        self._keep_epochs = keep_epochs
        self._keep_ms = keep_ms
        self._is_source = is_source
        self._needed_from = needed_from

    async def run(self) -> None:
        """Prune until cancelled; returns at once when everything is kept.

        Raises:
            StorageFailed: the process has to stop.
        """
        while self._keep_epochs:
            try:
                is_more = await self.run_once() == PAGE
            except DiskFull:
                is_more = False  # forgetting needs a little space too
            await self._clock.sleep_ms(PAUSE_MS if is_more else LOOK_AGAIN_MS)

    async def run_once(self) -> int:
        """Forget up to `PAGE` blocks; returns how many."""
        oldest = self._store.oldest_height
        end = min(self._limit(), oldest + PAGE)
        young_ms = self._clock.now_ms() - self._keep_ms
        while end > oldest and self._store.header(end - 1).time_ms > young_ms:
            end -= 1
        return await self._store.prune(below_height=end, max_blocks=PAGE) if end > oldest else 0

    def _limit(self) -> int:
        """The first height that has to stay whatever its age; 0 when nothing may go."""
        first_epoch = queries.system(self._store.view).epoch - self._keep_epochs + 1
        limit = self._store.epoch_start(first_epoch) if first_epoch > 0 else None
        if limit is None:
            return 0
        if self._is_source:
            latest = self._store.checkpoint()
            limit = min(limit, 0 if latest is None else latest.checkpoint.height, self._first_open(first_epoch, limit))
        return limit if self._needed_from is None else min(limit, self._needed_from())

    def _first_open(self, first_epoch: int, limit: int) -> int:
        """Where the first epoch among those to be pruned begins that was not closed by a signature."""
        epoch = self._store.epoch_before(self._store.oldest_height + 1)
        while epoch is not None and epoch < first_epoch:
            if not self._store.is_closed(epoch):
                return self._store.epoch_start(epoch) or 0
            epoch += 1
        return limit
