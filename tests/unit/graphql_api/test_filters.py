"""Filters by what begins an id, and by what follows from an epoch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.blob_filters import blob_ids_from
from graphql_api.read_model.project import Projector
from haulout.errors import InvalidField
from haulout.ledger import events as e
from haulout.ports import NodeHealth
from haulout.primitives import BlobId, blob_id_text, hex_id_text


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(1, 43))
def test_ids_between_two_are_those_with_the_prefix(one: bytes, other: bytes, length: int) -> None:
    prefix = blob_id_text(BlobId(one))[:length]
    first, last = blob_ids_from(prefix)
    assert first <= one <= last
    for some in (other, first, last):
        assert (first <= some <= last) == blob_id_text(BlobId(some)).startswith(prefix)


@pytest.mark.parametrize("wrong", ["", "a" * 44, "ab+", "é", "a b"])
def test_what_begins_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidField, match="idPrefix"):
        blob_ids_from(wrong)


async def test_blobs_are_found_by_the_beginning_of_their_ids(net: Any, ids: Any) -> None:
    query = "query ($p: String) { blobs(filter: {idPrefix: $p}) { nodes { blobId } totalCount } }"
    texts = sorted(blob_id_text(ids("blob", number)) for number in (1, 2, 3))
    found = (await net.ask(query, p=texts[0][:5]))["blobs"]
    assert sorted(node["blobId"] for node in found["nodes"]) == texts
    assert (await net.ask(query, p=texts[1]))["blobs"] == {"nodes": [{"blobId": texts[1]}], "totalCount": "1"}
    assert (await net.ask(query, p="zzz"))["blobs"]["nodes"] == []


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_stakes_are_found_by_their_state(net: Any, ids: Any) -> None:
    def stake(number: int, activation: int, withdrawal: int | None, amount: int = 100) -> e.StakeChanged:
        owner, node = ids("account", 1), ids("node", 0)
        return e.StakeChanged(ids("stake", number), owner, node, amount, activation, withdrawal, 0)

    block = net.history.block(
        stake(10, 2, None), stake(11, 1, 2), stake(12, 1, 1), stake(13, 1, 1), stake(13, 1, 1, amount=0)
    )
    net.database.apply(Projector(10, net.history.scheme), net.follower.progress, [block])
    query = "query ($s: [StakeState!]) { stakes(filter: {state: $s}) { nodes { objectId state } } }"

    async def found(*states: str) -> list[tuple[str, str]]:
        nodes = (await net.ask(query, s=list(states)))["stakes"]["nodes"]
        return [(node["objectId"], node["state"]) for node in nodes]

    def named(number: int, state: str) -> tuple[str, str]:
        return hex_id_text(ids("stake", number)), state

    assert await found("PENDING") == [named(10, "PENDING")]
    assert await found("WITHDRAWING") == [named(11, "WITHDRAWING")]
    assert await found("WITHDRAWABLE") == [named(12, "WITHDRAWABLE")]  # the last one was taken out
    assert await found("ACTIVE") == [named(number, "ACTIVE") for number in range(4)]
    assert await found("WITHDRAWABLE", "PENDING") == [named(10, "PENDING"), named(12, "WITHDRAWABLE")]
    assert len(await found()) == 7


NODES = """query ($f: NodeFilter, $n: Int, $a: String) {
  storageNodes(filter: $f, first: $n, after: $a, orderBy: {field: NAME, direction: ASC}) {
    nodes { name } totalCount pageInfo { endCursor hasNextPage } } }"""


def health(node_id: bytes, *, incomplete_blobs: int = 0) -> NodeHealth:
    return NodeHealth(node_id, "", 1, "Active", 1, 5, bytes(32), 5, (0, 1, 2), incomplete_blobs, 0, 1, 1)  # type: ignore[arg-type]


async def test_nodes_are_found_by_a_part_of_their_names(net: Any) -> None:
    async def found(part: str) -> list[str]:
        return [node["name"] for node in (await net.ask(NODES, f={"nameContains": part}))["storageNodes"]["nodes"]]

    assert await found("de-2") == ["node-2"]
    assert await found("node-") == ["node-0", "node-1", "node-2", "node-3"]
    for nothing in ("NODE", "node_", "%", "\x00"):
        assert await found(nothing) == []
    for wrong in ("", "x" * 129):
        assert (await net.refused(NODES, f={"nameContains": wrong}))[0] == "INVALID_ARGUMENT"


async def test_nodes_are_found_by_what_they_are_doing(net: Any, ids: Any) -> None:
    net.nodes.answers = {f"127.0.0.1:{31425 + i}": health(ids("node", i), incomplete_blobs=i == 2) for i in (0, 1, 2)}

    async def found(*phases: str, **more: Any) -> Any:
        return (await net.ask(NODES, f={"phase": list(phases)}, **more))["storageNodes"]

    async def names(*phases: str) -> list[str]:
        return [node["name"] for node in (await found(*phases))["nodes"]]

    assert await names("ACTIVE") == ["node-0", "node-1"]
    assert await names("RECOVERING", "UNREACHABLE") == ["node-2", "node-3"]
    assert await names("FAILED") == []
    assert len(await names()) == 4
    page = await found("ACTIVE", n=1)
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == ("2", True)
    after = page["pageInfo"]["endCursor"]
    assert (await found("ACTIVE", n=1, a=after))["nodes"] == [{"name": "node-1"}]
    assert (await net.refused(NODES, f={"phase": ["FAILED"]}, a=after))[0] == "INVALID_ARGUMENT"


async def test_a_search_finds_parts_of_names_when_nothing_has_the_name(net: Any, ids: Any) -> None:
    query = """query ($t: String!, $n: Int) { search(text: $t, first: $n) {
      ... on StorageNode { name } ... on Blob { blobId } } }"""
    assert (await net.ask(query, t="node-1"))["search"] == [{"name": "node-1"}]
    assert (await net.ask(query, t="node-", n=2))["search"] == [{"name": "node-0"}, {"name": "node-1"}]
    texts = [blob_id_text(ids("blob", number)) for number in (1, 2, 3)]
    found = (await net.ask(query, t=texts[0][:10]))["search"]
    assert found == [{"blobId": text} for text in texts]
    assert (await net.ask(query, t=texts[0][:10], n=1))["search"] == [{"blobId": texts[0]}]
    assert (await net.ask(query, t=texts[0][:3]))["search"] == []
    assert (await net.ask(query, t=texts[0], n=0))["search"] == []
    assert (await net.refused(query, t="node", n=-1))[0] == "INVALID_ARGUMENT"
    assert (await net.refused(query, t="node", n=101))[0] == "PAGE_TOO_LARGE"
