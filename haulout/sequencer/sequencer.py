"""Puts transactions in order: the one writer of the ledger.

    submit ──► admission ──► queue ──► block ──► one durable commit ──► answers
               (no block     (bounded)  (whatever waits, at most
                may hold it)             MAX_BLOCK_…)

Group commit: while one block is executed and synced, the next one's transactions gather, so the number of syncs
follows the disk and the number of transactions per block follows the load. Nothing is answered before the block
that holds it is durable. Without transactions there is no block.

A transaction that is refused at its last command has paid nothing, but all before it was executed. It has at most
`MAX_COMMANDS`, and a block is bounded by its commands as well as by transactions and bytes, so that whoever sends
such transactions costs the others a bounded wait.

If it stops half-way: a transaction that was answered is in a durable block; one that was not is either in the last
block or nowhere, and the same bytes may be sent again, because the ledger remembers digests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from haulout.chain.block import Block, BlockHeader, TransactionResult
from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.crypto import messages
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DiskFull, HauloutError, ProtocolVersionUnknown, UndecodableBytes
from haulout.ledger import queries
from haulout.ledger.admission import DuplicateTransaction, check_envelope
from haulout.ledger.apply import PROTOCOL_VERSION, BlockOut, apply_block
from haulout.ledger.commands import UpdateProtocolVersion
from haulout.ledger.events import Event
from haulout.ledger.genesis import Genesis
from haulout.ledger.transactions import SignedTransaction, digest_of_bytes
from haulout.observability import tracing
from haulout.ports import Attestation, Clock, Finality, LedgerStatus, StateRead, Store, Workers
from haulout.primitives import Digest, ObjectId
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.reads import read_rows, scan_rows
from haulout.replica.snapshot import export_snapshot
from haulout.sequencer.attestation import Attestor
from haulout.sequencer.errors import Inadmissible, LedgerBusy, LedgerStopping
from haulout.sequencer.tally import BlockTally

MAX_BLOCK_TRANSACTIONS = 500
MAX_BLOCK_COMMANDS = 2_000
MAX_BLOCK_BYTES = 1 << 20
MAX_PENDING_TRANSACTIONS = 10_000
MAX_PENDING_BYTES = 32 << 20
RETRY_AFTER_MS = 250
# Under load blocks begin no closer than this, so that each holds more: everybody who follows pays for every block as
# well as for what is in it. A lone client, whose blocks hold one transaction each, is never made to wait.
PACE_MS = 100


@dataclass(slots=True, eq=False)
class _Pending:
    """A transaction that waits for its block, and all who wait for its result; `span` is of the first of them."""

    digest: Digest
    raw: bytes
    kinds: tuple[str, ...]  # of its commands
    done: asyncio.Future[TransactionResult]
    span: tracing.Span


class Sequencer:
    """Implements `ports.Ledger` over a `LedgerStore`. Open it, then keep `run()` going as a task."""

    def __init__(
        self, store: LedgerStore, scheme: SignatureScheme, clock: Clock, workers: Workers, *, engine: str
    ) -> None:
        self.store = store
        self._scheme = scheme
        self._clock = clock
        self._workers = workers
        self._engine = engine
        self._queue: list[_Pending] = []
        self._queue_bytes = 0
        # Queued, or in the block being made. By their bytes, not their digest: a copy with a forged signature must not
        # stand in the way of the real one.
        self._waiting: dict[bytes, _Pending] = {}
        self._arrived = asyncio.Event()
        self._is_stopping = False
        self._last_began_us, self._last_count = clock.monotonic_us(), 0
        self._attestor = Attestor(store, scheme, clock, workers)
        self._sequenced_height = store.head.height
        self._counts = {"blocks": 0, "transactions": 0, "inadmissible": 0, "busy": 0, "replays": 0}
        self._tally = BlockTally(queries.staking(store.view))

    @classmethod
    async def open(
        cls,
        *,
        store: Store,
        genesis: Genesis,
        scheme: SignatureScheme,
        clock: Clock,
        workers: Workers,
        engine: str,
    ) -> Sequencer:
        """Go on where the store stands; an empty store starts at genesis. Raises as `LedgerStore.open`."""
        return cls(await LedgerStore.open(store, genesis, scheme), scheme, clock, workers, engine=engine)

    @property
    def head(self) -> BlockHeader:
        """The last durable block."""
        return self.store.head

    # --- transactions ---------------------------------------------------------------------------------------

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> TransactionResult | None:
        """Take a signed transaction; its result when that is durable within `wait_ms`, else None.

        The same digest again gives the recorded result, or waits for the one under way.

        Raises:
            InvalidInput: inadmissible, with the reason's code; it is in no block.
            LedgerStopping, LedgerBusy, ProtocolVersionUnknown: it was not taken.
            DiskFull: it waited for a block that could not be written; it is in none.
        """
        if self._is_stopping:
            raise LedgerStopping
        now_ms = max(self._clock.now_ms(), self.head.time_ms)
        raw = bytes(transaction)
        # The signature is verified once, in the block.
        signed = check_envelope(raw, now_ms=now_ms, chain_id=self.head.chain_id)
        digest = digest_of_bytes(raw)
        recorded = self.store.result(digest)
        if recorded is not None:
            self._counts["replays"] += 1
            return recorded
        check_can_follow(signed)
        kinds = tuple(type(command).__name__ for command in signed.transaction.commands)
        pending = self._waiting.get(raw) or self._enqueue(digest, raw, kinds)
        return await _wait(pending.done, wait_ms)

    async def result(self, digest: Digest, *, wait_ms: int = 0) -> TransactionResult | None:
        """What became of a transaction, waiting up to `wait_ms` for it."""
        deadline_us = self._clock.monotonic_us() + 1000 * wait_ms
        while True:
            recorded = self.store.result(digest)
            left_us = deadline_us - self._clock.monotonic_us()
            if recorded is not None or left_us <= 0:
                return recorded
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_us / 1_000_000):
                    await self.store.wait_beyond(self.head.height)

    def _enqueue(self, digest: Digest, raw: bytes, kinds: tuple[str, ...]) -> _Pending:
        if len(self._queue) >= MAX_PENDING_TRANSACTIONS or self._queue_bytes + len(raw) > MAX_PENDING_BYTES:
            self._counts["busy"] += 1
            raise LedgerBusy(pending=len(self._queue), retry_after_ms=RETRY_AFTER_MS)
        done: asyncio.Future[TransactionResult] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_look_at_outcome)
        pending = _Pending(digest, raw, kinds, done, tracing.aside("transaction"))
        pending.span.note(digest=digest.hex(), n_commands=len(kinds))
        self._waiting[raw] = pending
        self._queue.append(pending)
        self._queue_bytes += len(pending.raw)
        self._arrived.set()
        return pending

    # --- blocks ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make blocks until `stop`, then return once the queue is empty.

        Raises:
            StorageFailed: the process has to stop; what was answered is durable.
        """
        try:
            while True:
                while self._queue:
                    await self._keep_pace()
                    await self._make_block(self._take_block())
                    await asyncio.sleep(0)
                if self._is_stopping:
                    return
                self._arrived.clear()
                await self._arrived.wait()
        except BaseException:
            self._is_stopping = True
            for pending in list(self._waiting.values()):
                self._finish(pending, LedgerStopping())
            raise

    def stop(self) -> None:
        """Take nothing more; `run` makes blocks of what waits and returns."""
        self._is_stopping = True
        self._arrived.set()

    async def close(self) -> None:
        """Close the store; let `run` return or cancel it first."""
        self._is_stopping = True
        await self.store.close()

    def _take_block(self) -> list[_Pending]:
        """The oldest transactions, as many as a block may hold."""
        size_bytes = n_commands = count = 0
        for pending in self._queue[:MAX_BLOCK_TRANSACTIONS]:
            is_full = size_bytes + len(pending.raw) > MAX_BLOCK_BYTES
            if count and (is_full or n_commands + len(pending.kinds) > MAX_BLOCK_COMMANDS):
                break
            size_bytes += len(pending.raw)
            n_commands += len(pending.kinds)
            count += 1
        taken, self._queue = self._queue[:count], self._queue[count:]
        self._queue_bytes -= size_bytes
        return taken

    async def _keep_pace(self) -> None:
        """Let transactions gather, unless the last block held only one or the next one is full already."""
        passed_ms = (self._clock.monotonic_us() - self._last_began_us) // 1_000
        if self._last_count > 1 and passed_ms < PACE_MS and len(self._queue) < MAX_BLOCK_TRANSACTIONS:
            await self._clock.sleep_ms(PACE_MS - passed_ms)
        self._last_began_us = self._clock.monotonic_us()

    async def _make_block(self, taken: list[_Pending]) -> None:
        """Execute, commit, answer. Inadmissible ones are answered and left out; alone they make no block."""
        self._last_count = len(taken)
        for pending in taken:
            pending.span.event("executing")
        transactions = tuple(pending.raw for pending in taken)
        out = await self._workers.run(
            apply_block, self.store.view, self.head, self._clock.now_ms(), transactions, self._scheme
        )
        left_out = dict(out.inadmissible)
        refused = [(taken[position], code) for position, code in left_out.items()]
        taken = [pending for position, pending in enumerate(taken) if position not in left_out]
        if taken:
            await self._commit(out, taken)
        for pending, code in refused:
            self._counts["inadmissible"] += 1
            recorded = self.store.result(pending.digest) if code == DuplicateTransaction.code else None
            self._finish(pending, recorded or Inadmissible(code))

    async def _commit(self, out: BlockOut, taken: Sequence[_Pending]) -> None:
        """Make a block durable and answer those who wait for it."""
        self._sequenced_height = out.header.height
        for pending in taken:
            pending.span.event("executed")
        try:
            await self.store.commit(out, durable=True)
        except HauloutError as e:
            self._sequenced_height = self.head.height
            for pending in taken:
                self._finish(pending, e)
            if isinstance(e, DiskFull):
                return  # nothing was written and nobody was promised anything; the next block may fit
            raise
        self._counts["blocks"] += 1
        self._counts["transactions"] += len(taken)
        self._tally.note(out, [pending.kinds for pending in taken])
        for pending, result in zip(taken, out.results, strict=True):
            self._finish(pending, result)
        self._attestor.note_block()

    def _finish(self, pending: _Pending, outcome: TransactionResult | HauloutError) -> None:
        self._waiting.pop(pending.raw, None)
        if isinstance(outcome, HauloutError):
            pending.span.end(outcome)
            if not pending.done.done():
                pending.done.set_exception(outcome)
            return
        pending.span.note(height=outcome.height, result=outcome.reason or "OK")
        pending.span.end()
        if not pending.done.done():
            pending.done.set_result(outcome)

    # --- reading --------------------------------------------------------------------------------------------

    async def status(self) -> LedgerStatus:
        """The head and how the ledger is."""
        metrics = {
            **self._counts,
            "refused": self._tally.refusals.total(),
            "pending_bytes": self._queue_bytes,
            "oldest_height": self.store.oldest_height,
            "checkpoint_signed_shards": self._attestor.signed_shards,
        }
        finality = Finality(self._sequenced_height, self.head.height, self._attestor.attested_height)
        return LedgerStatus(
            Digest(self.head.chain_id),
            self.head,
            self._engine,
            len(self._waiting),
            metrics,
            finality,
            self.store.oldest_height,
            PROTOCOL_VERSION,
            dict(self._tally.refusals),
            dict(self._tally.commands),
            self._tally.epoch_change_ms,
        )

    async def read(self, keys: Sequence[bytes]) -> StateRead:
        """Rows of committed tables with proofs against the head's state root; at most `MAX_READ_KEYS`.

        Raises:
            InvalidField: too many keys, or one of an index table, which no root covers.
        """
        return read_rows(self.store, keys)

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """State rows with start <= key < end in key order, without proofs; at most `MAX_SCAN_ROWS`.

        Raises:
            InvalidField: a limit out of bounds.
        """
        return scan_rows(self.store, start, end, limit=limit)

    def blocks(self, from_height: int) -> AsyncIterator[Block]:
        """All blocks from a height on, then each new one; nothing is buffered for a slow reader.

        Raises:
            BlockNotKept: the first one asked for has been pruned.
        """
        return self.store.follow_blocks(from_height)

    def events(self, from_sequence: int) -> AsyncIterator[Event]:
        """All events from a sequence number on, then each new one. Raises `EventNotKept`."""
        return self.store.follow_events(from_sequence)

    def snapshot(self) -> AsyncIterator[bytes]:
        """The whole state at the head in chunks."""
        return export_snapshot(self.store)

    # --- checkpoints ----------------------------------------------------------------------------------------

    async def attestation(
        self, *, node_id: ObjectId | None = None, wanted: int = 0, attested: int = 0, wait_ms: int = 0
    ) -> Attestation:
        """What nodes are to sign next, and the latest certified checkpoint."""
        return await self._attestor.attestation(node_id=node_id, wanted=wanted, attested=attested, wait_ms=wait_ms)

    async def attest(self, signature: CheckpointSignature) -> None:
        """Take a node's signature of a checkpoint. Raises `CheckpointRefused`."""
        await self._attestor.attest(signature)

    async def epoch_checkpoint(self, epoch: int) -> CertifiedCheckpoint | None:
        """The last certified checkpoint of an epoch."""
        return self.store.checkpoint(epoch)

    async def epoch_committee(self, epoch: int) -> bytes | None:
        """The committee of an epoch, also of past ones."""
        return self.store.committee(epoch)


def check_can_follow(signed: SignedTransaction) -> None:
    """Refuse a vote for rules that this build does not know: the block after them would be the first that nobody makes.

    Raises:
        ProtocolVersionUnknown: for such a version.
    """
    for command in signed.transaction.commands:
        if not isinstance(command, UpdateProtocolVersion):
            continue
        try:
            body = messages.parse(command.message).body
        except UndecodableBytes:
            continue  # the rules refuse it
        if isinstance(body, messages.ProtocolVersion) and body.protocol_version > PROTOCOL_VERSION:
            raise ProtocolVersionUnknown(
                process="the ledger", protocol_version=body.protocol_version, newest=PROTOCOL_VERSION
            )


async def _wait(done: asyncio.Future[TransactionResult], wait_ms: int) -> TransactionResult | None:
    """The outcome, its exception, or None when it takes longer; others keep waiting for the same."""
    if wait_ms > 0 and not done.done():
        await asyncio.wait((done,), timeout=wait_ms / 1000)
    return done.result() if done.done() else None


def _look_at_outcome(done: asyncio.Future[TransactionResult]) -> None:
    """An outcome that nobody waited for is no error of ours: whoever asks again gets it from the store."""
    if not done.cancelled():
        done.exception()
