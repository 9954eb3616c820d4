"""How far blobs are from being lost, by what nodes say; and why a node is not well."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphql_api import holdings, subscriptions
from graphql_api.diagnosis import Diagnosis, Known, Severity, conditions_of, diagnose
from graphql_api.health import Checkup
from graphql_api.holdings import ALL, DurabilityUnknown, LowRegion, Margin, NodeReport, compute_margin, n_lacking
from graphql_api.read_model.project import Projector
from haulout.errors import Unreachable
from haulout.ledger.queries import ShardHandOver
from haulout.observability.http_server import serve_http
from haulout.ports import IncompleteBlob, IncompletePage, NodeHealth
from haulout.primitives import BlobId, Digest, ObjectId, blob_id_text
from tests.unit.graphql_api.test_subscriptions import connect

BLOB = BlobId(bytes([5]) * 32)
NODES = tuple(ObjectId(bytes([i]) * 32) for i in range(4))
HOLDERS = dict(zip(NODES, (3, 3, 2, 2), strict=True))  # n = 10, f = 3: four shards are enough
WHOLE = NodeReport(True, {}, None, 7)
SILENT = NodeReport(False, {}, None, 9)


def margin(*reports: NodeReport | None) -> Margin:
    known = {node: report for node, report in zip(NODES, reports, strict=True) if report is not None}
    return compute_margin(BLOB, HOLDERS, known, 10)


@pytest.mark.parametrize(
    ("reports", "live", "losses"),
    [
        ((WHOLE, WHOLE, WHOLE, WHOLE), 10, 2),
        ((SILENT, WHOLE, WHOLE, WHOLE), 7, 1),
        ((SILENT, SILENT, WHOLE, WHOLE), 4, 0),
        ((SILENT, SILENT, SILENT, WHOLE), 2, 0),
        ((NodeReport(True, {BLOB: 1}, None, 7), WHOLE, WHOLE, WHOLE), 9, 2),
        ((NodeReport(True, {BLOB: 6}, None, 7), WHOLE, WHOLE, WHOLE), 7, 1),  # both slivers of all three shards
        ((NodeReport(True, {BlobId(bytes(32)): 6}, None, 7), WHOLE, WHOLE, WHOLE), 10, 2),  # of another blob
        ((None, WHOLE, WHOLE, WHOLE), 7, 1),  # never asked
    ],
)
def test_a_margin_counts_shards_that_can_be_fetched(reports: Any, live: int, losses: int) -> None:
    found = margin(*reports)
    assert (found.live_shards, found.required_shards, found.tolerated_node_losses) == (live, 4, losses)
    assert found.margin_shards == live - 4


def test_what_lies_behind_a_cut_off_list_is_not_counted_on() -> None:
    cut_before = NodeReport(True, {}, BlobId(bytes([4]) * 32), 7)
    cut_behind = NodeReport(True, {}, BlobId(bytes([6]) * 32), 7)
    assert margin(cut_before, WHOLE, WHOLE, WHOLE).live_shards == 7
    assert margin(cut_behind, WHOLE, WHOLE, WHOLE).live_shards == 10


def test_a_node_without_the_metadata_serves_nothing_of_a_blob() -> None:
    assert n_lacking(IncompleteBlob(BLOB, lacks_metadata=True, missing_slivers=0)) == ALL
    assert n_lacking(IncompleteBlob(BLOB, lacks_metadata=False, missing_slivers=2)) == 2


class Api:
    """A node that lists what it lacks, two at a time."""

    def __init__(self, blobs: tuple[IncompleteBlob, ...]) -> None:
        self.blobs = blobs

    async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
        left = [blob for blob in self.blobs if after is None or blob.blob_id > after]
        return IncompletePage(1, tuple(left[:2]), left[1].blob_id if len(left) > 2 else None)


async def test_a_node_that_is_slow_is_not_lost_at_once(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "TIMEOUT_MS", 10)
    apis = [Api(()) for _ in range(4)]
    net.services.network.transport = Links(apis)
    board = net.services.holdings
    await board.refresh()
    node_ids, first = list(board._reports), next(iter(board._reports.values()))

    class Slow(Api):
        async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
            await asyncio.sleep(60)
            raise AssertionError("it was waited for")

    apis[0] = Slow(())
    await board.refresh()
    assert board.report_of(node_ids[0]) is first, "its last word, with the time of it"
    assert all(report.is_reachable for report in board._reports.values())
    monkeypatch.setattr(holdings, "BUSY_MS", 0)
    await board.refresh()
    assert [report.is_reachable for report in board._reports.values()] == [False, True, True, True]


async def test_one_blob_of_which_a_node_lacks_slivers_has_less_margin_and_no_other(net: Any, ids: Any) -> None:
    certified = ids("blob", 1)
    others = tuple(IncompleteBlob(BlobId(bytes([i]) * 32), False, 2) for i in range(200, 205))
    lacking = IncompleteBlob(BlobId(certified), False, 4)
    apis = [Api((lacking, *others)), Api(others), Api(()), Api(())]
    net.services.network.transport = Links(apis)
    query = """query ($b: BlobID!) { blob(blobId: $b) {
      durability { liveShards requiredShards marginShards toleratedNodeLosses checkedAt } }
      system { worstDurability { marginShards } } }"""
    assert (await net.ask(query, b=blob_id_text(certified)))["blob"]["durability"] is None  # nobody was asked yet
    await net.services.holdings.refresh()
    answer = await net.ask(query, b=blob_id_text(certified))
    durability = answer["blob"]["durability"]
    assert durability.pop("checkedAt") is not None
    assert durability == {"liveShards": 7, "requiredShards": 4, "marginShards": 3, "toleratedNodeLosses": 1}
    assert answer["system"]["worstDurability"] == {"marginShards": 3}
    assert len(net.services.holdings.exceptions()) == 6
    apis[0].blobs = others
    await net.services.holdings.refresh()
    answer = await net.ask(query, b=blob_id_text(certified))
    assert answer["blob"]["durability"]["marginShards"] == 6
    assert answer["system"]["worstDurability"] == {"marginShards": 6}


async def test_low_regions_hold_exactly_the_blobs_with_little_margin(
    net: Any, ids: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "LISTED_MAX", 3)  # the third node's list is cut off behind its fourth blob

    def lacks(*blobs: tuple[int, int]) -> Api:
        return Api(tuple(IncompleteBlob(BlobId(bytes([n]) * 32), False, missing) for n, missing in blobs))

    net.services.network.transport = Links(
        [lacks((10, 1), (40, 6)), lacks((10, 1), (60, 2)), lacks(*((n, 1) for n in (10, 20, 30, 40, 50, 60))), lacks()]
    )
    moved = [ShardHandOver(epoch, 9, ids("node", giver), ids("node", 3), False) for epoch, giver in ((2, 0), (4, 1))]
    monkeypatch.setattr(net.services.network.view, "open_hand_overs", lambda: answer(moved))
    board = net.services.holdings
    with pytest.raises(DurabilityUnknown):
        board.low_regions(1)
    for silent in ((), (31428,), (31425, 31427)):
        monkeypatch.setattr(net.services.network.transport, "silent", silent)
        await board.refresh()
        low_counts = set()
        for margin_below in range(-3, 9):
            regions = board.low_regions(margin_below)
            low = 0
            for number in range(0, 256, 5):
                for epoch in (1, 2, 3, 4, 5):
                    blob_id = BlobId(bytes([number]) * 32)
                    is_low = board.margin_of(blob_id, epoch).margin_shards < margin_below
                    assert any(contains(region, blob_id, epoch) for region in regions) is is_low
                    low += is_low
            low_counts.add(low)
        assert len(low_counts) > 3


async def answer(value: Any) -> Any:
    return value


def contains(region: LowRegion, blob_id: BlobId, epoch: int) -> bool:
    """As the SQL of it says."""
    in_epochs = region.from_epoch <= epoch and (region.to_epoch is None or epoch < region.to_epoch)
    if region.blob_ids is not None:
        return in_epochs and blob_id in region.blob_ids
    behind = region.after is None or blob_id > region.after
    return in_epochs and behind and (region.through is None or blob_id <= region.through)


LOW = "query ($m: Int!) { blobs(filter: {marginBelow: $m}) { totalCount nodes { blobId } } }"


async def test_blobs_are_found_by_their_margin(net: Any, ids: Any) -> None:
    assert (await net.refused(LOW, m=5))[0] == "DURABILITY_UNKNOWN"
    history = net.history
    other = history.registered(4)
    blocks = [history.block(other), history.block(history.certified(other))]
    net.database.apply(Projector(10, history.scheme), net.follower.progress, blocks)
    lacking = tuple(IncompleteBlob(BlobId(ids("blob", number)), False, 2) for number in (1, 2))  # 2 is not certified
    net.services.network.transport = Links([Api(lacking), Api(()), Api(()), Api(())])
    await net.services.holdings.refresh()
    whole, less = blob_id_text(ids("blob", 4)), blob_id_text(ids("blob", 1))
    assert [node["blobId"] for node in (await net.ask(LOW, m=4))["blobs"]["nodes"]] == []
    assert [node["blobId"] for node in (await net.ask(LOW, m=5))["blobs"]["nodes"]] == [less]
    everything = (await net.ask(LOW, m=7))["blobs"]
    assert ([node["blobId"] for node in everything["nodes"]], everything["totalCount"]) == ([whole, less], "2")


async def test_a_blob_that_falls_is_told_and_told_again_when_it_falls_further(
    net: Any, ids: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "LOOK_MS", 10)
    api, board = Api(()), net.services.holdings
    net.services.network.transport = Links([api, Api(()), Api(()), Api(())])

    async def lack(n_slivers: int) -> None:
        api.blobs = (IncompleteBlob(BlobId(ids("blob", 1)), False, n_slivers),) if n_slivers else ()
        await board.refresh()

    await lack(0)
    query = "subscription { durabilityAlerts(marginBelow: 6) { blobId durability { marginShards } } }"
    async with serve_http(net.app, "127.0.0.1:0", drain_s=1) as address, connect(f"{address}/graphql") as client:
        await client.subscribe(query)
        told = asyncio.ensure_future(client.next("durabilityAlerts"))
        await asyncio.sleep(0.1)
        assert not told.done()  # all is well
        for n_slivers in (1, 2):
            await lack(n_slivers)
            alert = await told
            assert alert == {"blobId": blob_id_text(ids("blob", 1)), "durability": {"marginShards": 6 - n_slivers}}
            told = asyncio.ensure_future(client.next("durabilityAlerts"))
        await lack(1)  # better than before: no news
        await asyncio.sleep(0.1)
        assert not told.done()
        await lack(0)
        await asyncio.sleep(0.1)
        await lack(1)
        assert (await told)["durability"] == {"marginShards": 5}


class Links:
    """A transport to four nodes by port."""

    def __init__(self, apis: list[Api]) -> None:
        self.apis = apis
        self.silent: tuple[int, ...] = ()

    def connect(self, address: str) -> Any:
        port = int(address.rpartition(":")[2])
        return Silent() if port in self.silent else self.apis[port - 31425]


class Silent:
    """A node that does not answer."""

    async def list_incomplete(self, **_: Any) -> IncompletePage:
        raise Unreachable(peer="it", problem="it is down")


async def test_only_certified_blobs_have_durability_and_slivers(net: Any, ids: Any) -> None:
    await net.services.holdings.refresh()
    query = """query ($b: BlobID!) { blob(blobId: $b) { durability { liveShards } proof(pair: 0) { pair }
      slivers { totalCount nodes { pair } } } }"""
    registered = (await net.ask(query, b=blob_id_text(ids("blob", 2))))["blob"]
    assert registered == {"durability": None, "proof": None, "slivers": {"totalCount": "0", "nodes": []}}


# --- diagnosis ----------------------------------------------------------------------------------------------


def checkup(**changes: Any) -> Checkup:
    """What a node that is well says, but for some changes."""
    values: dict[str, Any] = {
        "node_id": NODES[0],
        "name": "node",
        "epoch": 2,
        "status": "Active",
        "uptime_ms": 5_000,
        "height": 1_000,
        "block_digest": Digest(bytes(32)),
        "head_height": 1_000,
        "shards": (0, 1, 2),
        "incomplete_blobs": 0,
        "corrupt_slivers": 0,
        "stored_slivers": 7,
        "stored_bytes": 700,
        "attested_height": 990,
    }
    return Checkup(NodeHealth(**{**values, **changes}), 0)


def findings(*, weight: int = 3, arriving: int = 0, leaving: int = 0, **changes: Any) -> list[tuple[str, Severity]]:
    known = Known("host:1", 2, 1_000, weight, 5, arriving, leaving)
    found: list[Diagnosis] = diagnose(checkup(**changes), WHOLE, known)
    assert all(finding.evidence and finding.remedy for finding in found)
    return [(finding.code, finding.severity) for finding in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"status": "Diverged at block 9"}, [("STOPPED", Severity.CRITICAL)]),
        ({"height": 900, "attested_height": 880}, [("BEHIND", Severity.WARNING)]),
        ({"height": 900, "head_height": 901, "attested_height": 880}, [("CANNOT_HEAR_LEDGER", Severity.WARNING)]),
        ({"epoch": 1}, [("IN_OLD_EPOCH", Severity.WARNING)]),
        ({"corrupt_slivers": 2}, [("CORRUPT_SLIVERS", Severity.WARNING)]),
        ({"incomplete_blobs": 2, "arriving": 1}, [("LACKS_SLIVERS", Severity.WARNING)]),
        ({"leaving": 1}, [("HANDING_OVER", Severity.INFO)]),
        ({"attested_height": 0}, [("NOT_ATTESTED", Severity.WARNING)]),
        ({"weight": 0}, [("OWNS_NOTHING", Severity.INFO)]),
        (
            {"weight": 0, "status": "StorageFailed", "corrupt_slivers": 1},
            [("STOPPED", Severity.CRITICAL), ("CORRUPT_SLIVERS", Severity.WARNING), ("OWNS_NOTHING", Severity.INFO)],
        ),
    ],
)
def test_a_finding_follows_from_what_is_known(changes: Any, expected: Any) -> None:
    assert findings(**changes) == expected


def test_conditions_hold_or_say_why_not() -> None:
    def held(**changes: Any) -> dict[str, bool]:
        known = Known("host:1", 2, 1_000, 3, 5, 0, 0, is_asked_to_leave=True)
        return {one.type: one.status for one in conditions_of(checkup(**changes), known)}

    well = {
        "Reachable": True,
        "Serving": True,
        "CaughtUp": True,
        "Complete": True,
        "InCommittee": True,
        "Leaving": True,
    }
    assert held() == well
    assert held(status="Diverged at 7") == {**well, "Serving": False}
    assert held(height=900) == {**well, "CaughtUp": False}
    assert held(incomplete_blobs=1) == {**well, "Complete": False}
    silent = conditions_of(Checkup(None, 7), Known("host:1", 2, 1_000, 0, 5, 0, 0))
    assert [one.type for one in silent] == list(well)
    assert not any(one.status for one in silent)


def test_a_silent_node_is_critical_when_it_owns_shards() -> None:
    silent = Checkup(None, 0)
    assert diagnose(silent, None, Known("host:1", 1, 1, 3, 5, 0, 0))[0].severity is Severity.CRITICAL
    assert diagnose(silent, None, Known("host:1", 1, 1, 0, 5, 0, 0))[0].severity is Severity.WARNING


async def test_nodes_that_do_not_answer_say_why_through_the_api(net: Any) -> None:
    query = "{ storageNodes { nodes { diagnosis { code severity evidence } } } }"
    nodes = (await net.ask(query))["storageNodes"]["nodes"]
    assert [[finding["code"] for finding in node["diagnosis"]] for node in nodes] == [["UNREACHABLE"]] * 4
