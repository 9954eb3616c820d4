"""A node completes certified blobs that it lacks, from peers of which some are dead and some lie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout import codec
from haulout.node.errors import MissingSlivers, RepairFailed
from haulout.node.records import bit_of, metadata_key
from haulout.node.repair_plan import Way
from haulout.node.vault import DAMAGE_SHOWN_MS
from haulout.ports import SliverUpload
from haulout.primitives import Axis
from haulout.world.memory_store import MemoryStore

SMALL, LARGE = bytes(range(200)), b"large " * 30_000
EPOCH = 1


async def late_node(world, data: bytes, *, index: int = 4):
    """A blob that was stored while one node was away, and that node, back and told of it."""
    node = world.nodes[index]
    await node.kill()
    others = [i for i in range(5) if i != index]
    blob, object_id = await world.store(data, *others)
    await node.start()
    await world.settle()
    await world.clock.advance(world.settings.repair_delay_ms)
    return node, blob, object_id


async def slivers_of(world, node, blob) -> list[SliverUpload]:
    targets = [(upload.pair_index, upload.axis) for upload in world.uploads(blob, node)]
    return [u async for u in node.api.read_slivers(epoch=EPOCH, blob_id=blob.blob_id, targets=targets)]


@pytest.fixture(params=list(Way), ids=[way.value for way in Way])
def way(request, monkeypatch) -> Way:
    """Both ways of rebuilding are tested on everything, whatever would be cheaper."""
    monkeypatch.setattr("haulout.node.blob_sync.plan_repair", lambda *_, **__: request.param)
    return request.param


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_a_node_that_was_away_gets_what_it_missed(world, way, data: bytes) -> None:
    node, blob, _ = await late_node(world, data)
    assert (await node.api.health()).incomplete_blobs == 1
    await node.api.blob_sync.run_once()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)
    assert (await node.api.health()).incomplete_blobs == 0
    assert (await node.api.list_incomplete(after=None, limit=10)).blobs == ()
    assert node.counter("rebuilt_slivers_total", axis="primary") == 2
    assert node.counter("rebuilt_slivers_total", axis="secondary") == 2
    await world.confirm(blob.blob_id, None, 4)

    await node.kill()
    await node.start()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)


async def test_the_list_survives_a_restart(world) -> None:
    node, blob, _ = await late_node(world, SMALL)
    await node.kill()
    await node.start()
    await node.api.blob_sync.run_once()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)


async def test_the_time_until_a_certified_blob_is_whole_is_measured_over_restarts(world) -> None:
    def measured(node) -> tuple[float, float]:
        return node.counter("time_to_full_redundancy_seconds_count"), node.counter(
            "time_to_full_redundancy_seconds_sum"
        )

    certified_ms = world.clock.now_ms()
    node, _, _ = await late_node(world, SMALL)
    assert [measured(world.nodes[i]) for i in range(4)] == [(1, 0)] * 4, "they had it before it was certified"
    await node.kill()
    await node.start()
    await world.clock.advance(40_000)
    assert measured(node) == (0, 0)
    await node.api.blob_sync.run_once()
    count, seconds = measured(node)
    assert count == 1
    assert 40 <= seconds <= (world.clock.now_ms() - certified_ms) / 1000
    assert node.counter("repair_duration_seconds_count") == 1


async def test_damage_that_is_repaired_is_no_certification(world) -> None:
    blob, _ = await world.store(LARGE)
    node = world.nodes[2]
    await world.settle()
    before = node.counter("time_to_full_redundancy_seconds_count")
    node.disk.flip(blob.blob_id, at=10)
    assert await slivers_of(world, node, blob) == []
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert (await node.api.health()).incomplete_blobs == 0
    assert node.counter("repair_duration_seconds_count") == 1
    assert node.counter("time_to_full_redundancy_seconds_count") == before


async def test_a_live_upload_gets_its_time_before_the_node_fetches(world) -> None:
    blob = world.encode(SMALL)
    object_id = await world.register(blob)
    await world.upload(blob, 0, 1, 2, 3)
    await world.certify(object_id, await world.confirm(blob.blob_id, None, 0, 1, 2, 3))
    node = world.nodes[4]
    world.transport.calls.clear()
    await node.api.blob_sync.run_once()
    assert world.transport.calls == []
    await world.upload(blob, 4)
    await world.clock.advance(world.settings.repair_delay_ms)
    await node.api.blob_sync.run_once()
    assert world.transport.calls == []  # the tail of the upload has come
    assert (await node.api.health()).incomplete_blobs == 0


async def test_one_dead_peer_does_not_matter_and_three_do_until_they_are_back(world, way) -> None:
    node, blob, _ = await late_node(world, SMALL)
    for index in (0, 1, 2):
        await world.nodes[index].kill()
    await node.api.blob_sync.run_once()
    assert (await node.api.health()).incomplete_blobs == 1
    assert node.counter("failed_repairs_total") == 1
    await world.nodes[0].start()
    await world.nodes[1].start()
    await world.clock.advance(60_000)
    await node.api.blob_sync.run_once()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)
    assert node.counter("peer_failures_total", node="node-2") >= 0


class Liar:
    """A node that answers with bytes that are not what they should be."""

    def __init__(self, api, lies: set[str]) -> None:
        self._api = api
        self._lies = lies

    def __getattr__(self, name: str):
        return getattr(self._api, name)

    async def read_metadata(self, **request):
        raw = await self._api.read_metadata(**request)
        return raw[:-1] + bytes([raw[-1] ^ 1]) if "metadata" in self._lies else raw

    async def read_slivers(self, **request):
        async for upload in self._api.read_slivers(**request):
            if "slivers" in self._lies:
                upload = replace(upload, bcs=upload.bcs[:3] + bytes([upload.bcs[3] ^ 1]) + upload.bcs[4:])
            yield upload

    async def read_recovery_symbols(self, **request):
        symbols = await self._api.read_recovery_symbols(**request)
        if request["with_proofs"]:
            return [] if "silent" in self._lies else symbols
        if "symbols" in self._lies:
            return [symbol[:-1] + bytes([symbol[-1] ^ 1]) for symbol in symbols]
        return [b"\x07garbage"] if "garbage" in self._lies else symbols


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("lies", [{"slivers", "symbols"}, {"slivers", "garbage"}], ids=["flipped", "garbage"])
async def test_a_liar_that_was_asked_is_named_and_its_bytes_are_not_used(world, way, lies, index: int) -> None:
    node, blob, _ = await late_node(world, SMALL)
    liar = world.nodes[index]
    world.transport.nodes[liar.address] = Liar(liar.api, lies)
    asked = ("read_slivers", "read_recovery_symbols")
    for _ in range(6):
        await node.api.blob_sync.run_once()
        await world.clock.advance(60_000)
    was_asked = any((liar.address, name) in world.transport.calls for name in asked)
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)
    named = {f"node-{i}" for i in range(5) if node.counter("peer_lies_total", node=f"node-{i}")}
    assert named == ({liar.secrets.name} if was_asked else set())


async def test_metadata_of_a_liar_is_not_believed(world) -> None:
    node, blob, _ = await late_node(world, SMALL)
    for liar in world.nodes[:3]:
        world.transport.nodes[liar.address] = Liar(liar.api, {"metadata"})
    await node.api.blob_sync.run_once()
    await world.clock.advance(60_000)
    await node.api.blob_sync.run_once()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)
    for honest in world.nodes[3:]:
        assert node.counter("peer_lies_total", node=honest.secrets.name) == 0


async def test_a_damaged_sliver_is_rebuilt_from_the_others(world) -> None:
    blob, _ = await world.store(LARGE)
    node = world.nodes[2]
    before = dict(node.disk.files)
    node.disk.flip(blob.blob_id, at=10)
    assert await slivers_of(world, node, blob) == []
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)
    assert sorted(node.disk.files.values()) == sorted(before.values())
    assert (await node.api.health()).corrupt_slivers == 4


async def test_damaged_metadata_is_not_promised_and_fetched_again(world) -> None:
    blob, _ = await world.store(SMALL)
    node = world.nodes[2]
    key = metadata_key(blob.blob_id)
    row = bytearray(node.store.get(key))
    row[100] ^= 1
    await node.store.commit({key: bytes(row)})
    await node.kill()
    await node.start()
    with pytest.raises(MissingSlivers):
        await world.confirm(blob.blob_id, None, 2)
    page = await node.api.list_incomplete(after=None, limit=10)
    assert [item.lacks_metadata for item in page.blobs] == [True]
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert await node.api.read_metadata(epoch=EPOCH, blob_id=blob.blob_id) == blob.blob_id + blob.metadata.to_bcs()
    await world.confirm(blob.blob_id, None, 2)


async def test_a_lost_disk_is_filled_again_by_following_from_the_start(world) -> None:
    blobs = [(await world.store(b"blob %d" % number))[0] for number in range(3)]
    node = world.nodes[3]
    await node.kill()
    node.disk.files.clear()
    await node.store.close()
    await node.ledger_rows.close()
    await node.start()
    await world.settle()
    await world.clock.advance(world.settings.repair_delay_ms)
    await node.api.blob_sync.run_once()
    for blob in blobs:
        assert await slivers_of(world, node, blob) == world.uploads(blob, node)


async def test_symbols_come_with_proofs_that_verify_and_without(world) -> None:
    blob, _ = await world.store(SMALL)
    holder, target_node = world.nodes[0], world.nodes[1]
    pair = world.uploads(blob, target_node)[0].pair_index
    for axis in Axis:
        target = codec_index(pair, axis)
        request = {"epoch": EPOCH, "blob_id": blob.blob_id, "target": target, "target_axis": axis}
        plain = await holder.api.read_recovery_symbols(**request, with_proofs=False)
        proven = await holder.api.read_recovery_symbols(**request, with_proofs=True)
        assert len(plain) == len(proven) == 2
        assert {raw[0] for raw in plain} == {axis}
        for short, full in zip(plain, proven, strict=True):
            assert full.startswith(short)


def codec_index(pair: int, axis: Axis) -> int:
    return pair if axis is Axis.PRIMARY else 9 - pair


async def test_a_blob_deleted_meanwhile_is_taken_off_the_list(world) -> None:
    node = world.nodes[4]
    await node.kill()
    _, object_id = await world.store(SMALL, 0, 1, 2, 3, deletable=True)
    await world.delete(object_id)
    await node.start()
    await world.settle()
    await world.clock.advance(60_000)
    await node.api.blob_sync.run_once()
    assert (await node.api.health()).incomplete_blobs == 0
    assert node.api.vault.held(_.blob_id) & bit_of(node.shards()[0], Axis.PRIMARY) == 0


def test_the_codec_knows_the_network_of_these_tests() -> None:
    assert codec.sizes.max_blob_size_bytes(10) > len(LARGE)


async def test_a_replica_that_was_set_back_does_not_say_what_is_needless(world) -> None:
    node, blob, _ = await late_node(world, SMALL)
    await node.kill()
    node.ledger_rows = MemoryStore()  # a power cut took its blocks; the node's list was synced with something else
    await node.start()
    assert node.api.vault.is_set_back
    with pytest.raises(RepairFailed):
        await node.api.blob_sync.complete_blob(blob.blob_id)
    await node.api.vault.unlist_incomplete(blob.blob_id)
    await world.settle()
    assert not node.api.vault.is_set_back
    await node.api.blob_sync.run_once()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)


async def test_damage_found_while_the_replica_is_set_back_is_repaired_later(world) -> None:
    blob, _ = await world.store(SMALL, *range(5))
    node = world.nodes[4]
    await world.settle()
    head = node.replica.head
    await node.api.vault.tables.start_from(height=head.height, digest=head.digest())
    await node.kill()
    key = metadata_key(blob.blob_id)
    await node.store.commit({key: node.store.get(key)[:-1]})
    node.ledger_rows = MemoryStore()
    await node.start()
    assert node.api.vault.is_set_back
    assert await node.api.vault.metadata_bytes(blob.blob_id) is None
    await world.settle()
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert await node.api.vault.metadata_bytes(blob.blob_id) is not None


async def test_a_blob_put_off_by_a_clock_that_was_wrong_is_not_forgotten(world) -> None:
    node, blob, _ = await late_node(world, SMALL)
    await node.api.vault.tables.add_incomplete(blob.blob_id, due_ms=world.clock.now_ms() + 3_600_000, attempts=1)
    await node.api.blob_sync.run_once()
    assert await slivers_of(world, node, blob) == world.uploads(blob, node)
