"""Nothing is deleted while somebody pays for it, and everything when nobody does."""

from __future__ import annotations

import pytest

from haulout.node.errors import SliverNotFound

EPOCH = 1
DATA = b"medium " * 1_000


async def test_a_deleted_blob_goes_after_the_delay_and_not_before(world) -> None:
    blob, object_id = await world.store(DATA, deletable=True)
    kept, _ = await world.store(b"kept")
    await world.delete(object_id)
    await world.attest()
    node = world.nodes[0]
    assert await node.api.garbage.collect_due() == 0
    assert node.disk.files
    await world.clock.advance(world.settings.garbage_delay_ms)
    assert await node.api.garbage.collect_due() == 1
    assert node.disk.files == {}
    assert (await node.api.health()).stored_slivers == 4
    assert node.api.vault.held(kept.blob_id)
    with pytest.raises(SliverNotFound):
        targets = [(upload.pair_index, upload.axis) for upload in world.uploads(blob, node)]
        _ = [u async for u in node.api.read_slivers(epoch=EPOCH, blob_id=blob.blob_id, targets=targets)]


async def test_a_deleted_blob_stays_while_nobody_attests_its_deletion(world) -> None:
    _, object_id = await world.store(DATA, deletable=True)
    await world.attest()
    await world.delete(object_id)
    node = world.nodes[0]
    await world.clock.advance(world.settings.garbage_delay_ms)
    assert await node.api.garbage.collect_due() == 0
    assert node.disk.files
    await world.attest()
    assert await node.api.garbage.collect_due() == 1
    assert node.disk.files == {}


async def test_a_blob_with_another_registration_stays(world) -> None:
    blob, object_id = await world.store(DATA, deletable=True)
    await world.register(blob)
    await world.delete(object_id)
    node = world.nodes[0]
    await world.clock.advance(world.settings.garbage_delay_ms)
    assert await node.api.garbage.collect_due() == 0
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing == ()


async def test_a_blob_registered_again_after_its_deletion_is_kept(world) -> None:
    blob, object_id = await world.store(DATA, deletable=True)
    await world.delete(object_id)
    await world.register(blob)
    await world.confirm(blob.blob_id, None, 0)
    node = world.nodes[0]
    await world.clock.advance(world.settings.garbage_delay_ms)
    assert await node.api.garbage.collect_due() == 0
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing == ()


async def test_candidates_survive_a_restart(world) -> None:
    _, object_id = await world.store(DATA, deletable=True)
    await world.delete(object_id)
    node = world.nodes[0]
    await node.kill()
    await node.start()
    await world.attest()
    await world.clock.advance(world.settings.garbage_delay_ms)
    assert await node.api.garbage.collect_due() == 1


async def test_the_sweep_of_an_epoch_runs_once_and_keeps_what_lives(world) -> None:
    blob, _ = await world.store(DATA)
    node = world.nodes[0]
    assert await node.api.garbage.note_expired() == 0
    sweep = node.api.vault.tables.sweep()
    assert (sweep.epoch, sweep.after, sweep.done) == (EPOCH, blob.blob_id, True)
    assert await node.api.garbage.note_expired() == 0


async def test_a_replica_behind_the_last_promise_deletes_nothing(world) -> None:
    """A crash may set the replica back to before a registration that a confirmation was signed for."""
    blob, object_id = await world.store(DATA, deletable=True)
    await world.delete(object_id)
    await world.settle()
    node = world.nodes[0]
    before = dict(node.ledger_rows.scan(b"", b"\xff" * 9))  # deleted, not registered again
    await world.register(blob)
    await world.confirm(blob.blob_id, None, 0)
    await node.kill()
    await node.ledger_rows.commit({key: None for key, _ in node.ledger_rows.scan(b"", b"\xff" * 9)})
    await node.ledger_rows.commit(before)
    await world.clock.advance(world.settings.garbage_delay_ms)
    await node.start()  # the replica has not caught up yet
    assert node.api.vault.height < world.sequencer.head.height
    assert await node.api.garbage.collect_due() == 0
    await world.settle()
    assert node.api.vault.height == world.sequencer.head.height
    assert await node.api.garbage.collect_due() == 0
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing == ()
