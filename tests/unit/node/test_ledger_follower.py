"""Where a node that comes back goes on: behind the block that it followed last, if that is still on the chain."""

from __future__ import annotations

import pytest

from haulout.ledger.commands import AdvanceEpoch, Stake
from haulout.node.records import CURSOR_KEY, seal
from haulout.node.work_tables import Cursor
from haulout.replica.snapshot import import_snapshot
from haulout.world.memory_store import MemoryStore

OTHERS = (0, 1, 2, 3)


def copied(rows: MemoryStore) -> MemoryStore:
    return MemoryStore(dict(rows.scan(b"", b"\xff" * 64)))


def listed(node) -> set[bytes]:
    return {blob_id for blob_id, _ in node.api.vault.tables.incomplete(after=None, limit=100)}


async def restore_ledger(world, rows: MemoryStore) -> None:
    """Everybody stops; the ledger goes on from older rows, and all but the last node from its beginning."""
    for node in world.nodes:
        await node.kill()
        node.ledger_rows = MemoryStore()
    await world.stop_ledger()
    await world.start_ledger(rows)
    for index in OTHERS:
        await world.nodes[index].start()
    await world.settle()


@pytest.mark.parametrize("n_blobs", [1, 2, 3], ids=["shorter", "as long", "longer"])
async def test_nothing_is_skipped_of_a_ledger_that_went_another_way(world, n_blobs: int) -> None:
    node, older = world.nodes[4], copied(world.ledger_rows)
    given_up = [(await world.store(bytes([n]) * 300, *OTHERS))[0].blob_id for n in range(2)]
    await world.settle()
    assert listed(node) == set(given_up)
    followed = node.api.vault.tables.cursor()
    await restore_ledger(world, older)
    missed = [(await world.store(b"other" * 50 + bytes([n]), *OTHERS))[0].blob_id for n in range(n_blobs)]
    head = world.sequencer.head
    assert (head.height > followed.height) == (n_blobs > 2)

    await node.start()
    await world.settle()
    assert listed(node) >= set(missed)
    assert node.api.vault.tables.cursor() == Cursor(head.height, head.digest())
    assert not node.api.vault.is_set_back
    await world.clock.advance(world.settings.repair_delay_ms)
    await node.api.blob_sync.run_once()
    assert listed(node) == set()
    for blob_id in missed:
        assert (await node.api.holdings(epoch=world.epoch, blob_id=blob_id)).missing == ()

    late, _ = await world.store(b"after that", *OTHERS)
    await world.settle()
    assert listed(node) == {late.blob_id}


async def test_what_the_other_ledger_does_not_know_is_swept_away(world) -> None:
    node, older = world.nodes[4], copied(world.ledger_rows)
    blob, _ = await world.store(b"medium " * 1_000)
    await world.store(b"makes the node move its cursor", *OTHERS)
    await world.settle()
    await node.api.garbage.note_expired()
    await restore_ledger(world, older)
    await world.store(b"the ledger goes on", *OTHERS)
    await node.start()
    await world.settle()
    assert await node.api.garbage.note_expired() == 1
    assert [blob_id for blob_id, _ in node.api.vault.tables.garbage(after=None, limit=9)] == [blob.blob_id]


async def test_a_node_that_begins_with_a_snapshot_finds_what_it_lacks_in_the_state(world) -> None:
    blob, _ = await world.store(b"before the snapshot", *OTHERS)
    node = world.nodes[4]
    await node.kill()
    node.store, node.ledger_rows = MemoryStore(), MemoryStore()
    digest = world.sequencer.head.digest()
    await import_snapshot(node.ledger_rows, world.sequencer.snapshot(), trusted_digest=digest, workers=world.workers)
    await node.start()
    await world.settle()
    assert listed(node) == {blob.blob_id}
    late, _ = await world.store(b"behind the snapshot", *OTHERS)
    await world.settle()
    assert listed(node) == {blob.blob_id, late.blob_id}
    assert not node.work.done()


async def test_a_cursor_without_a_digest_is_gone_on_from(world) -> None:
    node = world.nodes[4]
    blob, _ = await world.store(b"followed by an earlier release", *OTHERS)
    await world.settle()
    height = node.api.vault.tables.cursor().height
    await node.kill()
    old_form = b"\x01" + height.to_bytes(8, "little")
    await node.store.commit({CURSOR_KEY: seal(CURSOR_KEY, old_form)})
    late, _ = await world.store(b"behind it", *OTHERS)
    await node.start()
    await node.api.vault.tables.remove_incomplete(blob.blob_id)
    await world.settle()
    assert listed(node) == {late.blob_id}, "nothing before the cursor is looked at again"
    head = world.sequencer.head
    assert node.api.vault.tables.cursor() == Cursor(head.height, head.digest())


async def test_a_disk_set_back_before_shards_came_gets_them_again(world) -> None:
    """The report that they are here is older than the disk: nobody hands them over any more."""
    node = world.nodes[0]
    stored = [(await world.store(b"%d" % n * 300))[0].blob_id for n in range(3)]
    await world.settle()
    older = copied(node.store), copied(node.ledger_rows), dict(node.disk.files)
    await world.submit(Stake(node.secrets.node_id, 10**12))
    await world.submit(AdvanceEpoch(world.epoch))
    gained = node.api.vault.duty().gaining
    assert gained
    await node.api.shard_sync.run_once()
    await world.settle()
    assert node.api.vault.duty().gaining == () and listed(node) == set(), "it has them, and has said so"

    await node.kill()
    node.store, node.ledger_rows, node.disk.files = older
    await node.start()
    await world.settle()
    assert node.api.vault.duty().gaining == ()
    assert listed(node) == set(stored)
    await world.clock.advance(world.settings.repair_delay_ms)
    await node.api.blob_sync.run_once()
    assert listed(node) == set()
    for blob_id in stored:
        assert (await node.api.holdings(epoch=world.epoch, blob_id=blob_id)).missing == ()
