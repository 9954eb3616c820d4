"""Keyset pages: complete, without repeats, in both directions, while rows arrive; cursors that cannot be misused."""

from __future__ import annotations

from typing import Any

import pytest

from graphql_api.read_model.paging import BadCursor, CursorCodec
from graphql_api.read_model.project import Projector

BLOBS = """query ($first: Int, $after: String, $last: Int, $before: String, $orderBy: BlobOrder) {
  blobs(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
    edges { cursor node { blobId } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    """All of this holds on both databases."""
    return str(request.param)


@pytest.fixture
def history(history: Any) -> Any:
    """A hundred blobs, of which many have equal sizes."""
    history.block(*(history.registered(100 + i, size_bytes=1_000 + i % 3, end_epoch=3 + i % 4) for i in range(100)))
    return history


@pytest.mark.parametrize("field", ["CREATED_AT", "SIZE", "END_EPOCH"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_in_both_directions_give_each_row_once(net: Any, field: str, direction: str) -> None:
    order = {"field": field, "direction": direction}
    whole = (await net.ask(BLOBS, first=100, orderBy=order))["blobs"]
    rest = (await net.ask(BLOBS, first=100, after=whole["pageInfo"]["endCursor"], orderBy=order))["blobs"]
    expected = [edge["node"]["blobId"] for edge in whole["edges"] + rest["edges"]]
    assert len(set(expected)) == 103
    assert (rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"]) == (False, True)

    forward: list[str] = []
    cursor = None
    while True:
        page = (await net.ask(BLOBS, first=30, after=cursor, orderBy=order))["blobs"]
        forward += [edge["node"]["blobId"] for edge in page["edges"]]
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert forward == expected

    backward: list[str] = []
    cursor = None
    while True:
        page = (await net.ask(BLOBS, last=30, before=cursor, orderBy=order))["blobs"]
        backward = [edge["node"]["blobId"] for edge in page["edges"]] + backward
        cursor = page["pageInfo"]["startCursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert backward == expected


async def test_a_page_stays_right_while_blobs_arrive(net: Any) -> None:
    newest = (await net.ask(BLOBS, first=5))["blobs"]
    history = net.history
    block = history.block(*(history.registered(500 + i) for i in range(3)))
    database = net.database
    net.follower.progress = database.apply(Projector(10, history.scheme), net.follower.progress, [block])
    following = (await net.ask(BLOBS, first=5, after=newest["pageInfo"]["endCursor"]))["blobs"]
    again = (await net.ask(BLOBS, first=8))["blobs"]
    shown = [edge["node"]["blobId"] for edge in newest["edges"]]
    assert not set(shown) & {edge["node"]["blobId"] for edge in following["edges"]}
    assert [edge["node"]["blobId"] for edge in again["edges"]][3:] == shown


async def test_a_cursor_belongs_to_its_list_filter_and_order(net: Any) -> None:
    cursor = (await net.ask(BLOBS, first=1))["blobs"]["pageInfo"]["endCursor"]
    for query, variables in (
        (BLOBS, {"orderBy": {"field": "SIZE", "direction": "DESC"}}),
        (BLOBS, {"orderBy": {"field": "CREATED_AT", "direction": "ASC"}}),
        ("query ($after: String) { blobs(after: $after, filter: {state: [CERTIFIED]}) { totalCount } }", {}),
        ("query ($after: String) { events(after: $after) { totalCount } }", {}),
    ):
        code, message = await net.refused(query, after=cursor, **variables)
        assert code == "INVALID_ARGUMENT"
        assert "another list, filter or order" in message


def test_a_changed_cursor_is_refused() -> None:
    codec = CursorCodec(b"k" * 32, "blobs", "SIZE DESC", query="all")
    cursor = codec.encode((7, b"\x00\xff", "text", None))
    assert codec.decode(cursor, argument="after") == (7, b"\x00\xff", "text", None)
    other_key = CursorCodec(b"q" * 32, "blobs", "SIZE DESC", query="all")
    for changed in (cursor[:-1], cursor[:30] + ("A" if cursor[30] != "A" else "B") + cursor[31:], "", "%%%", "AAAA"):
        with pytest.raises(BadCursor):
            codec.decode(changed, argument="after")
    with pytest.raises(BadCursor):
        other_key.decode(cursor, argument="after")


async def test_long_lists_are_not_counted_to_their_end(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphql_api.read_model.paging.COUNT_MAX", 50)
    data = await net.ask("{ all: blobs { totalCount } some: blobs(filter: {state: [CERTIFIED]}) { totalCount } }")
    assert data == {"all": {"totalCount": None}, "some": {"totalCount": "1"}}


async def test_rows_of_an_answer_share_their_queries(net: Any) -> None:
    """No N+1: a page of a hundred costs as many queries as a page of two."""
    query = """query ($n: Int!) { blobs(first: $n) { nodes {
        certificate { weight event { sequence } }
        objects(first: 2) { nodes { owner { address } storage { id } attributes { key } } }
        events(first: 2) { nodes { ... on BlobRegistered { object { id } } } } } } }"""
    counts = []
    from sqlalchemy import event

    statements: list[str] = []

    def count(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(net.database.readers, "before_cursor_execute", count)
    for n in (2, 20):
        statements.clear()
        data = await net.ask(query, n=n)
        assert len(data["blobs"]["nodes"]) == n
        counts.append(len([s for s in statements if s.startswith("SELECT")]))
    event.remove(net.database.readers, "before_cursor_execute", count)
    assert counts[1] <= counts[0] + 1  # a certificate among twenty may add its own loader
    assert counts[1] <= 11


@pytest.mark.parametrize("field", ["NAME", "STAKE", "WEIGHT"])
async def test_nodes_are_paged_in_every_order(net: Any, field: str) -> None:
    query = """query ($after: String, $order: NodeOrder) { storageNodes(first: 1, after: $after, orderBy: $order) {
        nodes { name } pageInfo { hasNextPage endCursor } } }"""
    names: list[str] = []
    cursor = None
    for _ in range(4):
        page = (await net.ask(query, after=cursor, order={"field": field, "direction": "ASC"}))["storageNodes"]
        names += [node["name"] for node in page["nodes"]]
        cursor = page["pageInfo"]["endCursor"]
    assert not page["pageInfo"]["hasNextPage"]
    expected = ["node-0", "node-1", "node-2", "node-3"]
    assert names == (expected if field == "NAME" else ["node-2", "node-3", "node-0", "node-1"])
