"""One storage node, as clients and peers see it: verify, keep, promise, serve.

Blobs are taken in by `BlobIntake`. What a signature covers is never dropped before the ledger says that nobody pays
for it any more.

Every request names its epoch and is answered from the node's own verified ledger view.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from haulout import __version__
from haulout.driver.epoch_driver import EpochDriver
from haulout.errors import HauloutError
from haulout.ledger import keys
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.node import rules
from haulout.node.blob_intake import BlobIntake
from haulout.node.blob_sync import BlobSync
from haulout.node.checkpoint_signer import CheckpointSigner
from haulout.node.errors import InvalidStripes, MetadataNotFound
from haulout.node.file_watch import FileWatch
from haulout.node.garbage import GarbageCollector
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.inconsistency import InconsistencyProver
from haulout.node.ledger_follower import LedgerFollower
from haulout.node.metrics import NodeMetrics
from haulout.node.pieces import PieceKeeper, is_in_stripes
from haulout.node.protocol_voter import ProtocolVoter
from haulout.node.records import SliverName
from haulout.node.scrubber import Scrubber
from haulout.node.shard_serving import ShardServer
from haulout.node.shard_sync import ShardSync
from haulout.node.symbols import SymbolMaker
from haulout.node.vault import Vault
from haulout.ports import (
    BlobHoldings,
    Clock,
    IncompleteBlob,
    IncompletePage,
    NodeHealth,
    Outcome,
    ProofUpload,
    SignedMessage,
    SliverUpload,
    SyncedSliver,
)
from haulout.primitives import Axis, BlobId, ObjectId, SliverIndex, SliverPairIndex, blob_id_text

MISSED = 256  # blobs looked at for one page of `list_incomplete` beyond those on it


class StorageNode:
    """Implements `ports.StorageNodeApi`. Made by `build.build_storage_node`; keep `run()` going beside it."""

    def __init__(
        self,
        *,
        identity: NodeIdentity,
        vault: Vault,
        intake: BlobIntake,
        pieces: PieceKeeper,
        symbols: SymbolMaker,
        signer: CheckpointSigner,
        follower: LedgerFollower,
        blob_sync: BlobSync,
        prover: InconsistencyProver,
        voter: ProtocolVoter,
        shard_sync: ShardSync,
        shard_server: ShardServer,
        epoch_driver: EpochDriver | None,
        scrubber: Scrubber,
        file_watch: FileWatch,
        garbage: GarbageCollector,
        clock: Clock,
        metrics: NodeMetrics,
        settings: NodeSettings,
    ) -> None:
        self.identity = identity
        self.vault = vault
        self._symbols = symbols
        self._pieces = pieces
        self._intake = intake
        self.signer = signer
        self.follower = follower
        self.blob_sync = blob_sync
        self._prover = prover
        self._voter = voter
        self.shard_sync = shard_sync
        self._shard_server = shard_server
        self._epoch_driver = epoch_driver
        self.scrubber = scrubber
        self.file_watch = file_watch
        self.garbage = garbage
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._started_us = clock.monotonic_us()

    # --- storing and promising: see `BlobIntake` ------------------------------------------------------------

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        """Keep the metadata of a registered blob; durable with its confirmation."""
        return await self._intake.store_metadata(epoch=epoch, blob_id=blob_id, metadata=metadata)

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        """Keep slivers of a registered blob whose metadata is here; durable with its confirmation."""
        return await self._intake.store_slivers(epoch=epoch, blob_id=blob_id, slivers=slivers)

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        """Make everything of the blob durable, then sign that all slivers of all own shards are."""
        return await self._intake.confirm_blob(epoch=epoch, blob_id=blob_id, object_id=object_id, wait_ms=wait_ms)

    async def store_and_confirm(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        object_id: ObjectId | None,
        metadata: bytes,
        slivers: Sequence[SliverUpload],
        wait_ms: int,
    ) -> SignedMessage:
        """The three above in one, for a blob that fits into one message."""
        return await self._intake.store_and_confirm(
            epoch=epoch, blob_id=blob_id, object_id=object_id, metadata=metadata, slivers=slivers, wait_ms=wait_ms
        )

    async def holdings(self, *, epoch: int, blob_id: BlobId) -> BlobHoldings:
        """What the node has and lacks of a blob over its own shards; what was uploaded and not confirmed counts.

        Raises:
            WrongEpoch.
        """
        duty = self.vault.duty()
        rules.check_epoch(duty, epoch)
        has_metadata = await self.vault.metadata_bytes(blob_id) is not None
        metadata = await self.vault.metadata(blob_id) if has_metadata else None
        missing = rules.missing_slivers(duty.shards, blob_id, self.vault.held(blob_id), duty.n_shards)
        return BlobHoldings(
            is_registered=rules.is_live(self.vault.view, blob_id, duty.epoch),
            has_metadata=has_metadata,
            missing=missing,
            partial=self._pieces.partial(blob_id, metadata, missing, duty),
            checked_ms=self.scrubber.checked_ms(blob_id),
        )

    # --- serving --------------------------------------------------------------------------------------------

    async def read_metadata(self, *, epoch: int, blob_id: BlobId) -> bytes:
        """Metadata with id (BCS).

        Raises:
            WrongEpoch, InvalidBlob, MetadataNotFound.
        """
        duty = self.vault.duty()
        rules.check_read_epoch(duty, epoch)
        rules.check_may_read_metadata(self.vault.view, blob_id, duty=duty)
        metadata = await self.vault.metadata_bytes(blob_id)
        if metadata is None:
            raise MetadataNotFound(blob_id=blob_id_text(blob_id))
        return blob_id + metadata

    async def read_slivers(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        stripes: range | None = None,
    ) -> AsyncIterator[SliverUpload]:
        """The asked slivers that are here, each checked against the checksum it was stored with; those that are not
        here are left out. Of a blob in stripes some `stripes` of them, or all, in pieces.

        Raises:
            WrongEpoch, TooManyTargets, SliverIndexOutOfRange, InvalidBlob, SliverNotFound, ShardNotAssigned,
            InvalidStripes.
        """
        duty = self.vault.duty()
        rules.check_read_epoch(duty, epoch)
        held = self.vault.held(blob_id)
        owned = rules.check_may_read_slivers(self.vault.view, blob_id, targets, duty=duty, held=held)
        metadata = await self.vault.metadata(blob_id)
        if metadata is not None and is_in_stripes(metadata):
            async for piece in self._pieces.read(blob_id, metadata, owned, stripes):
                yield piece
            return
        if stripes is not None and metadata is not None:
            raise InvalidStripes(blob_id=blob_id_text(blob_id), problem="it is not in stripes")
        pairs: dict[SliverName, SliverPairIndex] = {
            (shard_index, axis): pair_index for pair_index, axis, shard_index in owned
        }
        async for name, sliver in self.vault.slivers_of(blob_id, pairs):
            self._metrics.slivers_read.labels(name[1].name.lower()).inc()
            yield SliverUpload(pairs[name], name[1], sliver)

    def sync_shards(self, *, public_key: bytes, requests: Sequence[SignedMessage]) -> AsyncIterator[SyncedSliver]:
        """Slivers of shards that go to the sender; errors as `ShardServer.serve`."""
        return self._shard_server.serve(public_key, requests)

    async def read_recovery_symbols(
        self, *, epoch: int, blob_id: BlobId, target: SliverIndex, target_axis: Axis, with_proofs: bool
    ) -> Sequence[bytes]:
        """All symbols of a target sliver that this node's slivers of the other axis give.

        Raises:
            WrongEpoch, SliverIndexOutOfRange, InvalidBlob, SliverNotFound, MetadataNotFound, SymbolNotPresent,
            TooManyRequests.
        """
        duty = self.vault.duty()
        rules.check_read_epoch(duty, epoch)
        rules.check_may_read_slivers(self.vault.view, blob_id, (), duty=duty, held=0)
        symbols = await self._symbols.make(
            blob_id, target=target, target_axis=target_axis, duty=duty, with_proofs=with_proofs
        )
        self._metrics.symbols_read.inc(len(symbols))
        return symbols

    async def attest_inconsistency(
        self, *, epoch: int, blob_id: BlobId, axis: Axis, proof: ProofUpload
    ) -> SignedMessage:
        """Sign that a blob is encoded wrongly, if the proof shows it; the metadata is fetched if it is not here.

        Raises:
            LedgerDiverged, StorageFailed: the node attests nothing.
            WrongEpoch, and as `InconsistencyProver.attest`.
            RepairFailed: its metadata cannot be had now.
        """
        self._intake.check_may_write()
        duty = self.vault.duty()
        rules.check_epoch(duty, epoch)
        rules.check_may_attest(self.vault.view, blob_id, duty=duty, height=self.vault.height)
        metadata = await self.blob_sync.require_metadata(blob_id)
        return await self._prover.attest(blob_id, metadata, axis, proof)

    async def agree_to_protocol(self, *, consent: SignedMessage, public_key: bytes) -> None:
        """Keep what the owner lets the node vote for; errors as `check_may_write` and `ProtocolVoter.agree`."""
        self._intake.check_may_write()
        await self._voter.agree(consent, public_key)

    async def sign_protocol_vote(self, *, epoch: int, version: int, start_epoch: int) -> SignedMessage:
        """Vote for new rules; errors as `check_may_write` and `ProtocolVoter.sign`."""
        self._intake.check_may_write()
        return await self._voter.sign(epoch=epoch, version=version, start_epoch=start_epoch)

    async def blob_status(self, *, blob_id: BlobId) -> bytes | None:
        """The node's own record of a blob (BCS of `ledger.state.BlobRecord`), or None."""
        return self.vault.view.get(keys.blob_record(blob_id))

    async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
        """Certified blobs of which something is lacking, as of `height`; at most 1,000 per page.

        A page may hold fewer than `limit` although more follow: `next_after` says where to go on.
        """
        limit = max(1, min(limit, self._settings.incomplete_page_max))
        duty = self.vault.duty()
        height = self.follower.height
        found: list[IncompleteBlob] = []
        rows = self.vault.tables.incomplete(after=after, limit=limit + MISSED)
        for blob_id, _ in rows:
            after = blob_id
            if not rules.is_wanted(self.vault.view, blob_id, duty.epoch):
                continue
            lacks_metadata = await self.vault.metadata_bytes(blob_id) is None
            missing = (duty.wanted_mask & ~self.vault.held(blob_id)).bit_count()
            if missing or lacks_metadata:
                found.append(IncompleteBlob(blob_id, lacks_metadata, missing))
            if len(found) == limit:
                break
        is_end = len(rows) < limit + MISSED and (not rows or after == rows[-1][0])
        return IncompletePage(height, tuple(found), None if is_end else after)

    async def health(self) -> NodeHealth:
        """How the node is; cheap, for probes."""
        duty = self.vault.duty()
        head = self.vault.replica.head
        is_full = await self.vault.is_full()
        agreed_version, agreed_epoch = self._voter.agreed or (0, 0)
        return NodeHealth(
            node_id=self.identity.node_id,
            name=self.identity.name,
            epoch=duty.epoch,
            status=f"{self.status(duty)} DiskFull" if is_full else self.status(duty),
            uptime_ms=(self._clock.monotonic_us() - self._started_us) // 1000,
            height=head.height,
            block_digest=head.digest(),
            head_height=max(head.height, self.vault.replica.heard_height or 0),
            shards=duty.shards,
            incomplete_blobs=self.vault.tables.n_incomplete,
            corrupt_slivers=self.vault.corrupt_found,
            stored_slivers=self.vault.slivers.stored_slivers,
            stored_bytes=self.vault.slivers.stored_bytes,
            attested_height=self.signer.attested_height,
            gaining=duty.gaining,
            giving=duty.giving,
            moving_bytes=self.vault.progress.moving_bytes if duty.gaining else 0,
            moved_bytes=self.vault.progress.moved_bytes if duty.gaining else 0,
            release=__version__,
            protocol_version=PROTOCOL_VERSION,
            agreed_version=agreed_version,
            agreed_epoch=agreed_epoch,
        )

    def status(self, duty: rules.Duty | None = None) -> str:
        """One word on how the node is."""
        if self.vault.slivers.failed is not None:
            return "StorageFailed"
        if self.vault.replica.diverged is not None:
            return "Diverged"
        if self.vault.replica.upgrade_required is not None:
            return "UpgradeRequired"
        if self._intake.is_stopping:
            return "Stopping"
        return "Active" if (duty or self.vault.duty()).shards else "Standby"

    def unready_reason(self) -> str | None:
        """Why the node should get no traffic, as a stable code; None when it is ready.

        Only divergence, storage and shutdown count: a node that lags or syncs still serves what it has.
        """
        failed = self.vault.slivers.failed or self.vault.replica.diverged or self.vault.replica.upgrade_required
        if failed is not None:
            return failed.code
        return "NODE_STOPPING" if self._intake.is_stopping else None

    # --- living ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the ledger, complete what is lacking, let go of what nobody needs; until cancelled.

        Raises:
            StorageFailed: the process must stop; a restart begins with what is durable.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for actor in (
                    self.follower,
                    self.signer,
                    self.shard_sync,
                    self.blob_sync,
                    self.garbage,
                    self.scrubber,
                    self.file_watch,
                ):
                    tasks.create_task(actor.run())
                if self._epoch_driver is not None:
                    tasks.create_task(self._epoch_driver.run())
                tasks.create_task(self._keep_house())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # the first that failed ended the others

    async def stop(self) -> None:
        """Accept nothing more, finish what has begun and make durable what was uploaded, so that uploads resume."""
        self._intake.is_stopping = True
        await self.vault.locks.drain()
        for blob_id in self.vault.slivers.pending_blobs():
            await self._sync_quietly(blob_id)
        await self.vault.locks.drain()

    async def _keep_house(self) -> None:
        """Remove leftovers of the last run once, then sync uploads that were given up, for ever."""
        self._metrics.swept_files.inc(await self.vault.slivers.sweep_files())
        while True:
            slivers = self.vault.slivers
            for blob_id in slivers.idle_blobs(self._settings.upload_idle_ms * 1000):
                await self._sync_quietly(blob_id)
            if slivers.failed is not None:
                raise slivers.failed
            self._metrics.stored_slivers.set(slivers.stored_slivers)
            self._metrics.stored_bytes.set(slivers.stored_bytes)
            self._metrics.buffered_bytes.set(slivers.buffered_bytes)
            self._metrics.incomplete_blobs.set(self.vault.tables.n_incomplete)
            self._metrics.note_status(self.status())
            await self._clock.sleep_ms(1_000)

    async def _sync_quietly(self, blob_id: BlobId) -> None:
        try:
            await self.vault.sync_blob(blob_id)
        except HauloutError:
            return  # a full disk is looked at again; a failed one ends the node in its own place
