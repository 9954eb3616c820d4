"""A ledger followed and executed again: everyone's own verified view.

The ledger orders transactions and is believed in nothing else. A replica takes its blocks, checks that each names
its predecessor, executes it through the same core, and compares every root and with them the digest. The first
block that does not match is the last one it looks at: it remembers the divergence and stops, also after a restart,
until an operator decides. While the ledger is away the replica keeps its last state and keeps asking.

Blocks are taken ahead of their execution, a bounded number of them; commits need no sync, since what a power cut
takes away is fetched and executed again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import fields

from haulout.chain.block import Block, BlockHeader
from haulout.chain.verify import BrokenChain, check_block
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DeadlineExceeded, HauloutError, Unavailable
from haulout.ledger.apply import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, BlockOut, apply_block
from haulout.ledger.genesis import Genesis
from haulout.ledger.refusals import UpgradeRequired
from haulout.ledger.state import View
from haulout.ports import Clock, Ledger, Store, Workers
from haulout.replica.errors import CheckpointConflict, FellBehind, LedgerDiverged, WrongLedger
from haulout.replica.ledger_store import AppliedBlock, LedgerStore

MAX_BLOCKS_AHEAD = 8
FIRST_BACKOFF_MS = 100
MAX_BACKOFF_MS = 5_000


class Replica:
    """Follows a `Ledger`. Open it, then keep `run()` going as a task beside whatever reads from it.

    Attributes:
        store: the kept ledger: blocks, results, events.
        diverged: why it stopped for ever, or None.
        upgrade_required: why this build cannot go on, or None.
        heard_height: the highest block the ledger has told of since this was opened, None before it told of any.
        problem: what keeps it from the ledger right now, or None.
    """

    def __init__(
        self, store: LedgerStore, ledger: Ledger, scheme: SignatureScheme, clock: Clock, workers: Workers
    ) -> None:
        self.store = store
        self.diverged: LedgerDiverged | None = store.divergence()
        self.upgrade_required: UpgradeRequired | None = None
        self.heard_height: int | None = None
        self.problem: HauloutError | None = None
        self._ledger = ledger
        self._scheme = scheme
        self._clock = clock
        self._workers = workers
        if self.diverged is not None:
            store.end_following(self.diverged)

    @classmethod
    async def open(
        cls,
        *,
        store: Store,
        ledger: Ledger,
        genesis: Genesis,
        scheme: SignatureScheme,
        clock: Clock,
        workers: Workers,
    ) -> Replica:
        """Open a replica where its store stands; an empty store starts at genesis. Raises as `LedgerStore.open`."""
        return cls(await LedgerStore.open(store, genesis, scheme), ledger, scheme, clock, workers)

    # --- reading --------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The verified state as of `head`."""
        return self.store.view

    @property
    def head(self) -> BlockHeader:
        """The last block that was executed and agreed with."""
        return self.store.head

    async def wait_for_height(self, height: int, *, timeout_ms: int | None = None) -> BlockHeader:
        """Return the head once it is at `height` or above.

        Raises:
            LedgerDiverged, UpgradeRequired: it will never be.
            DeadlineExceeded: not within `timeout_ms`.
        """
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                await self.store.wait_beyond(height - 1)
        except TimeoutError as e:
            raise DeadlineExceeded(operation=f"waiting for block {height}", timeout_ms=timeout_ms or 0) from e
        return self.head

    def subscribe(self, from_height: int | None = None) -> AsyncIterator[AppliedBlock]:
        """Every verified block from a height on (by default the next one), with its results and events.

        Read from the store as fast as the subscriber likes: nothing is buffered and nothing is left out. Ends only
        with an error: `LedgerDiverged` or `UpgradeRequired` after the last good block, `BlockNotKept` when pruned.
        """
        return self.store.follow(self.head.height + 1 if from_height is None else from_height)

    # --- following ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow until cancelled; returns when it may not go on (`diverged`, `upgrade_required`).

        Raises:
            FellBehind: the ledger does not have the next block any more; a snapshot leads on (`bootstrap`).
            DiskFull: nothing was lost; the caller decides when to run again.
            StorageFailed: the process has to stop.
        """
        backoff_ms = FIRST_BACKOFF_MS
        while self.diverged is None and self.upgrade_required is None:
            height = self.head.height
            try:
                await self._follow()
            except LedgerDiverged as e:
                if e is self.diverged:
                    return  # it was found out elsewhere, and is remembered
                self.diverged = e
                await self.store.remember_divergence(e)
                self.store.end_following(e)
            except UpgradeRequired as e:
                self.upgrade_required = e
                self.store.end_following(e)
            except _LedgerAway as e:
                self.problem = e.cause
                backoff_ms = FIRST_BACKOFF_MS if self.head.height > height else min(2 * backoff_ms, MAX_BACKOFF_MS)
                await self._clock.sleep_ms(backoff_ms)

    async def distrust(self, conflict: CheckpointConflict) -> None:
        """The committee attests another history than the one that was executed here: stop, as after a divergence."""
        if self.diverged is None:
            self.diverged = LedgerDiverged(height=conflict.height, problem=str(conflict))
            await self.store.remember_divergence(self.diverged)
            self.store.end_following(self.diverged)

    async def resume(self) -> None:
        """An operator's decision after a divergence: forget it and try that block again. Then `run()` anew."""
        await self.store.forget_divergence()
        self.diverged = None
        self.store.resume_following()

    async def close(self) -> None:
        """Close the store; cancel `run()` first."""
        await self.store.close()

    async def _follow(self) -> None:
        """One connection: check who answers, then execute blocks while the next ones are fetched."""
        await self._check_ledger()
        queue: asyncio.Queue[Block | HauloutError] = asyncio.Queue(MAX_BLOCKS_AHEAD)
        fetching = asyncio.ensure_future(self._fetch(queue))
        try:
            while True:
                item = await queue.get()
                if isinstance(item, HauloutError):
                    raise _LedgerAway(item)
                self.problem = None
                if self.diverged is not None:
                    raise self.diverged
                await self._advance(item)
        finally:
            fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await fetching

    async def _check_ledger(self) -> None:
        """Refuse a ledger of another chain, or one that has lost what is held here, or pruned what comes next."""
        try:
            status = await self._ledger.status()
        except HauloutError as e:
            raise _LedgerAway(e) from e
        if status.chain_id != self.head.chain_id:
            raise _LedgerAway(WrongLedger(problem=f"it has chain id {status.chain_id.hex()}"))
        if status.head.height < self.head.height:
            problem = f"it ends at block {status.head.height}, {self.head.height} have been verified here"
            raise _LedgerAway(WrongLedger(problem=problem))
        if status.oldest_height > self.head.height + 1:
            raise FellBehind(height=self.head.height, oldest=status.oldest_height)
        self.heard_height = status.head.height
        self.problem = None  # a quiet ledger may not make a block for hours

    async def _fetch(self, queue: asyncio.Queue[Block | HauloutError]) -> None:
        blocks = self._ledger.blocks(self.head.height + 1)
        try:
            async for block in blocks:
                self.heard_height = max(self.heard_height or 0, block.header.height)
                await queue.put(block)
            await queue.put(Unavailable("the ledger ended its stream of blocks"))
        except HauloutError as e:
            await queue.put(e)
        finally:
            await close_stream(blocks)

    async def _advance(self, block: Block) -> None:
        """Check, execute and commit one block."""
        parent = self.head
        check_follows(parent, block)
        check_version(block.header)
        out = await self._workers.run(
            apply_block, self.view, parent, block.header.time_ms, block.transactions, self._scheme
        )
        check_agrees(block.header, out)
        await self.store.commit(out, durable=False)
        await asyncio.sleep(0)  # inline workers and a memory store never wait: let others have their turn


class _LedgerAway(Exception):
    """Inside `run`: the connection ended for a reason that may pass; a failure of our own store is none."""

    def __init__(self, cause: HauloutError) -> None:
        self.cause = cause


def check_follows(parent: BlockHeader, block: Block) -> None:
    """A block continues its parent, as far as that can be seen without executing it.

    Raises:
        LedgerDiverged: another height, chain or predecessor, an earlier time, or transactions of another root.
    """
    try:
        check_block(parent, block)
    except BrokenChain as e:
        raise LedgerDiverged(height=parent.height + 1, problem=e.problem) from e


def check_version(header: BlockHeader) -> None:
    """This build knows the rules that the block follows.

    Raises:
        UpgradeRequired: it does not.
    """
    if not OLDEST_PROTOCOL_VERSION <= header.protocol_version <= PROTOCOL_VERSION:
        raise UpgradeRequired(
            protocol_version=header.protocol_version, oldest=OLDEST_PROTOCOL_VERSION, newest=PROTOCOL_VERSION
        )


def check_agrees(header: BlockHeader, out: BlockOut) -> None:
    """Executing the block led to what its header says.

    Raises:
        LedgerDiverged: it holds a transaction that no block may hold, or a field of the header differs.
    """
    problem = None
    if out.inadmissible:
        index, code = out.inadmissible[0][0], out.inadmissible[0][1]
        problem = f"transaction {index} is inadmissible ({code})"
    elif out.header != header:
        name = next(f.name for f in fields(header) if getattr(header, f.name) != getattr(out.header, f.name))
        theirs, ours = getattr(header, name), getattr(out.header, name)
        problem = f"{name} is {_text(theirs)}, executing it gives {_text(ours)}"
    if problem is not None:
        raise LedgerDiverged(height=header.height, problem=problem)


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


async def close_stream(stream: AsyncIterator[object]) -> None:
    """End an async generator now instead of when it is collected."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
