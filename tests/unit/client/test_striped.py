"""Blobs in stripes: stored and read segment by segment, through failing, slow and lying nodes."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haulout import codec
from haulout.client.blob_file import BlobFile
from haulout.client.errors import BlobUnavailable, InsufficientConfirmations, RangeOutOfBlob
from haulout.client.read import read_blob, read_metadata, read_range, stream_blob
from haulout.client.store import AlreadyCertified, NewlyCreated, Progress, StoreRequest, store_blob
from haulout.codec import ConsistencyCheck, rs8, sizes
from haulout.codec.errors import InconsistentBlob
from haulout.errors import InvalidField
from haulout.primitives import Axis, BlobId, EncodingType

RS8 = EncodingType.RS8
SYMBOL = 64
STRIPE = 4 * 7 * SYMBOL
SIZE = 19 * STRIPE + 700  # segments of 8, 8 and 4 stripes


@pytest.fixture(autouse=True)
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripes of a few hundred bytes, so that many of them take no time."""
    monkeypatch.setattr(sizes, "RS8_SYMBOL_BYTES_MAX", SYMBOL)
    monkeypatch.setattr(sizes, "SEGMENT_BYTES", 8 * 7 * SYMBOL)


async def collect(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def stored(world: Any, data: bytes, **options: Any) -> BlobId:
    result = await world.store(data, encoding=RS8, **options)
    assert isinstance(result, NewlyCreated)
    return result.blob_id


async def streamed(world: Any, blob_id: BlobId, **options: Any) -> bytes:
    async def work() -> bytes:
        metadata = await read_metadata(world.network, blob_id)
        return await collect(stream_blob(world.network, blob_id, metadata, **options))

    found: bytes = await world.run(work())
    return found


@pytest.mark.parametrize("size", [0, 1, STRIPE, STRIPE + 1, SIZE])
async def test_what_is_stored_is_read(world, make_data, size: int) -> None:
    data = make_data(size)
    blob_id = await stored(world, data)
    assert blob_id == codec.compute_blob_id(data, 10, encoding=RS8)[0]
    assert await streamed(world, blob_id) == data
    for check in ConsistencyCheck:
        with await world.run(read_blob(world.network, blob_id, check=check)) as blob:
            assert blob.data == data
    again = await world.store(data, encoding=RS8)
    assert isinstance(again, AlreadyCertified)


async def test_every_node_gets_its_pieces_once_and_proven(world, make_data) -> None:
    blob_id = await stored(world, make_data(SIZE))
    for node in world.nodes:
        assert len(node.pieces) == 4
        assert all(sorted(pieces) == [0, 8, 16] for pieces in node.pieces.values())
        targets = [(pair, axis) for _, pair, axis in node.pieces]
        assert len(list(node._read_stripes(blob_id, targets, range(20)))) == 12, "each is verified there"


async def test_beyond_the_first_encoding_it_is_chosen_by_itself(world, make_data, monkeypatch) -> None:
    monkeypatch.setattr(sizes, "RS2_SYMBOL_BYTES_MAX", 32)
    small, large = make_data(4 * 7 * 32), make_data(4 * 7 * 32 + 1)
    assert (await world.store(small)).blob.encoding_type == 1
    assert (await world.store(large)).blob.encoding_type == 8


async def test_a_file_is_stored_without_being_read_as_a_whole(world, make_data, tmp_path: Path) -> None:
    data = make_data(SIZE)
    path = tmp_path / "film"
    path.write_bytes(data)
    seen: list[Progress] = []
    with path.open("rb") as file:
        source = BlobFile(file.fileno(), SIZE)
        request = StoreRequest(5, encoding=RS8)
        result = await world.run(store_blob(world.network, world.wallet, source, request, on_progress=seen.append))
        assert await streamed(world, result.blob_id) == data
        encoding = [progress.done_bytes for progress in seen if progress.phase == "encoding"]
        assert encoding == [0, 8 * STRIPE, 16 * STRIPE, SIZE]
        uploading = [progress for progress in seen if progress.phase == "uploading"]
        assert uploading[-1].done_bytes == uploading[-1].total_bytes == 10 * 11 * 20 * SYMBOL
        with pytest.raises(InvalidField):
            BlobFile(file.fileno(), SIZE + 1).read_into(SIZE - 1, memoryview(bytearray(2)))


class TestRanges:
    @pytest.fixture
    def data(self, make_data) -> bytes:
        return make_data(SIZE)

    async def test_touch_only_their_stripes(self, world, data: bytes) -> None:
        blob_id = await stored(world, data)
        edges = [0, 1, STRIPE - 1, STRIPE, 8 * STRIPE - 1, 8 * STRIPE, 16 * STRIPE + 3, SIZE - 1, SIZE]
        for start, end in itertools.combinations(edges, 2):
            for node in world.nodes:
                node.ranges_read.clear()
            assert await streamed(world, blob_id, start=start, length=end - start) == data[start:end]
            touched = set(itertools.chain.from_iterable(r for node in world.nodes for r in node.ranges_read))
            assert touched == set(range(start // STRIPE, (end - 1) // STRIPE + 1))
            with await world.run(read_range(world.network, blob_id, start, end - start)) as part:
                assert part.data == data[start:end]

    async def test_within_a_row_ask_one_node_for_one_piece(self, world, data: bytes) -> None:
        blob_id = await stored(world, data)
        metadata = await world.run(read_metadata(world.network, blob_id))
        start = 3 * STRIPE + 2 * 7 * SYMBOL + 5  # in row 2
        reads = sum(node.calls.count("read_slivers") for node in world.nodes)
        found = await world.run(collect(stream_blob(world.network, blob_id, metadata, start=start, length=7)))
        assert found == data[start : start + 7]
        assert sum(node.calls.count("read_slivers") for node in world.nodes) == reads + 1

    async def test_are_rebuilt_when_their_row_is_away(self, world, data: bytes) -> None:
        blob_id = await stored(world, data)
        for alive in itertools.combinations(range(5), 2):
            world.only(*alive)
            assert await streamed(world, blob_id, start=STRIPE + 3, length=900) == data[STRIPE + 3 : STRIPE + 903]

    async def test_outside_of_the_blob_are_refused(self, world, data: bytes) -> None:
        blob_id = await stored(world, data)
        for start, length in ((SIZE, 1), (-1, 2), (0, SIZE + 1), (5, -1)):
            with pytest.raises(RangeOutOfBlob):
                await streamed(world, blob_id, start=start, length=length)


class TestBadNodes:
    @pytest.mark.parametrize("alive", [(0, 1), (1, 4), (2, 3)])
    async def test_k1_slivers_are_enough_to_read(self, world, make_data, alive: tuple[int, ...]) -> None:
        data = make_data(SIZE)
        blob_id = await stored(world, data)
        world.only(*alive)
        assert await streamed(world, blob_id) == data
        assert await streamed(world, blob_id, check=ConsistencyCheck.STRICT) == data
        world.only(alive[0])
        with pytest.raises(BlobUnavailable):
            await streamed(world, blob_id)

    async def test_a_liar_is_asked_once(self, world, make_data) -> None:
        data = make_data(SIZE)
        blob_id = await stored(world, data)
        for node in world.nodes[:3]:
            node.lies_about_slivers = True
        assert await streamed(world, blob_id) == data
        assert all(node.calls.count("read_slivers") <= 1 for node in world.nodes[:3])
        assert sum(world.counter("bad_slivers", node=f"node-{index}") for index in range(3)) > 0

    async def test_a_store_does_without_a_node_that_is_away_or_hangs(self, world, make_data) -> None:
        data = make_data(SIZE)
        world.nodes[1].is_dead = True
        blob_id = await stored(world, data)
        assert world.nodes[1].pieces == {}
        world.nodes[1].is_dead = False
        world.nodes[2].hangs = True
        other = await stored(world, make_data(SIZE, seed=1))
        world.nodes[2].hangs = False
        assert await streamed(world, blob_id) == data
        assert await streamed(world, other) == make_data(SIZE, seed=1)

    async def test_a_cut_off_upload_goes_on_at_its_stripe_and_pays_nothing_twice(self, world, make_data) -> None:
        data = make_data(SIZE)
        world.only(0, 1, 2, 3)
        world.nodes[3].dies_after_slivers = 6  # of twelve pieces
        with pytest.raises(InsufficientConfirmations) as failed:
            await world.store(data, encoding=RS8)
        assert (failed.value.weight, failed.value.needed) == (6, 7)
        assert sum(len(pieces) for pieces in world.nodes[3].pieces.values()) == 6
        world.only(0, 1, 2, 3)
        world.nodes[3].dies_after_slivers = None
        sent, before = [node.sent for node in world.nodes], world.balance()
        result = await world.store(data, encoding=RS8)
        assert (result.operation, world.balance()) == ("reuseRegistration", before)
        assert [node.sent - count for node, count in zip(world.nodes, sent, strict=True)] == [0, 0, 0, 6, 0]
        assert await streamed(world, result.blob_id) == data

    async def test_a_forged_confirmation_does_not_count(self, world, make_data) -> None:
        world.nodes[0].forges = True
        blob_id = await stored(world, make_data(SIZE))
        assert world.counter("bad_confirmations", node="node-0") == 1
        assert await streamed(world, blob_id) == make_data(SIZE)


async def test_a_wrongly_encoded_blob_never_comes_to_its_end(world, make_data, monkeypatch) -> None:
    """The writer commits to another row 4 than the code gives: whoever decodes from it must notice."""
    data = make_data(SIZE)
    encode, hashes = rs8.encode_stripe, rs8.hash_stripe

    def encode_wrongly(striping: Any, rows: Any, primary: Any, secondary: Any) -> None:
        encode(striping, rows, primary, secondary)
        if primary is not None:
            primary[0] ^= 1

    def hash_wrongly(striping: Any, rows: Any, secondary: Any = None) -> Any:
        roots = hashes(striping, rows, secondary)
        primary = np.empty((6, 7, striping.symbol_size_bytes), np.uint8)
        encode_wrongly(striping, rows, primary, np.empty((3, 4, striping.symbol_size_bytes), np.uint8))
        roots[Axis.PRIMARY, 4] = rs8.stripe_roots(striping, Axis.PRIMARY, primary[:1])[0]
        return roots

    with monkeypatch.context() as patch:
        patch.setattr(rs8, "encode_stripe", encode_wrongly)
        patch.setattr(rs8, "hash_stripe", hash_wrongly)
        blob_id = (await world.store(data, encoding=RS8)).blob_id
    handed_out = 0

    async def work() -> None:
        nonlocal handed_out
        metadata = await read_metadata(world.network, blob_id)
        handed_out = 0
        async for chunk in stream_blob(world.network, blob_id, metadata):
            handed_out += len(chunk)

    verdicts = set()
    for alive in itertools.combinations(range(5), 2):
        world.only(*alive)
        pairs = {pair for index in alive for _, pair, _ in world.nodes[index].pieces}
        is_used = 4 in sorted(pairs)[:4] and not {0, 1, 2, 3} <= pairs
        verdicts.add(is_used)
        if is_used:
            with pytest.raises(InconsistentBlob):
                await world.run(work())
            assert handed_out < SIZE
        else:
            await world.run(work())
            assert handed_out == SIZE
    assert verdicts == {True, False}


@pytest.fixture
def spool_folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "spill"
    assert list((tmp_path / "spill").iterdir()) == []


async def test_a_slow_reader_waits_on_disk_and_a_hung_up_one_leaves_nothing(world, make_data, spool_folder) -> None:
    data = make_data(SIZE)
    blob_id = await stored(world, data)
    network = world.make_network(spill=spool_folder)

    async def work() -> None:
        metadata = await read_metadata(network, blob_id)
        assert await collect(stream_blob(network, blob_id, metadata)) == data
        stream = stream_blob(network, blob_id, metadata)
        assert data.startswith(await anext(stream))
        await stream.aclose()
        assert network.reads.used_bytes == 0

    await world.run(work())
