"""What the API answers about a small network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from graphql_api.ids import global_id
from graphql_api.read_model.project import Projector
from graphql_api.stakes import rewards_so_far
from haulout import bcs
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import events as e
from haulout.ledger import keys, queries
from haulout.ledger.genesis import build_development_network, build_genesis
from haulout.ledger.state import STATE_VERSION, ExchangeRate, StakedWal
from haulout.primitives import FROST_PER_WAL, blob_id_text, hex_id_text
from haulout.world.memory_store import MemoryStore
from tests.unit.graphql_api.test_nodes import healthy


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    """All of this holds on both databases."""
    return str(request.param)


async def test_lists_blobs_with_weight_and_threshold_of_their_certificates(net: Any, ids: Any) -> None:
    data = await net.ask("{ blobs(first: 5) { nodes { blobId certificate { weight quorumThreshold } } } }")
    assert data["blobs"]["nodes"] == [
        {"blobId": blob_id_text(ids("blob", 3)), "certificate": {"weight": 8, "quorumThreshold": 7}},
        {"blobId": blob_id_text(ids("blob", 2)), "certificate": None},
        {"blobId": blob_id_text(ids("blob", 1)), "certificate": {"weight": 8, "quorumThreshold": 7}},
    ]


async def test_tells_everything_about_a_blob(net: Any, ids: Any) -> None:
    text = blob_id_text(ids("blob", 1))
    data = await net.ask(
        """query ($id: BlobID!) { blob(blobId: $id) {
             blobId decimalId state encodingType unencodedSize encodedSize symbolSize firstCertifiedEpoch endEpoch
             createdAt permanentCount deletableCount certifiedDeletableCount contentUrl
             objects { nodes { objectId persistence owner { address walBalance }
                               storage { sizeBytes endEpoch boundTo { objectId } } } }
             events { nodes { __typename sequence } } } }""",
        id=text,
    )
    blob = data["blob"]
    assert blob["decimalId"] == str(int.from_bytes(ids("blob", 1), "little"))
    assert (blob["state"], blob["encodingType"], blob["unencodedSize"]) == ("CERTIFIED", "RS2", "1001")
    assert (blob["symbolSize"], blob["encodedSize"]) == (36, "10680")  # 10 * ((4 + 7) * 36 + 64 * 10 + 32)
    assert (blob["firstCertifiedEpoch"], blob["endEpoch"]) == (1, 6)
    assert (blob["permanentCount"], blob["deletableCount"], blob["certifiedDeletableCount"]) == (1, 0, 0)
    assert blob["contentUrl"] == f"http://127.0.0.1:31415/v1/blobs/{text}"
    assert blob["createdAt"] == "2027-01-15T08:00:01+00:00"
    assert blob["objects"]["nodes"] == [
        {
            "objectId": hex_id_text(ids("object", 1)),
            "persistence": "PERMANENT",
            "owner": {"address": hex_id_text(ids("account", 1)), "walBalance": "1900"},
            "storage": {"sizeBytes": "1048576", "endEpoch": 6, "boundTo": {"objectId": hex_id_text(ids("object", 1))}},
        }
    ]
    assert [event["__typename"] for event in blob["events"]["nodes"]] == ["BlobRegistered", "BlobCertified"]


async def test_a_certificate_can_be_checked_alone(net: Any, ids: Any) -> None:
    data = await net.ask(
        """query ($id: BlobID!) { certificate(blobId: $id) {
             epoch persistence message signature signers weight quorumThreshold verified
             blob { blobId } event { sequence } } }""",
        id=blob_id_text(ids("blob", 1)),
    )
    certificate = data["certificate"]
    assert certificate["signers"] == [0, 1, 2]
    assert certificate["verified"] is True
    assert certificate["persistence"] == "PERMANENT"
    assert certificate["message"].startswith("AQADAQAAAGJsb2I")  # 01 00 03, epoch 1, "blob"
    assert certificate["blob"]["blobId"] == blob_id_text(ids("blob", 1))


async def test_unknown_things_are_null_and_no_error(net: Any, ids: Any) -> None:
    missing, none = blob_id_text(ids("blob", 99)), hex_id_text(ids("node", 99))
    data = await net.ask(
        """query ($blob: BlobID!, $node: ObjectID!) { blob(blobId: $blob) { id } certificate(blobId: $blob) { id }
             storageNode(nodeId: $node) { id } epoch(number: 9) { id } committee(epoch: 9) { id }
             shardMap(epoch: 9) { weight }
             blobObject(objectId: $node) { id } }""",
        blob=missing,
        node=none,
    )
    assert data.pop("shardMap") == []
    assert set(data.values()) == {None}


async def test_filters_blobs_by_state_owner_attributes_and_size(net: Any, ids: Any) -> None:
    query = "query ($f: BlobFilter) { blobs(filter: $f) { totalCount nodes { blobId } } }"

    async def numbers(**wanted: Any) -> list[int]:
        found = await net.ask(query, f=wanted)
        assert found["blobs"]["totalCount"] == str(len(found["blobs"]["nodes"]))
        known = {blob_id_text(ids("blob", i)): i for i in (1, 2, 3)}
        return [known[node["blobId"]] for node in found["blobs"]["nodes"]]

    assert await numbers(state=["CERTIFIED"]) == [1]
    assert await numbers(state=["REGISTERED", "DELETED"]) == [3, 2]
    assert await numbers(owner=hex_id_text(ids("account", 1))) == [2, 1]
    assert await numbers(owner=hex_id_text(ids("account", 0))) == []
    assert await numbers(attributes=[{"key": "type"}]) == [2]
    assert await numbers(attributes=[{"key": "type", "value": "film"}, {"key": "year", "anyOf": ["1998", "1999"]}]) == [
        2
    ]
    assert await numbers(attributes=[{"key": "type", "value": "song"}]) == []
    assert await numbers(persistence="PERMANENT") == [1]
    assert await numbers(size={"min": "1002", "max": 1002}) == [2]
    assert await numbers(expires={"after": 5}, certified={"at": 1}) == [3, 1]


async def test_counts_the_network(net: Any) -> None:
    data = await net.ask(
        """{ system { blobCount certifiedBlobCount certifiedBytes encodedBytes averageBlobSize capacityBytes accounts
              totalStake nodesActive nodesTotal
              epoch { number phase forced storageUsed rewards
                      parameters { nShards storagePricePerUnit maxBlobSize } } } }"""
    )
    assert data["system"] == {
        "blobCount": "3",
        "certifiedBlobCount": "1",
        "certifiedBytes": "1001",
        "encodedBytes": "10680",
        "averageBlobSize": "1001",
        "capacityBytes": str(1 << 42),
        "accounts": "2",
        "totalStake": "1000",
        "nodesActive": 4,
        "nodesTotal": 4,
        "epoch": {
            "number": 1,
            "phase": "DONE",
            "forced": False,
            "storageUsed": str(1 << 20),
            "rewards": "110",
            "parameters": {"nShards": 10, "storagePricePerUnit": "100", "maxBlobSize": str(1 << 30)},
        },
    }


async def test_shows_who_owns_which_shards(net: Any) -> None:
    data = await net.ask(
        """{ shardMap { position weight stake shards node { name } }
             committee { nShards totalStake maxFaultyShards quorumThreshold validityThreshold
                         members(first: 2) { nodes { weight node { name } } pageInfo { hasNextPage endCursor } } } }"""
    )
    assert [(m["node"]["name"], m["weight"], m["stake"]) for m in data["shardMap"]] == [
        ("node-0", 3, "300"),
        ("node-1", 3, "300"),
        ("node-2", 2, "200"),
        ("node-3", 2, "200"),
    ]
    assert data["shardMap"][2]["shards"] == [6, 7]
    committee = data["committee"]
    thresholds = [committee[k] for k in ("nShards", "maxFaultyShards", "quorumThreshold", "validityThreshold")]
    assert thresholds == [10, 3, 7, 4]
    assert [m["node"]["name"] for m in committee["members"]["nodes"]] == ["node-1", "node-0"]
    rest = await net.ask(
        "query ($c: String) { committee { members(after: $c) { nodes { node { name } } pageInfo { hasNextPage } } } }",
        c=committee["members"]["pageInfo"]["endCursor"],
    )
    assert [m["node"]["name"] for m in rest["committee"]["members"]["nodes"]] == ["node-3", "node-2"]


async def test_amounts_of_64_bits_survive(net: Any) -> None:
    data = await net.ask(
        '{ storageNode(name: "node-0") { stakingPool { stake nextEpochStake votes { storagePrice } } } }'
    )
    pool = data["storageNode"]["stakingPool"]
    assert pool == {"stake": "300", "nextEpochStake": "300", "votes": {"storagePrice": "18446744073709551615"}}


async def test_everything_with_an_id_is_found_again_by_it(net: Any) -> None:
    found = await net.ask(
        """{ blobs { nodes { id certificate { id event { id } } objects { nodes { id owner { id } storage { id } } } } }
             epoch { id } committee { id } storageNodes { nodes { id stakingPool { id } } } stakes { nodes { id } } }"""
    )
    ids: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if "id" in value:
                ids.add(value["id"])
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(found)
    types = set()
    for wanted in ids:
        again = await net.ask("query ($id: ID!) { node(id: $id) { id __typename } }", id=wanted)
        assert again["node"]["id"] == wanted
        types.add(again["node"]["__typename"])
    assert types == {
        "Account", "AvailabilityCertificate", "Blob", "BlobCertified", "BlobObject", "Committee", "Epoch", "Stake",
        "StakingPool", "StorageNode", "StorageReservation",
    }  # fmt: skip
    assert (await net.refused('{ node(id: "nonsense") { id } }'))[0] == "INVALID_ARGUMENT"


async def test_events_come_in_order_and_by_filter(net: Any, ids: Any) -> None:
    query = (
        "query ($f: EventFilter) { events(filter: $f, first: 100) { nodes { __typename sequence epoch timestamp } } }"
    )
    everything = (await net.ask(query))["events"]["nodes"]
    assert [int(event["sequence"]) for event in everything] == list(range(net.history.n_events))
    phases = (await net.ask(query, f={"types": ["EpochPhaseChanged"]}))["events"]["nodes"]
    assert [event["__typename"] for event in phases] == ["EpochPhaseChanged", "EpochPhaseChanged"]
    of_blob = (await net.ask(query, f={"blob": blob_id_text(ids("blob", 3))}))["events"]["nodes"]
    assert [event["__typename"] for event in of_blob] == ["BlobRegistered", "BlobCertified", "BlobDeleted"]
    of_account = await net.ask(query, f={"account": hex_id_text(ids("account", 1)), "types": ["BalanceChanged"]})
    assert len(of_account["events"]["nodes"]) == 2
    late = (await net.ask(query, f={"afterSequence": str(net.history.n_events - 2)}))["events"]["nodes"]
    assert [event["__typename"] for event in late] == ["StorageReserved"]
    assert await net.refused(query, f={"types": ["Nonsense"]}) != ("", "")


async def test_an_answer_says_how_far_it_is(net: Any) -> None:
    body = (await net.post("{ system { blobCount } }")).json()
    height = len(net.history.blocks) - 1
    expected = {
        "height": height,
        "attestedHeight": 4,
        "ledgerSilentMs": 0,
        "sequence": net.history.n_events - 1,
        "epoch": 1,
    }
    assert body["extensions"]["watermark"] == expected


async def test_a_number_that_is_none_is_not_waited_for(net: Any) -> None:
    refused = await net.post("{ system { blobCount } }", headers={"x-min-sequence": "latest"})
    assert refused.status_code == 400
    assert "X-Min-Sequence" in refused.json()["errors"][0]["message"]
    assert (await net.post("{ system { blobCount } }", headers={"x-min-sequence": "0"})).status_code == 200


async def test_a_page_takes_as_many_sql_queries_as_one_row(net: Any) -> None:
    """Rows of one answer are read together, however many there are."""
    first_new = len(net.history.blocks)
    for body in [net.history.registered(i) for i in range(100, 150)]:
        net.history.block(body, net.history.certified(body))
    net.database.apply(Projector(10, net.history.scheme), net.follower.progress, net.history.blocks[first_new:])
    statements: list[str] = []
    event.listen(net.database.readers, "before_cursor_execute", lambda _c, _k, text, *_: statements.append(text))
    query = """query ($n: Int!) { blobs(first: $n) { nodes { blobId
      certificate { verified event { sequence } object { cost } }
      objects(first: 2) { nodes { cost owner { walBalance } storage { sizeBytes } attributes { key } blob { state } } }
    } } }"""
    counts = []
    for n in (1, 50):
        statements.clear()
        assert len((await net.ask(query, n=n))["blobs"]["nodes"]) == n
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 12


async def test_an_epoch_tells_which_shards_change_hands_and_how_far_that_is(net: Any, ids: Any) -> None:
    history = net.history
    first_new = len(history.blocks)
    keys = [history.scheme.public_key(secret) for secret in history.secrets]
    shards = ((0, 1), (3, 4, 5), (6, 7, 2), (8, 9))
    members = tuple(e.CommitteeMemberRecord(ids("node", i), keys[i], shards[i]) for i in range(4))
    moves = (e.ShardMove(2, ids("node", 0), ids("node", 2)),)
    history.block(e.EpochStarted(2, members, 1 << 42, 100, 200), e.HandOversOpened(2, moves))
    projector = Projector(10, history.scheme)
    progress = net.database.apply(projector, net.follower.progress, history.blocks[first_new:])
    query = """query ($f: ShardMoveFilter) { epoch(number: 2) {
      transition { finishedAt forced doneWeight quorumWeight plannedMoves finishedMoves bytesMoved bytesTotal }
      shardMoves(filter: $f) { totalCount nodes { shard state fromNode { name } toNode { name } doneHeight } } } }"""
    epoch = (await net.ask(query))["epoch"]
    assert epoch["transition"] == {
        "finishedAt": None,
        "forced": False,
        "doneWeight": 0,
        "quorumWeight": 7,
        "plannedMoves": 1,
        "finishedMoves": 0,
        "bytesMoved": None,  # the taker does not answer
        "bytesTotal": None,
    }
    net.nodes.answers["127.0.0.1:31427"] = healthy(moved_bytes=40, moving_bytes=100)
    net.services.health._known.clear()
    transition = (await net.ask(query))["epoch"]["transition"]
    assert (transition["bytesMoved"], transition["bytesTotal"]) == ("40", "100")
    move = {"shard": 2, "fromNode": {"name": "node-0"}, "toNode": {"name": "node-2"}}
    assert epoch["shardMoves"] == {"totalCount": "1", "nodes": [{**move, "state": "RUNNING", "doneHeight": None}]}
    height = len(history.blocks)
    history.block(e.ShardsReceived(2, ids("node", 2), (2,), 0, True, 3))
    net.database.apply(projector, progress, history.blocks[height:])
    epoch = (await net.ask(query, f={"state": "DONE", "toNode": hex_id_text(ids("node", 2))}))["epoch"]
    assert (epoch["transition"]["doneWeight"], epoch["transition"]["finishedMoves"]) == (3, 1)
    assert epoch["transition"]["bytesTotal"] == "0", "nothing is on its way any more"
    assert epoch["shardMoves"]["nodes"] == [{**move, "state": "DONE", "doneHeight": str(height)}]
    everywhere = """query ($f: ShardMoveFilter) { shardMoves(filter: $f) { nodes { epoch shard } } }"""
    assert (await net.ask(everywhere, f={"state": "RUNNING"}))["shardMoves"]["nodes"] == []
    wanted = {"fromNode": hex_id_text(ids("node", 0))}
    assert (await net.ask(everywhere, f=wanted))["shardMoves"]["nodes"] == [{"epoch": 2, "shard": 2}]


def test_a_stake_has_earned_what_the_ledger_would_pay_for_it() -> None:
    scheme = KeyedHash()
    network = build_development_network(
        node_addresses={f"node-{i}": (f"127.0.0.1:{9 + i}",) for i in range(4)},
        n_shards=10,
        stake_frost=1_000 * FROST_PER_WAL,
        account_funds_frost={},
        genesis_time_ms=1_800_000_000_000,
        seed=bytes(32),
        scheme=scheme,
    )
    rows = dict(build_genesis(network.genesis, scheme).writes)
    view = MemoryStore({key: value for key, value in rows.items() if value is not None})
    node_id = network.nodes[0].node_id
    object_id = b"s" * 32
    staked = StakedWal(STATE_VERSION, b"o" * 32, node_id, 1_000, 1, None)

    def put(key: bytes, row: Any) -> None:
        rows[key] = bcs.encode(row)

    def earned(withdraw_epoch: int | None = None) -> int | None:
        put(keys.staked_wal(object_id), replace(staked, withdraw_epoch=withdraw_epoch))
        return rewards_so_far(MemoryStore({key: value for key, value in rows.items() if value is not None}), object_id)

    assert rewards_so_far(view, object_id) is None
    assert earned() == 0
    node, system = queries.node(view, node_id), queries.system(view)
    assert node is not None
    put(keys.node(node_id), replace(node, rewards_frost=10_000))
    for epoch, balance in ((2, 1_500), (3, 4_000)):  # of a thousand shares
        put(keys.exchange_rate(node_id, epoch), ExchangeRate(STATE_VERSION, balance, 1_000))
    put(keys.SYSTEM, replace(system, epoch=2))
    assert (earned(), earned(withdraw_epoch=3)) == (500, 500)
    put(keys.SYSTEM, replace(system, epoch=3))
    assert (earned(), earned(withdraw_epoch=2)) == (3_000, 500)


async def test_a_search_finds_what_a_text_names(net: Any, ids: Any) -> None:
    query = "query ($t: String!) { search(text: $t) { __typename ... on Node { id } } }"

    async def kinds(text: str) -> list[str]:
        return [hit["__typename"] for hit in (await net.ask(query, t=text))["search"]]

    blob_id = ids("blob", 1)
    assert await kinds(blob_id_text(blob_id)) == ["Blob"]
    assert await kinds(f" {int.from_bytes(blob_id, 'little')} ") == ["Blob"]
    assert await kinds(hex_id_text(ids("object", 1))) == ["BlobObject"]
    assert await kinds(hex_id_text(ids("storage", 3))) == ["StorageReservation"]
    assert await kinds(hex_id_text(ids("node", 2))) == ["StorageNode"]
    assert await kinds(hex_id_text(ids("account", 1))) == ["Account"]
    assert await kinds("node-3") == ["StorageNode"]
    assert await kinds("1") == ["Epoch"]
    for nothing in ("7", "9" * 100, "0xzz", "0x" + "f" * 64, "no such thing", blob_id_text(ids("blob", 9)), "a\x00b"):
        assert await kinds(nothing) == []
    for wrong in ("", "  ", "x" * 129):
        assert (await net.refused(query, t=wrong))[0] == "INVALID_ARGUMENT"


async def test_many_blobs_are_had_at_once_in_the_order_asked(net: Any, ids: Any) -> None:
    query = "query ($b: [BlobID!]!) { multiGetBlobs(blobIds: $b) { blobId } }"
    wanted = [blob_id_text(ids("blob", i)) for i in (2, 9, 1)]
    found = (await net.ask(query, b=wanted))["multiGetBlobs"]
    assert found == [{"blobId": wanted[0]}, None, {"blobId": wanted[2]}]
    assert (await net.refused(query, b=[wanted[0]] * 101))[0] == "PAGE_TOO_LARGE"


POOL = """query ($n: ObjectID!) { storageNode(nodeId: $n) { stakingPool { account { latestEpoch balance shares rewards
  commission commissionBlocked pendingStake { epoch amount } pendingWithdrawals { epoch amount }
  preActiveWithdrawals { epoch amount } pendingCommissionRates { epoch amount } }
  exchangeRates(first: 1) { totalCount nodes { epoch balance shares } pageInfo { endCursor hasNextPage } }
  rewardHistory { nodes { epoch reward commission } } } } }"""


async def test_a_pool_tells_what_it_holds_what_is_due_and_what_it_was_worth(net: Any, ids: Any) -> None:
    node = ids("node", 1)
    query = {"n": "0x" + node.hex()}
    untouched = (await net.ask(POOL, **query))["storageNode"]["stakingPool"]
    assert (untouched["account"], untouched["exchangeRates"]["totalCount"]) == (None, "0")
    changed = e.PoolChanged(
        node_id=node,
        latest_epoch=3,
        balance_frost=900,
        n_shares=450,
        rewards_frost=300,
        commission_frost=40,
        commission_blocked_frost=15,
        commission_rate_bps=600,
        pending_stake={5: 70, 4: 30},
        pending_shares={4: 12},
        pre_active_withdrawals={5: 8},
        pending_commission_rates={6: 700},
    )
    rates = [e.ExchangeRateSet(node, epoch, 100 * epoch, 50) for epoch in (1, 2, 3)]
    rewards = [e.NodeRewarded(node, epoch, 20 * epoch, epoch) for epoch in (1, 2)]
    other = e.ExchangeRateSet(ids("node", 2), 1, 7, 7)
    blocks = [net.history.block(changed, *rates, other, *rewards)]
    net.database.apply(Projector(10, net.history.scheme), net.follower.progress, blocks)
    pool = (await net.ask(POOL, **query))["storageNode"]["stakingPool"]
    assert pool["account"] == {
        "latestEpoch": 3,
        "balance": "900",
        "shares": "450",
        "rewards": "300",
        "commission": "40",
        "commissionBlocked": "15",
        "pendingStake": [{"epoch": 4, "amount": "30"}, {"epoch": 5, "amount": "70"}],
        "pendingWithdrawals": [{"epoch": 4, "amount": "12"}],
        "preActiveWithdrawals": [{"epoch": 5, "amount": "8"}],
        "pendingCommissionRates": [{"epoch": 6, "amount": "700"}],
    }
    assert pool["exchangeRates"]["nodes"] == [{"epoch": 3, "balance": "300", "shares": "50"}]
    assert (pool["exchangeRates"]["totalCount"], pool["exchangeRates"]["pageInfo"]["hasNextPage"]) == ("3", True)
    assert pool["rewardHistory"]["nodes"] == [
        {"epoch": 2, "reward": "40", "commission": "2"},
        {"epoch": 1, "reward": "20", "commission": "1"},
    ]


async def test_a_blob_is_found_by_each_of_its_names(net: Any, ids: Any) -> None:
    by_id = "query ($b: BlobID) { blob(blobId: $b) { id decimalId } }"
    blob = (await net.ask(by_id, b=blob_id_text(ids("blob", 1))))["blob"]
    by_number = "query ($n: String) { blob(decimalId: $n) { id } }"
    assert (await net.ask(by_number, n=blob["decimalId"]))["blob"] == {"id": blob["id"]}
    assert (await net.ask(by_number, n=str(1 << 256)))["blob"] is None
    by_object = "query ($o: ObjectID) { blob(objectId: $o) { id } }"
    assert (await net.ask(by_object, o="0x" + ids("object", 1).hex()))["blob"] == {"id": blob["id"]}
    assert (await net.ask(by_object, o="0x77"))["blob"] is None
    for query in ("{ blob { id } }", by_number.replace("decimalId: $n", 'decimalId: $n, objectId: "0x1"')):
        assert (await net.refused(query, n="1"))[0] == "INVALID_ARGUMENT"
    assert (await net.refused(by_number, n="-5"))[0] == "INVALID_ARGUMENT"


async def test_many_things_are_had_at_once_by_their_ids(net: Any) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }"
    found = await net.ask("{ blobs(first: 1) { nodes { id } } epoch { id } }")
    blob, epoch = found["blobs"]["nodes"][0]["id"], found["epoch"]["id"]
    unknown = global_id("Blob", bytes(32))
    answer = await net.ask(query, ids=[epoch, unknown, blob])
    assert [node and node["__typename"] for node in answer["nodes"]] == ["Epoch", None, "Blob"]
    assert (await net.refused(query, ids=[blob] * 101))[0] == "PAGE_TOO_LARGE"
