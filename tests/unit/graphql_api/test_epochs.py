"""Epochs: what voting end has fixed, and when what moves will have arrived."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from sqlalchemy import event

from graphql_api.read_model.project import Projector
from graphql_api.transitions import compute_eta_ms
from haulout.ledger import events as e

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
