"""The ledger's events become work, in order, each at least once.

An event is looked at against the state of now, not of then: following it twice, or long after, gives the same work
or less. Rows and cursor are committed together per block, so a restart resumes exactly behind the last one. When the
blocks behind the cursor are not kept any more, all blobs are looked at once instead.
"""

from __future__ import annotations

import asyncio

from haulout.errors import DiskFull
from haulout.ledger import queries
from haulout.ledger.events import BlobCertified, BlobDeleted, BlobInvalidated, EpochStarted
from haulout.ledger.refusals import UpgradeRequired
from haulout.node import rules
from haulout.node.identity import NodeSettings
from haulout.node.vault import Vault
from haulout.ports import Clock
from haulout.primitives import U32_MAX, BlobId
from haulout.replica.errors import LedgerDiverged
from haulout.replica.ledger_store import AppliedBlock
from haulout.replica.replica import close_stream

DISK_FULL_PAUSE_MS = 1_000
QUIET_BLOCKS = 64  # without work for us, between two commits of the cursor
STATE_PAGE = 256


class LedgerFollower:
    """Follows the node's replica and fills the lists of `WorkTables`. `height` is the last block it has followed."""

    def __init__(self, vault: Vault, clock: Clock, settings: NodeSettings) -> None:
        self.height = vault.tables.followed_height()
        self._vault = vault
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Follow until cancelled; returns when the replica may not go on."""
        if self.height + 1 < self._vault.replica.store.oldest_height:
            while not await self._begin_with_state():
                await self._clock.sleep_ms(DISK_FULL_PAUSE_MS)
        blocks = self._vault.replica.subscribe(self.height + 1)
        try:
            async for block in blocks:
                while not await self._follow(block):
                    await self._clock.sleep_ms(DISK_FULL_PAUSE_MS)
                await asyncio.sleep(0)  # a long history is followed without making requests wait
        except (LedgerDiverged, UpgradeRequired):
            return  # the node goes on serving what it has
        finally:
            await close_stream(blocks)

    async def _begin_with_state(self) -> bool:
        """The next blocks are not kept here, as after a snapshot: what they would have led to is read off the state.
        False when there was no space for it."""
        vault = self._vault
        height, epoch = vault.height, vault.duty().epoch
        batch: list[BlobId] = []
        try:
            for number, blob_id in enumerate(queries.blob_ids_by_end(vault.view, epoch + 1, U32_MAX)):
                if self._lacks(blob_id, vault.duty()) and rules.is_wanted(vault.view, blob_id, epoch):
                    batch.append(blob_id)
                if len(batch) >= STATE_PAGE:
                    await vault.tables.add_all_incomplete(batch)
                    batch = []
                if number % STATE_PAGE == 0:
                    await asyncio.sleep(0)
            await vault.tables.add_all_incomplete(batch)
            await vault.tables.forget_sweep()  # deletions were among them: look at everything that is stored
            await vault.tables.advance(height=height, incomplete={}, complete=(), garbage={})
        except DiskFull:
            return False
        vault.work_arrived.set()
        self.height = height
        return True

    async def _follow(self, block: AppliedBlock) -> bool:
        """Turn one block's events into rows; False when there was no space for them."""
        view, duty = self._vault.view, self._vault.duty()
        incomplete: dict[BlobId, int] = {}
        complete: dict[BlobId, None] = {}
        garbage: dict[BlobId, int] = {}
        epoch_began = False
        for event in block.events:
            body = event.body
            if isinstance(body, BlobCertified):
                blob_id = BlobId(body.blob_id)
                if self._lacks(blob_id, duty) and rules.is_wanted(view, blob_id, duty.epoch):
                    incomplete[blob_id] = block.header.time_ms + self._delay_ms(blob_id)
            elif isinstance(body, BlobDeleted | BlobInvalidated):
                blob_id = BlobId(body.blob_id)
                garbage[blob_id] = block.header.time_ms + self._settings.garbage_delay_ms
                if not rules.is_wanted(view, blob_id, duty.epoch):
                    incomplete.pop(blob_id, None)
                    complete[blob_id] = None
            elif isinstance(body, EpochStarted):
                epoch_began = True
        height = block.header.height
        if incomplete or complete or garbage or epoch_began or height % QUIET_BLOCKS == 0:
            try:
                await self._vault.tables.advance(
                    height=height, incomplete=incomplete, complete=complete, garbage=garbage
                )
            except DiskFull:
                return False
            self._vault.work_arrived.set()
        self.height = height
        return True

    def _lacks(self, blob_id: BlobId, duty: rules.Duty) -> bool:
        """What is not synced counts as lacking: a power cut would take it, and this event is not followed again."""
        return duty.has_shards and not self._vault.slivers.is_durable(blob_id, duty.wanted_mask)

    def _delay_ms(self, blob_id: BlobId) -> int:
        """How long an upload that is still going on gets before the node fetches for itself."""
        record = queries.blob_record(self._vault.view, blob_id)
        is_large = record is not None and record.size_bytes > self._settings.repair_delay_large_from_bytes
        return self._settings.repair_delay_large_ms if is_large else self._settings.repair_delay_ms
