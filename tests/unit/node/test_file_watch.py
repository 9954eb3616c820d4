"""A file that vanishes under a running node is missed, and what stood in it is listed as lacking at once."""

from __future__ import annotations

import asyncio

from haulout.node.vault import DAMAGE_SHOWN_MS

DATA = b"medium " * 1_000


def files_of(node, blob_id: bytes) -> list[str]:
    return [path for path in node.disk.files if blob_id.hex() in path]


async def test_a_file_that_vanishes_is_missed_shown_and_rebuilt(world) -> None:
    lost, _ = await world.store(DATA)
    kept, _ = await world.store(DATA + b"other")
    node = world.nodes[1]
    watch, tables = node.api.file_watch, node.api.vault.tables
    assert await watch.run_once() == []
    for path in files_of(node, lost.blob_id):
        del node.disk.files[path]
    assert await watch.run_once() == [lost.blob_id]
    assert [blob_id for blob_id, _ in tables.incomplete(after=None, limit=10)] == [lost.blob_id]
    await node.api.blob_sync.run_once()
    assert tables.n_incomplete == 1, "whoever asks every few seconds sees that something was lost"
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert tables.n_incomplete == 0
    assert files_of(node, lost.blob_id) and files_of(node, kept.blob_id)
    assert await watch.run_once() == []


async def test_it_looks_again_and_again(world) -> None:
    blob, _ = await world.store(DATA)
    node = world.nodes[1]
    running = asyncio.ensure_future(node.api.file_watch.run())
    await world.clock.advance(10_000)
    for path in files_of(node, blob.blob_id):
        del node.disk.files[path]
    await world.clock.advance(world.settings.file_watch_pause_ms + 10)
    assert node.api.vault.tables.n_incomplete == 1
    running.cancel()


async def test_a_blob_that_was_let_go_is_not_missed(world) -> None:
    blob, _ = await world.store(DATA)
    node = world.nodes[1]
    await node.api.vault.drop_blob(blob.blob_id, lambda: True)
    assert await node.api.file_watch.run_once() == []
    assert node.api.vault.corrupt_found == 0
