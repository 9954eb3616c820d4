"""The sliver store against a dictionary: whatever is put, synced, dropped, damaged and reopened, in any order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from haulout.node.records import bit_of
from haulout.node.sliver_files import FOLDER
from haulout.node.sliver_store import Layout, SliverStore
from haulout.primitives import Axis, BlobId
from haulout.world.errors import NoSuchFile
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

LAYOUT = Layout(inline_bytes=60, pack_bytes=100, own_file_bytes=50, buffer_limit_bytes=250)
BLOBS = st.integers(0, 3).map(lambda number: BlobId(bytes([number]) * 32))
NAMES = st.tuples(st.integers(0, 3), st.sampled_from(Axis))


class DictDisk:
    """A disk that keeps everything; crashes are the other test's."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def write(self, path: str, chunks: Iterable[bytes]) -> int:
        assert path not in self.files, "a name was given twice"
        self.files[path] = b"".join(chunks)
        return len(self.files[path])

    async def sync(self, paths: Sequence[str]) -> None:
        assert all(path in self.files for path in paths)

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if path not in self.files:
            raise NoSuchFile(path=path)
        return self.files[path][offset:][:length]

    async def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.files.pop(path, None)

    async def list(self, prefix: str) -> list[str]:
        return sorted(path for path in self.files if path.startswith(prefix + "/"))


class Clock:
    def now_ms(self) -> int:
        return 0

    def monotonic_us(self) -> int:
        return 0


class SliverStoreMachine(RuleBasedStateMachine):
    """`held` and `pending` are what the store must say it has."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = DictDisk()
        self.store = MemoryStore()
        self.rng = random.Random(7)
        self.held: dict[BlobId, dict[tuple[int, Axis], bytes]] = {}
        self.pending: dict[BlobId, dict[tuple[int, Axis], bytes]] = {}
        self.reopen()

    def run(self, coroutine):
        return asyncio.run(coroutine)

    @rule()
    def reopen(self) -> None:
        self.pending.clear()
        rng = type("Rng", (), {"random_bytes": staticmethod(self.rng.randbytes)})()
        self.slivers: SliverStore = self.run(
            SliverStore.open(self.store, self.disk, clock=Clock(), rng=rng, workers=InlineWorkers(), layout=LAYOUT)
        )

    @rule(blob_id=BLOBS, name=NAMES, data=st.binary(min_size=1, max_size=70))
    def put(self, blob_id: BlobId, name: tuple[int, Axis], data: bytes) -> None:
        known = {**self.held.get(blob_id, {}), **self.pending.get(blob_id, {})}
        data = known.get(name, data)  # slivers are what their blob's id says: never two under one name
        self.run(self.slivers.put_sliver(blob_id, *name, data))
        self.pending.setdefault(blob_id, {})[name] = data

    @rule(blob_id=BLOBS)
    def sync(self, blob_id: BlobId) -> None:
        self.run(self.slivers.sync_blob(blob_id))
        self.held.setdefault(blob_id, {}).update(self.pending.pop(blob_id, {}))

    @rule(blob_id=BLOBS)
    def drop_blob(self, blob_id: BlobId) -> None:
        self.run(self.slivers.drop_blob(blob_id))
        self.held.pop(blob_id, None)
        self.pending.pop(blob_id, None)

    @rule(shard=st.integers(0, 3))
    def drop_shard(self, shard: int) -> None:
        for blob_id in self.slivers.drop_shard_page(shard):
            self.run(self.slivers.drop_from_shard(blob_id, shard))
        for slivers in self.held.values():
            for axis in Axis:
                slivers.pop((shard, axis), None)

    @rule()
    def sweep(self) -> None:
        self.run(self.slivers.sweep_files())

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for number in range(4):
            blob_id = BlobId(bytes([number]) * 32)
            held = self.held.get(blob_id, {})
            everything = {**self.pending.get(blob_id, {}), **held}
            assert self.slivers.held_mask(blob_id, durable_only=True) == sum(bit_of(*name) for name in held)
            assert self.slivers.held_mask(blob_id) == sum(bit_of(*name) for name in everything)
            for name, data in everything.items():
                assert self.run(self.slivers.get_sliver(blob_id, *name)) == data
        assert self.slivers.stored_slivers == sum(len(slivers) for slivers in self.held.values())
        assert self.slivers.stored_bytes == sum(len(data) for held in self.held.values() for data in held.values())

    def teardown(self) -> None:
        """Once everything is dropped, nothing is left."""
        for number in range(4):
            self.drop_blob(BlobId(bytes([number]) * 32))
        self.reopen()
        self.sweep()
        assert self.run(self.disk.list(FOLDER)) == []
        assert len(self.store) <= 2  # format and totals
        super().teardown()


TestSliverStore = SliverStoreMachine.TestCase
TestSliverStore.settings = settings(max_examples=settings.default.max_examples, stateful_step_count=25)
