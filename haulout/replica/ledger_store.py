"""A ledger at its head: what is kept of it is read here, blocks are followed here, and each is appended here.

A block is one atomic batch of the rows in `ledger_rows`. Nothing of them is held in memory but the header of the head
and a few last blocks, which those who follow closely are given without a read. A slow follower reads from the store: it
costs nothing, loses nothing, and resumes from any height that is still kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from haulout import bcs
from haulout.chain.block import Block, BlockHeader, TransactionResult
from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError
from haulout.ledger import keys
from haulout.ledger.apply import BlockOut
from haulout.ledger.events import Event
from haulout.ledger.genesis import Genesis, build_genesis
from haulout.ledger.state import View
from haulout.ports import Store
from haulout.primitives import Digest
from haulout.replica.errors import BlockNotKept, EventNotKept, LedgerDiverged, WrongGenesis
from haulout.replica.ledger_rows import (
    BLOCK,
    CHECKPOINT,
    COMMITTEE,
    DIVERGENCE,
    EPOCH,
    EVENT,
    FORMAT,
    FORMAT_VERSION,
    OLDEST,
    RESULT,
    SIGNATURE,
    TRANSACTIONS,
    BlockRow,
    Divergence,
    Transactions,
    is_half_imported,
    read_block_row,
    read_divergence,
    read_head,
    rows_of,
)
from haulout.world.errors import StoreCorrupt

EVENT_PAGE = 256
RECENT_BLOCKS, RECENT_TRANSACTIONS = 16, 1_000  # held in memory, the last block in any case


@dataclass(frozen=True, slots=True)
class AppliedBlock:
    """A committed block with everything it caused; what followers are given."""

    header: BlockHeader
    transactions: tuple[bytes, ...]
    results: tuple[TransactionResult, ...]
    events: tuple[Event, ...]

    @property
    def block(self) -> Block:
        return Block(self.header, self.transactions)


class LedgerStore:
    """A ledger at its head. `view` reads the state as of `head`, and may be a block ahead of it for a few turns of the
    loop, while a commit is being told; what needs both exactly reads `read_head(view)`."""

    def __init__(self, store: Store, head: BlockHeader, oldest_height: int) -> None:
        self._store = store
        self._head = head
        self._oldest_height = oldest_height
        self._advanced = asyncio.Event()
        self._recent: deque[AppliedBlock] = deque()  # up to the head, without gaps
        self._committing: asyncio.Task[None] | None = None
        self._end: HauloutError | None = None

    @classmethod
    async def open(cls, store: Store, genesis: Genesis, scheme: SignatureScheme) -> LedgerStore:
        """Go on where the store stands; an empty one starts with genesis, which is built and checked only then.

        The chain id is a digest of the whole genesis document, so a store that carries it was founded by this one.

        Raises:
            WrongGenesis: the store belongs to another network.
            StoreCorrupt: its format is unknown, or a row that must be there is not.
        """
        if is_half_imported(store):
            raise StoreCorrupt(path="ledger store", problem="the import of a snapshot was cut short; import it again")
        kept_format = store.get(FORMAT)
        if kept_format is None:
            founded = build_genesis(genesis, scheme)
            await store.commit({FORMAT: bytes([FORMAT_VERSION]), **rows_of(founded, 0, store)})
        elif kept_format != bytes([FORMAT_VERSION]):
            problem = f"ledger format {kept_format.hex()}, this build knows {FORMAT_VERSION}"
            raise StoreCorrupt(path="ledger store", problem=problem)
        head = read_head(store)
        if head is None:
            raise StoreCorrupt(path="ledger store", problem="the row of its head is missing")
        if head.chain_id != genesis.chain_id:
            raise WrongGenesis(stored=head.chain_id.hex(), given=genesis.chain_id.hex())
        return cls(store, head, int.from_bytes(store.get(OLDEST) or b"", "big"))

    # --- reading --------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The state at the head. Do not hold scans across blocks unless they may be old."""
        return self._store

    @property
    def head(self) -> BlockHeader:
        """The last committed block."""
        return self._head

    @property
    def oldest_height(self) -> int:
        """The oldest block that is kept besides genesis' header."""
        return self._oldest_height

    def header(self, height: int) -> BlockHeader:
        """The header of a kept block.

        Raises:
            BlockNotKept: not made yet, or pruned.
        """
        return self._row(height).header

    def find_header(self, height: int) -> BlockHeader | None:
        """The header of a kept block, or of the one that an import began with; None for others."""
        row = read_block_row(self._store, height)
        return None if row is None else row.header

    def block(self, height: int) -> Block:
        """A kept block with its transactions. Raises as `header`."""
        recent = self._find_recent(height)
        return Block(self._row(height).header, self._transactions(height)) if recent is None else recent.block

    def applied(self, height: int) -> AppliedBlock:
        """A kept block with what it caused. Raises as `header`."""
        recent = self._find_recent(height)
        if recent is not None:
            return recent
        row = self._row(height)
        results = tuple(self._kept_result(Digest(digest)) for digest in row.digests)
        events = tuple(self.events(row.first_sequence, limit=row.n_events)) if row.n_events else ()
        return AppliedBlock(row.header, self._transactions(height), results, events)

    def result(self, digest: Digest) -> TransactionResult | None:
        """What became of a transaction, or None when it is in no block that is kept."""
        raw = self._store.get(RESULT + digest)
        return None if raw is None else bcs.decode(TransactionResult, raw)

    def events(self, from_sequence: int, *, limit: int = EVENT_PAGE) -> list[Event]:
        """Events from a sequence number on, at most `limit`; fewer at the end.

        Raises:
            EventNotKept: the first one asked for has been pruned.
        """
        start, end = EVENT + bcs.u64_be(from_sequence), EVENT + b"\xff" * 9
        found: list[Event] = [bcs.decode(Event, raw) for _, raw in self._store.scan(start, end, limit=limit)]
        if found and found[0].sequence != from_sequence:
            raise EventNotKept(sequence=from_sequence, oldest=found[0].sequence)
        return found

    # --- epochs and checkpoints -----------------------------------------------------------------------------

    def epoch_start(self, epoch: int) -> int | None:
        """The block that began an epoch; after an import, the imported block for the epoch it is in."""
        raw = self._store.get(EPOCH + epoch.to_bytes(4, "big"))
        return None if raw is None else int.from_bytes(raw, "big")

    def epoch_before(self, height: int) -> int | None:
        """The epoch of the state before a block, whose committee signs it; None before what is known here."""
        for key, raw in self._store.scan(EPOCH, CHECKPOINT, reverse=True):
            if int.from_bytes(raw, "big") < height:
                return int.from_bytes(key[1:], "big")
        return None

    def checkpoint(self, epoch: int | None = None) -> CertifiedCheckpoint | None:
        """The last certified checkpoint that is kept, of an epoch or of all."""
        if epoch is not None:
            raw = self._store.get(CHECKPOINT + epoch.to_bytes(4, "big"))
            return None if raw is None else bcs.decode(CertifiedCheckpoint, raw)
        for _, raw in self._store.scan(CHECKPOINT, SIGNATURE, reverse=True, limit=1):
            return bcs.decode(CertifiedCheckpoint, raw)
        return None

    def is_closed(self, epoch: int) -> bool:
        """Whether the checkpoint that closed an epoch is kept: it names the committee of the next."""
        kept = self.checkpoint(epoch)
        return kept is not None and kept.checkpoint.next_committee is not None

    def committee(self, epoch: int) -> bytes | None:
        """The committee of an epoch (BCS), also of a past one: who follows the checkpoints from epoch to epoch needs
        it."""
        return self._store.get(COMMITTEE + epoch.to_bytes(4, "big")) or self._store.get(keys.committee(epoch))

    async def keep_closed(self, closing: CertifiedCheckpoint, next_committee: bytes) -> None:
        """Keep the checkpoint that closed an epoch, and the committee it names; the caller has checked both."""
        epoch = closing.checkpoint.epoch
        await self._store.commit(
            {
                CHECKPOINT + epoch.to_bytes(4, "big"): bcs.encode(closing),
                COMMITTEE + (epoch + 1).to_bytes(4, "big"): next_committee,
            },
            durable=False,
        )

    async def keep_beginning(self, epoch: int, header: BlockHeader) -> None:
        """After an import, keep the header of the block that began the epoch, so that the one before can be closed."""
        row = BlockRow(FORMAT_VERSION, header, 0, 0, ())
        writes = {
            EPOCH + (epoch - 1).to_bytes(4, "big"): bcs.u64_be(header.height - 1),  # at the latest
            EPOCH + epoch.to_bytes(4, "big"): bcs.u64_be(header.height),
            COMMITTEE + epoch.to_bytes(4, "big"): self._store.get(keys.committee(epoch)),
        }
        if header.height < self._head.height:
            writes[BLOCK + bcs.u64_be(header.height)] = bcs.encode(row)
        await self._store.commit(writes)

    async def keep_checkpoint(self, certified: CertifiedCheckpoint, *, durable: bool) -> None:
        """Keep a certified checkpoint, if it is the highest of its epoch; the caller has checked it."""
        epoch = certified.checkpoint.epoch
        kept = self.checkpoint(epoch)
        if kept is None or kept.checkpoint.height < certified.checkpoint.height:
            key = CHECKPOINT + epoch.to_bytes(4, "big")
            await self._store.commit({key: bcs.encode(certified)}, durable=durable)

    def signature_of(self, node_id: bytes) -> CheckpointSignature | None:
        """The highest checkpoint that a node is known to have signed."""
        raw = self._store.get(SIGNATURE + node_id)
        return None if raw is None else bcs.decode(CheckpointSignature, raw)

    async def keep_signature(self, signature: CheckpointSignature) -> None:
        """Remember what a node has signed, unless it has signed a higher block before: an end of an epoch may be asked
        for again after the head. After a power cut the one before may be found."""
        known = self.signature_of(signature.node_id)
        if known is not None and known.checkpoint.height > signature.checkpoint.height:
            return
        await self._store.commit({SIGNATURE + signature.node_id: bcs.encode(signature)}, durable=False)

    # --- following ------------------------------------------------------------------------------------------

    async def wait_beyond(self, height: int) -> None:
        """Return once the head is above `height`.

        Raises:
            HauloutError: the reason why no block will follow (`end_following`).
        """
        while self._head.height <= height:
            if self._end is not None:
                raise self._end
            await self._advanced.wait()

    def end_following(self, reason: HauloutError) -> None:
        """No block will follow: those who wait for one get the reason, after everything that is there."""
        self._end = reason
        self._advanced.set()

    def resume_following(self) -> None:
        """Blocks may follow again."""
        self._end = None
        self._advanced = asyncio.Event()

    async def follow(self, from_height: int) -> AsyncIterator[AppliedBlock]:
        """Every block from a height on with what it caused, then each new one; ends only with an error."""
        height = from_height
        while True:
            await self.wait_beyond(height - 1)
            yield self.applied(height)
            height += 1

    async def follow_blocks(self, from_height: int) -> AsyncIterator[Block]:
        """As `follow`, without what the blocks caused."""
        height = from_height
        while True:
            await self.wait_beyond(height - 1)
            yield self.block(height)
            height += 1

    async def follow_events(self, from_sequence: int) -> AsyncIterator[Event]:
        """Every event from a sequence number on, then each new one; ends only with an error."""
        sequence = from_sequence
        while True:
            height = self._head.height
            page = self.events(sequence)
            for event in page:
                yield event
            sequence += len(page)
            if len(page) < EVENT_PAGE:
                await self.wait_beyond(height)

    # --- writing --------------------------------------------------------------------------------------------

    async def commit(self, out: BlockOut, *, durable: bool = True) -> None:
        """Append a block that was executed on `view`, as one batch.

        Goes through even when the caller is cancelled meanwhile, so that `head` and `view` never part.

        Raises:
            DiskFull: nothing was written.
            StorageFailed: what is written is known after the next start.
        """
        assert out.header.height == self._head.height + 1, "blocks are appended in order"
        self._committing = asyncio.ensure_future(self._commit(out, durable=durable))
        await asyncio.shield(self._committing)

    async def _commit(self, out: BlockOut, *, durable: bool) -> None:
        await self._store.commit(rows_of(out, self._next_sequence(out), self._store), durable=durable)
        self._head = out.header
        self._remember(AppliedBlock(out.header, out.transactions, out.results, out.events))
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()

    async def prune(self, *, below_height: int, max_blocks: int = 100) -> int:
        """Forget up to `max_blocks` of the oldest blocks below a height, with their results and events.

        State, tree and history stay, and so does the header of genesis. Returns how many were forgotten; call again
        until it is 0. If it stops half-way, the batch is either gone whole or still there.
        """
        start = self._oldest_height
        end = min(below_height, self._head.height, start + max_blocks)
        writes: dict[bytes, bytes | None] = {}
        for height in range(start, end):
            row = self._row(height)
            if height > 0:
                writes[BLOCK + bcs.u64_be(height)] = None
            writes[TRANSACTIONS + bcs.u64_be(height)] = None
            writes.update({RESULT + digest: None for digest in row.digests})
            sequences = range(row.first_sequence, row.first_sequence + row.n_events)
            writes.update({EVENT + bcs.u64_be(sequence): None for sequence in sequences})
        if not writes:
            return 0
        writes[OLDEST] = bcs.u64_be(end)
        await self._store.commit(writes)
        self._oldest_height = end
        while self._recent and self._recent[0].header.height < end:
            self._recent.popleft()
        return end - start

    def divergence(self) -> LedgerDiverged | None:
        """The divergence that was remembered, if any."""
        return read_divergence(self._store)

    async def remember_divergence(self, diverged: LedgerDiverged) -> None:
        """Keep it over restarts."""
        row = Divergence(FORMAT_VERSION, diverged.height, diverged.problem)
        await self._store.commit({DIVERGENCE: bcs.encode(row)})

    async def forget_divergence(self) -> None:
        """An operator's decision: try that block again."""
        await self._store.commit({DIVERGENCE: None})

    async def close(self) -> None:
        """Finish the commit under way and close the store."""
        if self._committing is not None and not self._committing.done():
            await asyncio.wait((self._committing,))
        await self._store.close()

    # --- recent blocks --------------------------------------------------------------------------------------

    def _find_recent(self, height: int) -> AppliedBlock | None:
        position = height - self._head.height - 1  # from the end
        return self._recent[position] if -len(self._recent) <= position < 0 else None

    def _remember(self, block: AppliedBlock) -> None:
        self._recent.append(block)
        n_transactions = sum(len(recent.transactions) for recent in self._recent)
        while len(self._recent) > RECENT_BLOCKS or (len(self._recent) > 1 and n_transactions > RECENT_TRANSACTIONS):
            n_transactions -= len(self._recent.popleft().transactions)

    # --- rows -----------------------------------------------------------------------------------------------

    def _next_sequence(self, out: BlockOut) -> int:
        """Where a block's events begin; without events, where the next one would."""
        if out.events:
            return out.events[0].sequence
        row = read_block_row(self._store, self._head.height)
        assert row is not None, "the row of the head is never pruned"
        return row.first_sequence + row.n_events

    def _row(self, height: int) -> BlockRow:
        kept = self._oldest_height <= height <= self._head.height
        row = read_block_row(self._store, height) if kept else None
        if row is None:
            raise BlockNotKept(height=height, oldest=self._oldest_height, head=self._head.height)
        return row

    def _transactions(self, height: int) -> tuple[bytes, ...]:
        raw = self._store.get(TRANSACTIONS + bcs.u64_be(height))
        if raw is None:
            raise StoreCorrupt(path="ledger store", problem=f"the transactions of block {height} are missing")
        return bcs.decode(Transactions, raw)

    def _kept_result(self, digest: Digest) -> TransactionResult:
        result = self.result(digest)
        if result is None:
            raise StoreCorrupt(path="ledger store", problem=f"the result of {digest.hex()} is missing")
        return result
