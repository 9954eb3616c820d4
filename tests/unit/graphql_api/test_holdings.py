"""How far blobs are from being lost, by what nodes say; and why a node is not well."""

from __future__ import annotations

from typing import Any

import pytest

from graphql_api.diagnosis import Diagnosis, Known, Severity, diagnose
from graphql_api.health import Checkup
from graphql_api.holdings import ALL, Margin, NodeReport, compute_margin, n_lacking
from haulout.ports import IncompleteBlob, IncompletePage, NodeHealth
from haulout.primitives import BlobId, Digest, ObjectId, blob_id_text

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


class Links:
    """A transport to four nodes by port."""

    def __init__(self, apis: list[Api]) -> None:
        self.apis = apis

    def connect(self, address: str) -> Api:
        return self.apis[int(address.rpartition(":")[2]) - 31425]


async def test_only_certified_blobs_have_durability_and_slivers(net: Any, ids: Any) -> None:
    await net.services.holdings.refresh()
    query = """query ($b: BlobID!) { blob(blobId: $b) { durability { liveShards } proof(pair: 0) { pair }
      slivers { totalCount nodes { pair } } } }"""
    registered = (await net.ask(query, b=blob_id_text(ids("blob", 2))))["blob"]
    assert registered == {"durability": None, "proof": None, "slivers": {"totalCount": "0", "nodes": []}}


# --- diagnosis ----------------------------------------------------------------------------------------------


def findings(*, weight: int = 3, arriving: int = 0, leaving: int = 0, **changes: Any) -> list[tuple[str, Severity]]:
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
    known = Known("host:1", 2, 1_000, weight, 5, arriving, leaving)
    found: list[Diagnosis] = diagnose(Checkup(NodeHealth(**{**values, **changes}), 0), WHOLE, known)
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


def test_a_silent_node_is_critical_when_it_owns_shards() -> None:
    silent = Checkup(None, 0)
    assert diagnose(silent, None, Known("host:1", 1, 1, 3, 5, 0, 0))[0].severity is Severity.CRITICAL
    assert diagnose(silent, None, Known("host:1", 1, 1, 0, 5, 0, 0))[0].severity is Severity.WARNING


async def test_nodes_that_do_not_answer_say_why_through_the_api(net: Any) -> None:
    query = "{ storageNodes { nodes { diagnosis { code severity evidence } } } }"
    nodes = (await net.ask(query))["storageNodes"]["nodes"]
    assert [[finding["code"] for finding in node["diagnosis"]] for node in nodes] == [["UNREACHABLE"]] * 4
