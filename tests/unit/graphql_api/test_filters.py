"""Filters by what begins an id, and by what follows from an epoch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.blobs import blob_ids_from
from graphql_api.read_model.project import Projector
from haulout.errors import InvalidField
from haulout.ledger import events as e
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
