"""A client of a real ledger and of nodes that keep everything in memory and misbehave when told to.

Time is a clock's that jumps to the next sleeper as soon as nobody has anything else to do.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Sequence
from typing import Any

import pytest

from haulout import bcs, codec
from haulout.account.wallet import Wallet
from haulout.client.network import Network
from haulout.client.store import StoreRequest, StoreResult, store_blob
from haulout.client.view import LedgerView, ProvenSource, ReplicaSource
from haulout.codec import SliverStripes, rs8
from haulout.codec.metadata import BlobMetadata, BlobMetadataWithId
from haulout.codec.stripes import cut_stripes, leaves_of, verify_stripes
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.messages import storage_confirmation
from haulout.errors import HauloutError, Unreachable, WrongEpoch
from haulout.ledger import queries
from haulout.ledger.events import Event
from haulout.ledger.genesis import build_development_network
from haulout.ports import BlobHoldings, Outcome, PartialSliver, SignedMessage, SliverUpload
from haulout.primitives import Axis, BlobId, EncodingType, ObjectId, SliverPairIndex, pair_of_shard
from haulout.replica.replica import Replica
from haulout.sequencer.sequencer import Sequencer
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

N_SHARDS = 10
MAX_BLOB_BYTES = 3 << 20  # more than RS2 holds
N_NODES = 5  # of two shards each: f = 3, so a write needs 7 shards (4 nodes) and a read 4 (2 nodes)
SCHEME = KeyedHash()
HANG_MS = 3_600_000


class JumpingClock:
    """Time stands still while anybody is at work and jumps to the next sleeper when nobody is."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000
        self._serial = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Event]] = []

    def now_ms(self) -> int:
        return self.us // 1000

    def monotonic_us(self) -> int:
        return self.us

    async def sleep_ms(self, duration_ms: int) -> None:
        sleeper = (self.us + max(0, duration_ms) * 1000, next(self._serial), asyncio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do work, letting time pass whenever it waits for that."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                for _ in range(200):
                    await asyncio.sleep(0)
                    if task.done():
                        break
                else:
                    if not self._sleepers:
                        raise AssertionError("everybody waits and nobody sleeps")
                    due = min(self._sleepers, key=lambda sleeper: sleeper[:2])
                    self._sleepers.remove(due)
                    self.us = max(self.us, due[0])
                    due[2].set()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class SeededRng:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random_bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)

    def below(self, limit: int) -> int:
        return self._random.randrange(limit)

    def shuffled(self, items: Iterable[Any]) -> list[Any]:
        order = list(items)
        self._random.shuffle(order)
        return order


class FakeNode:
    """A storage node that checks nothing, keeps what it gets, and breaks its word in every way a test asks for."""

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.secrets = world.town.nodes[index]
        self.name = self.secrets.name
        self.metadata: dict[BlobId, bytes] = {}
        self.slivers: dict[tuple[BlobId, SliverPairIndex, Axis], bytes] = {}
        self.pieces: dict[tuple[BlobId, SliverPairIndex, Axis], dict[int, bytes]] = {}  # by first stripe
        self.ranges_read: list[range] = []
        self.calls: list[str] = []
        self.sent = 0  # slivers that came in
        # misbehaviour
        self.is_dead = False
        self.hangs = False
        self.delay_ms = 1
        self.epoch = 1
        self.lies_about_slivers = False
        self.lies_about_pairs: set[int] = set()
        self.answers_twice = self.answers_others = False
        self.lies_about_metadata = False
        self.forges = False
        self.refuses_slivers: HauloutError | None = None
        self.dies_after_slivers: int | None = None
        self.fails_at_once: HauloutError | None = None

    @property
    def shards(self) -> tuple[int, ...]:
        committee = queries.committee(self.world.sequencer.store.view)
        return next(m.shards for m in committee.members if m.node_id == self.secrets.node_id)

    def _targets(self, blob_id: BlobId) -> list[tuple[SliverPairIndex, Axis]]:
        return [(pair_of_shard(shard, blob_id, N_SHARDS), axis) for shard in self.shards for axis in Axis]

    async def _enter(self, call: str, epoch: int) -> None:
        self.calls.append(call)
        await self.world.clock.sleep_ms(HANG_MS if self.hangs else self.delay_ms)
        if self.is_dead:
            raise Unreachable(peer=self.name, problem="it is dead")
        if epoch != self.epoch:
            raise WrongEpoch(request_epoch=epoch, server_epoch=self.epoch)

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        await self._enter("store_metadata", epoch)
        return self._keep_metadata(blob_id, metadata)

    def _keep_metadata(self, blob_id: BlobId, metadata: bytes) -> Outcome:
        decoded = bcs.decode(BlobMetadata, metadata)
        codec.verify_metadata(decoded, blob_id, N_SHARDS)
        self.metadata[blob_id] = bcs.encode(BlobMetadataWithId(blob_id, decoded))
        return Outcome.STORED

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        await self._enter("store_slivers", epoch)
        outcomes = [self._keep_sliver(blob_id, upload) async for upload in slivers]
        if self.refuses_slivers is not None:
            raise self.refuses_slivers
        return outcomes

    def _keep_sliver(self, blob_id: BlobId, upload: SliverUpload) -> Outcome:
        self.sent += 1
        if self.dies_after_slivers is not None:
            if self.dies_after_slivers == 0:
                self.is_dead = True
                raise Unreachable(peer=self.name, problem="it died")
            self.dies_after_slivers -= 1
        if self.refuses_slivers is not None:
            return Outcome.ALREADY_STORED
        assert (upload.pair_index, upload.axis) in self._targets(blob_id)
        if upload.first_stripe is None:
            self.slivers[blob_id, upload.pair_index, upload.axis] = bytes(upload.bcs)
        else:
            pieces = self.pieces.setdefault((blob_id, upload.pair_index, upload.axis), {})
            assert upload.first_stripe not in pieces, "a piece came twice"
            pieces[upload.first_stripe] = bytes(upload.bcs)
        return Outcome.STORED

    async def holdings(self, *, epoch: int, blob_id: BlobId) -> BlobHoldings:
        await self._enter("holdings", epoch)
        if blob_id in self.metadata and self._metadata(blob_id).encoding_type is EncodingType.RS8:
            return self._holdings_in_stripes(blob_id)
        missing = tuple(t for t in self._targets(blob_id) if (blob_id, *t) not in self.slivers)
        return BlobHoldings(True, blob_id in self.metadata, missing)

    def _metadata(self, blob_id: BlobId) -> BlobMetadata:
        found: BlobMetadataWithId = bcs.decode(BlobMetadataWithId, self.metadata[blob_id])
        return found.metadata

    def _holdings_in_stripes(self, blob_id: BlobId) -> BlobHoldings:
        striping = rs8.striping_of_blob(self._metadata(blob_id))
        segments = [striping.segment(index) for index in range(striping.n_segments)]
        missing, partial = [], []
        for target in self._targets(blob_id):
            pieces = self.pieces.get((blob_id, *target), {})
            lacking = tuple(stripes for stripes in segments if stripes.start not in pieces)
            if lacking:
                missing.append(target)
                if pieces:
                    partial.append(PartialSliver(*target, lacking))
        return BlobHoldings(True, True, tuple(missing), tuple(partial))

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        await self._enter("confirm_blob", epoch)
        return self._sign(epoch, blob_id, object_id)

    def _sign(self, epoch: int, blob_id: BlobId, object_id: ObjectId | None) -> SignedMessage:
        message = storage_confirmation(epoch, blob_id, object_id)
        return SignedMessage(message, SCHEME.sign(self.secrets.bls_secret, b"something else" * self.forges + message))

    async def store_and_confirm(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        object_id: ObjectId | None,
        metadata: bytes,
        slivers: Sequence[SliverUpload],
        wait_ms: int,
    ) -> SignedMessage:
        await self._enter("store_and_confirm", epoch)
        if self.fails_at_once is not None:
            raise self.fails_at_once
        self._keep_metadata(blob_id, metadata)
        for upload in slivers:
            self._keep_sliver(blob_id, upload)
        if self.refuses_slivers is not None:
            raise self.refuses_slivers
        return self._sign(epoch, blob_id, object_id)

    async def read_metadata(self, *, epoch: int, blob_id: BlobId) -> bytes:
        await self._enter("read_metadata", epoch)
        if blob_id not in self.metadata:
            raise LacksMetadata()
        raw = bytearray(self.metadata[blob_id])
        if self.lies_about_metadata:
            raw[-1] ^= 1
        return bytes(raw)

    async def read_slivers(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        stripes: range | None = None,
    ) -> AsyncIterator[SliverUpload]:
        await self._enter("read_slivers", epoch)
        if self.answers_others:
            targets = [(SliverPairIndex(pair), axis) for key_id, pair, axis in self.slivers if key_id == blob_id]
        if stripes is not None:
            self.ranges_read.append(stripes)
            for piece in self._read_stripes(blob_id, targets, stripes):
                yield piece
            return
        for pair, axis in [*targets, *targets] if self.answers_twice else targets:
            raw = self.slivers.get((blob_id, pair, axis))
            lies = self.lies_about_slivers or pair in self.lies_about_pairs
            if raw is not None:
                yield SliverUpload(pair, axis, raw[:5] + b"!" + raw[6:] if lies else raw)

    def _read_stripes(
        self, blob_id: BlobId, targets: Sequence[tuple[SliverPairIndex, Axis]], stripes: range
    ) -> Iterable[SliverUpload]:
        metadata = self._metadata(blob_id)
        striping = rs8.striping_of_blob(metadata)
        for pair, axis in targets:
            pieces = self.pieces.get((blob_id, pair, axis), {})
            for segment, wanted in rs8.segments_of(striping, stripes):
                raw = pieces.get(striping.segment(segment).start)
                if raw is None:
                    continue
                piece = bcs.decode(SliverStripes, raw)
                leaves = leaves_of(verify_stripes(metadata, axis, piece))
                cut = bcs.encode(cut_stripes(striping, axis, piece, leaves, wanted))
                lies = self.lies_about_slivers or pair in self.lies_about_pairs
                yield SliverUpload(pair, axis, cut[:5] + b"!" + cut[6:] if lies else cut, wanted.start)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a client has no business with {name}")


class LacksMetadata(HauloutError):
    """This node has never heard of the blob."""

    kind = "NOT_FOUND"
    code = "METADATA_NOT_FOUND"


class World:
    """A ledger with its replica, five nodes, and a client with an account."""

    def __init__(
        self, *, nodes: int = N_NODES, funds_frost: int = 10**15, clock: Any = None, manual_epochs: bool = False
    ) -> None:
        self.clock = clock or JumpingClock()
        self.town = build_development_network(
            node_addresses={f"node-{i}": (f"node-{i}:1",) for i in range(nodes)},
            n_shards=N_SHARDS,
            stake_frost=10**12,
            account_funds_frost={"client": funds_frost, "other": 10**15, "pauper": 1},
            genesis_time_ms=self.clock.now_ms(),
            seed=bytes(32),
            scheme=SCHEME,
            max_blob_bytes=MAX_BLOB_BYTES,
            manual_epochs=manual_epochs,
        )
        self.nodes = [FakeNode(self, index) for index in range(nodes)]
        self.by_address = {node.secrets.addresses[0]: node for node in self.nodes}

    async def start(self) -> World:
        common = {"scheme": SCHEME, "clock": self.clock, "workers": InlineWorkers()}
        self.sequencer = await Sequencer.open(store=MemoryStore(), genesis=self.town.genesis, engine="memory", **common)
        self.rows = MemoryStore()
        self.replica = await Replica.open(store=self.rows, ledger=self.sequencer, genesis=self.town.genesis, **common)
        self.tasks = [asyncio.ensure_future(self.sequencer.run()), asyncio.ensure_future(self.replica.run())]
        self.network = self.make_network()
        self.wallet = self.make_wallet("client")
        return self

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def make_network(self, *, proven: bool = False, **options: Any) -> Network:
        """A client that has learned nothing yet."""
        chain_id = self.town.genesis.chain_id
        source = ProvenSource(self.sequencer, chain_id) if proven else ReplicaSource(self.replica)
        return Network(
            view=LedgerView(source),
            transport=self,
            scheme=SCHEME,
            clock=self.clock,
            rng=SeededRng(5),
            workers=InlineWorkers(),
            **options,
        )

    def make_wallet(self, account: str, ledger: Any = None) -> Wallet:
        return Wallet(
            self.town.account_secrets[account],
            chain_id=self.town.genesis.chain_id,
            ledger=ledger or self.sequencer,
            clock=self.clock,
            rng=SeededRng(sum(account.encode())),
        )

    # NodeTransport
    def connect(self, address: str) -> FakeNode:
        return self.by_address[address]

    async def close(self) -> None: ...

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await self.clock.run(work)

    async def store(self, data: bytes, n_epochs: int = 5, **options: Any) -> StoreResult:
        """Store as the client."""
        request = StoreRequest(n_epochs, **options)
        return await self.run(store_blob(self.network, self.wallet, data, request))

    def balance(self, account: str = "client") -> int:
        return queries.balance(self.sequencer.store.view, self.town.address(account))

    async def events(self) -> list[Event]:
        """All that has happened."""
        count = queries.system(self.sequencer.store.view).next_sequence
        stream = self.sequencer.events(0)
        found = [await anext(stream) for _ in range(count)]
        await stream.aclose()
        return found

    def only(self, *indices: int) -> None:
        """Leave these nodes alive and kill the others."""
        for index, node in enumerate(self.nodes):
            node.is_dead = index not in indices

    def counter(self, name: str, **labels: str) -> float:
        metric = getattr(self.network.metrics, name)
        return float((metric.labels(**labels) if labels else metric)._value.get())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await World().start()
    yield world
    await world.stop()


@pytest.fixture
def make_data() -> Any:
    """Bytes of a size, different for every seed."""
    return lambda size, seed=0: random.Random(seed).randbytes(size)
