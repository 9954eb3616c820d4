"""How a node takes blobs in: verify, keep, promise.

A blob comes in three requests or in one. `store_metadata` checks that the metadata hashes to the blob id,
`store_slivers` checks each sliver against the metadata, and both do it before a byte is written. `confirm_blob`
makes everything durable in one synced batch and only then signs; if the node stops at any point before, it has
promised nothing. `store_and_confirm` is all of that for a blob that fits into one message: the same checks, one turn
under the blob's lock, one batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Sequence

from haulout.crypto.messages import storage_confirmation
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError
from haulout.node import rules
from haulout.node.errors import InvalidStripes, NodeStopping, NotRegistered, TooManyRequests
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.node.pieces import PieceKeeper, is_in_stripes
from haulout.node.records import Promise, bit_of
from haulout.node.vault import CheckedSliver, Keep, Vault
from haulout.node.verify import check_metadata, check_slivers, check_whole_blob, sliver_index_of
from haulout.ports import Clock, Outcome, SignedMessage, SliverUpload, Workers
from haulout.primitives import BlobId, ObjectId, ShardIndex, blob_id_text


class BlobIntake:
    """Stores what comes and signs for it. `is_stopping` is set by whoever ends the node: nothing is taken any more."""

    def __init__(
        self,
        *,
        identity: NodeIdentity,
        vault: Vault,
        pieces: PieceKeeper,
        scheme: SignatureScheme,
        clock: Clock,
        workers: Workers,
        metrics: NodeMetrics,
        settings: NodeSettings,
    ) -> None:
        self.is_stopping = False
        self._identity = identity
        self._vault = vault
        self._pieces = pieces
        self._scheme = scheme
        self._clock = clock
        self._workers = workers
        self._metrics = metrics
        self._settings = settings
        self._waiting = 0

    # --- in three requests ----------------------------------------------------------------------------------

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        """Keep the metadata of a registered blob; durable with its confirmation.

        Raises:
            WrongEpoch, InvalidBlob, InvalidMetadata, UnsupportedEncodingType, NotRegistered, DiskFull, StorageFailed.
        """
        self.check_may_write()
        rules.check_epoch(self._vault.duty(), epoch)
        rules.check_not_invalid(self._vault.view, blob_id)
        if await self._vault.metadata_bytes(blob_id) is not None:
            return Outcome.ALREADY_STORED
        await self._vault.check_writable()
        await self._workers.run(check_metadata, bytes(metadata), blob_id, self._vault.duty().n_shards)
        await self._wait_until_allowed(lambda: self._check_registered(blob_id), self._settings.registration_wait_ms)
        await self._vault.put_metadata(blob_id, bytes(metadata), lambda: self._check_registered(blob_id))
        self._metrics.metadata_stored.inc()
        return Outcome.STORED

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        """Keep slivers of a registered blob whose metadata is here; durable with its confirmation.

        Slivers are verified and written in batches of about a MiB as they arrive. The first that is refused ends the
        call; those before it are kept.

        Raises:
            WrongEpoch, SliverIndexOutOfRange, SliverTooLarge, SliverIndexMismatch, MetadataNotStored, NotRegistered,
            ShardNotAssigned, InvalidSliver, DiskFull, StorageFailed.
        """
        self.check_may_write()
        rules.check_epoch(self._vault.duty(), epoch)
        outcomes: list[Outcome] = []
        batch: list[SliverUpload] = []
        batch_bytes = 0
        async for upload in slivers:
            batch.append(upload)
            batch_bytes += len(upload.bcs)
            settings = self._settings
            full_bytes = settings.upload_batch_bytes if upload.first_stripe is None else settings.piece_batch_bytes
            if batch_bytes >= full_bytes or len(batch) >= settings.upload_batch_slivers:
                outcomes += await self._store_batch(epoch, blob_id, batch)
                batch, batch_bytes = [], 0
        outcomes += await self._store_batch(epoch, blob_id, batch)
        return outcomes

    async def _store_batch(self, epoch: int, blob_id: BlobId, batch: Sequence[SliverUpload]) -> list[Outcome]:
        """Verify and keep one batch; when one is refused, keep those before it and raise."""
        if not batch:
            return []
        self.check_may_write()
        duty = self._vault.duty()
        rules.check_epoch(duty, epoch)
        await self._vault.check_writable()
        metadata = await self._vault.metadata(blob_id)

        def check() -> None:
            rules.check_epoch(self._vault.duty(), epoch)
            self._check_registered(blob_id)

        if metadata is not None and is_in_stripes(metadata):
            outcomes, refusal = await self._pieces.store(blob_id, metadata, duty, batch, check)
            if refusal is not None:
                raise refusal
            return outcomes
        held = self._vault.held(blob_id)
        refusal = None
        outcomes = []
        new: list[tuple[ShardIndex, SliverUpload]] = []
        for upload in batch:
            try:
                self._check_fits_pair(upload, blob_id, duty)
                rules.check_has_metadata(metadata is not None, blob_id)
                if upload.first_stripe is not None:
                    raise InvalidStripes(blob_id=blob_id_text(blob_id), problem="it is not in stripes")
                self._check_registered(blob_id)
                shard_index = rules.check_shard_owned(duty, blob_id, upload.pair_index)
            except HauloutError as e:
                refusal = e
                break
            if held & bit_of(shard_index, upload.axis):
                outcomes.append(Outcome.ALREADY_STORED)
                continue
            held |= bit_of(shard_index, upload.axis)
            new.append((shard_index, upload))
            outcomes.append(Outcome.STORED)

        if new:
            assert metadata is not None, "checked above"
            uploads = [upload for _, upload in new]
            n_good, problem = await self._workers.run(check_slivers, metadata, blob_id, uploads)
            refusal = problem or refusal
            checked = _checked(new[:n_good])
            await self._vault.put_slivers(blob_id, checked, check)
            self._count(checked)
        if refusal is not None:
            raise refusal
        return outcomes

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        """Make everything of the blob durable, then sign that all slivers of all own shards are.

        If it stops half-way, either nothing new is durable or everything is; asking again is always right.

        Raises:
            LedgerDiverged, StorageFailed: the node promises nothing.
            WrongEpoch, InvalidBlob, NotRegistered (after `wait_ms`, at most 5 s), ShardNotAssigned, MissingSlivers,
            DiskFull.
        """
        self.check_may_write()
        rules.check_epoch(self._vault.duty(), epoch)
        await self._wait_for_registration(epoch, blob_id, object_id, wait_ms)
        await self._vault.metadata_bytes(blob_id)  # damaged metadata is found, and missing, before anything is signed

        async def confirm(keep: Keep) -> SignedMessage:
            self._check_may_confirm(epoch, blob_id, object_id)
            return await self._promise(epoch, blob_id, object_id, keep)

        confirmation = await self._vault.promise(blob_id, confirm)
        self._metrics.confirmations.inc()
        await self._vault.unlist_incomplete(blob_id)
        return confirmation

    # --- in one request -------------------------------------------------------------------------------------

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
        """Keep metadata and slivers of a registered blob, make them durable, then sign as `confirm_blob` does.

        Everything is verified before anything is kept. If it stops half-way, either nothing new is durable or
        everything is.

        Raises:
            LedgerDiverged, StorageFailed: the node promises nothing.
            WrongEpoch, InvalidBlob, SliverIndexOutOfRange, SliverTooLarge, SliverIndexMismatch, ShardNotAssigned,
            InvalidMetadata, UnsupportedEncodingType, InvalidStripes, InvalidSliver, NotRegistered (after `wait_ms`, at
            most 5 s): nothing of it is kept.
            MissingSlivers: what came is kept.
            DiskFull.
        """
        self.check_may_write()
        duty = self._vault.duty()
        rules.check_epoch(duty, epoch)
        rules.check_not_invalid(self._vault.view, blob_id)
        await self._vault.check_writable()
        new: dict[int, tuple[ShardIndex, SliverUpload]] = {}  # by their bits
        held = self._vault.held(blob_id)
        for upload in slivers:
            self._check_fits_pair(upload, blob_id, duty)
            shard_index = rules.check_shard_owned(duty, blob_id, upload.pair_index)
            bit = bit_of(shard_index, upload.axis)
            if not held & bit:
                new[bit] = (shard_index, upload)
        is_known = await self._vault.metadata_bytes(blob_id) is not None  # damaged metadata is found here
        known = await self._vault.metadata(blob_id) if is_known else None
        uploads = [upload for _, upload in new.values()]
        await self._workers.run(check_whole_blob, known or bytes(metadata), blob_id, duty.n_shards, uploads)
        checked = _checked(list(new.values()))
        await self._wait_for_registration(epoch, blob_id, object_id, wait_ms)

        async def store_and_confirm(keep: Keep) -> SignedMessage:
            self._check_may_confirm(epoch, blob_id, object_id)
            if not is_known:
                self._vault.slivers.put_metadata(blob_id, bytes(metadata))
            for sliver in checked:
                await self._vault.put_sliver(blob_id, sliver)
            return await self._promise(epoch, blob_id, object_id, keep)

        confirmation = await self._vault.promise(blob_id, store_and_confirm)
        if not is_known:
            self._metrics.metadata_stored.inc()
        self._count(checked)
        self._metrics.confirmations.inc()
        await self._vault.unlist_incomplete(blob_id)
        return confirmation

    # --- steps ----------------------------------------------------------------------------------------------

    async def _promise(self, epoch: int, blob_id: BlobId, object_id: ObjectId | None, keep: Keep) -> SignedMessage:
        """Under the blob's lock: look whether all is here, make it durable, and only then sign."""
        has_metadata = self._vault.slivers.has_metadata(blob_id)
        rules.check_complete(self._vault.duty(), blob_id, held=self._vault.held(blob_id), has_metadata=has_metadata)
        await keep(Promise(epoch, object_id, self._vault.height))
        self._check_may_confirm(epoch, blob_id, object_id)  # the sync may have taken its time
        message = storage_confirmation(epoch, blob_id, object_id)
        signature = await self._workers.run(self._scheme.sign, self._identity.bls_secret, message)
        return SignedMessage(message, signature)

    def _count(self, checked: Sequence[CheckedSliver]) -> None:
        for sliver in checked:
            self._metrics.slivers_stored.labels(sliver.axis.name.lower()).inc()

    async def _wait_for_registration(
        self, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> None:
        """Return once the registration that a confirmation would be about is here; the node has a cap of its own."""
        wait_ms = min(wait_ms, self._settings.confirm_wait_ms_max)
        await self._wait_until_allowed(lambda: self._check_may_confirm(epoch, blob_id, object_id), wait_ms)

    async def _wait_until_allowed(self, check: Callable[[], None], wait_ms: int) -> None:
        """Return once `check` passes; raise NotRegistered when it still does after `wait_ms`, anything else at once."""
        deadline_us = self._clock.monotonic_us() + wait_ms * 1000
        while True:
            try:
                return check()
            except NotRegistered:
                left_ms = (deadline_us - self._clock.monotonic_us()) // 1000
                if left_ms <= 0:
                    raise
                if self._waiting >= self._settings.waiting_requests_max:
                    raise TooManyRequests(
                        what="requests waiting for a block", limit=self._settings.waiting_requests_max
                    ) from None
            self._waiting += 1
            try:
                await self._next_block(left_ms)
            finally:
                self._waiting -= 1

    async def _next_block(self, wait_ms: int) -> None:
        block = asyncio.ensure_future(self._vault.replica.wait_for_height(self._vault.height + 1))
        timer = asyncio.ensure_future(self._clock.sleep_ms(wait_ms))
        try:
            await asyncio.wait((block, timer), return_when=asyncio.FIRST_COMPLETED)
            if block.done():
                block.result()  # a diverged replica ends the wait
        finally:
            block.cancel()
            timer.cancel()
            await asyncio.gather(block, timer, return_exceptions=True)

    # --- checks ---------------------------------------------------------------------------------------------

    def check_may_write(self) -> None:
        """The node takes and signs things.

        Raises:
            NodeStopping, StorageFailed, LedgerDiverged, UpgradeRequired: it does not.
        """
        if self.is_stopping:
            raise NodeStopping(name=self._identity.name)
        replica = self._vault.replica
        problem = self._vault.slivers.failed or replica.diverged or replica.upgrade_required
        if problem is not None:
            raise problem

    def _check_registered(self, blob_id: BlobId) -> None:
        rules.check_not_invalid(self._vault.view, blob_id)
        rules.check_registered(self._vault.view, blob_id, epoch=self._vault.duty().epoch, height=self._vault.height)

    def _check_may_confirm(self, epoch: int, blob_id: BlobId, object_id: ObjectId | None) -> None:
        self.check_may_write()
        duty = self._vault.duty()
        rules.check_epoch(duty, epoch)
        rules.check_may_confirm(self._vault.view, blob_id, object_id, duty=duty, height=self._vault.height)

    @staticmethod
    def _check_fits_pair(upload: SliverUpload, blob_id: BlobId, duty: rules.Duty) -> None:
        """A sliver, by its size and place, may be the one of its pair."""
        rules.check_pair_index(upload.pair_index, duty.n_shards)
        in_stripes = upload.first_stripe is not None
        rules.check_sliver_size(len(upload.bcs), duty.n_shards, in_stripes=in_stripes)
        if not in_stripes:
            rules.check_sliver_index(upload.pair_index, upload.axis, sliver_index_of(upload, blob_id), duty.n_shards)


def _checked(slivers: Sequence[tuple[ShardIndex, SliverUpload]]) -> list[CheckedSliver]:
    return [CheckedSliver(shard_index, upload.axis, upload.bcs) for shard_index, upload in slivers]
