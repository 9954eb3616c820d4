"""The power goes at every operation of an upload: what was confirmed is there afterwards, and nothing else is wrong.

The disk and the store below keep what is durable apart from what is only written. A cut leaves of the rest what a
real machine may leave: nothing, a torn piece, or all of it. A disk that skips its syncs must make the checker fail;
otherwise the checker would prove nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence

import pytest

from haulout.node.errors import CorruptRecord
from haulout.node.piece_store import PieceName, StoredPiece
from haulout.node.records import Promise, bit_of, names_in
from haulout.node.sliver_files import FOLDER
from haulout.node.sliver_store import Layout, SliverStore
from haulout.primitives import Axis, BlobId
from haulout.world.errors import NoSuchFile, StorageFailed
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

LAYOUT = Layout(inline_bytes=300, inline_piece_bytes=300, pack_bytes=1000, own_file_bytes=600, buffer_limit_bytes=1800)
N_SHARDS = 4
N_BLOBS = 8  # those from 5 on are in stripes
N_SEGMENTS = 3


class PowerCut(Exception):
    """The machine is off; every later call fails too."""


class Machine:
    """Counts operations on disk and store and cuts the power at one of them."""

    def __init__(self, seed: int, cut_at: int | None, *, skips_file_sync: bool = False) -> None:
        self.random = random.Random(seed)
        self.cut_at = cut_at
        self.skips_file_sync = skips_file_sync
        self.operations = 0
        self.is_off = False
        self.files: dict[str, bytes] = {}
        self.synced: dict[str, bytes] = {}
        self.commits: list[Mapping[bytes, bytes | None]] = []
        self.durable_commits = 0

    def tick(self) -> bool:
        """True when the power goes during this operation."""
        if self.is_off:
            raise PowerCut
        self.operations += 1
        if self.operations == self.cut_at:
            self.is_off = True
        return self.is_off

    async def image(self) -> tuple[MemoryStore, Machine]:
        """What a restarted machine finds."""
        found = Machine(0, None)
        for path, data in self.files.items():
            kept = self.synced.get(path)
            if kept is None:
                kept = self.random.choice([None, data[: self.random.randrange(len(data) + 1)], data])
            if kept is not None:
                found.files[path] = found.synced[path] = kept
        store = MemoryStore()
        for writes in self.commits[: self.random.randint(self.durable_commits, len(self.commits))]:
            await store.commit(writes)
        return store, found


class CrashDisk:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def write(self, path: str, chunks: Iterable[bytes]) -> int:
        data = b"".join(chunks)
        cut = self.machine.tick()
        self.machine.files[path] = data[: self.machine.random.randrange(len(data) + 1)] if cut else data
        self._check(cut)
        return len(data)

    async def sync(self, paths: Sequence[str]) -> None:
        cut = self.machine.tick()
        if not self.machine.skips_file_sync:
            for path in paths:
                if not cut or self.machine.random.random() < 0.5:
                    self.machine.synced[path] = self.machine.files[path]
        self._check(cut)

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> int:
        raise NotImplementedError

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if path not in self.machine.files:
            raise NoSuchFile(path=path)
        return self.machine.files[path][offset:][:length]

    async def size(self, path: str) -> int | None:
        return len(self.machine.files[path]) if path in self.machine.files else None

    async def remove(self, paths: Sequence[str]) -> None:
        cut = self.machine.tick()
        for path in paths:
            if not cut or self.machine.random.random() < 0.5:
                self.machine.files.pop(path, None)
                self.machine.synced.pop(path, None)
        self._check(cut)

    async def list(self, prefix: str) -> list[str]:
        return sorted(path for path in self.machine.files if path.startswith(prefix + "/"))

    async def free_bytes(self) -> int:
        return 1 << 40

    def _check(self, cut: bool) -> None:
        if cut:
            raise PowerCut


class CrashStore(MemoryStore):
    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    async def commit(self, writes: Mapping[bytes, bytes | None], *, durable: bool = True) -> None:
        cut = self.machine.tick()
        if not cut or self.machine.random.random() < 0.5:
            self.machine.commits.append(dict(writes))
            await super().commit(writes)
            if durable and not cut:
                self.machine.durable_commits = len(self.machine.commits)
        if cut:
            raise PowerCut


class StillClock:
    def now_ms(self) -> int:
        return 0

    def monotonic_us(self) -> int:
        return 0

    async def sleep_ms(self, duration_ms: int) -> None:
        await asyncio.sleep(0)


class SeededRng:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random_bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)

    def below(self, limit: int) -> int:
        return self._random.randrange(limit)

    def shuffled(self, items):
        order = list(items)
        self._random.shuffle(order)
        return order


def blob_of(number: int) -> BlobId:
    return BlobId(bytes([number]) * 32)


def promise_of(blob: int) -> Promise:
    return Promise(epoch=1, object_id=None, height=blob)


def sliver_of(blob: int, shard: int, axis: Axis) -> bytes:
    """Small blobs stay in rows, larger ones go to packs, the largest have files of their own."""
    size = {0: 20, 1: 170, 2: 450, 3: 700}[blob % 4] + 10 * shard + axis
    return random.Random(f"{blob}/{shard}/{axis}").randbytes(size)


def piece_of(blob: int, name: PieceName) -> StoredPiece:
    """The first segments have a file, the last stands in its row."""
    some = random.Random(f"{blob}/{name}")
    size = 40 if name[2] == N_SEGMENTS - 1 else 250 + 10 * name[0]
    return StoredPiece(some.randbytes(size), some.randbytes(64), (some.randbytes(32),))


async def put_segment(slivers: SliverStore, blob: int, segment: int, *, proven: bool = True) -> None:
    """All slivers of one segment; a shard's pieces come together."""
    for shard in range(N_SHARDS):
        names = [(shard, axis, segment) for axis in Axis]
        pieces = [(name, piece_of(blob, name)) for name in names]
        given = [(name, p.data, p.leaves, p.proof if proven else None) for name, p in pieces]
        await slivers.pieces.put(blob_of(blob), given, N_SEGMENTS)


async def open_store(machine: Machine, store: MemoryStore) -> SliverStore:
    return await SliverStore.open(
        store, CrashDisk(machine), clock=StillClock(), rng=SeededRng(5), workers=InlineWorkers(), layout=LAYOUT
    )


async def upload(slivers: SliverStore, confirmed: dict[int, bytes]) -> None:
    """Five blobs are uploaded, two of them interleaved; one is deleted."""
    for blobs in ((0,), (1, 2), (3,), (4,)):
        for shard in range(N_SHARDS):
            for blob in blobs:
                slivers.put_metadata(blob_of(blob), b"metadata %d" % blob)
                for axis in Axis:
                    await slivers.put_sliver(blob_of(blob), shard, axis, sliver_of(blob, shard, axis))
        for blob in blobs:
            await slivers.sync_blob(blob_of(blob), promise=promise_of(blob))
            confirmed[blob] = b"metadata %d" % blob
    confirmed.pop(1)
    await slivers.drop_blob(blob_of(1))
    await upload_stripes(slivers, confirmed)


async def upload_stripes(slivers: SliverStore, confirmed: dict[int, bytes]) -> None:
    """One blob in stripes is uploaded with a sync on the way, one is rebuilt at the second try, one is deleted."""
    for blob in (5, 6, 7):
        slivers.put_metadata(blob_of(blob), b"metadata %d" % blob)
    for segment in range(N_SEGMENTS):
        await put_segment(slivers, 5, segment)
        if segment == 0:
            await slivers.sync_blob(blob_of(5))
    await slivers.sync_blob(blob_of(5), promise=promise_of(5))
    confirmed[5] = b"metadata 5"

    await put_segment(slivers, 6, 0, proven=False)
    await slivers.sync_blob(blob_of(6))  # makes nothing of it durable
    assert slivers.held_mask(blob_of(6)) == 0
    await slivers.pieces.drop_unproven(blob_of(6))
    for segment in range(N_SEGMENTS):
        await put_segment(slivers, 6, segment, proven=False)
    names = [(shard, axis, segment) for shard in range(N_SHARDS) for axis in Axis for segment in range(N_SEGMENTS)]
    slivers.pieces.prove(blob_of(6), {name: piece_of(6, name).proof for name in names})
    await slivers.sync_blob(blob_of(6), promise=promise_of(6))
    confirmed[6] = b"metadata 6"

    await put_segment(slivers, 7, 1)
    await slivers.sync_blob(blob_of(7))
    await put_segment(slivers, 7, 2)
    await slivers.drop_blob(blob_of(7))


async def check_image(machine: Machine, confirmed: dict[int, bytes]) -> None:
    """Everything confirmed verifies; whatever claims to be held is right; no file is left that nobody needs."""
    store, restarted = await machine.image()
    slivers = await open_store(restarted, store)
    for blob in range(N_BLOBS):
        mask = slivers.held_mask(blob_of(blob))
        if blob in confirmed:
            assert slivers.get_metadata(blob_of(blob)) == confirmed[blob]
            assert slivers.promise(blob_of(blob)) == promise_of(blob)
            assert mask == sum(bit_of(shard, axis) for shard in range(N_SHARDS) for axis in Axis)
        for shard, axis in names_in(mask) if blob < 5 else ():
            assert await slivers.get_sliver(blob_of(blob), shard, axis) == sliver_of(blob, shard, axis)
        await check_pieces(slivers, blob)
    await slivers.sweep_files()
    for blob in range(5, N_BLOBS):
        for name in await check_pieces(slivers, blob):
            await slivers.discard_piece(blob_of(blob), name)
    for blob in range(5):
        for shard, axis in names_in(slivers.held_mask(blob_of(blob))):
            assert await slivers.get_sliver(blob_of(blob), shard, axis) == sliver_of(blob, shard, axis)
            await slivers.discard_sliver(blob_of(blob), shard, axis)
    assert await CrashDisk(restarted).list(FOLDER) == []
    assert slivers.stored_slivers == slivers.stored_bytes == 0


async def check_pieces(slivers: SliverStore, blob: int) -> list[PieceName]:
    """Every piece that claims to be held is right; their names."""
    names = [name for shard in range(N_SHARDS) for name in slivers.pieces.names_on_shard(blob_of(blob), shard)]
    for name in names:
        assert await slivers.pieces.get(blob_of(blob), name) == piece_of(blob, name)
    return names


async def run_cut_at(cut_at: int | None, seed: int, *, skips_file_sync: bool = False) -> int:
    machine = Machine(seed, cut_at, skips_file_sync=skips_file_sync)
    confirmed: dict[int, bytes] = {}
    try:
        slivers = await open_store(machine, CrashStore(machine))
        await upload(slivers, confirmed)
    except (PowerCut, StorageFailed):
        assert machine.is_off
    await check_image(machine, confirmed)
    return machine.operations


async def test_everything_confirmed_survives_a_power_cut_at_every_operation() -> None:
    operations = await run_cut_at(None, seed=0)
    assert operations > 20
    for cut_at in range(1, operations + 1):
        for seed in range(8):
            await run_cut_at(cut_at, seed)


async def test_the_checker_notices_a_skipped_sync() -> None:
    operations = await run_cut_at(None, seed=0)
    with pytest.raises(CorruptRecord):
        for cut_at in range(1, operations + 1):
            for seed in range(8):
                await run_cut_at(cut_at, seed, skips_file_sync=True)
