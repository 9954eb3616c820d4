"""Damage is found by reading again, and repaired from the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from haulout.node.records import sliver_key
from haulout.node.scrubber import LAST
from haulout.node.vault import DAMAGE_SHOWN_MS
from haulout.primitives import Axis
from haulout.world.memory_store import MemoryStore

DATA = b"medium " * 1_000


async def test_a_flipped_bit_is_found_and_repaired(world) -> None:
    blob, _ = await world.store(DATA)
    node = world.nodes[1]
    scrubber = node.api.scrubber
    assert await scrubber.run_once() > node.api.vault.slivers.stored_bytes > 0
    assert node.api.vault.tables.n_incomplete == 0
    node.disk.flip(blob.blob_id, at=40)
    await scrubber.run_once()
    assert (node.api.vault.corrupt_found, node.api.vault.tables.n_incomplete) == (
        2,
        1,
    )  # both slivers that the flipped file holds
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert node.api.vault.tables.n_incomplete == 0
    await scrubber.run_once()
    assert node.api.vault.corrupt_found == 2
    assert node.counter("scrub_rounds_total") == 3


async def test_the_rate_is_kept(world) -> None:
    for i in range(10):
        await world.store(b"%d" % i * 1_000)
    node = world.nodes[0]
    scrubber = node.api.scrubber
    scrubber._bytes_per_s = 4_000
    started_us = world.clock.us

    running = asyncio.ensure_future(scrubber.run_once())
    while not running.done():
        await world.clock.advance(100)
    n_bytes = await running
    took_ms = (world.clock.us - started_us) // 1000
    assert took_ms >= 1000 * n_bytes // 4_000 * 8 // 10


async def test_a_rate_of_nothing_never_scrubs(world) -> None:
    scrubber = world.nodes[0].api.scrubber
    scrubber._bytes_per_s = replace(world.settings, scrub_bytes_per_s=0).scrub_bytes_per_s
    await scrubber.run()
    assert world.nodes[0].counter("scrub_rounds_total") == 0


async def test_a_sliver_without_its_record_is_rebuilt(world) -> None:
    blob, _ = await world.store(b"small")
    node = world.nodes[1]
    key = sliver_key(node.shards()[0], blob.blob_id, Axis.PRIMARY)
    await node.store.commit({key: None})
    await node.api.scrubber.run_once()
    assert (node.api.vault.corrupt_found, node.api.vault.tables.n_incomplete) == (1, 1)
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert node.api.vault.tables.n_incomplete == 0
    assert node.store.get(key) is not None
    await node.api.scrubber.run_once()
    assert node.api.vault.corrupt_found == 1


async def test_a_node_says_since_when_a_blob_has_been_read_again(world) -> None:
    blob, _ = await world.store(DATA)
    node = world.nodes[1]

    async def checked_ms() -> int:
        return (await node.api.holdings(epoch=node.api.vault.duty().epoch, blob_id=blob.blob_id)).checked_ms

    assert await checked_ms() == 0
    first = world.clock.now_ms()
    await node.api.scrubber.run_once()
    assert await checked_ms() == first
    await world.clock.advance(5_000)
    assert await checked_ms() == first
    node.api.scrubber._bytes_per_s = 1
    second = asyncio.ensure_future(node.api.scrubber.run_once())
    await world.clock.advance(1)
    assert await checked_ms() > first, "it has come to this blob again"
    assert node.api.scrubber.checked_ms(LAST) == first, "the round is not over"
    second.cancel()


async def test_a_power_cut_behind_the_forgetting_of_damage_leaves_it_on_the_list(world) -> None:
    blob, _ = await world.store(DATA)
    node = world.nodes[1]
    head = node.replica.head
    await node.api.vault.tables.start_from(height=head.height, digest=head.digest())  # the certificate is long past
    node.disk.flip(blob.blob_id, at=40)
    commit, kept = node.store.commit, []

    async def remember(writes, *, durable: bool = True) -> None:
        await commit(writes, durable=durable)
        if durable:
            kept.append(dict(node.store.scan(b"", b"\xff" * 64)))

    node.store.commit = remember
    await node.api.scrubber.run_once()
    assert kept
    await node.kill()
    node.store = MemoryStore(kept[0])
    await node.start()
    await world.settle()
    assert node.api.vault.held(blob.blob_id) != node.api.vault.duty().mask
    assert node.api.vault.tables.is_incomplete(blob.blob_id)
