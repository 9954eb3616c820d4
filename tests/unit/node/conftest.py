"""Five real nodes with real replicas of a real ledger in one process, over disks, a clock and a transport of memory."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from haulout import bcs, codec
from haulout.codec import SliverStripes, rs8
from haulout.codec.stripes import build_stripe_proof
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import DiskFull, Unreachable
from haulout.ledger import queries
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.commands import CertifyBlob, Created, DeleteBlob, Existing, RegisterBlob, ReserveSpace
from haulout.ledger.genesis import build_development_network
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.node.build import build_storage_node
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.sliver_store import Layout
from haulout.node.storage_node import StorageNode
from haulout.ports import SignedMessage, SliverUpload
from haulout.primitives import Axis, BlobId, EncodingType, ObjectId, pair_of_shard, sliver_index_of_pair
from haulout.replica.replica import Replica
from haulout.sequencer.sequencer import Sequencer
from haulout.world.errors import NoSuchFile
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

N_SHARDS = 10
N_NODES = 5
SCHEME = KeyedHash()
SETTINGS = NodeSettings(
    registration_wait_ms=0,
    repair_delay_ms=1_000,
    reserve_bytes=1_000,
    layout=Layout(inline_bytes=400, inline_piece_bytes=1_000, pack_bytes=2_000, own_file_bytes=5_000),
)


class FakeClock:
    """Time that passes when told to; sleepers wake in order."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000
        self._serial = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Event]] = []

    def now_ms(self) -> int:
        return self.us // 1000

    def monotonic_us(self) -> int:
        return self.us

    async def sleep_ms(self, duration_ms: int) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.us + duration_ms * 1000, next(self._serial), woken))
        await woken.wait()

    async def advance(self, duration_ms: int) -> None:
        end = self.us + duration_ms * 1000
        while due := sorted(sleeper for sleeper in self._sleepers if sleeper[0] <= end):
            self._sleepers.remove(due[0])
            self.us = max(self.us, due[0][0])
            due[0][2].set()
            await settle()
        self.us = end
        await settle()


class FakeRng:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random_bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)

    def below(self, limit: int) -> int:
        return self._random.randrange(limit)

    def shuffled(self, items: Iterable):
        order = list(items)
        self._random.shuffle(order)
        return order


class MemoryDisk:
    """Files in memory; full, or with flipped bits, when told so."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.free = 1 << 30
        self.syncs = 0

    async def write(self, path: str, chunks: Iterable[bytes]) -> int:
        data = b"".join(chunks)
        if len(data) > self.free:
            raise DiskFull(path="memory")
        self.files[path] = data
        return len(data)

    async def sync(self, paths: Sequence[str]) -> None:
        self.syncs += 1

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> int:
        return await self.write(path, chunks)

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if path not in self.files:
            raise NoSuchFile(path=path)
        return self.files[path][offset:][:length]

    async def size(self, path: str) -> int | None:
        return len(self.files[path]) if path in self.files else None

    async def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.files.pop(path, None)

    async def list(self, prefix: str) -> list[str]:
        return sorted(path for path in self.files if path.startswith(prefix + "/"))

    async def free_bytes(self) -> int:
        return self.free

    def flip(self, blob_id: bytes, *, at: int = 0) -> None:
        """Flip a bit in every file of a blob."""
        for path, data in self.files.items():
            if blob_id.hex() in path:
                self.files[path] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class DirectTransport:
    """Calls go straight to the node object; dead ones are unreachable, liars are wrapped."""

    def __init__(self) -> None:
        self.nodes: dict[str, object] = {}
        self.dead: set[str] = set()
        self.calls: list[tuple[str, str]] = []

    def connect(self, address: str):
        return _Connection(self, address)

    async def close(self) -> None: ...


class _Connection:
    def __init__(self, transport: DirectTransport, address: str) -> None:
        self._transport = transport
        self._address = address

    def __getattr__(self, name: str):
        transport, address = self._transport, self._address
        transport.calls.append((address, name))
        if address in transport.dead:
            if name in ("read_slivers", "sync_shards"):

                async def stream(**_: object):
                    raise Unreachable(peer=address, problem="it is dead")
                    yield

                return stream

            async def fail(**_: object) -> None:
                raise Unreachable(peer=address, problem="it is dead")

            return fail
        return getattr(transport.nodes[address], name)


class TestNode:
    """One node with what lies around it, so that it can be restarted on the same disk."""

    __test__ = False

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.index = index
        self.secrets = world.network.nodes[index]
        self.store = MemoryStore()
        self.ledger_rows = MemoryStore()
        self.disk = MemoryDisk()
        self.tasks: list[asyncio.Task] = []

    async def start(self, *, runs: bool = False) -> StorageNode:
        """Start it; its background work is driven by the test unless it `runs`."""
        world = self.world
        self.replica = await Replica.open(
            store=self.ledger_rows,
            ledger=world.sequencer,
            genesis=world.network.genesis,
            scheme=SCHEME,
            clock=world.clock,
            workers=world.workers,
        )
        self.registry = CollectorRegistry()
        self.api = await build_storage_node(
            identity=NodeIdentity(
                self.secrets.name,
                self.secrets.node_id,
                self.secrets.bls_secret,
                SCHEME.public_key(self.secrets.bls_secret),
                self.secrets.capability_secret,
            ),
            replica=self.replica,
            ledger=world.sequencer,
            store=self.store,
            disk=self.disk,
            transport=world.transport,
            scheme=SCHEME,
            clock=world.clock,
            rng=FakeRng(self.index),
            workers=world.workers,
            registry=self.registry,
            settings=world.settings,
        )
        world.transport.nodes[self.secrets.addresses[0]] = self.api
        world.transport.dead.discard(self.secrets.addresses[0])
        self.work = asyncio.ensure_future(self.api.run() if runs else self.api.follower.run())
        self.tasks = [asyncio.ensure_future(self.replica.run()), self.work]
        return self.api

    async def kill(self) -> None:
        self.world.transport.dead.add(self.secrets.addresses[0])
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []

    @property
    def address(self) -> str:
        return self.secrets.addresses[0]

    def counter(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"haulout_node_{name}", labels) or 0

    def shards(self) -> tuple[int, ...]:
        return self.api.vault.duty().shards


class World:
    """A ledger, five nodes, and a client that does each step by hand."""

    scheme = SCHEME

    def __init__(self, settings: NodeSettings = SETTINGS, *, protocol_version: int = PROTOCOL_VERSION) -> None:
        self.settings = settings
        self.clock = FakeClock()
        self.workers = InlineWorkers()
        self.transport = DirectTransport()
        self.rng = FakeRng(99)
        self.network = build_development_network(
            node_addresses={f"node-{i}": [f"node-{i}:1"] for i in range(N_NODES)},
            n_shards=N_SHARDS,
            stake_frost=10**12,
            account_funds_frost={"client": 10**15},
            genesis_time_ms=self.clock.now_ms(),
            seed=bytes(32),
            scheme=SCHEME,
            manual_epochs=True,
        )
        genesis = replace(self.network.genesis, protocol_version=protocol_version)
        founders = tuple(replace(node, node_id=genesis.node_id(i)) for i, node in enumerate(self.network.nodes))
        self.network = replace(self.network, genesis=genesis, nodes=founders)
        self.nodes: list[TestNode] = []

    async def start(self) -> World:
        await self.start_ledger(MemoryStore())
        self.nodes = [TestNode(self, index) for index in range(N_NODES)]
        for node in self.nodes:
            await node.start()
        await settle()
        return self

    async def start_ledger(self, rows: MemoryStore) -> None:
        self.ledger_rows = rows
        self.sequencer = await Sequencer.open(
            store=rows,
            genesis=self.network.genesis,
            scheme=SCHEME,
            clock=self.clock,
            workers=self.workers,
            engine="memory",
        )
        self._task = asyncio.ensure_future(self.sequencer.run())

    async def stop(self) -> None:
        for node in self.nodes:
            await node.kill()
        await self.stop_ledger()

    async def stop_ledger(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @staticmethod
    async def settle() -> None:
        await settle()

    @staticmethod
    def encode(data: bytes, encoding: EncodingType = EncodingType.RS2):
        return codec.encode_blob(data, N_SHARDS, encoding=encoding)

    @staticmethod
    async def stream(items: Iterable[SliverUpload]) -> AsyncIterator[SliverUpload]:
        for item in items:
            yield item

    async def attest(self) -> None:
        """Have the nodes sign the head, and learn that they have."""
        while (await self.sequencer.status()).finality.attested < self.sequencer.head.height:
            await self.clock.advance(500)
            if wanted := (await self.sequencer.attestation()).wanted_height:
                for node in self.nodes:
                    await node.api.signer._sign(wanted, None)
        latest = (await self.sequencer.attestation()).latest
        for node in self.nodes:
            await node.api.signer._learn(latest)

    @property
    def epoch(self) -> int:
        return queries.system(self.sequencer.store.view).epoch

    async def submit(self, *commands):
        raw = encode_transaction(
            sign_transaction(
                self.network.account_secrets["client"],
                self.network.genesis.chain_id,
                commands,
                nonce=self.rng.random_bytes(16),
                valid_until_ms=self.clock.now_ms() + 60_000,
            )
        )
        result = await self.sequencer.submit(raw, wait_ms=5_000)
        assert result is not None
        assert result.is_ok, result
        await settle()
        return result

    async def register(self, blob, *, deletable: bool = False) -> ObjectId:
        size = codec.sizes.encoded_length(blob.metadata.unencoded_length, N_SHARDS, blob.metadata.encoding_type)
        result = await self.submit(
            ReserveSpace(size, 0, self.epoch + 5),
            RegisterBlob(
                Created(0, 0),
                blob.blob_id,
                blob.metadata.root_hash(),
                blob.metadata.unencoded_length,
                int(blob.metadata.encoding_type),
                deletable,
            ),
        )
        return ObjectId(result.created[1][0])

    async def certify(self, object_id: ObjectId, confirmations: dict[int, SignedMessage]) -> None:
        committee = queries.committee(self.sequencer.store.view)
        order = [member.node_id for member in committee.members]
        signers = [order.index(self.nodes[index].secrets.node_id) for index in confirmations]
        await self.submit(
            CertifyBlob(
                Existing(object_id),
                next(iter(confirmations.values())).message,
                SCHEME.aggregate([confirmation.signature for confirmation in confirmations.values()]),
                bitmap_of(signers),
            )
        )

    async def delete(self, object_id: ObjectId) -> None:
        await self.submit(DeleteBlob(Existing(object_id)))

    @staticmethod
    def sliver(blob, pair: int, axis: Axis) -> bytes:
        return bcs.encode(blob.sliver(axis, sliver_index_of_pair(pair, axis, N_SHARDS)))

    def uploads(self, blob, node: TestNode) -> list[SliverUpload]:
        found = []
        for shard in node.shards():
            pair = pair_of_shard(shard, blob.blob_id, N_SHARDS)
            if blob.metadata.encoding_type is EncodingType.RS8:
                found += [piece for axis in Axis for piece in pieces_of(blob, pair, axis)]
                continue
            found += [SliverUpload(pair, axis, self.sliver(blob, pair, axis)) for axis in Axis]
        return found

    async def upload(self, blob, *indices: int) -> None:
        for index in indices:
            api = self.nodes[index].api
            await api.store_metadata(epoch=self.epoch, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
            await api.store_slivers(
                epoch=self.epoch, blob_id=blob.blob_id, slivers=self.stream(self.uploads(blob, self.nodes[index]))
            )

    async def confirm(self, blob_id: BlobId, object_id: ObjectId | None, *indices: int) -> dict[int, SignedMessage]:
        return {
            index: await self.nodes[index].api.confirm_blob(
                epoch=self.epoch, blob_id=blob_id, object_id=object_id, wait_ms=0
            )
            for index in indices
        }

    async def store(
        self, data: bytes, *indices: int, deletable: bool = False, encoding: EncodingType = EncodingType.RS2
    ):
        """Register, upload to these nodes (all by default), confirm, certify."""
        blob = self.encode(data, encoding)
        indices = indices or tuple(range(N_NODES))
        object_id = await self.register(blob, deletable=deletable)
        await self.upload(blob, *indices)
        confirmations = await self.confirm(blob.blob_id, object_id if deletable else None, *indices)
        await self.certify(object_id, confirmations)
        return blob, object_id


def pieces_of(blob, pair: int, axis: Axis) -> list[SliverUpload]:
    """All segments of a sliver in stripes, with their proofs."""
    striping = rs8.striping_of_blob(blob.metadata)
    index, size = sliver_index_of_pair(pair, axis, N_SHARDS), striping.part_bytes(axis)
    whole = blob.sliver_data(axis, index)
    roots = rs8.stripe_roots(striping, axis, rs8.as_parts(striping, axis, whole))
    found = []
    for stripes in map(striping.segment, range(striping.n_segments)):
        data = whole[stripes.start * size : stripes.stop * size]
        proof = build_stripe_proof(roots, stripes)
        piece = SliverStripes(data, striping.symbol_size_bytes, index, stripes.start, proof)
        found.append(SliverUpload(pair, axis, bcs.encode(piece), stripes.start))
    return found


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(60):
        await asyncio.sleep(0)


@pytest.fixture
async def world():
    world = await World().start()
    yield world
    await world.stop()
