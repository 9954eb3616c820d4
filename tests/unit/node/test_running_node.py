"""A node left to itself: it follows, repairs, collects and stops for the right reasons."""

from __future__ import annotations

import pytest

from haulout.node.vault import DAMAGE_SHOWN_MS
from haulout.replica.errors import LedgerDiverged
from haulout.world.errors import StorageFailed

EPOCH = 1
DATA = b"medium " * 1_000


async def test_a_running_node_completes_what_it_missed(world) -> None:
    node = world.nodes[4]
    await node.kill()
    blob, _ = await world.store(DATA, 0, 1, 2, 3)
    await node.start(runs=True)
    for _ in range(5):
        await world.clock.advance(1_000)
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing == ()
    assert (await node.api.health()).incomplete_blobs == 0
    assert node.counter("stored_slivers") == 4


async def test_a_running_node_repairs_damage_that_a_read_found(world) -> None:
    node = world.nodes[4]
    await node.kill()
    await node.start(runs=True)
    blob, _ = await world.store(DATA)
    node.disk.flip(blob.blob_id, at=5)
    targets = [(upload.pair_index, upload.axis) for upload in world.uploads(blob, node)]
    for _ in range(3):
        read = node.api.read_slivers(epoch=EPOCH, blob_id=blob.blob_id, targets=targets)
        found = [upload async for upload in read]
        await world.clock.advance(DAMAGE_SHOWN_MS)
    assert found == world.uploads(blob, node)
    assert node.counter("corrupt_slivers_total") > 0


async def test_a_running_node_deletes_what_nobody_pays_for(world) -> None:
    node = world.nodes[4]
    await node.kill()
    await node.start(runs=True)
    _, object_id = await world.store(DATA, deletable=True)
    await world.delete(object_id)
    assert node.disk.files
    await world.attest()
    await world.clock.advance(world.settings.garbage_delay_ms + 10_000)
    assert node.disk.files == {}


async def test_an_upload_that_was_given_up_is_made_durable_after_a_while(world) -> None:
    node = world.nodes[4]
    await node.kill()
    await node.start(runs=True)
    blob = world.encode(DATA)
    await world.register(blob)
    await world.upload(blob, 4)
    assert node.api.vault.slivers.is_pending(blob.blob_id)
    await world.clock.advance(world.settings.upload_idle_ms + 2_000)
    assert not node.api.vault.slivers.is_pending(blob.blob_id)
    await node.kill()
    await node.start()
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing == ()


async def test_a_failed_sync_ends_the_node(world) -> None:
    node = world.nodes[4]
    await node.kill()
    await node.start(runs=True)

    async def fail(paths) -> None:
        raise StorageFailed(path=paths[0], operation="sync", problem="I/O error")

    node.disk.sync = fail
    blob = world.encode(DATA)
    await world.register(blob)
    await world.upload(blob, 4)
    with pytest.raises(StorageFailed):
        await world.confirm(blob.blob_id, None, 4)
    await world.clock.advance(1_000)
    with pytest.raises(StorageFailed):
        await node.work


async def test_a_diverged_replica_ends_following_and_nothing_else(world) -> None:
    node = world.nodes[4]
    await node.kill()
    await node.start(runs=True)
    await world.store(DATA)
    await world.clock.advance(2_000)
    assert (node.counter("status", status="active"), node.counter("status", status="diverged")) == (1, 0)
    diverged = LedgerDiverged(height=9, problem="planted")
    node.replica.diverged = diverged
    node.replica.store.end_following(diverged)
    await world.clock.advance(5_000)
    assert not node.work.done()
    assert (await node.api.health()).status == "Diverged"
    assert (node.counter("status", status="active"), node.counter("status", status="diverged")) == (0, 1)


async def test_leftover_files_are_removed_after_a_start(world) -> None:
    node = world.nodes[4]
    blob = world.encode(b"large " * 30_000)
    await world.register(blob)
    await world.upload(blob, 4)
    assert node.disk.files
    await node.kill()
    await node.start(runs=True)
    await world.settle()
    assert node.disk.files == {}
    assert node.counter("swept_files_total") == 4
