"""The network at the end of an epoch: what a read model that stopped there would say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from graphql_api.read_model import history
from graphql_api.read_model import schema as t
from graphql_api.read_model.database import Database
from graphql_api.read_model.paging import Window
from graphql_api.read_model.project import Projector
from haulout.ledger import events as e
from haulout.primitives import blob_id_text

N_SHARDS = 10
PAST = """query ($n: Int, $b: BlobID!) { epoch(number: $n) { query { epoch height
  blob(blobId: $b) { state endEpoch firstCertifiedEpoch permanentCount deletableCount now { state } }
  blobs(first: 2) { totalCount nodes { blobId state } pageInfo { hasNextPage endCursor } }
  shardMap { weight node { name } } poolStakes { stake node { name } }
  events(last: 1) { totalCount nodes { __typename } } } } }"""


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def a_life_of_blobs(past: Any, ids: Any) -> None:
    """Registered, certified, extended, deleted, burned, proven wrong and registered anew, over three epochs."""
    one, two, three, four = (past.registered(i, deletable=i != 2) for i in (1, 2, 3, 4))
    past.block(one, two)
    past.block(past.certified(one), three)
    extended = dataclasses.replace(past.certified(one), is_extension=True, end_epoch=9, message=b"", signature=b"")
    past.block(dataclasses.replace(extended, signers=b"", cost_frost=5))
    past.block(past.certified(three), four)
    past.block(e.BlobDeleted(three.object_id, three.blob_id, 6, True, three.storage_id))
    past.block(e.BlobBurned(two.object_id, two.blob_id, 6), e.BlobInvalidated(four.blob_id, 1))
    past.block(past.registered(5, blob=3, registered_epoch=1))
    past.block(dataclasses.replace(extended, end_epoch=12, signers=b"", cost_frost=5))


def test_a_blob_was_what_a_read_model_that_stopped_there_says(
    history_of: Any, ids: Any, tmp_path: Path, database_url: str
) -> None:
    past = history_of()
    a_life_of_blobs(past, ids)
    database = Database(database_url)
    progress = database.open(chain_id=bytes([7]) * 32, fresh_key=bytes(32))
    projector = Projector(N_SHARDS, past.scheme)
    database.apply(projector, progress, past.blocks)
    stopped = Database(f"sqlite:///{tmp_path / 'stopped.sqlite'}")
    progress = stopped.open(chain_id=bytes([7]) * 32, fresh_key=bytes(32))
    seen = set()
    for block in past.blocks:
        progress = stopped.apply(projector, progress, [block])
        with stopped.readers.connect() as connection:
            expected = {row["blob_id"]: dict(row) for row in connection.execute(select(t.blobs)).mappings()}
        with database.readers.connect() as connection:
            ids_of_all = [ids("blob", number) for number in range(6)]
            found = history.blobs_at(connection, ids_of_all, block.height, N_SHARDS)
            page = history.page_at(connection, Window(100), block.height, N_SHARDS)
        assert found == expected, block.height
        assert [row["blob_id"] for row in page.rows] == [
            blob_id for blob_id, _ in sorted(expected.items(), key=lambda item: -item[1]["registered_sequence"])
        ]
        seen.update(frozenset(row.items()) for row in found.values())
    assert len(seen) > 10  # states that blobs were in
    database.close()
    stopped.close()


async def test_an_epoch_is_asked_how_things_were(net: Any, ids: Any) -> None:
    past = net.history
    started = next(event.body for event in past.blocks[0].events if isinstance(event.body, e.EpochStarted))
    first_end = past.blocks[-1].height
    past.block(dataclasses.replace(started, epoch=2), past.registered(7, registered_epoch=2))
    certified = past.certified(past.registered(1))
    past.block(dataclasses.replace(certified, is_extension=True, end_epoch=20, message=b"", signature=b"", signers=b""))
    with net.database.readers.connect() as connection:
        height = connection.execute(select(t.progress.c.height)).scalar_one()
    assert height == first_end
    progress = net.follower.progress
    net.database.apply(Projector(N_SHARDS, past.scheme), progress, past.blocks[first_end + 1 :])
    b = blob_id_text(ids("blob", 1))
    was = (await net.ask(PAST, n=1, b=b))["epoch"]["query"]
    now = (await net.ask(PAST, n=None, b=b))["epoch"]["query"]
    assert (was["epoch"], was["height"], now["epoch"], now["height"]) == (1, str(first_end), 2, str(first_end + 2))
    counts = {"permanentCount": 1, "deletableCount": 0}
    kept = {"firstCertifiedEpoch": 1, "now": {"state": "CERTIFIED"}}
    assert was["blob"] == {"state": "CERTIFIED", "endEpoch": 6, **counts, **kept}
    assert now["blob"] == {"state": "CERTIFIED", "endEpoch": 20, **counts, **kept}
    assert [node["state"] for node in was["blobs"]["nodes"]] == ["DELETED", "REGISTERED"]
    assert (was["blobs"]["totalCount"], now["blobs"]["totalCount"]) == ("3", "4")
    assert now["blobs"]["nodes"][0] == {"blobId": blob_id_text(ids("blob", 7)), "state": "REGISTERED"}
    assert [member["weight"] for member in was["shardMap"]] == [3, 3, 2, 2]
    assert [pool["stake"] for pool in was["poolStakes"]] == ["300", "300", "200", "200"]
    assert (was["events"]["nodes"], now["events"]["nodes"]) == (
        [{"__typename": "StorageReserved"}],
        [{"__typename": "BlobCertified"}],
    )
    assert int(now["events"]["totalCount"]) == int(was["events"]["totalCount"]) + 3
