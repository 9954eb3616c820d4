"""The database of the read model: made, opened, refused, emptied; one writer, separate readers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, insert, select

from graphql_api.engine import build_engine, take_turn
from graphql_api.read_model import schema
from graphql_api.read_model.project import NOTHING, BlockEvents, Progress, Projector
from haulout.errors import Rejected, Unavailable

READERS_MAX = 8
CURSOR_KEY_BYTES = 32
WRITERS_LOCK = 0x4861756C6F7574  # "Haulout", as the number of an advisory lock


@dataclass(eq=False)
class ForeignReadModel(Rejected):
    """The database was written by another version of the schema, or it is none of ours."""

    code = "READ_MODEL_FOREIGN"
    template = "the read model at {url} has {found}, this program wants schema version {wanted}"
    hint = "start once with --rebuild: everything in it is made again from the ledger"
    url: str
    found: str
    wanted: int


@dataclass(eq=False)
class HistoryNotKept(Rejected):
    """Blocks between the read model and those that are kept are gone: its rows are made of events, of every one."""

    code = "READ_MODEL_HISTORY_NOT_KEPT"
    template = "the read model needs block {height} next, and the oldest that {keeper} keeps is {oldest}"
    hint = "bring back its database and --dir from a backup, or follow a ledger that keeps all blocks (--keep-epochs 0)"
    height: int
    oldest: int
    keeper: str


@dataclass(eq=False)
class ReadModelOfOtherChain(Rejected):
    """The database belongs to another network."""

    code = "READ_MODEL_OTHER_CHAIN"
    template = "the read model at {url} belongs to chain {found}, this network is {wanted}"
    hint = "use another --dir, or start once with --rebuild"
    url: str
    found: str
    wanted: str


@dataclass(eq=False)
class ReadModelUnavailable(Unavailable):
    """The database does not answer: no space, no connection, locked by someone else."""

    code = "READ_MODEL_UNAVAILABLE"
    template = "the read model's database does not answer: {problem}"
    hint = "free space or bring the database back; nothing is lost, and following goes on by itself"
    problem: str


class Database:
    """One read model. Blocking: call it on a worker thread."""

    def __init__(self, url: str) -> None:
        """`url` as SQLAlchemy reads it, such as `sqlite:////var/lib/haulout/read_model.sqlite`."""
        self.url = sa.make_url(url)
        self.writer = build_engine(self.url, pool_size=1)
        self.readers = build_engine(self.url, pool_size=READERS_MAX)
        self.cursor_key = b""

    def open(self, *, chain_id: bytes, fresh_key: bytes, rebuild: bool = False) -> Progress:
        """Make the tables or check that they are ours; returns how far they are.

        Args:
            chain_id: 32 bytes; the network that this database must belong to.
            fresh_key: 32 random bytes; becomes the key that signs page cursors when the database is made.
            rebuild: drop what is there and start from genesis.

        Raises:
            ForeignReadModel: tables of another version, or of another program.
            ReadModelOfOtherChain: made for another network.
            ReadModelUnavailable: it cannot be reached or written.
        """
        with answering(), self.writer.begin() as connection:
            take_turn(connection, WRITERS_LOCK)
            if rebuild:
                found = sa.MetaData()
                found.reflect(connection)
                found.drop_all(connection)
            names = set(sa.inspect(connection).get_table_names())
            if not names:
                self._create(connection, chain_id, fresh_key)
            elif schema.meta.name not in names:
                raise ForeignReadModel(
                    url=self._safe_url(), found="tables of something else", wanted=schema.SCHEMA_VERSION
                )
            facts = self._facts(connection)
            version = facts.get("schema_version", "none")
            if not self._add_new_columns(connection, version):
                raise ForeignReadModel(url=self._safe_url(), found=f"version {version}", wanted=schema.SCHEMA_VERSION)
            if facts["chain_id"] != chain_id.hex():
                raise ReadModelOfOtherChain(url=self._safe_url(), found=facts["chain_id"], wanted=chain_id.hex())
            self._add_new_indexes(connection)
            self.cursor_key = bytes.fromhex(facts["cursor_key"])
            return read_progress(connection)

    def apply(self, projector: Projector, progress: Progress, blocks: Sequence[BlockEvents]) -> Progress:
        """Apply a batch in one SQL transaction, cursor included.

        On PostgreSQL several processes may share a database: each follows the ledger for itself, one writes at a time,
        and what another has written meanwhile is not written again.

        Returns:
            How far the database is now, which may be beyond the batch.

        Raises:
            EventGap, OtherHistory, ReadModelUnavailable: nothing was applied.
        """
        with answering(), self.writer.begin() as connection:
            if take_turn(connection, WRITERS_LOCK):
                progress = read_progress(connection)
                blocks = [block for block in blocks if block.height > progress.height]
            return projector.apply_blocks(connection, progress, blocks) if blocks else progress

    def close(self) -> None:
        """Let go of all connections."""
        self.readers.dispose()
        self.writer.dispose()

    def _create(self, connection: Connection, chain_id: bytes, fresh_key: bytes) -> None:
        schema.metadata.create_all(connection)
        facts = {
            "schema_version": str(schema.SCHEMA_VERSION),
            "chain_id": chain_id.hex(),
            "cursor_key": fresh_key.hex(),
        }
        connection.execute(insert(schema.meta), [{"name": name, "value": value} for name, value in facts.items()])

    @staticmethod
    def _add_new_columns(connection: Connection, version: str) -> bool:
        """Bring a database of an earlier version to today's, and say whether it is there."""
        wanted = schema.SCHEMA_VERSION
        if version == str(wanted):
            return True
        lacking = range(int(version) + 1, wanted + 1) if version.isdigit() else ()
        if not lacking or not schema.ADDED_COLUMNS.keys() >= set(lacking):
            return False
        for column in (column for number in lacking for column in schema.ADDED_COLUMNS[number]):
            definition = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {definition}")
        fact = sa.update(schema.meta).where(schema.meta.c.name == "schema_version")
        connection.execute(fact.values(value=str(wanted)))
        return True

    @staticmethod
    def _add_new_indexes(connection: Connection) -> None:
        """What an earlier release did not make yet; of a million blobs this takes seconds, once."""
        there = {i["name"] for found in sa.inspect(connection).get_multi_indexes().values() for i in found}
        for table in schema.metadata.sorted_tables:
            for index in table.indexes:
                if index.name not in there:
                    index.create(connection)

    @staticmethod
    def _facts(connection: Connection) -> dict[str, str]:
        try:
            rows = connection.execute(select(schema.meta.c.name, schema.meta.c.value))
            return {str(name): str(value) for name, value in rows}
        except sa.exc.SQLAlchemyError:  # a table `meta` of someone else
            return {}

    def _safe_url(self) -> str:
        return self.url.render_as_string(hide_password=True)


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turn what a driver says about a database that does not answer into our error."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as e:
        raise ReadModelUnavailable(problem=str(getattr(e, "orig", None) or e)) from e


def read_progress(connection: Connection) -> Progress:
    """How far the database is, as of this connection's snapshot."""
    row = connection.execute(select(schema.progress)).mappings().first()
    if row is None:
        return NOTHING
    return Progress(**{name: row[name] for name in Progress.__slots__})
