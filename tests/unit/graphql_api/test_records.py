"""The records' database: made once, kept over a rebuild of the read model, migrated, refused."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from graphql_api.__main__ import parse_arguments, records_url
from graphql_api.records import operations as kept
from graphql_api.records import schema
from graphql_api.records.database import ForeignRecords, Records, RecordsOfOtherChain, RecordsUnavailable
from graphql_api.records.operations import Operation, Standing, unfinished
from graphql_api.records.tokens import digest_of, find_token, list_tokens, make_token, revoke_token
from haulout.errors import InvalidField
from haulout.world.workers import ThreadWorkers

CHAIN = bytes([7]) * 32


@pytest.fixture
def workers() -> Iterator[ThreadWorkers]:
    workers = ThreadWorkers(2)
    yield workers
    workers.close()


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_token_outlives_the_process(database_url: str, workers: ThreadWorkers) -> None:
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    made = await records.write(make_token, digest_of("s"), "ci", ["STAKE", "READ"], 5, None)
    assert made.scopes == ("READ", "STAKE")
    records.close()
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    assert await records.read(find_token, digest_of("s")) == made
    assert await records.read(find_token, digest_of("t")) is None
    revoked = await records.write(revoke_token, made.number, 9)
    assert revoked is not None
    assert (revoked.revoked_ms, revoked.is_valid(9)) == (9, False)
    assert await records.write(revoke_token, made.number, 11) == revoked
    assert await records.write(revoke_token, 99, 9) is None
    assert await records.read(list_tokens) == [revoked]
    records.close()


async def test_a_failed_write_leaves_nothing(database_url: str, workers: ThreadWorkers) -> None:
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)

    def fail(connection: Any) -> None:
        make_token(connection, digest_of("s"), "ci", [], 5, None)
        raise KeyError("half-way")

    with pytest.raises(KeyError):
        await records.write(fail)
    assert await records.read(list_tokens) == []
    records.close()


async def test_an_earlier_version_becomes_this_one(
    database_url: str, workers: ThreadWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    await records.write(make_token, digest_of("s"), "ci", [], 5, None)
    records.close()
    steps = (*schema.MIGRATIONS, ("ALTER TABLE tokens ADD COLUMN note TEXT", "UPDATE tokens SET note = 'old'"))
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    monkeypatch.setattr(schema, "VERSION", 1 + len(steps))
    for _ in range(2):  # the second start has nothing to do
        records = Records(database_url, workers)
        await records.open(chain_id=CHAIN)
        notes = await records.read(lambda c: list(c.execute(sa.text("SELECT name, note FROM tokens"))))
        assert [tuple(row) for row in notes] == [("ci", "old")]
        records.close()
    monkeypatch.undo()
    records = Records(database_url, workers)
    with pytest.raises(ForeignRecords, match="version"):
        await records.open(chain_id=CHAIN)
    records.close()


async def test_operations_that_ended_before_states_were_kept_have_theirs(
    database_url: str, workers: ThreadWorkers
) -> None:
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    for phase in ("DONE", "FAILED", "MOVING"):
        standing = Standing(phase, error=("CODE", "FAILED") if phase == "DONE" else None)
        await records.write(kept.begin, Operation(phase, "UPLOAD", {}, 1, standing))
        await records.write(partial(kept.advance, ended=phase != "MOVING"), phase, standing, 2)
    expected = await records.read(outcomes)
    assert expected == {"DONE": "DONE", "FAILED": "FAILED", "MOVING": None}
    await records.write(lambda c: c.execute(sa.text("ALTER TABLE operations DROP COLUMN outcome")))
    await records.write(lambda c: c.execute(sa.text("UPDATE records_meta SET value = '4' WHERE name = 'version'")))
    records.close()
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    assert await records.read(outcomes) == expected
    records.close()


def outcomes(connection: Any) -> dict[str, str | None]:
    rows = connection.execute(sa.text("SELECT operation_id, outcome FROM operations"))
    return dict(tuple(row) for row in rows)


async def test_the_first_version_gets_what_came_later(database_url: str, workers: ThreadWorkers) -> None:
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    fresh = await records.read(columns)
    await records.write(make_token, digest_of("s"), "ci", [], 5, None)
    for later in ("operations", "retentions"):
        await records.write(lambda c, table=later: c.execute(sa.text(f"DROP TABLE {table}")))
    await records.write(lambda c: c.execute(sa.text("UPDATE records_meta SET value = '1' WHERE name = 'version'")))
    records.close()
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    assert await records.read(columns) == fresh
    assert [token.name for token in await records.read(list_tokens)] == ["ci"]
    assert await records.read(unfinished) == []
    records.close()


def columns(connection: sa.Connection) -> dict[str, Any]:
    """Names, nullability and indexes of all tables."""
    inspector = sa.inspect(connection)
    return {
        table: (
            [(column["name"], column["nullable"]) for column in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted((index["name"], index["column_names"]) for index in inspector.get_indexes(table)),
        )
        for table in inspector.get_table_names()
    }


async def test_the_database_of_another_network_or_program_is_refused(database_url: str, workers: ThreadWorkers) -> None:
    records = Records(database_url, workers)
    await records.open(chain_id=CHAIN)
    with pytest.raises(RecordsOfOtherChain):
        await records.open(chain_id=bytes(32))
    await records.write(lambda c: c.execute(sa.text("DROP TABLE records_meta")))
    with pytest.raises(ForeignRecords, match="something else"):
        await records.open(chain_id=CHAIN)
    records.close()


async def test_a_database_that_does_not_answer_is_told(workers: ThreadWorkers) -> None:
    records = Records("postgresql+psycopg://nobody@127.0.0.1:1/none", workers)
    with pytest.raises(RecordsUnavailable):
        await records.open(chain_id=CHAIN)
    records.close()


def test_records_are_never_kept_in_the_read_model(tmp_path: Any) -> None:
    common = ["--dir", str(tmp_path), "--genesis", "g", "--ledger", "l", "--database", "postgresql://db/one"]
    assert records_url(parse_arguments(common)) == f"sqlite:///{tmp_path / 'records.sqlite'}"
    with pytest.raises(InvalidField, match="read model"):
        records_url(parse_arguments([*common, "--records", "postgresql://db/one"]))
