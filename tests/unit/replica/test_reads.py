"""Rows that are handed out belong to the block whose header comes with them, also while a commit is being told."""

from __future__ import annotations

import asyncio

from haulout.chain.verify import check_row
from haulout.ledger import keys
from haulout.primitives import Digest
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.reads import read_rows
from haulout.replica.snapshot import export_snapshot, import_snapshot
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

TURNS = 3


class SlowToTell(MemoryStore):
    """Shows a commit a few turns of the loop before it says so, as a store with a thread of its own does."""

    async def commit(self, writes, *, durable=True) -> None:
        await super().commit(writes, durable=durable)
        for _ in range(TURNS):
            await asyncio.sleep(0)


async def test_a_read_in_the_middle_of_a_commit_has_the_header_of_its_rows(town) -> None:
    sequencer = await town.sequencer(SlowToTell())
    running = asyncio.ensure_future(sequencer.run())
    account = keys.account(town.address("alice"))
    submitting = asyncio.ensure_future(sequencer.submit(town.transfer(), wait_ms=5_000))
    n_ahead = 0
    while not submitting.done():
        read = read_rows(sequencer.store, [account])
        n_ahead += read.header.height > sequencer.head.height
        check_row(read.header, account, read.entries[0].value, read.entries[0].proof)
        chunks = [chunk async for chunk in export_snapshot(sequencer.store)]
        rows = MemoryStore()

        async def stream(chunks=chunks):
            for chunk in chunks:
                yield chunk

        await import_snapshot(rows, stream(), trusted_digest=Digest(read.header.digest()), workers=InlineWorkers())
        assert (await LedgerStore.open(rows, town.genesis, town.scheme)).head == read.header
        await asyncio.sleep(0)
    assert n_ahead, "the moment that this is about has not come"
    sequencer.stop()
    await running
    await sequencer.close()
