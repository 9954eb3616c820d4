"""Bytes that nobody pays for any more are deleted, after a delay and never against a promise.

Two ways lead here: an event made a blob superfluous (deleted, invalid), and an epoch began in which blobs expired,
for which all stored blobs are swept once. Both only name candidates; `rules.may_drop` decides, under the blob's lock,
in the state of that moment. A node that stops half-way finds its lists again.
"""

from __future__ import annotations

import asyncio

from haulout.errors import DiskFull
from haulout.node import rules
from haulout.node.identity import NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.node.vault import Vault
from haulout.ports import Clock
from haulout.primitives import BlobId

PAGE = 64
LOOK_AGAIN_MS = 5_000
FIRST = BlobId(bytes(32))


class GarbageCollector:
    """Deletes what may go."""

    def __init__(self, vault: Vault, clock: Clock, metrics: NodeMetrics, settings: NodeSettings) -> None:
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._settings = settings

    async def run(self) -> None:
        """Collect until cancelled.

        Raises:
            StorageFailed: a sync failed.
        """
        while True:
            # A replica that a crash set back behind what was followed once would call later blobs superfluous.
            if self._vault.height >= self._vault.tables.followed_height():
                try:
                    await self.collect_due()
                    await self.sweep_epoch()
                except DiskFull:
                    pass  # deleting needs a little space too; it is tried again
            await self._clock.sleep_ms(LOOK_AGAIN_MS)

    async def collect_due(self) -> int:
        """Look at every candidate whose delay is over; returns how many blobs were deleted."""
        n_dropped = 0
        after: BlobId | None = None
        while page := self._vault.tables.garbage(after=after, limit=PAGE):
            after = page[-1][0]
            done = []
            for blob_id, row in page:
                if row.due_ms > self._clock.now_ms() or row.height > self._vault.height:
                    continue
                n_dropped += await self._drop(blob_id)
                done.append(blob_id)
            await self._vault.tables.remove_garbage(done)
            await asyncio.sleep(0)
        return n_dropped

    async def sweep_epoch(self) -> int:
        """Look at all stored blobs once per epoch, for those that expired with the last; resumes where it stopped."""
        epoch = self._vault.duty().epoch
        sweep = self._vault.tables.sweep()
        if sweep is not None and sweep.epoch == epoch and sweep.done:
            return 0
        after = BlobId(sweep.after) if sweep is not None and sweep.epoch == epoch else None
        n_dropped = 0
        while page := self._vault.slivers.blob_ids(after=after, limit=PAGE):
            for blob_id in page:
                n_dropped += await self._drop(blob_id)
            after = page[-1]
            await self._vault.tables.set_sweep(epoch=epoch, after=after, done=False)
            await asyncio.sleep(0)
        await self._vault.tables.set_sweep(epoch=epoch, after=after or FIRST, done=True)
        return n_dropped

    async def _drop(self, blob_id: BlobId) -> bool:
        if not self._may_drop(blob_id):
            return False
        is_dropped = await self._vault.drop_blob(blob_id, lambda: self._may_drop(blob_id))
        if is_dropped:
            self._metrics.dropped_blobs.inc()
            await self._vault.tables.remove_incomplete(blob_id)
        return is_dropped

    def _may_drop(self, blob_id: BlobId) -> bool:
        if self._vault.replica.diverged is not None:
            return False  # a state that is not believed decides nothing
        return rules.may_drop(
            self._vault.view,
            blob_id,
            epoch=self._vault.duty().epoch,
            height=self._vault.height,
            promise=self._vault.slivers.promise(blob_id),
        )
