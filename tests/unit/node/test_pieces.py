"""Slivers in stripes on a node: taken segment by segment, handed out by stripes, rebuilt in pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from haulout import bcs, codec
from haulout.codec import EncodedBlob, SliverStripes, rs8, sizes, stripes
from haulout.node.errors import (
    InvalidSliver,
    InvalidStripes,
    MetadataNotStored,
    MissingSlivers,
    ShardNotAssigned,
    SliverTooLarge,
)
from haulout.node.vault import DAMAGE_SHOWN_MS
from haulout.ports import BlobHoldings, Outcome, PartialSliver, SliverUpload
from haulout.primitives import Axis, EncodingType, pair_of_shard

EPOCH = 1
RS8 = EncodingType.RS8
SYMBOL = 64
STRIPE = 4 * 7 * SYMBOL
DATA = np.random.default_rng(1).integers(0, 256, 19 * STRIPE + 700, dtype=np.uint8).tobytes()  # segments of 8, 8 and 4
SMALL = bytes(range(250))


@pytest.fixture(scope="module", autouse=True)
def small_stripes() -> Iterator[None]:
    """Stripes and segments of a few hundred bytes, so that many of them take no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "RS8_SYMBOL_BYTES_MAX", SYMBOL)
        patch.setattr(sizes, "SEGMENT_BYTES", 8 * 7 * SYMBOL)
        yield


@pytest.fixture(scope="module")
def encoded(small_stripes: None) -> EncodedBlob:
    return codec.encode_blob(DATA, 10, encoding=RS8)


async def uploaded(world, blob, *indices: int):
    object_id = await world.register(blob)
    await world.upload(blob, *indices)
    return object_id


async def read(world, blob, node, wanted: range | None = None) -> list[SliverUpload]:
    targets = [(pair_of_shard(shard, blob.blob_id, 10), axis) for shard in node.shards() for axis in Axis]
    found = node.api.read_slivers(epoch=EPOCH, blob_id=blob.blob_id, targets=targets, stripes=wanted)
    return [upload async for upload in found]


def key(upload: SliverUpload) -> tuple[int, Axis, int]:
    return upload.pair_index, upload.axis, upload.first_stripe or 0


async def test_pieces_come_back_as_they_came_also_after_a_restart(world, encoded) -> None:
    node = world.nodes[0]
    expected = sorted(world.uploads(encoded, node), key=key)
    assert len(expected) == 2 * 2 * 3
    await uploaded(world, encoded, 0)
    assert sorted(await read(world, encoded, node), key=key) == expected, "pending"
    assert (await node.api.holdings(epoch=EPOCH, blob_id=encoded.blob_id)) == BlobHoldings(True, True, ())
    await world.confirm(encoded.blob_id, None, 0)
    await node.kill()
    await node.start()
    assert sorted(await read(world, encoded, node), key=key) == expected
    health = await node.api.health()
    assert health.stored_slivers == 4
    assert health.stored_bytes == sum(2 * sizes.sliver_size_bytes(axis, len(DATA), 10, RS8) for axis in Axis)


@pytest.mark.parametrize("wanted", [range(1), range(7, 9), range(19, 20), range(3, 18), range(20)])
async def test_exactly_the_asked_stripes_are_read(world, encoded, wanted: range) -> None:
    await uploaded(world, encoded, 1)
    found = await read(world, encoded, world.nodes[1], wanted)
    seen: dict[tuple[int, Axis], list[int]] = {}
    striping = rs8.striping_of_blob(encoded.metadata)
    for upload in found:
        piece = bcs.decode(SliverStripes, upload.bcs)
        stripes.verify_stripes(encoded.metadata, upload.axis, piece)
        assert piece.first_stripe == upload.first_stripe
        seen.setdefault((upload.pair_index, upload.axis), []).extend(stripes.stripes_of(striping, upload.axis, piece))
    assert len(seen) == 4
    assert all(covered == list(wanted) for covered in seen.values())


async def test_an_upload_resumes_at_the_stripe_where_it_stopped(world, encoded) -> None:
    node, blob = world.nodes[0], encoded
    await world.register(blob)
    await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
    uploads = world.uploads(blob, node)
    first, second = uploads[0], uploads[2]  # segments 0 and 2 of the same sliver
    outcomes = await node.api.store_slivers(
        epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream([first, second, first])
    )
    assert list(outcomes) == [Outcome.STORED, Outcome.STORED, Outcome.ALREADY_STORED]
    holdings = await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)
    assert len(holdings.missing) == 4
    assert holdings.partial == (PartialSliver(first.pair_index, first.axis, (range(8, 16),)),)
    with pytest.raises(MissingSlivers):
        await world.confirm(blob.blob_id, None, 0)
    await node.api.stop()  # what came is made durable
    await node.kill()
    await node.start()
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).partial == holdings.partial
    await node.api.store_slivers(epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(uploads))
    await world.confirm(blob.blob_id, None, 0)


@pytest.mark.parametrize("size", [0, 200])
async def test_small_blobs_stand_in_rows(world, size: int) -> None:
    blob, _ = await world.store(SMALL[:size], encoding=RS8)
    for node in world.nodes:
        assert sorted(await read(world, blob, node), key=key) == sorted(world.uploads(blob, node), key=key)


async def test_wrong_pieces_are_refused_and_those_before_kept(world, encoded) -> None:
    node, blob = world.nodes[0], encoded
    await world.register(blob)
    good = world.uploads(blob, node)

    async def store(*uploads: SliverUpload) -> None:
        await node.api.store_slivers(epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(uploads))

    with pytest.raises(MetadataNotStored):
        await store(good[0])
    await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
    raw = bytearray(good[1].bcs)
    raw[100] ^= 1
    striping = rs8.striping_of_blob(blob.metadata)
    piece = bcs.decode(SliverStripes, good[1].bcs)
    leaves = stripes.leaves_of(stripes.verify_stripes(blob.metadata, good[1].axis, piece))
    cut = bcs.encode(stripes.cut_stripes(striping, good[1].axis, piece, leaves, range(8, 12)))
    stranger = next(shard for shard in range(10) if shard not in node.shards())
    for wrong, error in [
        (dataclasses.replace(good[1], bcs=bytes(raw)), InvalidSliver),
        (dataclasses.replace(good[1], bcs=good[1].bcs[:-1]), InvalidSliver),
        (dataclasses.replace(good[1], bcs=b""), InvalidSliver),
        (dataclasses.replace(good[1], first_stripe=0), InvalidSliver),
        (dataclasses.replace(good[1], first_stripe=None), InvalidSliver),
        (dataclasses.replace(good[1], bcs=good[4].bcs), InvalidSliver),
        (dataclasses.replace(good[1], bcs=cut), InvalidSliver),
        (dataclasses.replace(good[1], bcs=bytes(1_100_000)), SliverTooLarge),
        (dataclasses.replace(good[1], pair_index=pair_of_shard(stranger, blob.blob_id, 10)), ShardNotAssigned),
    ]:
        with pytest.raises(error):
            await store(good[0], wrong, good[2])
        holdings = await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)
        assert holdings.partial == (PartialSliver(good[0].pair_index, good[0].axis, (range(8, 20),)),)


async def test_stripes_that_there_are_not_are_refused(world, encoded) -> None:
    await uploaded(world, encoded, 0)
    for wanted in (range(20, 21), range(19, 21), range(0)):
        with pytest.raises(InvalidStripes):
            await read(world, encoded, world.nodes[0], wanted)
    plain, _ = await world.store(SMALL)
    with pytest.raises(InvalidStripes):
        await read(world, plain, world.nodes[0], range(1))
    with pytest.raises(InvalidStripes):
        striped = [dataclasses.replace(u, first_stripe=0) for u in world.uploads(plain, world.nodes[0])]
        await world.nodes[0].api.store_slivers(epoch=EPOCH, blob_id=plain.blob_id, slivers=world.stream(striped))


async def late_node(world, data: bytes, *, index: int = 4):
    """A blob that was stored while one node was away, and that node, back and told of it."""
    node = world.nodes[index]
    await node.kill()
    blob, object_id = await world.store(data, *(i for i in range(5) if i != index), encoding=RS8)
    await node.start()
    await world.settle()
    await world.clock.advance(world.settings.repair_delay_ms)
    return node, blob, object_id


@pytest.mark.parametrize("data", [b"", SMALL, DATA], ids=["empty", "small", "large"])
async def test_a_node_that_was_away_rebuilds_what_it_missed(world, data: bytes) -> None:
    node, blob, _ = await late_node(world, data)
    await node.api.blob_sync.run_once()
    assert sorted(await read(world, blob, node), key=key) == sorted(world.uploads(blob, node), key=key)
    assert (await node.api.health()).incomplete_blobs == 0
    assert node.counter("rebuilt_slivers_total", axis="primary") == 2
    await world.confirm(blob.blob_id, None, 4)
    await node.kill()
    await node.start()
    assert sorted(await read(world, blob, node), key=key) == sorted(world.uploads(blob, node), key=key)


async def test_a_damaged_piece_is_noticed_and_rebuilt_alone(world, encoded) -> None:
    blob, _ = await world.store(DATA, encoding=RS8)
    node = world.nodes[2]
    path = next(path for path in node.disk.files if blob.blob_id.hex() in path)
    raw = node.disk.files[path]
    node.disk.files[path] = raw[:50] + bytes([raw[50] ^ 1]) + raw[51:]
    whole = sorted(world.uploads(blob, node), key=key)
    assert len(await read(world, blob, node)) == len(whole) - 1
    holdings = await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)
    assert len(holdings.missing) == len(holdings.partial) == 1
    with pytest.raises(MissingSlivers):
        await world.confirm(blob.blob_id, None, 2)
    world.transport.calls.clear()
    await world.clock.advance(DAMAGE_SHOWN_MS)
    await node.api.blob_sync.run_once()
    assert sorted(await read(world, blob, node), key=key) == whole
    await world.confirm(blob.blob_id, None, 2)


async def test_a_rebuild_that_is_cut_off_leaves_nothing_and_is_made_again(world, encoded) -> None:
    node, blob, _ = await late_node(world, DATA)
    before = set(node.disk.files)
    original = node.api.vault.put_pieces
    calls = 0

    async def put(*arguments):
        nonlocal calls
        calls += 1
        if calls == 2:
            world.transport.dead.update(other.address for other in world.nodes[:4])
        await original(*arguments)

    node.api.vault.put_pieces = put
    await node.api.blob_sync.run_once()
    assert set(node.disk.files) == before
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).partial == ()
    world.transport.dead.clear()
    await world.clock.advance(60_000)
    await node.api.blob_sync.run_once()
    assert sorted(await read(world, blob, node), key=key) == sorted(world.uploads(blob, node), key=key)


async def test_what_nobody_pays_for_goes_with_its_files(world, encoded) -> None:
    blob, object_id = await world.store(DATA, deletable=True, encoding=RS8)
    node = world.nodes[3]
    assert any(blob.blob_id.hex() in path for path in node.disk.files)
    await world.delete(object_id)
    await world.attest()
    await world.clock.advance(world.settings.garbage_delay_ms + 1)
    assert await node.api.garbage.collect_due() == 1
    assert not any(blob.blob_id.hex() in path for path in node.disk.files)
    assert (await node.api.health()).stored_bytes == 0


async def test_a_shard_is_dropped_with_its_pieces(world, encoded) -> None:
    blob, _ = await world.store(DATA, encoding=RS8)
    node = world.nodes[3]
    slivers, shard = node.api.vault.slivers, node.shards()[0]
    assert slivers.drop_shard_page(shard) == [blob.blob_id]
    await slivers.drop_from_shard(blob.blob_id, shard)
    assert slivers.drop_shard_page(shard) == []
    assert len((await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing) == 2
    assert slivers.stored_slivers == 2
