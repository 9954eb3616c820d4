"""What the sliver store keeps, where it puts it, and how it notices damage."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from haulout.errors import DiskFull
from haulout.node.errors import CorruptRecord, UnknownStoreVersion
from haulout.node.records import (
    FORMAT_KEY,
    STORE_FORMAT,
    FormatRow,
    InFile,
    Promise,
    SliverRow,
    bit_of,
    seal_row,
    sliver_key,
    unseal_row,
)
from haulout.node.sliver_files import FOLDER
from haulout.node.sliver_store import Layout, SliverStore
from haulout.primitives import Axis, BlobId
from haulout.world.clock import SystemClock
from haulout.world.disk import FileDisk
from haulout.world.errors import StorageFailed
from haulout.world.memory_store import MemoryStore
from haulout.world.rng import SystemRng
from haulout.world.workers import InlineWorkers

BLOB = BlobId(b"\x0b" * 32)
OTHER = BlobId(b"\x0c" * 32)
LAYOUT = Layout(inline_bytes=100, pack_bytes=1000, own_file_bytes=600, buffer_limit_bytes=1500)


class CountingDisk(FileDisk):
    """The real disk of a temporary folder, which counts reads and syncs, and runs full or breaks when told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.syncs: list[tuple[str, ...]] = []
        self.is_full = False
        self.sync_fails = False
        self.reads: list[str] = []
        self.bad_at: int | None = None  # offset of a sector that cannot be read, in every file

    async def read(self, path, *, offset=0, length=None):
        self.reads.append(path)
        if self.bad_at is not None and offset <= self.bad_at < offset + length:
            raise StorageFailed(path=path, operation="read", problem="I/O error")
        return await super().read(path, offset=offset, length=length)

    async def write(self, path, chunks):
        if self.is_full:
            raise DiskFull(path="test")
        return await super().write(path, chunks)

    async def sync(self, paths):
        self.syncs.append(tuple(paths))
        if self.sync_fails:
            raise StorageFailed(path=paths[0], operation="sync", problem="I/O error")
        await super().sync(paths)


class CountingStore(MemoryStore):
    """Counts durable commits."""

    durable_commits = 0

    async def commit(self, writes, *, durable=True):
        self.durable_commits += durable
        await super().commit(writes, durable=durable)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def disk(tmp_path: Path):
    disk = CountingDisk(tmp_path)
    yield disk
    disk.close()


async def open_store(store: MemoryStore, disk: FileDisk) -> SliverStore:
    return await SliverStore.open(
        store, disk, clock=SystemClock(), rng=SystemRng(), workers=InlineWorkers(), layout=LAYOUT
    )


def sliver(shard: int, axis: Axis, size: int) -> bytes:
    return bytes([shard * 2 + axis]) * size


async def put_all(slivers: SliverStore, blob_id: BlobId, size: int, shards: int = 4) -> None:
    slivers.put_metadata(blob_id, b"metadata")
    for shard in range(shards):
        for axis in Axis:
            await slivers.put_sliver(blob_id, shard, axis, sliver(shard, axis, size))


@pytest.mark.parametrize(("size", "n_files"), [(10, 0), (150, 2), (700, 8)], ids=["in rows", "in packs", "own files"])
async def test_an_upload_survives_a_reopen_after_one_synced_batch(store, disk, size: int, n_files: int) -> None:
    slivers = await open_store(store, disk)
    commits = store.durable_commits
    await put_all(slivers, BLOB, size)
    assert await slivers.get_sliver(BLOB, 2, Axis.SECONDARY) == sliver(2, Axis.SECONDARY, size)
    assert slivers.held_mask(BLOB).bit_count() == 8
    assert slivers.held_mask(BLOB, durable_only=True) == 0
    assert disk.syncs == []
    await slivers.sync_blob(BLOB)
    assert store.durable_commits == commits + 1
    assert [len(paths) for paths in disk.syncs] == ([n_files] if n_files else [])

    again = await open_store(store, disk)
    assert again.get_metadata(BLOB) == b"metadata"
    for shard in range(4):
        for axis in Axis:
            assert await again.get_sliver(BLOB, shard, axis) == sliver(shard, axis, size)
    assert (again.stored_slivers, again.stored_bytes) == (8, 8 * size)


async def test_what_was_not_synced_is_gone_and_its_files_are_swept(store, disk) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 150)
    await put_all(slivers, OTHER, 150)
    await slivers.sync_blob(OTHER)
    assert len(await disk.list(FOLDER)) == 3  # BLOB has written one pack, OTHER two

    again = await open_store(store, disk)
    assert again.held_mask(BLOB) == 0
    assert again.get_metadata(BLOB) is None
    assert await again.sweep_files() == 1
    assert await again.get_sliver(OTHER, 3, Axis.PRIMARY) == sliver(3, Axis.PRIMARY, 150)


async def test_syncing_twice_costs_nothing_the_second_time(store, disk) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 10)
    promise = Promise(1, None, 7)
    await slivers.sync_blob(BLOB, promise=promise)
    commits = store.durable_commits
    await slivers.sync_blob(BLOB, promise=promise)
    await slivers.sync_blob(BLOB)
    assert store.durable_commits == commits
    assert slivers.promise(BLOB) == promise


@pytest.mark.parametrize("size", [10, 150, 700])
async def test_a_flipped_bit_is_noticed_and_the_sliver_can_be_put_again(store, disk, tmp_path, size: int) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, size)
    await slivers.sync_blob(BLOB)
    key = sliver_key(0, BLOB, Axis.PRIMARY)
    if size == 10:
        row = bytearray(store.get(key))
        row[5] ^= 1
        await store.commit({key: bytes(row)})
    else:
        path = min(
            path for path in tmp_path.rglob("*-*") if path.read_bytes().startswith(sliver(0, Axis.PRIMARY, size))
        )
        data = bytearray(path.read_bytes())
        data[size - 1] ^= 0x80
        path.write_bytes(data)

    with pytest.raises(CorruptRecord):
        await slivers.get_sliver(BLOB, 0, Axis.PRIMARY)
    assert await slivers.get_sliver(BLOB, 0, Axis.SECONDARY) == sliver(0, Axis.SECONDARY, size)
    await slivers.discard_sliver(BLOB, 0, Axis.PRIMARY)
    assert not slivers.held_mask(BLOB) & bit_of(0, Axis.PRIMARY)
    await slivers.put_sliver(BLOB, 0, Axis.PRIMARY, sliver(0, Axis.PRIMARY, size))
    await slivers.sync_blob(BLOB)
    again = await open_store(store, disk)
    assert await again.get_sliver(BLOB, 0, Axis.PRIMARY) == sliver(0, Axis.PRIMARY, size)
    assert again.stored_slivers == 8


async def test_many_are_read_at_once_and_damage_costs_what_it_is_in(store, disk, tmp_path) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 150)
    await slivers.sync_blob(BLOB)
    slivers.put_metadata(BLOB, b"metadata")
    await slivers.put_sliver(BLOB, 9, Axis.PRIMARY, sliver(9, Axis.PRIMARY, 20))  # pending
    path = next(path for path in tmp_path.rglob("*-*") if sliver(1, Axis.PRIMARY, 150) in path.read_bytes())
    data = bytearray(path.read_bytes())
    data[data.index(sliver(1, Axis.PRIMARY, 150))] ^= 1
    path.write_bytes(data)
    key = sliver_key(2, BLOB, Axis.PRIMARY)
    await store.commit({key: bytes(len(store.get(key)))})
    disk.reads.clear()

    names = [(shard, axis) for shard in (0, 1, 2, 7, 9) for axis in Axis]
    found = [item async for item in slivers.get_slivers(BLOB, names)]
    damaged = [name for name, data in found if isinstance(data, CorruptRecord)]
    assert damaged == [(1, Axis.PRIMARY), (2, Axis.PRIMARY)]
    intact = {name: bytes(data) for name, data in found if name not in damaged}
    assert intact == {
        **{name: sliver(*name, 150) for name in names[:6] if name not in damaged},
        (9, Axis.PRIMARY): sliver(9, Axis.PRIMARY, 20),
    }
    assert [name for name, _ in found] == [*names[:6], (9, Axis.PRIMARY)], "in order, without those that are not here"
    assert len(disk.reads) == 2, "neighbours are read at once"


async def test_a_bad_sector_costs_its_sliver_and_not_the_neighbours(store, disk) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 150)
    await slivers.sync_blob(BLOB)
    disk.bad_at = 200  # in the second sliver of each file
    names = [(shard, axis) for shard in range(3) for axis in Axis]
    found = {name: data async for name, data in slivers.get_slivers(BLOB, names)}
    damaged = [name for name, data in found.items() if isinstance(data, CorruptRecord)]
    assert damaged == [(0, Axis.SECONDARY)]
    assert all(found[name] == sliver(*name, 150) for name in names if name not in damaged)


async def test_a_row_under_another_key_is_not_believed(store, disk) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 10)
    await slivers.sync_blob(BLOB)
    await store.commit({sliver_key(1, BLOB, Axis.PRIMARY): store.get(sliver_key(0, BLOB, Axis.PRIMARY))})
    with pytest.raises(CorruptRecord):
        await slivers.get_sliver(BLOB, 1, Axis.PRIMARY)


@pytest.mark.parametrize("size", [10, 150, 700])
async def test_dropping_a_blob_leaves_nothing_of_it_and_nothing_else_goes(store, disk, size: int) -> None:
    slivers = await open_store(store, disk)
    for blob_id in (BLOB, OTHER):
        await put_all(slivers, blob_id, size)
        await slivers.sync_blob(blob_id)
    await slivers.drop_blob(BLOB)
    assert slivers.held_mask(BLOB) == 0
    assert slivers.blob_ids(limit=10) == [OTHER]
    assert not any(BLOB.hex() in path for path in await disk.list(FOLDER))
    assert await slivers.get_sliver(OTHER, 1, Axis.PRIMARY) == sliver(1, Axis.PRIMARY, size)
    assert (slivers.stored_slivers, slivers.stored_bytes) == (8, 8 * size)


async def test_dropping_a_shard_frees_files_with_their_last_sliver(store, disk) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 150)  # 7 slivers in the first pack, the eighth in the second
    await slivers.sync_blob(BLOB)
    for shard in range(3):
        assert slivers.drop_shard_page(shard) == [BLOB]
        await slivers.drop_from_shard(BLOB, shard)
        assert slivers.drop_shard_page(shard) == []
    assert len(await disk.list(FOLDER)) == 2
    assert await slivers.get_sliver(BLOB, 3, Axis.PRIMARY) == sliver(3, Axis.PRIMARY, 150)
    await slivers.drop_from_shard(BLOB, 3)
    assert await disk.list(FOLDER) == []
    assert slivers.stored_bytes == 0


async def test_a_full_disk_loses_nothing_and_the_upload_goes_on_when_there_is_space(store, disk) -> None:
    slivers = await open_store(store, disk)
    await slivers.put_sliver(BLOB, 0, Axis.PRIMARY, sliver(0, Axis.PRIMARY, 500))
    disk.is_full = True
    with pytest.raises(DiskFull):
        await slivers.put_sliver(BLOB, 0, Axis.SECONDARY, sliver(0, Axis.SECONDARY, 500))
    with pytest.raises(DiskFull):
        await slivers.put_sliver(BLOB, 1, Axis.PRIMARY, sliver(1, Axis.PRIMARY, 700))
    with pytest.raises(DiskFull):
        await slivers.sync_blob(BLOB)
    assert slivers.held_mask(BLOB) == bit_of(0, Axis.PRIMARY)
    disk.is_full = False
    await slivers.put_sliver(BLOB, 0, Axis.SECONDARY, sliver(0, Axis.SECONDARY, 500))
    await slivers.sync_blob(BLOB)
    again = await open_store(store, disk)
    assert again.held_mask(BLOB) == bit_of(0, Axis.PRIMARY) | bit_of(0, Axis.SECONDARY)


async def test_after_a_failed_sync_nothing_is_written_any_more(store, disk) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 150)
    disk.sync_fails = True
    with pytest.raises(StorageFailed):
        await slivers.sync_blob(BLOB)
    disk.sync_fails = False
    with pytest.raises(StorageFailed):
        await slivers.sync_blob(BLOB)
    with pytest.raises(StorageFailed):
        await slivers.put_sliver(OTHER, 0, Axis.PRIMARY, b"x")
    assert slivers.failed is not None
    assert (await open_store(store, disk)).held_mask(BLOB) == 0


async def test_buffers_of_all_blobs_together_stay_below_the_limit(store, disk) -> None:
    slivers = await open_store(store, disk)
    for number in range(20):
        blob_id = BlobId(bytes([number]) * 32)
        for shard in range(4):
            await slivers.put_sliver(blob_id, shard, Axis.PRIMARY, bytes(100))
            assert slivers.buffered_bytes <= LAYOUT.buffer_limit_bytes


async def test_refuses_the_folder_of_a_later_release(store, disk) -> None:
    await store.commit({FORMAT_KEY: seal_row(FORMAT_KEY, FormatRow(STORE_FORMAT + 1))})
    with pytest.raises(UnknownStoreVersion) as refusal:
        await open_store(store, disk)
    assert (refusal.value.found, refusal.value.supported) == (STORE_FORMAT + 1, STORE_FORMAT)


async def test_reads_what_an_earlier_release_wrote_and_bars_that_release_from_now_on(store, disk) -> None:
    slivers = await open_store(store, disk)
    await put_all(slivers, BLOB, 150, shards=2)
    await slivers.sync_blob(BLOB)
    for shard in range(2):
        for axis in Axis:  # as format 1 had it: one hash over all
            key = sliver_key(shard, BLOB, axis)
            place = unseal_row(key, store.get(key), SliverRow).place
            assert isinstance(place, InFile)
            digest = hashlib.blake2b(sliver(shard, axis, 150), digest_size=16).digest()
            assert digest != place.checksum
            old = SliverRow(1, replace(place, checksum=digest))
            await store.commit({key: seal_row(key, old), FORMAT_KEY: seal_row(FORMAT_KEY, FormatRow(1))})

    again = await open_store(store, disk)
    for shard in range(2):
        for axis in Axis:
            assert await again.get_sliver(BLOB, shard, axis) == sliver(shard, axis, 150)
    assert unseal_row(FORMAT_KEY, store.get(FORMAT_KEY), FormatRow, version=STORE_FORMAT) == FormatRow(STORE_FORMAT)
