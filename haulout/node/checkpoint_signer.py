"""Signs checkpoints of what this node has executed itself, and learns which are certified.

Before a signature is made, the height and the digest it is for are durable (`SignedRow`); at or below that mark
nothing else is ever signed in that epoch. So neither a crash nor a lying sequencer makes the node sign two histories.
A disk that was lost or set back is noticed from outside: the ledger keeps each node's highest signature, and when that
is above the mark the node signs nothing until the next epoch is Done. Of epochs before the one in which that happened
it never signs anything new: it does not know what it has signed there.

If it stops half-way, the mark is there and the signature perhaps not: it is made again, for the same bytes.
"""

from __future__ import annotations

from haulout.chain.checkpoint import CertifiedCheckpoint, Checkpoint, CheckpointSignature
from haulout.crypto.certificate import InvalidBitmap, NotEnoughStake, SignatureInvalid
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DiskFull, HauloutError, Unavailable
from haulout.ledger import queries
from haulout.ledger.genesis import FIRST_EPOCH
from haulout.ledger.state import Phase
from haulout.node.errors import CorruptRecord
from haulout.node.identity import NodeIdentity
from haulout.node.metrics import NodeMetrics
from haulout.node.records import (
    BARRED_KEY,
    ROW_VERSION,
    BarredRow,
    SignedRow,
    seal_row,
    signed_key,
    unseal_row,
)
from haulout.ports import Clock, Ledger, Store, Workers
from haulout.primitives import Digest
from haulout.replica.checkpoints import find_checkpoint, verify_checkpoint
from haulout.replica.errors import BlockNotKept, CheckpointConflict, LedgerDiverged
from haulout.replica.replica import Replica
from haulout.world.errors import StorageFailed

WATCH_MS = 5_000
PAUSE_MS = 500
CATCH_UP_MS = 2_000
CLOCK_AHEAD_MS_MAX = 30_000


class CheckpointSigner:
    """The node's word on the ledger. `attested_height` is what n - f shards have signed, verified here."""

    def __init__(
        self,
        *,
        identity: NodeIdentity,
        replica: Replica,
        ledger: Ledger,
        store: Store,
        scheme: SignatureScheme,
        clock: Clock,
        workers: Workers,
        metrics: NodeMetrics,
    ) -> None:
        self._identity = identity
        self._replica = replica
        self._ledger = ledger
        self._store = store
        self._scheme = scheme
        self._clock = clock
        self._workers = workers
        self._metrics = metrics
        kept = replica.store.checkpoint()
        self.attested_height = 0 if kept is None else kept.checkpoint.height

    @property
    def is_barred(self) -> bool:
        """The node signs no checkpoints, since it does not remember all that it has signed."""
        return self._barred() is not None

    async def run(self) -> None:
        """Sign what is wanted and learn what is certified, until cancelled or the replica may not go on.

        Raises:
            StorageFailed: a mark could not be made durable.
        """
        wanted = attested = 0
        while self._replica.diverged is None:
            try:
                news = await self._ledger.attestation(
                    node_id=self._identity.node_id, wanted=wanted, attested=attested, wait_ms=WATCH_MS
                )
                is_done = news.latest is None or await self._learn(news.latest)
                if news.wanted_height:
                    is_done = await self._sign(news.wanted_height, news.signed) and is_done
                if is_done:
                    wanted = news.wanted_height
                    attested = 0 if news.latest is None else news.latest.checkpoint.height
                    continue
            except StorageFailed:
                raise
            except (Unavailable, DiskFull):
                pass  # the ledger is away, or there is no room for a mark: later
            except LedgerDiverged:
                return
            except HauloutError:
                self._metrics.checkpoint_refusals.labels("ledger").inc()
            wanted = attested = 0  # look at everything again
            await self._clock.sleep_ms(PAUSE_MS)

    # --- learning -------------------------------------------------------------------------------------------

    async def _learn(self, certified: CertifiedCheckpoint) -> bool:
        """Believe a certified checkpoint if it is of our own chain; False when we are not as far yet."""
        height = certified.checkpoint.height
        if height <= self.attested_height:
            return True
        if not await self._catch_up(height):
            return False
        try:
            known = await self._workers.run(verify_checkpoint, self._replica.store, self._scheme, certified)
        except CheckpointConflict as e:
            await self._replica.distrust(e)
            return True
        except (InvalidBitmap, NotEnoughStake, SignatureInvalid):
            self._metrics.checkpoint_refusals.labels("not_certified").inc()
            return True  # the ledger's claim proves nothing; nothing is believed because of it
        if known:
            await self._replica.store.keep_checkpoint(certified, durable=False)
            self.attested_height = height
            self._metrics.attested_height.set(height)
            await self._learn_closing(certified.checkpoint.epoch - 1)
        return known

    async def _learn_closing(self, epoch: int) -> None:
        """Keep the checkpoint that closed an epoch, which later ones overtake: whoever begins with a snapshot of ours
        needs it to follow the committees."""
        store = self._replica.store
        if epoch < FIRST_EPOCH or store.is_closed(epoch):
            return
        closing = await self._ledger.epoch_checkpoint(epoch)
        if closing is None or closing.checkpoint.next_committee is None or closing.checkpoint.epoch != epoch:
            return
        if await self._workers.run(verify_checkpoint, store, self._scheme, closing):
            await store.keep_checkpoint(closing, durable=False)

    # --- signing --------------------------------------------------------------------------------------------

    async def _sign(self, height: int, last: CheckpointSignature | None) -> bool:
        """Sign the block at a height if it is ours to sign; False when it has to be looked at again soon."""
        if not await self._catch_up(height):
            return False
        try:
            checkpoint = find_checkpoint(self._replica.store, height)
        except BlockNotKept:
            return True
        if checkpoint is None or not self._is_signer(checkpoint.epoch):
            return True
        if checkpoint.time_ms > self._clock.now_ms() + CLOCK_AHEAD_MS_MAX:
            self._metrics.checkpoint_refusals.labels("time").inc()
            return False
        if last is not None:
            await self._check_memory(last)
        if not self._may_sign(checkpoint):
            return True
        mark = SignedRow(ROW_VERSION, height, checkpoint.digest())
        if mark != self._mark(checkpoint.epoch):
            key = signed_key(checkpoint.epoch)
            await self._store.commit({key: seal_row(key, mark)}, durable=True)
        signature = await self._workers.run(self._scheme.sign, self._identity.bls_secret, checkpoint.message())
        await self._ledger.attest(CheckpointSignature(self._identity.node_id, checkpoint, signature))
        self._metrics.checkpoints_signed.inc()
        return True

    def _is_signer(self, epoch: int) -> bool:
        committee = queries.find_committee(self._replica.view, epoch)
        own = (self._identity.node_id, self._identity.public_key)
        return committee is not None and any((m.node_id, m.public_key) == own for m in committee.members)

    def _may_sign(self, checkpoint: Checkpoint) -> bool:
        if self._replica.diverged is not None:
            return False
        if self._barred() is not None:
            self._metrics.checkpoint_refusals.labels("barred").inc()
            return False
        mark = self._mark(checkpoint.epoch)
        if mark is not None and (checkpoint.height, checkpoint.digest()) == (mark.height, mark.digest):
            return True
        forgot = self._barred_row()
        if forgot is not None and checkpoint.epoch < forgot.epoch:
            self._metrics.checkpoint_refusals.labels("barred").inc()
            return False
        if mark is None or checkpoint.height > mark.height:
            return True
        self._metrics.checkpoint_refusals.labels("below_mark").inc()
        return False

    async def _check_memory(self, last: CheckpointSignature) -> None:
        """Compare our mark with what the ledger has of us: a mark below our own signature means a disk set back."""
        theirs = last.checkpoint
        mark = self._mark(theirs.epoch)
        if mark is not None and mark.height >= theirs.height:
            return
        is_ours = last.node_id == self._identity.node_id and await self._workers.run(
            self._scheme.verify, self._identity.public_key, theirs.message(), last.signature
        )
        if not is_ours or theirs.chain_id != self._replica.head.chain_id:
            self._metrics.checkpoint_refusals.labels("forged").inc()
            return
        view = self._replica.view
        barred = BarredRow(ROW_VERSION, queries.system(view).epoch, queries.staking(view).phase is Phase.SYNC)
        key = signed_key(theirs.epoch)
        remembered = SignedRow(ROW_VERSION, theirs.height, Digest(theirs.digest()))
        await self._store.commit(
            {BARRED_KEY: seal_row(BARRED_KEY, barred), key: seal_row(key, remembered)}, durable=True
        )
        self._metrics.checkpoint_refusals.labels("set_back").inc()

    def _barred(self) -> BarredRow | None:
        """Until when nothing is signed; None when that is over."""
        row = self._barred_row()
        if row is None:
            return None
        epoch, phase = queries.system(self._replica.view).epoch, queries.staking(self._replica.view).phase
        is_over = phase is not Phase.SYNC and (epoch > row.epoch or (epoch == row.epoch and row.in_sync))
        return None if is_over else row

    def _barred_row(self) -> BarredRow | None:
        """When the disk was last found set back. A damaged row counts as if that was now."""
        sealed = self._store.get(BARRED_KEY)
        if sealed is None:
            return None
        try:
            return unseal_row(BARRED_KEY, sealed, BarredRow)
        except CorruptRecord:
            return BarredRow(ROW_VERSION, queries.system(self._replica.view).epoch, False)

    def _mark(self, epoch: int) -> SignedRow | None:
        """The last checkpoint signed in an epoch. A damaged mark is above everything: nothing is signed there."""
        key = signed_key(epoch)
        sealed = self._store.get(key)
        if sealed is None:
            return None
        try:
            return unseal_row(key, sealed, SignedRow)
        except CorruptRecord:
            return SignedRow(ROW_VERSION, (1 << 64) - 1, bytes(32))

    async def _catch_up(self, height: int) -> bool:
        """Wait a little until our own execution is at `height`."""
        try:
            await self._replica.wait_for_height(height, timeout_ms=CATCH_UP_MS)
        except Unavailable:
            return False
        return True
