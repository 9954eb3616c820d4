"""Lists of very many rows are read in their order by an index: no page walks a table, or sorts more than it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from graphql_api.read_model import queries
from haulout.primitives import hex_id_text

LARGE = ("accounts", "blob_attributes", "blob_objects", "blobs", "certificates", "events", "stakes", "storage")

# Lists that grow with what is stored, in the orders and with the conditions that leave very many rows.
LISTS = (
    *(
        f"blobs(first: 5, orderBy: {{ field: {field}, direction: {direction} }}) {{ nodes {{ id }} }}"
        for field in ("CREATED_AT", "SIZE", "END_EPOCH")
        for direction in ("ASC", "DESC")
    ),
    "blobs(last: 5) { nodes { id } }",
    "blobs(filter: { state: [CERTIFIED] }) { nodes { id } }",
    "blobs(filter: { persistence: DELETABLE }) { nodes { id } }",
    "blobs(filter: { persistence: PERMANENT, state: [CERTIFIED] }) { nodes { id } }",
    "blobObjects(first: 5) { nodes { id } }",
    "blobObjects(filter: { certified: true }) { nodes { id } }",
    "blobObjects(filter: { persistence: DELETABLE }) { nodes { id } }",
    "blobObjects(filter: { shared: false }) { nodes { id } }",
    "events(first: 5) { nodes { id } }",
    "events(last: 5) { nodes { id } }",
    'events(filter: { types: ["BlobRegistered", "BlobCertified"] }) { nodes { id } }',
    'events(last: 5, filter: { types: ["BlobRegistered", "BlobCertified"] }) { nodes { id } }',
    "events(filter: { epoch: { at: 1 } }) { nodes { id } }",
    "stakes(first: 5) { nodes { id } }",
    "epoch(number: 1) { query { blobs { nodes { blobId } } events(last: 5) { nodes { id } } } }",
    "blobs(first: 5) { nodes { certificate { weight } events(last: 3) { nodes { id } } objects(first: 2) { nodes { "
    "attributes { key } storage { endEpoch } owner { walBalance usage { blobs costThisEpoch } "
    "blobObjects(first: 2) { nodes { id } } stakes(first: 2) { nodes { id } } } } } } }",
)


@pytest.fixture
def statements(net: Any) -> Iterator[list[tuple[str, Any]]]:
    """What was asked of the tables."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(net.database.readers, "before_cursor_execute", note)
    yield asked
    sa.event.remove(net.database.readers, "before_cursor_execute", note)


# What may leave few rows of very many, by itself or with others that leave nearly all.
RARE = (
    "state: [INCONSISTENT]",
    "state: [DELETED]",
    "state: [EXPIRED]",
    "state: [REGISTERED]",
    "state: [DELETED, INCONSISTENT, EXPIRED]",
    "state: [CERTIFIED], certified: {after: 40}",
    "certified: {at: 1}",
    "expires: {before: 3}",
    'size: {min: "999999999999"}',
    'size: {max: "100"}, persistence: DELETABLE',
)
STAKE_STATES = ("PENDING", "WITHDRAWING", "WITHDRAWABLE", "PENDING, WITHDRAWABLE", "ACTIVE")
RARE_LISTS = (
    *(f"blobs(first: 3, filter: {{{some}}}) {{ nodes {{ blobId state }} totalCount }}" for some in RARE),
    *(f"blobs(last: 2, orderBy: {{field: SIZE}}, filter: {{{some}}}) {{ nodes {{ blobId }} }}" for some in RARE[:4]),
    'blobs(filter: {idPrefix: "Ymx"}) { nodes { blobId } totalCount }',
    *(f"stakes(filter: {{state: [{state}]}}) {{ nodes {{ objectId state }} totalCount }}" for state in STAKE_STATES),
    "blobObjects(filter: {certified: false}) { nodes { objectId } totalCount }",
    "blobObjects(filter: {shared: true}) { nodes { objectId } totalCount }",
    "blobObjects(filter: {expires: {after: 1, before: 7}}) { nodes { objectId } totalCount }",
)


@pytest.mark.parametrize("field", RARE_LISTS)
async def test_few_of_very_many_are_found_by_an_index(
    net: Any, statements: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    few = await net.ask(f"{{ {field} }}")
    with net.database.readers.connect() as connection:
        for text, parameters in [entry for entry in statements if entry[0].startswith("SELECT")]:
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)]
            assert not [step for step in steps if re.match(rf"SCAN ({'|'.join(LARGE)})", step) and "INDEX" not in step]
            assert not any(step.startswith("SCAN blobs USING INDEX blobs_by_s") for step in steps), (text, steps)
    monkeypatch.setattr(queries, "RARE_MAX", -1)
    assert await net.ask(f"{{ {field} }}") == few


async def test_what_an_account_paid_is_read_by_the_account(
    net: Any, ids: Any, statements: list[tuple[str, Any]]
) -> None:
    """Not by the kinds of events, which are those of everybody."""
    await net.ask(
        "query ($a: Address!) { account(address: $a) { usage { costThisEpoch } } }", a=hex_id_text(ids("account", 1))
    )
    ((text, parameters),) = [entry for entry in statements if "FROM events" in entry[0]]
    with net.database.readers.connect() as connection:
        steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)]
    assert any("USING COVERING INDEX events_by_account" in s or "USING INDEX events_by_account" in s for s in steps), (
        steps
    )
    assert not any("events_by_kind" in step for step in steps), steps


@pytest.mark.parametrize("field", LISTS)
async def test_a_page_is_read_by_an_index(
    net: Any, statements: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.setattr(queries, "RARE_MAX", -1)  # as if every condition left very many
    await net.ask(f"{{ {field} }}")
    selects = [(text, parameters) for text, parameters in statements if text.startswith("SELECT")]
    assert any(re.search(rf"FROM ({'|'.join(LARGE)})\b", text) for text, _ in selects)
    with net.database.readers.connect() as connection:
        for text, parameters in selects:
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)]
            for step in steps:
                scanned = re.match(r"SCAN (\w+)(?! USING (COVERING )?INDEX)", step)
                assert scanned is None or scanned[1] not in LARGE, (text, steps)
                is_page = "LIMIT" in text  # what has no limit asks for rows that a page shows, by their keys
                assert not is_page or step != "USE TEMP B-TREE FOR ORDER BY", (text, steps)
