"""Gathers the nodes' signatures of checkpoints until n - f shards have signed one.

One height is wanted at a time. The block that begins an epoch is wanted first, because only its checkpoint carries
trust from one committee to the next; otherwise it is the head, but not more often than every `INTERVAL_MS`, since a
round costs each node a signature, a sync and a verification. So a quiet ledger is attested to its end. Nodes learn of a
certified checkpoint together with the next one to sign, or when the interval is over. When a height finds no
quorum within `PATIENCE_MS` the newest head takes its place: it proves the same and more. Each time that happens the
next one is given longer, so that nodes on slow machines get to the end of a round. For the block that began an epoch
no head can stand in: what was signed of it is kept and added to while others are asked for, as long as it is known who
may sign it. So each node has to execute it in time, but not all of them within the same few seconds.

What is gathered is kept only when it is certified. If it stops half-way, nodes are asked again, and since each gives
the same signature for the same height, nothing is signed twice.
"""

from __future__ import annotations

import asyncio
import contextlib

from haulout.chain.checkpoint import CertifiedCheckpoint, Checkpoint, CheckpointSignature
from haulout.crypto.certificate import bitmap_of, signers_of
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError
from haulout.ledger import queries
from haulout.ledger.state import Committee
from haulout.ports import Attestation, Clock, Workers
from haulout.primitives import ObjectId, hex_id_text, is_quorum
from haulout.replica.checkpoints import find_checkpoint
from haulout.replica.ledger_store import LedgerStore
from haulout.sequencer.errors import CheckpointRefused

INTERVAL_MS = 750
PATIENCE_MS = 3_000
PATIENCE_MS_MAX = 60_000


class Attestor:
    """What the nodes are to sign, and what they have signed. Made over the ledger's store; has no task of its own."""

    def __init__(self, store: LedgerStore, scheme: SignatureScheme, clock: Clock, workers: Workers) -> None:
        self._store = store
        self._scheme = scheme
        self._clock = clock
        self._workers = workers
        self._latest = store.checkpoint()
        self._wanted: Checkpoint | None = None
        self._wanted_since_us = 0
        self._certified_us: int | None = None
        self._patience_ms = PATIENCE_MS
        self._gathered: dict[Checkpoint, dict[bytes, bytes]] = {}  # what is wanted and an open end: by node id
        self.signed_shards = self._shards_behind(self._latest)  # what the last one had, certified or given up
        self._given_up: set[int] = set()  # heights that found no quorum in time; they are taken up again
        self._announced = (0, self.attested_height)  # the heights when `_moved` was set last
        self._moved = asyncio.Event()

    @property
    def attested_height(self) -> int:
        """The highest block that n - f shards have signed; 0 for none."""
        return 0 if self._latest is None else self._latest.checkpoint.height

    async def attestation(
        self, *, node_id: ObjectId | None = None, wanted: int = 0, attested: int = 0, wait_ms: int = 0
    ) -> Attestation:
        """What to sign next and the latest certified checkpoint; see `ports.Ledger`."""
        deadline_us = self._clock.monotonic_us() + 1000 * wait_ms
        while True:
            self._choose()
            self._announce()
            now_us = self._clock.monotonic_us()
            if now_us >= deadline_us or self._is_news(node_id is not None, wanted, attested):
                signed = None if node_id is None else self._store.signature_of(node_id)
                return Attestation(self._wanted_height, self._latest, signed)
            await self._wait_until(min([deadline_us, *self._turns_us(now_us)]))

    def _is_news(self, signs: bool, wanted: int, attested: int) -> bool:
        """Whether a caller who knows these heights has something to do. Who does not sign cares for what is attested
        alone; who does may learn that with what to sign next."""
        if not signs:
            return self.attested_height != attested
        if self._wanted_height and self._wanted_height != wanted:
            return True
        return self.attested_height != attested and not self._rests

    async def attest(self, given: CheckpointSignature) -> None:
        """Take a node's signature; the one that completes a quorum certifies the checkpoint.

        Raises:
            CheckpointRefused: of another block than ours, not of a member, or not its signature.
        """
        theirs = given.checkpoint
        asked = next((checkpoint for checkpoint in self._gathered if checkpoint.height == theirs.height), None)
        if asked is None:
            return
        if theirs != asked:
            raise CheckpointRefused(height=theirs.height, problem="it is of another block, epoch or committee")
        committee = queries.find_committee(self._store.view, asked.epoch)
        if committee is None:
            return  # two epochs have begun since: nobody can check the signatures of that one any more
        key = next((m.public_key for m in committee.members if m.node_id == given.node_id), None)
        if key is None:
            problem = f"{hex_id_text(given.node_id)} is not in the committee of epoch {asked.epoch}"
            raise CheckpointRefused(height=theirs.height, problem=problem)
        if not await self._workers.run(self._scheme.verify, key, asked.message(), given.signature):
            raise CheckpointRefused(height=theirs.height, problem="it is not the node's signature")
        await self._store.keep_signature(given)
        signatures = self._gathered.get(asked)
        if signatures is None:
            return  # certified while this one was being verified
        signatures[given.node_id] = given.signature
        certified = self._certify(asked, committee)
        if certified is not None:
            del self._gathered[asked]
            if self._wanted == asked:
                self._wanted = None
                self._patience_ms = PATIENCE_MS
            self.signed_shards = self._shards_behind(certified)
            self._certified_us = self._clock.monotonic_us()
            await self._store.keep_checkpoint(certified, durable=True)
            if asked.height > self.attested_height:
                self._latest = certified
            self._given_up.discard(asked.height)
            self.note_block()

    def note_block(self) -> None:
        """A block was committed, or a checkpoint certified: there may be something else to sign."""
        self._choose()
        self._announce()

    @property
    def _wanted_height(self) -> int:
        return 0 if self._wanted is None else self._wanted.height

    @property
    def _rests(self) -> bool:
        """The last checkpoint was certified just now."""
        return self._certified_us is not None and self._clock.monotonic_us() < self._certified_us + INTERVAL_MS * 1000

    def _announce(self) -> None:
        """Wake who waits, when something has changed for them."""
        heights = (self._wanted_height, self.attested_height)
        if heights != self._announced:
            self._announced = heights
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    def _turns_us(self, now_us: int) -> list[int]:
        """When something will change by itself: what is wanted gives way, or the rest is over."""
        turns = [] if self._wanted is None else [self._wanted_since_us + self._patience_ms * 1000]
        if self._certified_us is not None:
            turns.append(self._certified_us + INTERVAL_MS * 1000)
        return [turn_us for turn_us in turns if turn_us > now_us]

    def _certify(self, checkpoint: Checkpoint, committee: Committee) -> CertifiedCheckpoint | None:
        signatures = self._gathered[checkpoint]
        signers = [i for i, member in enumerate(committee.members) if member.node_id in signatures]
        if not is_quorum(sum(committee.members[i].weight for i in signers), committee.n_shards):
            return None
        signature = self._scheme.aggregate([signatures[committee.members[i].node_id] for i in signers])
        return CertifiedCheckpoint(checkpoint, signature, bitmap_of(signers))

    def _gathered_shards(self, checkpoint: Checkpoint) -> int:
        committee = queries.find_committee(self._store.view, checkpoint.epoch)
        members = () if committee is None else committee.members
        signatures = self._gathered.get(checkpoint, {})
        return sum(member.weight for member in members if member.node_id in signatures)

    def _shards_behind(self, certified: CertifiedCheckpoint | None) -> int:
        """Shards of those who signed; 0 when their committee is no longer known."""
        committee = None if certified is None else queries.find_committee(self._store.view, certified.checkpoint.epoch)
        if certified is None or committee is None:
            return 0
        return sum(committee.members[i].weight for i in signers_of(certified.signers, len(committee.members)))

    def _choose(self) -> None:
        """Keep to what is wanted until it is certified or its time is over, then take the next."""
        now_us = self._clock.monotonic_us()
        if self._wanted is not None:
            if now_us - self._wanted_since_us < self._patience_ms * 1000:
                return
            self._given_up.add(self._wanted.height)
            self.signed_shards = self._gathered_shards(self._wanted)
            self._patience_ms = min(2 * self._patience_ms, PATIENCE_MS_MAX)
        wanted = self._next()
        if wanted is None:
            self._given_up.clear()  # from the beginning: whoever was away may be back
            wanted = self._next()
        if wanted != self._wanted:
            self._wanted = wanted
            self._gathered = {
                checkpoint: self._gathered.get(checkpoint, {})
                for checkpoint in (wanted, *self._gathered)
                if checkpoint is not None and (checkpoint == wanted or self._is_open_end(checkpoint))
            }
        self._wanted_since_us = now_us

    def _next(self) -> Checkpoint | None:
        head = self._store.head.height
        epoch = queries.system(self._store.view).epoch
        start = self._store.epoch_start(epoch)
        heights = [head]
        if start is not None and start > 0 and not self._is_closed(epoch - 1, start):
            heights.insert(0, start)
        for height in heights:
            if height in self._given_up or (height == head and (self._rests or height <= self.attested_height)):
                continue
            with contextlib.suppress(HauloutError):  # the block is no longer kept
                checkpoint = find_checkpoint(self._store, height)
                if checkpoint is not None:
                    return checkpoint
        return None

    def _is_closed(self, epoch: int, height: int) -> bool:
        """Whether the last checkpoint of an epoch is certified."""
        kept = self._store.checkpoint(epoch)
        return kept is not None and kept.checkpoint.height == height

    def _is_open_end(self, checkpoint: Checkpoint) -> bool:
        """Whether it closes an epoch, is not certified, and those who may sign it are still known."""
        if checkpoint.next_committee is None or self._is_closed(checkpoint.epoch, checkpoint.height):
            return False
        return queries.find_committee(self._store.view, checkpoint.epoch) is not None

    async def _wait_until(self, limit_us: int) -> None:
        """Until something has moved, or it is this late."""
        left_ms = -(-(limit_us - self._clock.monotonic_us()) // 1000)
        moved = asyncio.ensure_future(self._moved.wait())
        timer = asyncio.ensure_future(self._clock.sleep_ms(max(1, left_ms)))
        try:
            await asyncio.wait((moved, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()
            timer.cancel()
            await asyncio.gather(moved, timer, return_exceptions=True)
