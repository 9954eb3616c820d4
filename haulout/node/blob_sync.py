"""Certified blobs that this node lacks something of are completed in the background.

A blob comes on the list when it was certified without this node, or when something of it was found damaged. Each
attempt is the same story: the metadata from anyone who has it, then the missing slivers from the others, verified
against the metadata, kept, and synced as one batch. A blob that its writer encoded wrongly is proven to be so, and
comes off the list when the ledger says it is invalid.

If it stops half-way, the blob is still on the list and what was synced is not fetched again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from haulout import bcs
from haulout.codec.metadata import BlobMetadata
from haulout.errors import DiskFull, HauloutError
from haulout.node import rules
from haulout.node.blob_locks import BlobLocks
from haulout.node.errors import InvalidSliver, RepairFailed
from haulout.node.identity import NodeSettings
from haulout.node.inconsistency import InconsistencyProver, whole_proof
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peer, Peers
from haulout.node.pieces import PieceKeeper, is_in_stripes
from haulout.node.rebuild import prove_by_columns, rebuild_all
from haulout.node.records import names_in
from haulout.node.repair_plan import Way, plan_repair
from haulout.node.sliver_repair import SliverRepair
from haulout.node.striped_repair import StripedRepair
from haulout.node.vault import CheckedSliver, Vault
from haulout.node.verify import check_metadata, check_slivers
from haulout.node.waves import ask_in_waves
from haulout.ports import Clock, SliverUpload, Workers
from haulout.primitives import (
    Axis,
    BlobId,
    ShardIndex,
    SliverPairIndex,
    blob_id_text,
    min_decodable,
    pair_of_shard,
    shard_of_pair,
)
from haulout.replica.replica import close_stream
from haulout.world.errors import StorageFailed

PAGE = 64
LOOK_AGAIN_MS = 1_000
LARGE_DECODE_BYTES = 1024 * 1024


class BlobSync:
    """Completes what is on the list of incomplete blobs."""

    def __init__(
        self,
        *,
        vault: Vault,
        peers: Peers,
        slivers: SliverRepair,
        prover: InconsistencyProver,
        clock: Clock,
        workers: Workers,
        metrics: NodeMetrics,
        settings: NodeSettings,
    ) -> None:
        self.is_postponed: Callable[[BlobId], bool] = lambda blob_id: False  # fetched otherwise at present
        self._vault = vault
        self._peers = peers
        self._slivers = slivers
        self._prover = prover
        self._clock = clock
        self._workers = workers
        self._metrics = metrics
        self._settings = settings
        self._pieces = PieceKeeper(vault, workers, metrics, settings)
        self._striped = StripedRepair(vault=vault, peers=peers, prover=prover, workers=workers, metrics=metrics)
        self._sliver_slots = asyncio.Semaphore(settings.repair_slivers_at_once)
        self._fetching = BlobLocks()  # metadata, wanted by several pulls at once
        self._large_decode_slot = asyncio.Semaphore(1)  # so the memory allowed for a decoded blob is allowed once

    async def run(self) -> None:
        """Complete blobs until cancelled.

        Raises:
            StorageFailed: a sync failed.
        """
        while True:
            self._vault.work_arrived.clear()
            await self.run_once()
            await self._wait_for_work()

    async def run_once(self) -> None:
        """Walk over the list and attempt every blob that is due, a few at a time."""
        after: BlobId | None = None
        running: set[asyncio.Task[None]] = set()
        try:
            while page := self._vault.tables.incomplete(after=after, limit=PAGE):
                after = page[-1][0]
                for blob_id, row in page:
                    if not self._is_due(row.due_ms) or self.is_postponed(blob_id):
                        continue
                    if len(running) >= self._settings.repair_blobs_at_once:
                        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                        for task in done:
                            task.result()
                    running.add(asyncio.ensure_future(self._attempt(blob_id, row.attempts)))
                await asyncio.sleep(0)
            for task in list(running):
                await task
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _is_due(self, due_ms: int) -> bool:
        """Also when it is put off for longer than anything ever is: then the clock was wrong, or is."""
        longest_ms = max(self._settings.repair_delay_large_ms, self._settings.repair_backoff_ms_max)
        return not 0 < due_ms - self._clock.now_ms() <= longest_ms

    async def _attempt(self, blob_id: BlobId, attempts: int) -> None:
        """Complete one blob, or put it off for a growing while."""
        try:
            await self.complete_blob(blob_id)
        except StorageFailed:
            raise
        except HauloutError:
            self._metrics.failed_repairs.inc()
            pause_ms = min(self._settings.repair_backoff_ms << min(attempts, 16), self._settings.repair_backoff_ms_max)
            with contextlib.suppress(DiskFull):  # then it is simply looked at again sooner
                due_ms = self._clock.now_ms() + pause_ms
                await self._vault.tables.add_incomplete(blob_id, due_ms=due_ms, attempts=attempts + 1)

    async def complete_blob(self, blob_id: BlobId) -> None:
        """Fetch or rebuild everything that is lacking of a blob and take it off the list.

        Raises:
            RepairFailed: the others do not give enough at present.
            DiskFull, StorageFailed.
        """
        if self._vault.is_set_back:
            raise RepairFailed(blob_id=blob_id_text(blob_id), problem="the ledger is not caught up with again")
        duty = self._vault.duty()
        if not duty.has_shards or not rules.is_wanted(self._vault.view, blob_id, duty.epoch):
            await self._vault.unlist_incomplete(blob_id)
            return
        await self._vault.check_writable()
        began_us = self._clock.monotonic_us()
        metadata = await self.require_metadata(blob_id)
        lacking = self._missing(blob_id, duty)
        if is_in_stripes(metadata):
            async with self._large_decode_slot:
                await self._pull_pieces(blob_id, metadata, lacking, duty)
                missing = self._missing(blob_id, duty)
                if missing:
                    await self._striped.rebuild(blob_id, metadata, missing, duty, self._still_wanted(blob_id))
            await self._finish(blob_id, lacking, began_us)
            return
        await self._pull(blob_id, metadata, lacking, duty)
        missing = self._missing(blob_id, duty)
        sources = self._sources(blob_id)
        way = plan_repair(
            missing,
            n_shards=duty.n_shards,
            n_own=len(duty.wanted_shards),
            n_peers=len(sources),
            n_reachable=sum(len(peer.shards) for peer in sources),
            symbol_size_bytes=metadata.symbol_size_bytes,
            memory_bytes=self._settings.repair_memory_bytes,
        )
        if way is Way.DECODE and metadata.unencoded_length > LARGE_DECODE_BYTES:
            async with self._large_decode_slot:
                await self._rebuild_by_decoding(blob_id, metadata, missing, duty)
        elif way is Way.DECODE:
            await self._rebuild_by_decoding(blob_id, metadata, missing, duty)
        else:
            await self._rebuild_one_by_one(blob_id, metadata, missing, duty)
        await self._finish(blob_id, lacking, began_us)

    async def _finish(self, blob_id: BlobId, lacking: Sequence[tuple[SliverPairIndex, Axis]], began_us: int) -> None:
        """Make durable what was rebuilt and take the blob off the list."""
        await self._vault.sync_blob(blob_id)
        await self._vault.unlist_incomplete(blob_id)
        if lacking:
            self._metrics.repaired_blobs.inc()
            self._metrics.repair_seconds.observe((self._clock.monotonic_us() - began_us) / 1_000_000)

    def _missing(self, blob_id: BlobId, duty: rules.Duty) -> tuple[tuple[SliverPairIndex, Axis], ...]:
        return rules.missing_slivers(duty.wanted_shards, blob_id, self._vault.held(blob_id), duty.n_shards)

    def _sources(self, blob_id: BlobId) -> list[Peer]:
        return self._peers.available(self._vault.view, self._vault.holders(blob_id))

    # --- from whoever still has it --------------------------------------------------------------------------

    async def _pull(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> None:
        """Take what is missing on shards that are on their way here from those who hand them over: nothing is cheaper.
        What they do not give is rebuilt."""
        for peer, targets in self._givers(blob_id, missing, duty):
            slivers = await self._read_slivers(blob_id, metadata, peer, targets, duty)
            await self._keep(blob_id, slivers, duty)

    def _givers(
        self, blob_id: BlobId, missing: Sequence[tuple[SliverPairIndex, Axis]], duty: rules.Duty
    ) -> list[tuple[Peer, list[tuple[SliverPairIndex, Axis]]]]:
        """Who hands over what of the missing slivers."""
        found = []
        for peer in self._sources(blob_id):
            shards = set(peer.shards).intersection(duty.gaining)
            pairs = {pair_of_shard(ShardIndex(shard), blob_id, duty.n_shards) for shard in shards}
            targets = [target for target in missing if target[0] in pairs]
            if targets:
                found.append((peer, targets))
        return found

    async def _pull_pieces(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> None:
        """As `_pull`, for slivers in stripes: piece by piece, since one may be larger than memory."""
        for peer, targets in self._givers(blob_id, missing, duty):
            stream = self._peers.connect(peer).read_slivers(epoch=duty.epoch, blob_id=blob_id, targets=targets)
            pieces = stream.__aiter__()
            try:
                while True:
                    upload = await self._peers.ask(peer, anext(pieces, None))
                    if upload is None:
                        break
                    self._metrics.repair_bytes.inc(len(upload.bcs))
                    check = self._still_wanted(blob_id)
                    _, refusal = await self._pieces.store(blob_id, metadata, duty, [upload], check)
                    if isinstance(refusal, InvalidSliver):
                        self._peers.report_lie(peer)
                    if refusal is not None:
                        break
            except (StorageFailed, DiskFull):
                raise
            except HauloutError:
                continue  # what it did not give is rebuilt
            finally:
                await close_stream(stream)

    async def require_metadata(self, blob_id: BlobId) -> BlobMetadata:
        """The blob's metadata, from another node if it is not here.

        Raises:
            RepairFailed: nobody gives it at present.
        """

        async def require() -> BlobMetadata:
            return await self._vault.metadata(blob_id) or await self._fetch_metadata(blob_id, self._vault.duty())

        known = await self._vault.metadata(blob_id)
        return await self._fetching.exclusively(blob_id, require) if known is None else known

    # --- metadata -------------------------------------------------------------------------------------------

    async def _fetch_metadata(self, blob_id: BlobId, duty: rules.Duty) -> BlobMetadata:
        for peer in self._sources(blob_id):
            api = self._peers.connect(peer)
            try:
                raw = await self._peers.ask(peer, api.read_metadata(epoch=duty.epoch, blob_id=blob_id))
            except HauloutError:
                continue  # it does not have it, or does not answer: the next one
            self._metrics.repair_bytes.inc(len(raw))
            try:
                metadata = await self._workers.run(check_metadata, raw[32:], blob_id, duty.n_shards)
            except HauloutError:
                self._peers.report_lie(peer)
                continue
            await self._vault.put_metadata(blob_id, raw[32:], self._still_wanted(blob_id))
            return metadata
        raise RepairFailed(blob_id=blob_id_text(blob_id), problem="no node gave its metadata")

    # --- sliver by sliver -----------------------------------------------------------------------------------

    async def _rebuild_one_by_one(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> None:
        async def rebuild(pair_index: SliverPairIndex, axis: Axis) -> None:
            async with self._sliver_slots:
                sliver = await self._slivers.rebuild(blob_id, metadata, pair_index, axis, duty)
                await self._keep(blob_id, [SliverUpload(pair_index, axis, sliver)], duty)

        # Secondaries first: they need fewer symbols, and each then gives one for every primary.
        for axis in (Axis.SECONDARY, Axis.PRIMARY):
            names = [name for name in missing if name[1] is axis]
            results = await asyncio.gather(*(rebuild(*name) for name in names), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    # --- by decoding ----------------------------------------------------------------------------------------

    async def _rebuild_by_decoding(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> None:
        """Read enough primary slivers, decode the blob once, encode it again and keep what was missing."""
        needed = min_decodable(duty.n_shards)
        primaries: dict[int, bytes] = {}
        for shard_index, axis in names_in(self._vault.held(blob_id)):
            if len(primaries) < needed and axis is Axis.PRIMARY:
                sliver = await self._vault.sliver(blob_id, shard_index, Axis.PRIMARY)
                if sliver is not None:
                    primaries[pair_of_shard(ShardIndex(shard_index), blob_id, duty.n_shards)] = sliver

        async def ask(peer: Peer, pairs: Sequence[SliverPairIndex]) -> int:
            answer = await self._read_primaries(blob_id, metadata, peer, pairs, duty)
            primaries.update(answer)
            return len(answer)

        sources = [
            (peer, [pair_of_shard(ShardIndex(shard), blob_id, duty.n_shards) for shard in peer.shards])
            for peer in self._sources(blob_id)
        ]
        await ask_in_waves(sources, lambda: needed - len(primaries), ask)
        if len(primaries) < needed:
            problem = f"{len(primaries)} of {needed} primary slivers can be had"
            raise RepairFailed(blob_id=blob_id_text(blob_id), problem=problem)

        rows = [primaries[index] for index in sorted(primaries)[:needed]]
        slivers = await self._workers.run(rebuild_all, metadata, rows, missing)
        if slivers is None:
            await self._settle_wrong_encoding(blob_id, metadata, rows, missing, duty)
        else:
            await self._keep(blob_id, slivers, duty)

    async def _settle_wrong_encoding(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        rows: Sequence[bytes],
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> None:
        """The writer is to blame: prove it if these rows can, else take what is missing as the metadata has it."""
        proof = await self._workers.run(prove_by_columns, metadata, rows)
        if proof is None:
            await self._rebuild_one_by_one(blob_id, metadata, missing, duty)
            return
        await self._prover.report(blob_id, metadata, Axis.SECONDARY, whole_proof(bcs.encode(proof)))
        raise RepairFailed(blob_id=blob_id_text(blob_id), problem="its own slivers prove that it is encoded wrongly")

    async def _read_primaries(
        self, blob_id: BlobId, metadata: BlobMetadata, peer: Peer, pairs: Sequence[SliverPairIndex], duty: rules.Duty
    ) -> dict[int, bytes]:
        """Primary slivers of a peer that verify, by pair index."""
        targets = [(pair_index, Axis.PRIMARY) for pair_index in pairs]
        uploads = await self._read_slivers(blob_id, metadata, peer, targets, duty)
        return {upload.pair_index: bytes(upload.bcs) for upload in uploads}

    async def _read_slivers(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        peer: Peer,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> list[SliverUpload]:
        """Those of a peer's slivers that verify."""

        async def read() -> list[SliverUpload]:
            stream = self._peers.connect(peer).read_slivers(epoch=duty.epoch, blob_id=blob_id, targets=targets)
            return [upload async for upload in stream]

        try:
            uploads = await self._peers.ask(peer, read())
        except HauloutError:
            return []
        self._metrics.repair_bytes.inc(sum(len(upload.bcs) for upload in uploads))
        asked = [upload for upload in uploads if (upload.pair_index, upload.axis) in targets]
        n_good, problem = await self._workers.run(check_slivers, metadata, blob_id, asked)
        if problem is not None or len(asked) < len(uploads):
            self._peers.report_lie(peer)
        return asked[:n_good]

    # --- keeping --------------------------------------------------------------------------------------------

    async def _keep(self, blob_id: BlobId, slivers: Sequence[SliverUpload], duty: rules.Duty) -> None:
        checked = [
            CheckedSliver(shard_of_pair(upload.pair_index, blob_id, duty.n_shards), upload.axis, upload.bcs)
            for upload in slivers
        ]
        await self.keep_checked(blob_id, checked)
        for sliver in checked:
            self._metrics.rebuilt_slivers.labels(sliver.axis.name.lower()).inc()

    async def keep_checked(self, blob_id: BlobId, slivers: Sequence[CheckedSliver]) -> None:
        """Keep verified slivers if the blob is still wanted; durable with its next sync."""
        await self._vault.put_slivers(blob_id, slivers, self._still_wanted(blob_id))

    def _still_wanted(self, blob_id: BlobId) -> Callable[[], None]:
        def check() -> None:
            epoch = self._vault.duty().epoch
            rules.check_not_invalid(self._vault.view, blob_id)
            rules.check_registered(self._vault.view, blob_id, epoch=epoch, height=self._vault.height)

        return check

    async def _wait_for_work(self) -> None:
        """Until something comes on the list, or for a second."""
        arrived = asyncio.ensure_future(self._vault.work_arrived.wait())
        timer = asyncio.ensure_future(self._clock.sleep_ms(LOOK_AGAIN_MS))
        try:
            await asyncio.wait((arrived, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrived.cancel()
            timer.cancel()
            await asyncio.gather(arrived, timer, return_exceptions=True)
