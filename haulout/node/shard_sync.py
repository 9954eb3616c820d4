"""Shards that this node gains: pulled from those who hand them over, rebuilt where that fails, reported when complete.

    enrol     list every certified blob of which something of the gained shards is lacking
    pull      one stream per giver: signed requests, slivers blob by blob, verified, one synced batch per blob
    rebuild   what a giver refused or did not bring in time is left to `BlobSync`, which asks all others
    report    once nothing is lacking durably, the ledger is told which shards are complete

The list of what is lacking is durable, so a restart goes on with the first blob that still lacks something. Complete
means every blob certified before this epoch, by this node's own replica; the report is made from a fresh look at all
of them, not from the list. If it stops half-way nothing was reported, and the giver still has everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from haulout.account.wallet import Wallet
from haulout.codec import sizes
from haulout.codec.metadata import BlobMetadata
from haulout.crypto.messages import sync_shard_request, sync_shards_request
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DiskFull, HauloutError, InvalidInput, Rejected, Unavailable
from haulout.ledger import queries
from haulout.ledger.commands import ReportSyncDone
from haulout.ledger.state import Phase
from haulout.node import rules
from haulout.node.arriving_slivers import Batch, ByteBudget, OutOfOrder, in_batches
from haulout.node.blob_sync import BlobSync
from haulout.node.errors import RepairFailed
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peer, Peers
from haulout.node.records import names_in
from haulout.node.vault import CheckedSliver, Vault
from haulout.node.verify import check_slivers
from haulout.ports import Clock, SignedMessage, Workers
from haulout.primitives import U32_MAX, Axis, BlobId, EncodingType, ObjectId, ShardIndex, shard_of_pair
from haulout.replica.replica import close_stream
from haulout.world.errors import StorageFailed

LOOK_AGAIN_MS = 500
REPORT_AGAIN_MS = 5_000
ENROL_PAGE = 256
SCAN_PAGE = 512
FIRST_BLOB = BlobId(bytes(32))

# epoch, shards, first blob, number of blobs
Sign = Callable[[int, tuple[ShardIndex, ...], BlobId, int], list[SignedMessage]]


class ShardSync:
    """Brings in what an epoch change gives this node. Made by `build`; keep `run()` going."""

    def __init__(
        self,
        *,
        identity: NodeIdentity,
        wallet: Wallet | None,
        vault: Vault,
        peers: Peers,
        blob_sync: BlobSync,
        scheme: SignatureScheme,
        clock: Clock,
        workers: Workers,
        metrics: NodeMetrics,
        settings: NodeSettings,
    ) -> None:
        self._identity = identity
        self._wallet = wallet
        self._vault = vault
        self._peers = peers
        self._blob_sync = blob_sync
        self._scheme = scheme
        self._clock = clock
        self._workers = workers
        self._metrics = metrics
        self._settings = settings
        self._pulled: tuple[int, tuple[ShardIndex, ...]] | None = None  # epoch and shards that were pulled
        self._is_pulling = False
        self._paced_us = 0  # by then what came so far is within the limit
        self._room = ByteBudget(settings.sync_bytes_at_once)
        self._reported_us: int | None = None
        blob_sync.is_postponed = self.is_pulling

    def is_pulling(self, blob_id: BlobId) -> bool:
        """A blob is on its way here from a giver: nobody needs to rebuild it."""
        if not self._is_pulling:
            return False
        record = queries.blob_record(self._vault.view, blob_id)
        certified_epoch = None if record is None else record.initial_certified_epoch
        return certified_epoch is not None and certified_epoch < self._vault.duty().epoch

    async def run(self) -> None:
        """Follow the epochs until cancelled.

        Raises:
            StorageFailed: a sync failed.
        """
        while True:
            try:
                await self.run_once()
            except StorageFailed:
                raise
            except (DiskFull, Unavailable):
                pass  # looked at again
            await self._clock.sleep_ms(LOOK_AGAIN_MS)

    async def run_once(self) -> None:
        """Do what the present epoch asks for: pull once, then report when nothing is lacking."""
        duty = self._vault.duty()
        self._metrics.gaining_shards.set(len(duty.gaining))
        self._metrics.giving_shards.set(len(duty.giving))
        if self._vault.replica.diverged is not None:
            return
        if duty.gaining and self._pulled != (duty.epoch, duty.gaining):
            self._is_pulling = True  # before the list is filled: nobody is to rebuild what is on its way
            try:
                await self._enrol(duty)
                began_us = self._clock.monotonic_us()
                await self._pull_all(duty)
                self._metrics.shard_sync_seconds.inc((self._clock.monotonic_us() - began_us) / 1_000_000)
            finally:
                self._is_pulling = False
            if self._vault.duty().gaining == duty.gaining and self._vault.duty().epoch == duty.epoch:
                self._pulled = (duty.epoch, duty.gaining)
            self._vault.work_arrived.set()
        if self._owes_report(self._vault.duty()):
            await self._report()

    # --- enrolling ------------------------------------------------------------------------------------------

    async def _enrol(self, duty: rules.Duty) -> None:
        """List what is lacking. Rows are not synced one by one: a power cut makes this run again."""
        batch: list[BlobId] = []
        lacking_bytes = 0
        async for blob_id in self._lacking(duty):
            batch.append(blob_id)
            lacking_bytes += self._lacking_bytes(blob_id, duty)
            if len(batch) == ENROL_PAGE:
                await self._vault.tables.add_all_incomplete(batch)
                batch = []
        await self._vault.tables.add_all_incomplete(batch)
        self._vault.progress.begin(duty.gaining, lacking_bytes)

    def _lacking_bytes(self, blob_id: BlobId, duty: rules.Duty) -> int:
        """Of slivers of one blob on the gained shards."""
        record = queries.blob_record(self._vault.view, blob_id)
        if record is None:
            return 0
        encoding = EncodingType(record.encoding_type)
        missing = rules.mask_of(duty.gaining) & ~self._vault.held(blob_id)
        return sum(
            sizes.sliver_size_bytes(axis, record.size_bytes, duty.n_shards, encoding) for _, axis in names_in(missing)
        )

    async def _lacking(self, duty: rules.Duty) -> AsyncIterator[BlobId]:
        """Blobs certified before this epoch of which something durable is missing on the gained shards."""
        mask = rules.mask_of(duty.gaining)
        if not mask:
            return
        for number, blob_id in enumerate(self._certified_before(duty.epoch)):
            held = self._vault.slivers.held_mask(blob_id, durable_only=True)
            if mask & ~held or not self._vault.slivers.has_durable_metadata(blob_id):
                yield blob_id
            if number % SCAN_PAGE == 0:
                await asyncio.sleep(0)

    def _certified_before(self, epoch: int) -> Iterator[BlobId]:
        view = self._vault.view
        for blob_id in queries.blob_ids_by_end(view, epoch + 1, U32_MAX):
            record = queries.blob_record(view, blob_id)
            if record is None or record.initial_certified_epoch is None or record.initial_certified_epoch >= epoch:
                continue
            if rules.is_wanted(view, blob_id, epoch):
                yield blob_id

    # --- pulling --------------------------------------------------------------------------------------------

    async def _pull_all(self, duty: rules.Duty) -> None:
        """Pull from every giver at once, a few at a time; returns when each is done or given up."""
        slots = asyncio.Semaphore(self._settings.sync_givers_at_once)

        async def pull(peer: Peer) -> None:
            async with slots:
                await self._pull_patiently(peer, duty)

        try:
            async with asyncio.TaskGroup() as tasks:
                for peer in self._givers(duty):
                    tasks.create_task(pull(peer))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _givers(self, duty: rules.Duty) -> list[Peer]:
        """Who hands shards over to us, with these shards; of one that moved on twice, each who has a part of it."""
        shards_of: dict[bytes, set[int]] = {}
        gaining = set(duty.gaining)
        for record in queries.open_hand_overs(self._vault.view):
            if record.shard_index in gaining and record.from_node != self._identity.node_id:
                shards_of.setdefault(record.from_node, set()).add(record.shard_index)
        found = (self._peers.find(self._vault.view, *item) for item in _sorted_items(shards_of))
        return [peer for peer in found if peer is not None]

    async def _pull_patiently(self, peer: Peer, duty: rules.Duty) -> None:
        """Pull until everything came; give up on lies, on refusals, and when nothing of use moves for too long."""
        patience_us = self._patience_us()
        start = FIRST_BLOB
        sign = self._sign_request
        last_us = self._clock.monotonic_us()
        while self._vault.duty().epoch == duty.epoch:
            try:
                async for done in self._pull(peer, duty, start, sign):
                    start = done
                    last_us = self._clock.monotonic_us()
                return
            except (StorageFailed, DiskFull):
                raise
            except (OutOfOrder, _Liar):
                self._peers.report_lie(peer)
                return
            except _OfNoUse:
                self._metrics.peer_failures.labels(peer.name).inc()
                return
            except InvalidInput:
                if sign == self._sign_each:
                    return  # it does not know such requests
                sign = self._sign_each  # of an earlier release
                continue
            except HauloutError:
                self._metrics.peer_failures.labels(peer.name).inc()
            if self._clock.monotonic_us() - last_us > patience_us:
                return
            await self._clock.sleep_ms(self._settings.sync_retry_ms)

    def _patience_us(self) -> int:
        epoch_ms = queries.params(self._vault.view).epoch_duration_ms
        return 1000 * min(self._settings.sync_patience_ms, epoch_ms // 8)

    async def _pull(self, peer: Peer, duty: rules.Duty, start: BlobId, sign: Sign) -> AsyncIterator[BlobId]:
        """Pull page after page; yields the last blob of each that is durable here."""
        shards = tuple(ShardIndex(shard) for shard in peer.shards)
        while True:
            count = self._settings.sync_slivers
            requests = await self._workers.run(sign, duty.epoch, shards, start, count)
            stream = self._peers.connect(peer).sync_shards(public_key=self._identity.public_key, requests=requests)
            n_blobs, last = 0, start
            waited_us, since_us = 0, self._clock.monotonic_us()  # for what is of use; our own work does not count
            running: set[asyncio.Task[None]] = set()
            try:
                async for batch in in_batches(stream, start=start, batch_bytes=self._settings.sync_batch_bytes):
                    n_blobs += not n_blobs or batch.blob_id != last
                    last = batch.blob_id
                    waited_us += self._clock.monotonic_us() - since_us
                    if rules.is_wanted(self._vault.view, batch.blob_id, duty.epoch):
                        waited_us = 0
                    elif waited_us > self._patience_us():
                        raise _OfNoUse
                    while len(running) >= self._settings.sync_blobs_at_once:
                        running = await _settle_some(running)
                    await self._room.take(batch.size_bytes)
                    running.add(self._begin(duty, batch))
                    since_us = self._clock.monotonic_us()
                while running:
                    running = await _settle_some(running)
            finally:
                await close_stream(stream)
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
            if n_blobs:
                yield last
            if n_blobs < count:
                return
            start = BlobId(((int.from_bytes(last, "big") + 1) % (1 << 256)).to_bytes(32, "big"))

    def _sign_request(
        self, epoch: int, shards: tuple[ShardIndex, ...], start: BlobId, count: int
    ) -> list[SignedMessage]:
        message = sync_shards_request(
            epoch,
            chain_id=self._vault.replica.head.chain_id,
            shards=shards,
            starting_blob_id=start,
            blob_count=count,
        )
        return [SignedMessage(message, self._scheme.sign(self._identity.bls_secret, message))]

    def _sign_each(self, epoch: int, shards: tuple[ShardIndex, ...], start: BlobId, count: int) -> list[SignedMessage]:
        signed = []
        for shard_index in shards:
            for axis in Axis:
                message = sync_shard_request(
                    epoch, shard_index=shard_index, axis=axis, starting_blob_id=start, sliver_count=count
                )
                signed.append(SignedMessage(message, self._scheme.sign(self._identity.bls_secret, message)))
        return signed

    def _begin(self, duty: rules.Duty, batch: Batch) -> asyncio.Task[None]:
        task = asyncio.create_task(self._take(duty, batch))
        task.add_done_callback(lambda _: self._room.give_back(batch.size_bytes))
        return task

    async def _take(self, duty: rules.Duty, batch: Batch) -> None:
        """Verify slivers of a blob, keep those of gained shards, and make them durable as one batch."""
        blob_id = batch.blob_id
        if not rules.is_wanted(self._vault.view, blob_id, duty.epoch):
            return
        self._metrics.shard_sync_bytes.inc(batch.size_bytes)
        missing = set(rules.missing_slivers(duty.gaining, blob_id, self._vault.held(blob_id), duty.n_shards))
        new = [upload for upload in batch.slivers if (upload.pair_index, upload.axis) in missing]
        await self._vault.check_writable()
        metadata = await self._metadata(blob_id)
        if metadata is None:
            return  # no node gave it: it stays on the list
        n_good, problem = await self._workers.run(check_slivers, metadata, blob_id, new)
        checked = [
            CheckedSliver(shard_of_pair(upload.pair_index, blob_id, duty.n_shards), upload.axis, upload.bcs)
            for upload in new[:n_good]
        ]
        await self._blob_sync.keep_checked(blob_id, checked)
        await self._vault.sync_blob(blob_id)
        self._metrics.shard_sync_slivers.inc(len(checked))
        if problem is not None:
            raise _Liar
        if not duty.wanted_mask & ~self._vault.held(blob_id):
            await self._vault.unlist_incomplete(blob_id)
        await self._pace(batch.size_bytes)

    async def _metadata(self, blob_id: BlobId) -> BlobMetadata | None:
        try:
            return await self._blob_sync.require_metadata(blob_id)
        except RepairFailed:
            return None

    async def _pace(self, n_bytes: int) -> None:
        """Wait until so much more is within the limit, which all givers share."""
        limit = self._settings.sync_bytes_per_s
        if limit:
            now_us = self._clock.monotonic_us()
            self._paced_us = max(now_us, self._paced_us) + 1_000_000 * n_bytes // limit
            await self._clock.sleep_ms((self._paced_us - now_us) // 1000)

    # --- reporting ------------------------------------------------------------------------------------------

    def _owes_report(self, duty: rules.Duty) -> bool:
        """Shards arrived, or the epoch asks every member whether it has its own, also after a forced Done: givers wait
        for the answers."""
        if self._wallet is None or self._vault.replica.diverged is not None:
            return False
        now_us = self._clock.monotonic_us()
        if self._reported_us is not None and now_us - self._reported_us < REPORT_AGAIN_MS * 1000:
            return False
        if duty.gaining:
            return True
        view = self._vault.view
        node = queries.node(view, self._identity.node_id)
        staking = queries.staking(view)
        is_asked = bool(duty.shards) and (staking.phase is Phase.SYNC or staking.forced)
        return is_asked and node is not None and node.last_sync_done_epoch < duty.epoch

    async def _report(self) -> None:
        """Look at all blobs once more, and tell the ledger if nothing is lacking."""
        assert self._wallet is not None, "checked by `_owes_report`"
        duty = self._vault.duty()
        is_complete = True
        async for blob_id in self._lacking(duty):
            is_complete = False
            if not self._vault.tables.is_incomplete(blob_id):
                await self._vault.tables.add_all_incomplete([blob_id])
                self._vault.work_arrived.set()
            break
        if not is_complete or self._vault.duty() != duty or self._vault.slivers.failed is not None:
            return
        self._vault.last_report = (duty.epoch, duty.gaining)
        try:
            await self._wallet.execute([ReportSyncDone(self._identity.node_id, duty.epoch, duty.gaining)])
            self._metrics.sync_done_reports.inc()
        except (Rejected, InvalidInput):
            # The epoch moved on, an earlier report arrived after all, or this machine's clock is wrong: the ledger's
            # state tells, and what is still owed is tried again.
            self._metrics.refused_reports.inc()
        self._reported_us = self._clock.monotonic_us()


class _Liar(Exception):
    """A giver sent what does not verify."""


class _OfNoUse(Exception):
    """A giver goes on and on sending what nobody wants."""


async def _settle_some(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for one task; raises what it raised."""
    done, rest = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


def _sorted_items(shards_of: dict[bytes, set[int]]) -> list[tuple[ObjectId, tuple[int, ...]]]:
    return [(ObjectId(node_id), tuple(sorted(shards))) for node_id, shards in sorted(shards_of.items())]
