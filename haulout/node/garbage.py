"""Bytes that nobody pays for are deleted, and shards that went to others: after a delay, never against a promise.

Two phases. First candidates are noted, with the height of the state that made them so: an event made a blob
superfluous (deleted, invalid), an epoch began in which blobs expired, or a shard's new owner has everything and the
epoch is settled. Then, once n - f shards have *attested* that height, and after a delay that spreads the nodes over
half an epoch, each is looked at again under its lock, in the state of that moment. `rules` decides; a node that stops
half-way finds its lists again.
"""

from __future__ import annotations

import asyncio

from haulout.errors import DiskFull
from haulout.ledger import queries
from haulout.node import rules
from haulout.node.checkpoint_signer import CheckpointSigner
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.node.vault import Vault
from haulout.ports import Clock
from haulout.primitives import BlobId, ObjectId

PAGE = 64
LOOK_AGAIN_MS = 5_000
FIRST = BlobId(bytes(32))


class GarbageCollector:
    """Deletes what may go."""

    def __init__(
        self,
        identity: NodeIdentity,
        vault: Vault,
        signer: CheckpointSigner,
        clock: Clock,
        metrics: NodeMetrics,
        settings: NodeSettings,
    ) -> None:
        self._node_id = identity.node_id
        self._vault = vault
        self._signer = signer
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._leaving: dict[int, int] = {}  # shard that may go -> height at which it was seen to be so

    async def run(self) -> None:
        """Collect until cancelled.

        Raises:
            StorageFailed: a sync failed.
        """
        while True:
            if not self._vault.is_set_back:
                try:
                    await self.note_expired()
                    await self.collect_due()
                    await self.drop_shards()
                except DiskFull:
                    pass  # deleting needs a little space too; it is tried again
            await self._clock.sleep_ms(LOOK_AGAIN_MS)

    def delay_ms(self) -> int:
        """How long after an epoch began this node deletes what expired with it: the same every time, and another for
        each node, between 0 and half an epoch."""
        half = queries.params(self._vault.view).epoch_duration_ms // 2
        return int.from_bytes(self._node_id[:8], "big") % (half + 1)

    # --- blobs ----------------------------------------------------------------------------------------------

    async def note_expired(self) -> int:
        """Look at all stored blobs once per epoch and note those that nobody pays for; resumes where it stopped."""
        epoch = self._vault.duty().epoch
        sweep = self._vault.tables.sweep()
        if sweep is not None and sweep.epoch == epoch and sweep.done:
            return 0
        after = BlobId(sweep.after) if sweep is not None and sweep.epoch == epoch else None
        due_ms = queries.staking(self._vault.view).phase_since_ms + self.delay_ms()
        n_noted = 0
        while page := self._vault.slivers.blob_ids(after=after, limit=PAGE):
            superfluous = [blob_id for blob_id in page if not rules.is_live(self._vault.view, blob_id, epoch)]
            await self._vault.tables.add_garbage(superfluous, due_ms=due_ms, height=self._vault.height)
            n_noted += len(superfluous)
            after = page[-1]
            await self._vault.tables.set_sweep(epoch=epoch, after=after, done=False)
            await asyncio.sleep(0)
        await self._vault.tables.set_sweep(epoch=epoch, after=after or FIRST, done=True)
        return n_noted

    async def collect_due(self) -> int:
        """Look at every candidate whose delay is over and whose state is attested; returns how many were deleted."""
        n_dropped = 0
        after: BlobId | None = None
        while page := self._vault.tables.garbage(after=after, limit=PAGE):
            after = page[-1][0]
            done = []
            for blob_id, row in page:
                if row.due_ms > self._clock.now_ms() or row.height > self._vault.height:
                    continue
                if row.height > self._signer.attested_height:
                    continue
                n_dropped += await self._drop(blob_id)
                done.append(blob_id)
            await self._vault.tables.remove_garbage(done)
            await asyncio.sleep(0)
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

    # --- shards ---------------------------------------------------------------------------------------------

    async def drop_shards(self) -> int:
        """Delete what is held of shards that others own and have completely; returns how many shards went."""
        if self._vault.replica.diverged is not None:
            return 0
        n_dropped = 0
        for shard_index in range(self._vault.duty().n_shards):
            may_go = self._may_drop_shard(shard_index)
            if not may_go or not self._vault.slivers.drop_shard_page(shard_index, limit=1):
                self._leaving.pop(shard_index, None)
                continue
            seen_height = self._leaving.setdefault(shard_index, self._vault.height)
            if seen_height > self._signer.attested_height:
                continue
            n_dropped += await self._drop_shard(shard_index)
        return n_dropped

    async def _drop_shard(self, shard_index: int) -> bool:
        while page := self._vault.slivers.drop_shard_page(shard_index, limit=PAGE):
            for blob_id in page:
                if not await self._vault.drop_from_shard(
                    blob_id, shard_index, lambda: self._may_drop_shard(shard_index)
                ):
                    return False
            await asyncio.sleep(0)
        self._leaving.pop(shard_index, None)
        self._metrics.dropped_shards.inc()
        return True

    def _may_drop_shard(self, shard_index: int) -> bool:
        return rules.may_drop_shard(self._vault.view, self._vault.duty(), ObjectId(self._node_id), shard_index)
