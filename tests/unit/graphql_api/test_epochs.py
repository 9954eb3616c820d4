"""Epochs: what voting end has fixed, and when what moves will have arrived."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from graphql_api.read_model.project import Projector
from graphql_api.transitions import compute_eta_ms
from haulout.ledger import events as e
from haulout.primitives import blob_id_text

NEXT = """{ epochs { nodes { number nextCommittee { epoch storageCapacity keptBecause movingShards
  members { position weight weightBefore shards node { name } } } } } }"""


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def apply(net: Any, *bodies: Any) -> None:
    """One block more, and its rows."""
    block = net.history.block(*bodies)
    projector = Projector(10, net.history.scheme)
    net.follower.progress = net.database.apply(projector, net.follower.progress, [block])


async def test_the_next_committee_is_told_once_voting_has_ended(net: Any, ids: Any) -> None:
    started = next(event.body for event in net.history.blocks[0].events if isinstance(event.body, e.EpochStarted))
    first, second, *others = started.members
    members = (dataclasses.replace(second, shards=(*second.shards, *first.shards)), *others)
    (epoch,) = (await net.ask(NEXT))["epochs"]["nodes"]
    assert epoch == {"number": 1, "nextCommittee": None}

    apply(net, e.VotingEnded(2, members, 1 << 42))
    (epoch,) = (await net.ask(NEXT))["epochs"]["nodes"]
    committee = epoch["nextCommittee"]
    assert (committee["epoch"], committee["storageCapacity"], committee["keptBecause"]) == (2, str(1 << 42), None)
    assert committee["movingShards"] == 3
    shown = [(m["position"], m["weightBefore"], m["weight"], m["node"]["name"]) for m in committee["members"]]
    assert shown == [(0, 3, 6, "node-1"), (1, 2, 2, "node-2"), (2, 2, 2, "node-3")]
    assert committee["members"][0]["shards"] == [3, 4, 5, 0, 1, 2]

    apply(net, e.EpochStarted(2, members, 1 << 42, 100, 200), e.EpochDone(2, False))
    apply(net, e.CommitteeKept(3, "COMMITTEE_TOO_SMALL", 3, 4), e.VotingEnded(3, members, 1 << 41))
    asked: list[tuple[str, Any]] = []
    event.listen(net.database.readers, "before_cursor_execute", lambda *said: asked.append((said[2], said[3])))
    later, earlier = (await net.ask(NEXT))["epochs"]["nodes"]
    ((text, parameters),) = [(text, parameters) for text, parameters in asked if "FROM events" in text]
    if net.database.readers.dialect.name == "sqlite":  # one query for all epochs, of rows that an index has in order
        with net.database.readers.connect() as connection:
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)]
        assert "SEARCH events USING INDEX events_by_kind (kind=? AND sequence>? AND sequence<?)" in steps
    assert earlier == epoch
    committee = later["nextCommittee"]
    assert (committee["epoch"], committee["keptBecause"], committee["movingShards"]) == (3, "COMMITTEE_TOO_SMALL", 0)


def test_what_moves_arrives_at_the_rate_so_far() -> None:
    assert compute_eta_ms(25, 100, begun_ms=1_000, now_ms=3_000) == 9_000
    assert compute_eta_ms(100, 100, begun_ms=1_000, now_ms=3_000) == 3_000
    assert compute_eta_ms(120, 100, begun_ms=1_000, now_ms=3_000) == 3_000
    assert compute_eta_ms(0, 100, begun_ms=1_000, now_ms=3_000) is None
    assert compute_eta_ms(5, 100, begun_ms=3_000, now_ms=3_000) is None  # clocks differ


async def test_a_blob_tells_where_it_was_found_to_be_wrongly_encoded(net: Any, ids: Any) -> None:
    apply(net, e.BlobInvalidated(ids("blob", 1), 1))
    query = "{ blobs { nodes { state inconsistency { height epoch blobId } } } }"
    shown = {blob["state"]: blob["inconsistency"] for blob in (await net.ask(query))["blobs"]["nodes"]}
    assert shown["REGISTERED"] is None
    found = shown["INCONSISTENT"]
    assert (int(found["height"]), found["epoch"]) == (len(net.history.blocks) - 1, 1)


async def test_a_shard_tells_its_owner_and_how_it_came_there(net: Any) -> None:
    query = """query ($i: Int!, $e: Int) { shard(index: $i, epoch: $e) {
      index epoch owner { name shards } move { shard state fromNode { name } } } }"""
    owner = {"name": "node-1", "shards": [3, 4, 5]}
    expected = {"index": 4, "epoch": 1, "owner": owner, "move": None}
    assert (await net.ask(query, i=4))["shard"] == expected
    started = next(event.body for event in net.history.blocks[0].events if isinstance(event.body, e.EpochStarted))
    first, second, *others = started.members
    members = (
        dataclasses.replace(first, shards=(*first.shards, 4)),
        dataclasses.replace(second, shards=(5, 3)),
        *others,
    )
    move = e.ShardMove(4, second.node_id, first.node_id)
    apply(net, e.EpochStarted(2, members, 1 << 42, 100, 200), e.HandOversOpened(2, (move,)))
    moved = (await net.ask(query, i=4))["shard"]
    assert moved["owner"] == {"name": "node-0", "shards": [0, 1, 2, 4]}
    assert moved["move"] == {"shard": 4, "state": "RUNNING", "fromNode": {"name": "node-1"}}
    assert (await net.ask(query, i=5))["shard"]["owner"] == {"name": "node-1", "shards": [3, 5]}
    before = (await net.ask(query, i=4, e=1))["shard"]
    assert (before["owner"]["name"], before["move"]) == ("node-1", None)
    for nothing in ({"i": 10}, {"i": -1}, {"i": 4, "e": 3}):
        assert (await net.ask(query, **nothing))["shard"] is None


async def test_a_blob_tells_when_its_end_is_expected_and_when_it_came(net: Any, ids: Any) -> None:
    query = "query ($b: BlobID!) { blob(blobId: $b) { endEpoch expiresAt } epoch { startedAt endsAt } }"

    async def ask(number: int) -> tuple[int, datetime, Any]:
        found = await net.ask(query, b=blob_id_text(ids("blob", number)))
        blob, epoch = found["blob"], found["epoch"]
        return blob["endEpoch"], datetime.fromisoformat(blob["expiresAt"]), datetime.fromisoformat(epoch["startedAt"])

    apply(net, net.history.registered(7, end_epoch=2))
    assert await ask(7) == (2, (now := await ask(1))[2] + timedelta(days=1), now[2])
    assert now[:2] == (6, now[2] + timedelta(days=5))
    started = next(event.body for event in net.history.blocks[0].events if isinstance(event.body, e.EpochStarted))
    apply(net, e.EpochStarted(2, started.members, 1 << 42, 100, 200))
    end, expired, begun = await ask(7)
    assert (end, expired) == (2, begun)
    assert (await ask(1))[:2] == (6, begun + timedelta(days=4))
