"""Opening a database, projecting by hand, and refusing what does not fit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from graphql_api.read_model import schema as t
from graphql_api.read_model.blob_queries import BlobQuery, blobs_statement, state_of_blob
from graphql_api.read_model.database import READERS_MAX, Database, ForeignReadModel, ReadModelOfOtherChain
from graphql_api.read_model.project import NOTHING, BlockEvents, EventGap, OtherHistory, Projector
from graphql_api.read_model.reading import ReadModel
from haulout.ledger import events as e
from haulout.world.workers import ThreadWorkers

CHAIN_ID = bytes([7]) * 32


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    """All of this holds on both databases."""
    return str(request.param)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.open(chain_id=CHAIN_ID, fresh_key=b"k" * 32)
    yield database
    database.close()


@pytest.fixture
def projector(history: Any) -> Projector:
    return Projector(10, history.scheme)


def row_of(database: Database, table: Any, **key: Any) -> dict[str, Any]:
    where = [table.c[name] == value for name, value in key.items()]
    with database.readers.connect() as connection:
        return dict(connection.execute(sa.select(table).where(*where)).mappings().one())


def test_a_new_database_stands_before_genesis_and_keeps_its_key(database_url: str, database: Database) -> None:
    again = Database(database_url)
    assert again.open(chain_id=CHAIN_ID, fresh_key=b"q" * 32) == NOTHING
    assert again.cursor_key == b"k" * 32
    again.close()


def test_goes_on_where_it_stood(database_url: str, database: Database, history: Any, projector: Projector) -> None:
    history.block(history.registered(1))
    progress = database.apply(projector, NOTHING, history.blocks)
    again = Database(database_url)
    assert again.open(chain_id=CHAIN_ID, fresh_key=bytes(32)) == progress
    assert (progress.height, progress.sequence, progress.n_blobs) == (1, history.n_events - 1, 1)
    again.close()


def test_refuses_another_version_and_says_how_to_go_on(database_url: str, database: Database) -> None:
    with database.writer.begin() as connection:
        connection.execute(sa.update(t.meta).where(t.meta.c.name == "schema_version").values(value="99"))
    with pytest.raises(ForeignReadModel, match=r"has version 99.*--rebuild"):
        database.open(chain_id=CHAIN_ID, fresh_key=bytes(32))


@pytest.mark.parametrize("statement", ["CREATE TABLE photos (name TEXT)", "CREATE TABLE meta (colour TEXT)"])
def test_refuses_a_database_of_something_else(database_url: str, statement: str) -> None:
    other = sa.create_engine(database_url)
    with other.begin() as connection:
        connection.execute(sa.text(statement))
    other.dispose()
    database = Database(database_url)
    with pytest.raises(ForeignReadModel):
        database.open(chain_id=CHAIN_ID, fresh_key=bytes(32))
    database.close()


def test_a_database_of_an_earlier_release_gets_the_indexes_that_it_lacks(
    database_url: str, database: Database, history: Any, projector: Projector
) -> None:
    progress = database.apply(projector, NOTHING, history.blocks)
    with database.writer.begin() as connection:
        connection.exec_driver_sql("DROP INDEX blobs_deleted")
    again = Database(database_url)
    assert again.open(chain_id=CHAIN_ID, fresh_key=bytes(32)) == progress
    with again.writer.connect() as connection:
        assert "blobs_deleted" in {index["name"] for index in sa.inspect(connection).get_indexes("blobs")}
    again.close()


def test_a_database_of_an_earlier_version_gets_the_columns_that_it_lacks(
    database_url: str, database: Database, history: Any, projector: Projector
) -> None:
    history.block(history.registered(1))
    progress = database.apply(projector, NOTHING, history.blocks)
    with database.writer.begin() as connection:
        connection.exec_driver_sql("DROP INDEX blob_objects_shared")
        connection.exec_driver_sql("ALTER TABLE blob_objects DROP COLUMN shared_funds_frost")
        connection.execute(sa.update(t.meta).where(t.meta.c.name == "schema_version").values(value="2"))
    again = Database(database_url)
    assert again.open(chain_id=CHAIN_ID, fresh_key=bytes(32)) == progress
    with again.readers.connect() as connection:
        assert [row["shared_funds_frost"] for row in connection.execute(sa.select(t.blob_objects)).mappings()] == [None]
        facts = connection.execute(sa.select(t.meta.c.value).where(t.meta.c.name == "schema_version"))
        assert facts.scalar_one() == str(t.SCHEMA_VERSION)
    again.close()


def test_a_database_of_a_version_with_other_tables_is_refused(database_url: str, database: Database) -> None:
    with database.writer.begin() as connection:
        connection.execute(sa.update(t.meta).where(t.meta.c.name == "schema_version").values(value="1"))
    with pytest.raises(ForeignReadModel, match="has version 1"):
        database.open(chain_id=CHAIN_ID, fresh_key=bytes(32))


def test_refuses_the_database_of_another_network(database: Database) -> None:
    with pytest.raises(ReadModelOfOtherChain):
        database.open(chain_id=bytes(32), fresh_key=bytes(32))


def test_a_rebuild_starts_from_genesis_with_a_new_key(database: Database, history: Any, projector: Projector) -> None:
    database.apply(projector, NOTHING, history.blocks)
    assert database.open(chain_id=CHAIN_ID, fresh_key=b"q" * 32, rebuild=True) == NOTHING
    assert database.cursor_key == b"q" * 32
    assert database.apply(projector, NOTHING, history.blocks).n_nodes == 4


def test_a_gap_applies_nothing(database: Database, history: Any, projector: Projector) -> None:
    progress = database.apply(projector, NOTHING, history.blocks)
    history.block(history.registered(1))
    history.block(history.registered(2))
    with pytest.raises(EventGap):
        database.apply(projector, progress, history.blocks[2:])
    good = history.blocks[1]
    late = e.Event(99, 1, 0, 0, 1, good.events[0].body)
    with pytest.raises(EventGap):
        database.apply(projector, progress, [BlockEvents(1, good.time_ms, good.digest, good.previous_digest, (late,))])
    assert database.open(chain_id=CHAIN_ID, fresh_key=bytes(32)) == progress


def test_a_ledger_that_lost_blocks_is_noticed(database: Database, history: Any, projector: Projector) -> None:
    progress = database.apply(projector, NOTHING, history.blocks)
    forked = BlockEvents(1, 0, b"d" * 32, b"another block 0".ljust(32), ())
    with pytest.raises(OtherHistory, match="--rebuild"):
        database.apply(projector, progress, [forked])


@pytest.mark.parametrize(
    ("signers", "forge", "changes", "expected"),
    [
        ((0, 1, 2), False, {}, True),
        ((0, 1), False, {}, False),  # 6 of 10 shards
        ((0, 1, 2), True, {}, False),  # signed something else
        ((0, 1, 2), False, {"weight": 10}, False),  # claims more than its signers own
        ((0, 1, 2), False, {"signers": b"\xff"}, False),  # members that do not exist
        ((0, 1, 2), False, {"message": b""}, False),
    ],
)
def test_certificates_are_checked_again(
    database: Database,
    history: Any,
    projector: Projector,
    signers: tuple[int, ...],
    forge: bool,
    changes: dict[str, Any],
    expected: bool,
) -> None:
    import dataclasses

    blob = history.registered(1)
    history.block(blob, dataclasses.replace(history.certified(blob, signers=signers, forge=forge), **changes))
    database.apply(projector, NOTHING, history.blocks)
    assert row_of(database, t.certificates, object_id=blob.object_id)["verified"] is expected


def test_a_blob_lives_as_long_as_its_longest_certified_object(
    database: Database, history: Any, projector: Projector, ids: Any
) -> None:
    short = history.registered(1, end_epoch=3)
    long = history.registered(2, blob=1, end_epoch=9)
    history.block(short, long, history.certified(short))
    progress = database.apply(projector, NOTHING, history.blocks)
    row = row_of(database, t.blobs, blob_id=ids("blob", 1))
    assert (row["certified_end_epoch"], row["registered_end_epoch"], row["end_epoch"]) == (3, 9, 3)
    block = history.block(
        history.certified(long), e.BlobDeleted(short.object_id, short.blob_id, 3, True, short.storage_id)
    )
    progress = database.apply(projector, progress, [block])
    row = row_of(database, t.blobs, blob_id=ids("blob", 1))
    assert (row["certified_end_epoch"], row["deletable_count"], row["certified_height"]) == (9, 1, 1)
    block = history.block(e.BlobBurned(long.object_id, long.blob_id, 9))
    database.apply(projector, progress, [block])
    row = row_of(database, t.blobs, blob_id=ids("blob", 1))
    assert (row["certified_end_epoch"], row["deletable_count"], row["deleted_height"]) == (9, 1, None)


def test_each_epoch_keeps_the_committee_stake_and_prices_it_started_with(
    database: Database, history: Any, projector: Projector, ids: Any
) -> None:
    later = e.StakeChanged(ids("stake", 9), ids("account", 1), ids("node", 3), 5_000, 2, None, 5_000)
    history.block(later)
    progress = database.apply(projector, NOTHING, history.blocks)
    node = row_of(database, t.nodes, node_id=ids("node", 3))
    assert (node["stake_frost"], node["next_stake_frost"], node["weight"]) == (200, 5_200, 2)
    members = tuple(
        e.CommitteeMemberRecord(ids("node", i), history.scheme.public_key(history.secrets[i]), shards)
        for i, shards in ((2, (0, 1, 2, 3)), (3, tuple(range(4, 10))))
    )
    block = history.block(e.EpochStarted(2, members, 1 << 43, 101, 202))
    database.apply(projector, progress, [block])
    node = row_of(database, t.nodes, node_id=ids("node", 3))
    assert (node["stake_frost"], node["weight"]) == (5_200, 6)
    assert row_of(database, t.nodes, node_id=ids("node", 0))["weight"] == 0
    first, second = (row_of(database, t.epochs, epoch=epoch) for epoch in (1, 2))
    assert (first["total_stake_frost"], first["storage_price_frost"], first["phase"]) == (1_000, 100, "DONE")
    assert (second["total_stake_frost"], second["storage_price_frost"], second["phase"]) == (5_400, 101, "SYNC")
    old = row_of(database, t.committee_members, epoch=1, node_id=ids("node", 3))
    new = row_of(database, t.committee_members, epoch=2, node_id=ids("node", 3))
    assert (old["stake_frost"], new["stake_frost"], new["shards"]) == (200, 5_200, "[4, 5, 6, 7, 8, 9]")
    assert row_of(database, t.epoch_stakes, epoch=2, node_id=ids("node", 0))["stake_frost"] == 300


def test_numbers_beyond_63_bits_sort_as_numbers(
    database: Database, history: Any, projector: Projector, ids: Any
) -> None:
    sizes = [(1 << 64) - 1, 9, 10, 1 << 63]
    history.block(*(e.BalanceChanged(ids("rich", i), size) for i, size in enumerate(sizes)))
    database.apply(projector, NOTHING, history.blocks)
    column = t.accounts.c.balance_frost
    with database.readers.connect() as connection:
        rich = t.accounts.c.address.in_([ids("rich", i) for i in range(4)])
        assert list(connection.execute(sa.select(column).where(rich).order_by(column)).scalars()) == sorted(sizes)
        assert connection.execute(sa.select(sa.func.count()).where(rich, column >= 1 << 63)).scalar_one() == 2


def test_a_state_in_sql_is_the_state_in_python(
    database: Database, history: Any, projector: Projector, ids: Any
) -> None:
    certified = history.registered(1, end_epoch=4)
    deleted = history.registered(2, end_epoch=4)
    burned = history.registered(3, end_epoch=4)
    wrong = history.registered(4, end_epoch=9)
    history.block(certified, deleted, burned, wrong, history.registered(5, end_epoch=7))
    history.block(history.certified(certified), history.certified(burned), history.certified(wrong))
    history.block(
        e.BlobDeleted(deleted.object_id, deleted.blob_id, 4, False, deleted.storage_id),
        e.BlobBurned(burned.object_id, burned.blob_id, 4),
        e.BlobInvalidated(wrong.blob_id, 1),
        history.registered(6, blob=1, end_epoch=8),
    )
    database.apply(projector, NOTHING, history.blocks)
    numbers = {ids("blob", i): i for i in range(1, 6)}
    with database.readers.connect() as connection:
        for epoch in (1, 4, 7, 8, 9):
            rows = connection.execute(sa.select(t.blobs)).mappings().all()
            expected = {numbers[row["blob_id"]]: state_of_blob(row, epoch) for row in rows}
            found = {}
            for state in ("REGISTERED", "CERTIFIED", "EXPIRED", "DELETED", "INCONSISTENT"):
                statement = blobs_statement(BlobQuery(states=(state,)), epoch)
                for row in connection.execute(statement).mappings():
                    assert numbers[row["blob_id"]] not in found
                    found[numbers[row["blob_id"]]] = state
            assert found == expected
            if epoch == 1:
                assert expected == {1: "CERTIFIED", 2: "DELETED", 3: "CERTIFIED", 4: "INCONSISTENT", 5: "REGISTERED"}
            if epoch == 4:
                assert (expected[1], expected[3]) == ("REGISTERED", "EXPIRED")


async def test_a_statement_that_takes_too_long_is_interrupted_and_its_place_is_free_again(
    database: Database, history: Any, projector: Projector
) -> None:
    database.apply(projector, NOTHING, history.blocks)
    workers = ThreadWorkers(2)
    read_model = ReadModel(database, workers)
    endless = sa.text("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c")

    def spin(connection: Any) -> Any:
        return connection.execute(endless).scalar()

    for _ in range(2 * READERS_MAX):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), read_model.reading() as reading:
                await reading.run(spin)
    async with read_model.reading() as reading:
        assert (await reading.snapshot()).n_nodes == 4
    workers.close()


async def test_who_is_cancelled_while_a_connection_opens_gives_it_back(
    database: Database, history: Any, projector: Projector
) -> None:
    database.apply(projector, NOTHING, history.blocks)
    opening, go_on = threading.Event(), threading.Event()
    given: list[Any] = []  # as long as it is here, nothing but `close` brings a connection back

    def wait(connection: Any) -> None:
        given.append(connection)
        opening.set()
        go_on.wait()

    sa.event.listen(database.readers, "engine_connect", wait)
    workers = ThreadWorkers(1)

    async def read() -> None:
        async with ReadModel(database, workers).reading() as reading:
            await reading.snapshot()

    reader = asyncio.create_task(read())
    try:
        await asyncio.to_thread(opening.wait)
        reader.cancel()
        await asyncio.sleep(0)
    finally:
        go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert [connection.closed for connection in given] == [True]
    workers.close()


async def test_a_reading_sees_one_moment(database: Database, history: Any, projector: Projector) -> None:
    progress = database.apply(projector, NOTHING, history.blocks)
    workers = ThreadWorkers(2)
    count = sa.select(sa.func.count()).select_from(t.blobs)
    async with ReadModel(database, workers).reading() as reading:
        assert await reading.run(lambda connection: connection.execute(count).scalar()) == 0
        block = history.block(history.registered(1))
        await workers.run(database.apply, projector, progress, [block])
        assert await reading.run(lambda connection: connection.execute(count).scalar()) == 0
        assert (await reading.snapshot()).n_blobs == 0
    workers.close()


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables but the facts about the database itself."""
    with database.readers.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
            for table in t.metadata.sorted_tables
            if table is not t.meta
        }


class TestSharedPostgres:
    """Several processes on one database, and one history on two kinds of it."""

    @pytest.fixture
    def backend(self) -> str:
        return "postgres"

    def test_the_rows_are_those_of_sqlite(
        self, tmp_path: Path, database: Database, history: Any, projector: Projector
    ) -> None:
        one, two = history.registered(1), history.registered(2, end_epoch=9)
        history.block(one, two, e.BlobAttributesChanged(two.object_id, {"a\x00b": "ü", "": "x" * 5_000}))
        history.block(history.certified(one), e.BalanceChanged(b"r" * 32, (1 << 64) - 1))
        history.block(e.BlobDeleted(one.object_id, one.blob_id, 6, True, one.storage_id))
        local = Database(f"sqlite:///{tmp_path / 'local.sqlite'}")
        local.open(chain_id=CHAIN_ID, fresh_key=b"k" * 32)
        assert local.apply(projector, NOTHING, history.blocks) == database.apply(projector, NOTHING, history.blocks)
        assert contents(local) == contents(database)
        local.close()

    def test_what_another_process_has_written_is_not_written_again(
        self, database_url: str, database: Database, history: Any, projector: Projector
    ) -> None:
        for i in range(6):
            history.block(history.registered(i))
        other = Database(database_url)
        theirs = other.open(chain_id=CHAIN_ID, fresh_key=bytes(32))
        assert other.cursor_key == database.cursor_key  # so that a cursor of one process is good at the other
        mine = database.apply(projector, NOTHING, history.blocks[:5])
        theirs = other.apply(projector, theirs, history.blocks[:3])
        assert theirs == mine
        theirs = other.apply(projector, theirs, history.blocks[3:6])
        assert theirs.height == 5
        assert database.apply(projector, mine, history.blocks[5:]).height == 6
        assert len(contents(database)["events"]) == history.n_events
        other.close()
