"""A replica that is new, or was away for longer than blocks are kept, begins with a snapshot that the nodes attest.

    trust     the committee that is known here (of genesis, or of the last block executed) has signed the checkpoint
              that closed its epoch, and that one names the next committee; and so on to the present one
    attest    that committee has certified a checkpoint at or above the block of the snapshot
    link      the blocks from there on up to the checkpoint's name each other by digest
    import    rows are believed because their root is that of the snapshot's block

So whoever hands out the snapshot is believed in nothing. If it stops half-way the store is no ledger yet, and the next
start does it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from haulout import bcs
from haulout.chain.block import BlockHeader
from haulout.chain.checkpoint import CertifiedCheckpoint, check_checkpoint, committee_digest
from haulout.chain.verify import BrokenChain, check_block
from haulout.crypto.certificate import InvalidBitmap, NotEnoughStake, SignatureInvalid
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError, UndecodableBytes
from haulout.ledger import keys, queries
from haulout.ledger.genesis import FIRST_EPOCH, Genesis, build_genesis
from haulout.ledger.state import Committee
from haulout.observability.logs import get_logger
from haulout.ports import Clock, Ledger, Store, Workers
from haulout.primitives import Digest
from haulout.replica.checkpoints import signers_of
from haulout.replica.errors import NotProven
from haulout.replica.ledger_rows import begin_import, discard_import, is_half_imported, read_divergence, read_head
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.replica import Replica, close_stream
from haulout.replica.snapshot import import_snapshot, read_snapshot_header

MANY_BLOCKS = 20_000  # to execute again: a snapshot is quicker
PATIENCE_MS = 60_000  # until a checkpoint above the snapshot's block is certified
WATCH_MS = 5_000
STATUS_S = 3  # a ledger that does not answer must not keep a node from serving what it has

log = get_logger("replica")


@dataclass(frozen=True, slots=True)
class ClosedEpoch:
    """The checkpoint that closed an epoch, and the committee it names (BCS)."""

    closing: CertifiedCheckpoint
    next_committee: bytes


async def open_replica(
    store: Store, ledger: Ledger, *, genesis: Genesis, scheme: SignatureScheme, clock: Clock, workers: Workers
) -> Replica:
    """A replica over a store that `bring_near` had first; the store is closed when that fails.

    Raises:
        HauloutError: as `bring_near` and `LedgerStore.open`.
    """
    try:
        imported = await bring_near(store, ledger, genesis=genesis, scheme=scheme, clock=clock, workers=workers)
        if imported is not None:
            log.info("began with a snapshot", height=imported.height)
        return await Replica.open(
            store=store, ledger=ledger, genesis=genesis, scheme=scheme, clock=clock, workers=workers
        )
    except BaseException:
        await store.close()
        raise


async def bring_near(
    store: Store, ledger: Ledger, *, genesis: Genesis, scheme: SignatureScheme, clock: Clock, workers: Workers
) -> BlockHeader | None:
    """Import a snapshot into a replica's store if blocks alone do not lead to the ledger's head, or not soon.

    Call it before `Replica.open`. A store that has stopped at a divergence is left as it is.

    Returns:
        The header of the imported block, or None when there is nothing to import.

    Raises:
        NotProven: a snapshot is needed, and nothing shows that it is the network's.
        BadSnapshot: it is damaged, or another one than it claims; the store is empty.
        Unavailable: a half imported store needs the ledger, which is away.
    """
    must = is_half_imported(store)
    try:
        async with asyncio.timeout(None if must else STATUS_S):
            status = await ledger.status()
    except (HauloutError, TimeoutError):
        if must:
            raise
        return None  # what is here is served, and the ledger is waited for
    known = None if must else read_head(store)
    height = 0 if known is None else known.height
    must = must or status.oldest_height > height + 1
    if status.chain_id != genesis.chain_id or read_divergence(store) is not None:
        return None
    if not must and status.head.height - height <= MANY_BLOCKS:
        return None
    committee = await _known_committee(store, known, genesis, scheme, workers)
    try:
        header, closed = await _import(store, ledger, committee, Digest(genesis.chain_id), scheme, clock, workers)
    except HauloutError:
        if must:
            raise
        return None  # all blocks are there: it takes longer
    kept = await LedgerStore.open(store, genesis, scheme)
    for epoch in closed:
        await kept.keep_closed(epoch.closing, epoch.next_committee)
    return header


async def _known_committee(
    store: Store, known: BlockHeader | None, genesis: Genesis, scheme: SignatureScheme, workers: Workers
) -> Committee:
    """The committee of the last block that was executed here, or of genesis."""
    if known is not None:
        return queries.committee(store)
    return await workers.run(committee_of_genesis, genesis, scheme)


def committee_of_genesis(genesis: Genesis, scheme: SignatureScheme) -> Committee:
    """Whom everyone begins with."""
    raw = build_genesis(genesis, scheme).writes[keys.committee(FIRST_EPOCH)]
    assert raw is not None, "genesis has a committee"
    committee: Committee = bcs.decode(Committee, raw)
    return committee


async def _import(
    store: Store,
    ledger: Ledger,
    known: Committee,
    chain_id: Digest,
    scheme: SignatureScheme,
    clock: Clock,
    workers: Workers,
) -> tuple[BlockHeader, list[ClosedEpoch]]:
    chunks = ledger.snapshot()
    try:
        first = await anext(chunks, None)
        if first is None:
            raise NotProven(problem="it is empty")
        header = read_snapshot_header(first)
        closed = await prove_header(
            ledger, header, known, chain_id=chain_id, scheme=scheme, clock=clock, workers=workers
        )
        if read_head(store) is not None:
            await begin_import(store)
        imported = await import_snapshot(
            store, _joined(first, chunks), trusted_digest=Digest(header.digest()), workers=workers
        )
    except HauloutError:
        if is_half_imported(store):
            await discard_import(store)
        raise
    finally:
        await close_stream(chunks)
    return imported, closed


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def prove_header(
    ledger: Ledger,
    header: BlockHeader,
    known: Committee,
    *,
    chain_id: Digest,
    scheme: SignatureScheme,
    clock: Clock,
    workers: Workers,
) -> list[ClosedEpoch]:
    """Return when n - f shards, by committees that follow from a known one, stand on a block.

    Returns:
        The epochs that were closed since that of the known committee.

    Raises:
        NotProven: they do not, or not yet.
    """
    trusted, closed = {known.epoch: known}, list[ClosedEpoch]()
    deadline_us = clock.monotonic_us() + PATIENCE_MS * 1000
    wanted = attested = 0
    while clock.monotonic_us() < deadline_us:
        news = await ledger.attestation(wanted=wanted, attested=attested, wait_ms=WATCH_MS)
        wanted, attested = news.wanted_height, 0 if news.latest is None else news.latest.checkpoint.height
        if news.latest is None or attested < header.height:
            await clock.sleep_ms(1)  # a ledger that answers at once must not keep this loop for itself
            continue
        last = trusted[max(trusted)]
        closed += await follow_committees(ledger, last, trusted, chain_id=chain_id, scheme=scheme, workers=workers)
        await check_signed(news.latest, trusted, chain_id, scheme, workers)
        await _check_linked(ledger, header, news.latest)
        return closed
    raise NotProven(problem=f"no checkpoint at or above its block {header.height} was certified in time")


async def follow_committees(
    ledger: Ledger,
    known: Committee,
    trusted: dict[int, Committee],
    *,
    chain_id: Digest,
    scheme: SignatureScheme,
    workers: Workers,
) -> list[ClosedEpoch]:
    """Add the committees that follow from a known one to those that are trusted, by epoch.

    Returns:
        The epochs that were closed since the known one's.

    Raises:
        NotProven: a checkpoint is not signed by its committee, or names another committee than the ledger gives.
    """
    closed: list[ClosedEpoch] = []
    while True:
        trusted[known.epoch] = known
        closing = await ledger.epoch_checkpoint(known.epoch)
        if closing is None or closing.checkpoint.next_committee is None:
            return closed
        await check_signed(closing, trusted, chain_id, scheme, workers)
        raw = await ledger.epoch_committee(known.epoch + 1)
        if raw is None or committee_digest(raw) != closing.checkpoint.next_committee:
            problem = f"the committee of epoch {known.epoch + 1} is not the one that epoch {known.epoch} named"
            raise NotProven(problem=problem)
        try:
            known = bcs.decode(Committee, raw)
        except UndecodableBytes as e:
            raise NotProven(problem=f"the committee of epoch {known.epoch + 1} cannot be read") from e
        closed.append(ClosedEpoch(closing, raw))


async def check_signed(
    certified: CertifiedCheckpoint,
    trusted: Mapping[int, Committee],
    chain_id: Digest,
    scheme: SignatureScheme,
    workers: Workers,
) -> None:
    """Return when a trusted committee has signed a checkpoint of this chain.

    Raises:
        NotProven: it has not.
    """
    checkpoint = certified.checkpoint
    committee = trusted.get(checkpoint.epoch)
    if checkpoint.chain_id != chain_id or committee is None:
        problem = f"the committee of epoch {checkpoint.epoch}, which attests block {checkpoint.height}, is not known"
        raise NotProven(problem=problem)
    try:
        await workers.run(check_checkpoint, scheme, signers_of(committee), certified)
    except (InvalidBitmap, NotEnoughStake, SignatureInvalid) as e:
        raise NotProven(problem=f"block {checkpoint.height} is not attested: {e}") from e


async def _check_linked(ledger: Ledger, header: BlockHeader, certified: CertifiedCheckpoint) -> None:
    """The attested block is this one, or comes of it."""
    checkpoint = certified.checkpoint
    try:
        last = await header_after(ledger, header, checkpoint.height)
    except BrokenChain as e:
        raise NotProven(problem=f"block {e.height} does not follow: {e.problem}") from e
    if last.digest() != checkpoint.block_digest:
        raise NotProven(problem=f"another block {checkpoint.height} is attested")


async def header_after(ledger: Ledger, start: BlockHeader, height: int) -> BlockHeader:
    """The header at a height, or the last one below it that is given, by blocks that follow from `start`.

    Raises:
        BrokenChain: one does not follow.
    """
    last = start
    if last.height >= height:
        return last
    blocks = ledger.blocks(last.height + 1)
    try:
        async for block in blocks:
            check_block(last, block)
            last = block.header
            if last.height == height:
                break
    finally:
        await close_stream(blocks)
    return last
