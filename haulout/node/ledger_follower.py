"""The ledger's events become work, in order, each at least once.

An event is looked at against the state of now, not of then: following it twice, or long after, gives the same work
or less. Rows and cursor are committed together per block, so a restart resumes exactly behind the last one.

The cursor names a block, not only a height. When that block is not on the replica's chain (the ledger was restored to
an older point, or the replica was taken from another one), or the next one is not kept (the replica began with a
snapshot), events may have gone by unseen. Then the work is found in the state instead, which says the same: every
certified blob of which something is lacking is listed, all that is stored is swept, and the cursor goes to the head.
"""

from __future__ import annotations

import asyncio
import contextlib

from haulout.errors import DeadlineExceeded, DiskFull
from haulout.ledger import queries
from haulout.ledger.events import BlobCertified, BlobDeleted, BlobInvalidated, EpochStarted, ShardsReceived
from haulout.ledger.refusals import UpgradeRequired
from haulout.node import rules
from haulout.node.identity import NodeSettings
from haulout.node.vault import Vault
from haulout.ports import Clock
from haulout.primitives import U32_MAX, BlobId, Digest
from haulout.replica.errors import BlockNotKept, LedgerDiverged
from haulout.replica.ledger_store import AppliedBlock
from haulout.replica.replica import close_stream

DISK_FULL_PAUSE_MS = 1_000
QUIET_BLOCKS = 64  # without work for us, between two commits of the cursor
SCAN_PAGE = 256
LOOK_AGAIN_MS = 1_000


class LedgerFollower:
    """Follows the node's replica and fills the lists of `WorkTables`. `height` is the last block it has followed."""

    def __init__(self, vault: Vault, clock: Clock, settings: NodeSettings) -> None:
        self.height = vault.tables.cursor().height
        self._vault = vault
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Follow until cancelled; returns when the replica may not go on."""
        try:
            await self._find_place()
        except (LedgerDiverged, UpgradeRequired):
            return
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

    # --- where to begin -------------------------------------------------------------------------------------

    async def _find_place(self) -> None:
        """Stand on a block of the replica's chain behind which nothing was left out.

        Raises:
            LedgerDiverged, UpgradeRequired: the replica will not come to where this stood.
        """
        await self._catch_up()
        while not self._goes_on():
            try:
                await self._begin_at_head()
            except DiskFull:
                await self._clock.sleep_ms(DISK_FULL_PAUSE_MS)

    async def _catch_up(self) -> None:
        """Wait until the replica is where this stood: what a power cut took from it is executed again. Returns as well
        when it is at the end of a ledger that is not as long: then that is another one."""
        replica = self._vault.replica
        while replica.head.height < self.height:
            if replica.heard_height is not None and replica.heard_height <= replica.head.height:
                return
            with contextlib.suppress(DeadlineExceeded):
                await replica.wait_for_height(replica.head.height + 1, timeout_ms=LOOK_AGAIN_MS)

    def _goes_on(self) -> bool:
        """The next block is kept, or still to come, and continues the one that was followed last."""
        store, cursor = self._vault.replica.store, self._vault.tables.cursor()
        if store.head.height == cursor.height:
            previous = store.head.digest()
        else:
            try:
                previous = Digest(store.header(cursor.height + 1).previous_digest)
            except BlockNotKept:
                return False
        return cursor.digest is None or cursor.digest == previous

    async def _begin_at_head(self) -> None:
        """Find all work in the state. If it stops half-way the cursor has not moved, and it is done again."""
        vault, head = self._vault, self._vault.replica.head
        await self._list_lacking(vault.duty())
        await vault.tables.start_from(height=head.height, digest=head.digest())
        self.height = head.height
        vault.work_arrived.set()

    async def _list_lacking(self, duty: rules.Duty) -> None:
        """List every certified blob of which something is lacking."""
        vault = self._vault
        lacking: list[BlobId] = []
        for number, blob_id in enumerate(queries.blob_ids_by_end(vault.view, duty.epoch + 1, U32_MAX)):
            if self._lacks(blob_id, duty) and rules.is_wanted(vault.view, blob_id, duty.epoch):
                lacking.append(blob_id)
            if number % SCAN_PAGE == SCAN_PAGE - 1:
                await vault.tables.add_all_incomplete(lacking)
                lacking = []
                await asyncio.sleep(0)
        await vault.tables.add_all_incomplete(lacking)

    # --- following ------------------------------------------------------------------------------------------

    async def _follow(self, block: AppliedBlock) -> bool:
        """Turn one block's events into rows; False when there was no space for them."""
        view, duty = self._vault.view, self._vault.duty()
        incomplete: dict[BlobId, int] = {}
        complete: dict[BlobId, None] = {}
        garbage: dict[BlobId, int] = {}
        epoch_began = was_set_back = False
        n_whole = 0
        for event in block.events:
            body = event.body
            if isinstance(body, BlobCertified):
                blob_id = BlobId(body.blob_id)
                if not duty.has_shards or not rules.is_wanted(view, blob_id, duty.epoch):
                    continue
                if self._lacks(blob_id, duty):
                    incomplete[blob_id] = block.header.time_ms + self._delay_ms(blob_id)
                else:
                    n_whole += 1
            elif isinstance(body, BlobDeleted | BlobInvalidated):
                blob_id = BlobId(body.blob_id)
                garbage[blob_id] = block.header.time_ms + self._settings.garbage_delay_ms
                if not rules.is_wanted(view, blob_id, duty.epoch):
                    incomplete.pop(blob_id, None)
                    complete[blob_id] = None
            elif isinstance(body, EpochStarted):
                epoch_began = True
            elif isinstance(body, ShardsReceived):
                was_set_back = was_set_back or self._is_forgotten(body)
        height = block.header.height
        if incomplete or complete or garbage or epoch_began or was_set_back or height % QUIET_BLOCKS == 0:
            try:
                if was_set_back:
                    await self._list_lacking(duty)
                await self._vault.tables.advance(
                    height=height,
                    digest=block.header.digest(),
                    incomplete=incomplete,
                    complete=complete,
                    garbage=garbage,
                    certified_ms=block.header.time_ms,
                )
            except DiskFull:
                return False
            self._vault.work_arrived.set()
        for _ in range(n_whole):
            self._vault.metrics.note_whole(0)
        self.height = height
        return True

    def _is_forgotten(self, report: ShardsReceived) -> bool:
        """This node has said that it has shards, and not since it started. On a disk that was set back after it said so
        they are not there; nobody hands them over any more, and the events of their blobs are long past."""
        is_ours = report.node_id == self._vault.node_id and bool(report.shards)
        return is_ours and (report.epoch, report.shards) != self._vault.last_report

    def _lacks(self, blob_id: BlobId, duty: rules.Duty) -> bool:
        """What is not synced counts as lacking: a power cut would take it, and this event is not followed again."""
        return duty.has_shards and not self._vault.slivers.is_durable(blob_id, duty.wanted_mask)

    def _delay_ms(self, blob_id: BlobId) -> int:
        """How long an upload that is still going on gets before the node fetches for itself."""
        record = queries.blob_record(self._vault.view, blob_id)
        is_large = record is not None and record.size_bytes > self._settings.repair_delay_large_from_bytes
        return self._settings.repair_delay_large_ms if is_large else self._settings.repair_delay_ms
