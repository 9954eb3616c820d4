"""What a snapshot must be to be believed, and what becomes of one that is not."""

from __future__ import annotations

import pytest

from haulout import bcs
from haulout.primitives import Digest
from haulout.replica import snapshot as module
from haulout.replica.errors import BadSnapshot, StoreNotEmpty
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.snapshot import SnapshotHead, SnapshotRows, export_snapshot, import_snapshot
from haulout.world.errors import StoreCorrupt
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

WAIT_MS = 5_000


@pytest.fixture
async def exported(ledger, town, monkeypatch):
    """Chunks of a small state, several of them, and the header they belong to."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 600)
    for amount in range(5):
        await ledger.submit(town.transfer(1 + amount), wait_ms=WAIT_MS)
    return [chunk async for chunk in export_snapshot(ledger.store)], ledger.head


async def _import(chunks, digest, rows=None):
    async def stream():
        for chunk in chunks:
            yield chunk

    rows = MemoryStore() if rows is None else rows
    await import_snapshot(rows, stream(), trusted_digest=digest, workers=InlineWorkers())
    return rows


async def test_comes_in_several_chunks_and_opens_at_its_height(exported, town):
    chunks, head = exported
    assert len(chunks) > 4
    store = await LedgerStore.open(await _import(chunks, head.digest()), town.genesis, town.scheme)
    assert store.head == head and store.oldest_height == head.height + 1


def _without_a_row(chunks):
    rows = bcs.decode(SnapshotRows, chunks[2]).rows
    return [*chunks[:2], bcs.encode(SnapshotRows(rows[1:])), *chunks[3:]]


def _with_another_value(chunks):
    rows = bcs.decode(SnapshotRows, chunks[-1]).rows
    return [*chunks[:-1], bcs.encode(SnapshotRows((*rows[:-1], (rows[-1][0], b"forged"))))]


def _with_an_index_row(chunks):
    return [*chunks, bcs.encode(SnapshotRows(((b"\x80forged", b""),)))]


def _with_a_row_of_the_ledgers_own(chunks):
    return [*chunks, bcs.encode(SnapshotRows(((b"\xe8head", bytes(8)),)))]


def _with_other_history(chunks):
    head = bcs.decode(SnapshotHead, chunks[0])
    return [bcs.encode(SnapshotHead(1, head.header, (bytes(32),) * len(head.history_peaks))), *chunks[1:]]


SPOILED = {
    "nothing": lambda chunks: [],
    "head only": lambda chunks: chunks[:1],
    "truncated": lambda chunks: chunks[:-1],
    "a row is missing": _without_a_row,
    "another value": _with_another_value,
    "twice": lambda chunks: [*chunks[:3], *chunks[2:]],
    "out of order": lambda chunks: [chunks[0], chunks[2], chunks[1], *chunks[3:]],
    "an index": _with_an_index_row,
    "a row of our own": _with_a_row_of_the_ledgers_own,
    "another history": _with_other_history,
    "garbage head": lambda chunks: [b"garbage", *chunks[1:]],
    "garbage rows": lambda chunks: [chunks[0], b"garbage"],
    "an empty chunk": lambda chunks: [chunks[0], bcs.encode(SnapshotRows(())), *chunks[1:]],
    "a flipped bit": lambda chunks: [*chunks[:2], bytes([*chunks[2][:-1], chunks[2][-1] ^ 1]), *chunks[3:]],
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
async def test_is_refused_when_it_is_not_what_it_claims_and_can_be_tried_again(exported, town, spoil):
    chunks, head = exported
    rows = MemoryStore()
    with pytest.raises(BadSnapshot):
        await _import(spoil(chunks), head.digest(), rows)
    await _import(chunks, head.digest(), rows)
    assert (await LedgerStore.open(rows, town.genesis, town.scheme)).head == head


async def test_another_block_than_the_trusted_one_is_refused(exported):
    chunks, _ = exported
    with pytest.raises(BadSnapshot, match="it is of block"):
        await _import(chunks, Digest(bytes(32)))


async def test_does_not_go_into_a_store_that_holds_a_ledger(exported, ledger):
    chunks, head = exported
    rows = await _import(chunks, head.digest())
    with pytest.raises(StoreNotEmpty):
        await _import(chunks, head.digest(), rows)


async def test_an_import_that_was_cut_short_is_no_ledger(exported, town):
    chunks, head = exported
    rows = MemoryStore()

    async def breaks():
        yield chunks[0]
        yield chunks[1]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await import_snapshot(rows, breaks(), trusted_digest=head.digest(), workers=InlineWorkers())
    with pytest.raises(StoreCorrupt, match="cut short"):
        await LedgerStore.open(rows, town.genesis, town.scheme)
