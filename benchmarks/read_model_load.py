"""A read model of very many certified blobs, written in one pass instead of event by event.

    python benchmarks/read_model_load.py --genesis FILE --out FILE [--blobs 1000000]

`Story` is a history: genesis as the ledger makes it, then blocks of a hundred blobs each, registered and certified. The
first of these blocks goes through the projection; the rows it leaves are the patterns from which all others are made,
and indexes are built at the end. `ingest` applies the same blocks one by one, and what both leave is compared table by
table. Certificates are taken for good on both ways: what a BLS verification costs is measured by itself.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.schema import CreateIndex, DropIndex

from graphql_api.read_model import follow
from graphql_api.read_model import schema as t
from graphql_api.read_model.database import Database
from graphql_api.read_model.project import BlockEvents, Progress, Projector
from haulout import bcs
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
INSERT_ROWS = 10_000
# Who is cut off begins again. Indexes are sorted by several threads.
PRAGMAS = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY", "threads = 4")
PATTERN_BLOCKS = 1

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


# --- event by event -----------------------------------------------------------------------------------------


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


# --- all at once --------------------------------------------------------------------------------------------

Row = list[Any]
Change = Callable[[BlobPlan], dict[str, Any]]


class Pattern:
    """Rows of one table, made from that of one blob of each size."""

    def __init__(self, table: Table, key: str, change: Change) -> None:
        """`key` finds the row of a blob; `change` gives the columns in which blobs differ beside their size."""
        self.table = table
        self.names = [column.name for column in table.columns]
        self._key = key
        self._change = change
        self._rows: list[Row] = []
        self._places: list[int] = []

    def learn(self, connection: sqlite3.Connection, plans: Sequence[BlobPlan]) -> None:
        """Read the rows of one blob of each size."""
        for plan in plans:
            columns = self._change(plan)
            query = f"SELECT {', '.join(self.names)} FROM {self.table.name} WHERE {self._key} = ?"
            (row,) = connection.execute(query, (columns[self._key],)).fetchall()
            self._rows.append(list(row))
            self._places = [self.names.index(name) for name in columns]

    def row(self, plan: BlobPlan) -> Row:
        row = self._rows[plan.size_class].copy()
        for place, value in zip(self._places, self._change(plan).values(), strict=True):
            row[place] = value
        return row

    @property
    def statement(self) -> str:
        return insert_into(self.table)


def insert_into(table: Table) -> str:
    """A statement that adds a row of all columns."""
    names = [column.name for column in table.columns]
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


class Splice:
    """Canonical bytes of an event with some values put in place of others of the same length."""

    def __init__(self, body: Any, *values: bytes) -> None:
        """`values` are in the bytes of `body`, each once or more, and none overlaps another."""
        raw = bcs.encode(body, e.EventBody)
        places = sorted((at, number) for number, value in enumerate(values) for at in _all_places(raw, value))
        self._parts: list[bytes] = []
        self._numbers = [number for _, number in places]
        end = 0
        for at, number in places:
            self._parts.append(raw[end:at])
            end = at + len(values[number])
        self._tail = raw[end:]

    def of(self, *values: bytes) -> bytes:
        pieces = [
            piece for part, number in zip(self._parts, self._numbers, strict=True) for piece in (part, values[number])
        ]
        return b"".join((*pieces, self._tail))


def _all_places(raw: bytes, value: bytes) -> Iterator[int]:
    at = raw.find(value)
    while at >= 0:
        yield at
        at = raw.find(value, at + 1)


class Loader:
    """Writes the rows of a story from some block on."""

    def __init__(self, story: Story) -> None:
        self.story = story
        plans = [story.plan(number) for number in range(N_SIZES)]
        ids = ("object_id", "owner", "blob_id", "root", "storage_id")
        self._registered = [Splice(story.registered(plan), *(getattr(plan, name) for name in ids)) for plan in plans]
        self._ids = ids
        self._certified = Splice(story.certified(plans[0]), plans[0].object_id, plans[0].blob_id)
        self._message = storage_confirmation(1, BlobId(plans[0].blob_id), None)
        self._message_parts = self._message.split(plans[0].blob_id)
        self.patterns = [
            Pattern(t.blob_objects, "object_id", self._of_object),
            Pattern(t.storage, "object_id", self._of_storage),
            Pattern(t.blobs, "blob_id", self._of_blob),
            Pattern(t.certificates, "sequence", self._of_certificate),
            Pattern(t.events, "sequence", self._of_registered),
            Pattern(t.events, "sequence", self._of_certified),
        ]
        self._plans = plans

    def load(self, path: Path, n_blobs: int) -> float:
        """Fill a new read model; seconds altogether."""
        if n_blobs % PER_BLOCK or n_blobs < PER_BLOCK * PATTERN_BLOCKS:
            raise SystemExit(f"{n_blobs} blobs are no whole number of blocks of {PER_BLOCK}")
        start = time.perf_counter()
        ingest(path, self.story, PATTERN_BLOCKS * PER_BLOCK)
        connection = sqlite3.connect(path, isolation_level=None)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        for pattern in self.patterns:
            pattern.learn(connection, self._plans)
        connection.execute("BEGIN")
        indexes = [index for pattern in self.patterns[:5] for index in pattern.table.indexes]
        for index in indexes:
            connection.execute(str(DropIndex(index)))
        for page in self._pages_of_rows(PATTERN_BLOCKS * PER_BLOCK, n_blobs):
            for pattern, rows in zip(self.patterns, page, strict=True):
                connection.executemany(pattern.statement, rows)
        self._close_blocks(connection, n_blobs // PER_BLOCK, n_blobs)
        for index in indexes:
            connection.execute(str(CreateIndex(index)))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        return time.perf_counter() - start

    def _pages_of_rows(self, first: int, end: int) -> Iterator[list[list[Row]]]:
        """Rows of each table, made by a second process while those before them are written."""
        starts = iter(range(first, end, INSERT_ROWS))
        # A forked process has this object as it is: nothing of it must be sent.
        with ProcessPoolExecutor(1, get_context("fork"), _remember, (self,)) as maker:
            made = [maker.submit(_rows_between, start, min(start + INSERT_ROWS, end)) for start in islice(starts, 2)]
            while made:
                page = made.pop(0).result()
                made += [
                    maker.submit(_rows_between, start, min(start + INSERT_ROWS, end)) for start in islice(starts, 1)
                ]
                yield page

    def rows_between(self, first: int, end: int) -> list[list[Row]]:
        """Rows of each table for some blobs."""
        plans = [self.story.plan(number) for number in range(first, end)]
        return [list(map(pattern.row, plans)) for pattern in self.patterns]

    def _close_blocks(self, connection: sqlite3.Connection, height: int, n_blobs: int) -> None:
        """What blocks and their sum leave: two events each, the two rows that these change, totals, progress."""
        rows = (row for h in range(PATTERN_BLOCKS + 1, height + 1) for row in self._closing_rows(h))
        for page in pages(rows, INSERT_ROWS):
            connection.executemany(insert_into(t.events), page)
        balance, ring = self.story.closing(height)
        connection.execute(
            "UPDATE accounts SET balance_frost = ? WHERE address = ?",
            (f"{balance.balance_frost:020d}", balance.address),
        )
        connection.execute(
            "UPDATE ring SET used_bytes = ?, rewards_frost = ? WHERE epoch = 1",
            (f"{ring.used_bytes:020d}", f"{ring.rewards_frost:020d}"),
        )
        sizes = [0, 0]
        for plan, per_class in zip(self._plans, _per_class(n_blobs), strict=True):
            row = dict(zip(self.patterns[2].names, self.patterns[2].row(plan), strict=True))
            sizes[0] += per_class * int(row["size_bytes"])
            sizes[1] += per_class * int(row["encoded_size_bytes"])
        connection.execute(
            "UPDATE blob_totals SET n_blobs = ?, size_bytes = ?, encoded_size_bytes = ? WHERE end_epoch = ?",
            (n_blobs, f"{sizes[0]:038d}", f"{sizes[1]:038d}", END_EPOCH),
        )
        connection.execute(
            "UPDATE progress SET height = ?, sequence = ?, time_ms = ?, block_digest = ?, n_blobs = ?",
            (
                height,
                self.story.first_sequence(height + 1) - 1,
                self.story.time_ms(height),
                self.story.digest(height),
                n_blobs,
            ),
        )

    def _closing_rows(self, height: int) -> Iterator[Row]:
        first = self.story.first_sequence(height) + 2 * PER_BLOCK
        for place, body in enumerate(self.story.closing(height)):
            account = body.address if isinstance(body, e.BalanceChanged) else None
            raw = bcs.encode(body, e.EventBody)
            kind, time_ms = type(body).__name__, self.story.time_ms(height)
            yield [first + place, height, 2 * PER_BLOCK, time_ms, 1, kind, raw, None, None, account, None]

    # --- columns in which blobs differ ----------------------------------------------------------------------

    @staticmethod
    def _of_object(plan: BlobPlan) -> dict[str, Any]:
        return {
            "object_id": plan.object_id,
            "blob_id": plan.blob_id,
            "owner": plan.owner,
            "root_hash": plan.root,
            "storage_id": plan.storage_id,
            "registered_height": plan.height,
            "registered_sequence": plan.registered_sequence,
            "registered_time_ms": plan.time_ms,
            "certified_height": plan.height,
            "certified_sequence": plan.certified_sequence,
        }

    @staticmethod
    def _of_storage(plan: BlobPlan) -> dict[str, Any]:
        return {
            "object_id": plan.storage_id,
            "owner": plan.owner,
            "blob_object_id": plan.object_id,
            "registered_height": plan.height,
            "registered_sequence": plan.registered_sequence,
        }

    @staticmethod
    def _of_blob(plan: BlobPlan) -> dict[str, Any]:
        return {
            "blob_id": plan.blob_id,
            "root_hash": plan.root,
            "registered_height": plan.height,
            "registered_sequence": plan.registered_sequence,
            "registered_time_ms": plan.time_ms,
            "certified_height": plan.height,
            "certified_sequence": plan.certified_sequence,
            "certificate_sequence": plan.certified_sequence,
        }

    def _of_certificate(self, plan: BlobPlan) -> dict[str, Any]:
        return {
            "sequence": plan.certified_sequence,
            "blob_id": plan.blob_id,
            "object_id": plan.object_id,
            "height": plan.height,
            "message": plan.blob_id.join(self._message_parts),
        }

    def _of_registered(self, plan: BlobPlan) -> dict[str, Any]:
        values = [getattr(plan, name) for name in self._ids]
        return {
            "sequence": plan.registered_sequence,
            "height": plan.height,
            "tx_index": plan.number % PER_BLOCK,
            "time_ms": plan.time_ms,
            "payload": self._registered[plan.size_class].of(*values),
            "blob_id": plan.blob_id,
            "object_id": plan.object_id,
            "account": plan.owner,
        }

    def _of_certified(self, plan: BlobPlan) -> dict[str, Any]:
        return {
            "sequence": plan.certified_sequence,
            "height": plan.height,
            "tx_index": PER_BLOCK + plan.number % PER_BLOCK,
            "time_ms": plan.time_ms,
            "payload": self._certified.of(plan.object_id, plan.blob_id),
            "blob_id": plan.blob_id,
            "object_id": plan.object_id,
            "account": plan.owner,
        }


_loaders: list[Loader] = []  # of the process that makes rows


def _remember(loader: Loader) -> None:
    _loaders[:] = [loader]


def _rows_between(first: int, end: int) -> list[list[Row]]:
    return _loaders[0].rows_between(first, end)


def _per_class(n_blobs: int) -> list[int]:
    """How many blobs of each size there are."""
    return [len(range(size_class, n_blobs, N_SIZES)) for size_class in range(N_SIZES)]


def differing_tables(one: Path, other: Path) -> list[str]:
    """Tables whose rows are not the same in both."""
    found = []
    with sqlite3.connect(one) as left, sqlite3.connect(other) as right:
        for table in t.metadata.sorted_tables:
            query = f"SELECT * FROM {table.name} ORDER BY {', '.join(c.name for c in table.primary_key)}"
            if left.execute(query).fetchall() != right.execute(query).fetchall():
                found.append(table.name)
    left.close()
    right.close()
    return found


def main() -> None:
    """Load one."""
    parser = argparse.ArgumentParser(description="Write the read model of very many blobs.")
    parser.add_argument("--genesis", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--blobs", type=int, default=1_000_000)
    arguments = parser.parse_args()
    story = Story(Genesis.from_json(arguments.genesis.read_text()))
    seconds = Loader(story).load(arguments.out, arguments.blobs)
    makers = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{seconds:.1f} {time.process_time() + makers.ru_utime + makers.ru_stime:.1f}")


if __name__ == "__main__":
    main()
