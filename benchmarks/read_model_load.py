"""A read model of very many certified blobs, written in one pass instead of event by event.

    python benchmarks/read_model_load.py --genesis FILE --out FILE [--blobs 1000000]

The first block of the story (`read_model_story`) goes through the projection; the rows it leaves are the patterns from
which all others are made, and indexes are built at the end. `ingest` applies the same blocks one by one, and what both
leave is compared table by table.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, DropIndex

from benchmarks.read_model_story import END_EPOCH, N_SIZES, PER_BLOCK, BlobPlan, Story, ingest, pages
from graphql_api.read_model import schema as t
from haulout import bcs
from haulout.crypto.messages import storage_confirmation
from haulout.ledger import events as e
from haulout.ledger.genesis import Genesis
from haulout.primitives import BlobId

INSERT_ROWS = 10_000
# Who is cut off begins again. Indexes are sorted by several threads.
PRAGMAS = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY", "threads = 4")
PATTERN_BLOCKS = 1

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
            connection.execute(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        return time.perf_counter() - start

    def _pages_of_rows(self, first: int, end: int) -> Iterator[list[list[Row]]]:
        """Rows of each table, made by a second process while those before them are written."""
        starts = iter(range(first, end, INSERT_ROWS))
        # A forked process has this object as it is: nothing of it must be sent.
        with ProcessPoolExecutor(1, get_context("fork"), _remember, (self,)) as maker:
            submissions = (maker.submit(_rows_between, start, min(start + INSERT_ROWS, end)) for start in starts)
            coming = deque(islice(submissions, 2))  # the generator submits: one is made while another waits
            while coming:
                page = coming.popleft().result()
                coming.extend(islice(submissions, 1))
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
