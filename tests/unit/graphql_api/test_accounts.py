"""Accounts: what they own by filter, what they store and pay, and what belongs to nobody."""

from __future__ import annotations

from typing import Any

import pytest

from graphql_api.read_model import usage
from graphql_api.read_model.project import Projector
from haulout.ledger import events as e
from haulout.primitives import hex_id_text

USAGE = "query ($a: Address!) { account(address: $a) { usage { blobs bytes costThisEpoch } } }"


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def apply(net: Any, *bodies: Any) -> None:
    """One block more in the read model."""
    block = net.history.block(*bodies)
    net.follower.progress = net.database.apply(Projector(10, net.history.scheme), net.follower.progress, [block])


async def test_an_account_knows_what_it_stores_and_pays(net: Any, ids: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    account = hex_id_text(ids("account", 1))

    async def used(address: str = account) -> Any:
        return (await net.ask(USAGE, a=address))["account"]["usage"]

    # Of three objects one was deleted; each registration cost 10.
    assert await used() == {"blobs": "2", "bytes": str(2 << 20), "costThisEpoch": "30"}
    assert await used(hex_id_text(ids("account", 0))) == {"blobs": "0", "bytes": "0", "costThisEpoch": "0"}
    apply(
        net,
        e.StorageReserved(ids("storage", 9), ids("account", 1), 1, 3, 1 << 20, 700),
        e.SharedBlobFunded(ids("object", 1), ids("blob", 1), ids("account", 1), 5, 5),
        e.SharedBlobExtended(ids("object", 1), ids("blob", 1), ids("account", 1), 1, 4, 1),
        net.history.registered(4, end_epoch=2, cost_frost=(1 << 64) - 1),
    )
    paid = 30 + 700 + 5 + (1 << 64) - 1
    assert await used() == {"blobs": "3", "bytes": str(3 << 20), "costThisEpoch": str(paid)}
    monkeypatch.setattr(usage, "PAYMENTS_MAX", 5)
    assert (await used())["costThisEpoch"] is None
    monkeypatch.setattr(usage, "OBJECTS_MAX", 2)
    assert await used() is None

    monkeypatch.undo()
    start = next(event.body for event in net.history.blocks[0].events if isinstance(event.body, e.EpochStarted))
    apply(net, e.EpochStarted(2, start.members, 1 << 42, 100, 200))
    assert await used() == {"blobs": "2", "bytes": str(2 << 20), "costThisEpoch": "0"}


async def test_lists_of_an_account_are_filtered(net: Any, ids: Any) -> None:
    query = """query ($a: Address!, $b: BlobObjectFilter, $s: StakeFilter) { account(address: $a) {
      blobObjects(filter: $b) { nodes { objectId } totalCount } stakes(filter: $s) { totalCount } } }"""

    async def found(number: int, **filters: Any) -> Any:
        return (await net.ask(query, a=hex_id_text(ids("account", number)), **filters))["account"]

    certified = (await found(1, b={"certified": True}))["blobObjects"]
    assert certified == {"nodes": [{"objectId": hex_id_text(ids("object", 1))}], "totalCount": "1"}
    assert (await found(1, b={"owner": hex_id_text(ids("account", 0))}))["blobObjects"]["nodes"] == []
    assert (await found(0))["stakes"] == {"totalCount": "4"}
    assert (await found(0, s={"state": ["PENDING"]}))["stakes"] == {"totalCount": "0"}
    node = hex_id_text(ids("node", 2))
    assert (await found(0, s={"node": node}))["stakes"] == {"totalCount": "1"}
    pool = """query ($n: ObjectID!, $s: StakeFilter) {
      storageNode(nodeId: $n) { stakingPool { stakes(filter: $s) { totalCount } } } }"""
    for state, count in (("ACTIVE", "1"), ("WITHDRAWING", "0")):
        answer = await net.ask(pool, n=node, s={"state": [state]})
        assert answer["storageNode"]["stakingPool"]["stakes"]["totalCount"] == count


async def test_what_belongs_to_nobody_is_found(net: Any, ids: Any) -> None:
    query = "query ($s: Boolean) { blobObjects(filter: {shared: $s}) { nodes { objectId } totalCount } }"
    apply(net, e.BlobShared(ids("object", 1), ids("blob", 1), ids("account", 1), 9))
    for shared, number in ((True, 1), (False, 2)):
        found = (await net.ask(query, s=shared))["blobObjects"]
        assert found == {"nodes": [{"objectId": hex_id_text(ids("object", number))}], "totalCount": "1"}
