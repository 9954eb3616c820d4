"""A history of very many certified blobs, and a read model that takes it event by event.

Genesis is as the ledger makes it; then come blocks of a hundred blobs each, registered and certified. Certificates are
taken for good: what a BLS verification costs is measured by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TypeVar

from graphql_api.read_model import follow
from graphql_api.read_model.database import Database
from graphql_api.read_model.project import BlockEvents, Progress, Projector
from haulout.crypto.bls import Bls12381
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.messages import storage_confirmation
from haulout.ledger import events as e
from haulout.ledger.genesis import Genesis, build_genesis
from haulout.primitives import BlobId, is_quorum

PER_BLOCK = 100
N_OWNERS = 100
N_SIZES = 16
END_EPOCH = 50
STORAGE_BYTES = 1 << 20

T = TypeVar("T")


class Accepting(Bls12381):
    """Takes every certificate for good."""

    def verify_aggregate(self, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        return True


def pages(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items, some at a time."""
    waiting = iter(items)
    while page := list(islice(waiting, size)):
        yield page


def named(kind: bytes, number: int) -> bytes:
    """32 bytes that look like any others."""
    return blake2b(kind + b"%d" % number, digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class BlobPlan:
    """A blob of the story, and where its two events stand."""

    number: int
    size_class: int
    height: int
    time_ms: int
    owner: bytes
    object_id: bytes
    blob_id: bytes
    root: bytes
    storage_id: bytes
    registered_sequence: int
    certified_sequence: int

    @property
    def size_bytes(self) -> int:
        return 1_000 + 4_096 * self.size_class


class Story:
    """The history of a network that did nothing but store blobs."""

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        founded = build_genesis(genesis, Accepting())
        self.n_genesis_events = len(founded.events)
        header = founded.header
        self._first = BlockEvents(0, header.time_ms, header.digest(), bytes(32), tuple(founded.events))
        started = next(event.body for event in founded.events if isinstance(event.body, e.EpochStarted))
        weights = [len(member.shards) for member in started.members]
        signing = next(n for n in range(1, len(weights) + 1) if is_quorum(sum(weights[:n]), genesis.n_shards))
        self._signers, self._weight = bitmap_of(range(signing)), sum(weights[:signing])
        self.owners = [named(b"owner", number) for number in range(N_OWNERS)]

    def digest(self, height: int) -> bytes:
        """Of a block's header."""
        return named(b"block", height) if height else self._first.digest

    def plan(self, number: int) -> BlobPlan:
        """Everything about a blob that its rows are made of."""
        height, place = number // PER_BLOCK + 1, number % PER_BLOCK
        first = self.first_sequence(height)
        return BlobPlan(
            number=number,
            size_class=number % N_SIZES,
            height=height,
            time_ms=self.time_ms(height),
            owner=self.owners[number * 7 % N_OWNERS],
            object_id=named(b"object", number),
            blob_id=named(b"blob", number),
            root=named(b"root", number),
            storage_id=named(b"storage", number),
            registered_sequence=first + place,
            certified_sequence=first + PER_BLOCK + place,
        )

    def first_sequence(self, height: int) -> int:
        """The first event of a block."""
        return self.n_genesis_events + (height - 1) * (2 * PER_BLOCK + 2)

    def time_ms(self, height: int) -> int:
        """A block's time."""
        return self._first.time_ms + 1_000 * height

    def registered(self, plan: BlobPlan) -> e.BlobRegistered:
        """The first event of a blob."""
        return e.BlobRegistered(
            object_id=plan.object_id,
            owner=plan.owner,
            blob_id=plan.blob_id,
            root_hash=plan.root,
            size_bytes=plan.size_bytes,
            encoding_type=1,
            registered_epoch=1,
            start_epoch=1,
            end_epoch=END_EPOCH,
            storage_id=plan.storage_id,
            storage_size_bytes=STORAGE_BYTES,
            deletable=False,
            cost_frost=10,
        )

    def certified(self, plan: BlobPlan) -> e.BlobCertified:
        """The second event of a blob."""
        return e.BlobCertified(
            object_id=plan.object_id,
            blob_id=plan.blob_id,
            certified_epoch=1,
            end_epoch=END_EPOCH,
            storage_size_bytes=STORAGE_BYTES,
            deletable=False,
            is_extension=False,
            weight=self._weight,
            message=storage_confirmation(1, BlobId(plan.blob_id), None),
            signature=bytes(96),
            signers=self._signers,
            cost_frost=0,
        )

    def closing(self, height: int) -> tuple[e.BalanceChanged, e.RingChanged]:
        """The last two events of a block: they change the same two rows each time."""
        return e.BalanceChanged(self.owners[0], 10**15 - height), e.RingChanged(1, height * STORAGE_BYTES, height * 10)

    def block(self, height: int) -> BlockEvents:
        """A block as the projection takes it."""
        if height == 0:
            return self._first
        plans = [self.plan((height - 1) * PER_BLOCK + place) for place in range(PER_BLOCK)]
        bodies = [*map(self.registered, plans), *map(self.certified, plans), *self.closing(height)]
        first, time_ms = self.first_sequence(height), self.time_ms(height)
        events = tuple(
            e.Event(first + place, height, min(place, 2 * PER_BLOCK), time_ms, 1, body)
            for place, body in enumerate(bodies)
        )
        return BlockEvents(height, time_ms, self.digest(height), self.digest(height - 1), events)


def open_database(path: Path, genesis: Genesis) -> tuple[Database, Progress]:
    """An empty read model of a network."""
    database = Database(f"sqlite:///{path}")
    return database, database.open(chain_id=genesis.chain_id, fresh_key=bytes(32))


def ingest(path: Path, story: Story, n_blobs: int) -> tuple[float, float]:
    """Apply the story as the follower does; seconds and CPU seconds, without what making the events takes."""
    database, progress = open_database(path, story.genesis)
    projector = Projector(story.genesis.n_shards, Accepting())
    heights = range(n_blobs // PER_BLOCK + 1)
    blocks_per_batch = -(-follow.BATCH_EVENTS_MAX // (2 * PER_BLOCK + 2))
    seconds = cpu_s = 0.0
    for batch in pages(heights, blocks_per_batch):
        blocks = [story.block(height) for height in batch]
        start, cpu_start = time.perf_counter(), time.process_time()
        progress = database.apply(projector, progress, blocks)
        seconds, cpu_s = seconds + time.perf_counter() - start, cpu_s + time.process_time() - cpu_start
    database.close()
    return seconds, cpu_s
