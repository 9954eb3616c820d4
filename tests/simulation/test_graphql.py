"""The GraphQL API over real nodes on virtual time: what it says of slivers is so, and its proofs hold alone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from graphql_api.holdings import PERIOD_MS
from graphql_api.ids import global_id
from haulout import codec
from haulout.client.registration import StoreRequest
from haulout.codec.metadata import SliverPairHashes, SliverStripes
from haulout.codec.pair_proof import PairProof, verify_pair_proof
from haulout.codec.stripes import verify_stripes
from haulout.crypto.merkle import MerkleProof
from haulout.ledger import queries
from haulout.ledger.plan import plan_next_committee
from haulout.primitives import Axis, EncodingType, SliverPairIndex, blob_id_text, sliver_index_of_pair
from haulout.sim.clock import VirtualClock
from haulout.sim.world import World

DATA = bytes(range(256)) * 40
N_SHARDS = 10
API = "graphql"

Ask = Callable[..., Awaitable[Any]]


def raw(text: str) -> bytes:
    return base64.b64decode(text)


def blake(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


MARGIN = "query ($b: BlobID!) { blob(blobId: $b) { durability { liveShards marginShards toleratedNodeLosses } } }"
WORST = "{ system { worstDurability { marginShards } } }"
SLIVERS = """query ($b: BlobID!, $stored: Boolean) { blob(blobId: $b) { slivers(first: 100, stored: $stored) { nodes {
  pair index shard stored sizeBytes hash verifiedAt node { name } } } } }"""
PROOF = """query ($b: BlobID!, $p: Int!, $axis: Axis!) { blob(blobId: $b) { proof(pair: $p, axis: $axis) {
  pair sliverHash primaryHash secondaryHash merklePath metadataRoot encodingCode unencodedSize nShards sliver } } }"""
RANGE = """query ($b: BlobID!) { blob(blobId: $b) { rangeProof(start: "700", length: "1000") {
  rowBytes slivers { pair sliver sliverHash primaryHash merklePath metadataRoot } } } }"""
PAIR = """ fragment Pair on SliverProof {
  pair primaryHash secondaryHash merklePath encodingCode unencodedSize symbolSize nStripes }"""
STRIPES = (
    PAIR
    + """query ($b: BlobID!, $p: Int!, $axis: Axis!, $first: Int, $count: Int) { blob(blobId: $b) {
  proof(pair: $p, axis: $axis) { ...Pair
    stripes(firstStripe: $first, count: $count) { firstStripe count data siblings } } } }"""
)
STRIPED_RANGE = (
    PAIR
    + """query ($b: BlobID!, $start: BigInt!, $length: BigInt!) { blob(blobId: $b) {
  rangeProof(start: $start, length: $length) { rowBytes stripeBytes slivers { ...Pair
    stripes { firstStripe count data siblings } } } } }"""
)
VERIFY = """query ($b: BlobID!) { verifyBlob(blobId: $b, strict: true) { valid checks { name passed } }
  certificate(blobId: $b) { message signature signers epoch } }"""
CERTIFICATE = """query ($m: Base64!, $s: Base64!, $n: [Int!]!, $e: Int!) {
  verifyCertificate(message: $m, signature: $s, signers: $n, epoch: $e) { valid checks { name passed detail } } }"""


async def pass_round() -> None:
    """Let every node be asked once more."""
    await VirtualClock().sleep_ms(3 * PERIOD_MS)


async def margins_follow_what_nodes_have(world: World, ask: Ask) -> None:
    stored = [(await world.client("alice").store(DATA + bytes([i]))).blob_id for i in range(2)]
    for name in world.node_names:
        await world.until(lambda name=name: world.is_complete(name), f"{name} is complete")  # type: ignore[misc]
    await pass_round()
    whole = {"liveShards": 10, "marginShards": 6, "toleratedNodeLosses": 3}
    for blob_id in stored:
        assert (await ask(MARGIN, b=blob_id_text(blob_id)))["blob"]["durability"] == whole

    # A live node loses its slivers of one blob and cannot rebuild them: that blob has less margin, and no other.
    world.fabric.partition(["node-1"], [name for name in world.node_names if name != "node-1"])
    vault = world.node("node-1").vault
    for shard in vault.duty().shards:
        await vault.slivers.discard_sliver(stored[0], shard, Axis.PRIMARY)
    await vault.list_incomplete(stored[0])
    await VirtualClock().sleep_ms(10_000)
    lower = (await ask(MARGIN, b=blob_id_text(stored[0])))["blob"]["durability"]
    assert lower == {"liveShards": 8, "marginShards": 4, "toleratedNodeLosses": 2}
    assert (await ask(MARGIN, b=blob_id_text(stored[1])))["blob"]["durability"] == whole
    assert (await ask(WORST))["system"]["worstDurability"] == {"marginShards": 4}
    world.fabric.heal()
    await world.until(lambda: world.is_complete("node-1"), "node-1 is complete")
    await pass_round()
    assert (await ask(MARGIN, b=blob_id_text(stored[0])))["blob"]["durability"] == whole
    assert (await ask(WORST))["system"]["worstDurability"] == {"marginShards": 6}


async def slivers_have_holders(world: World, ask: Ask) -> None:
    blob_id = (await world.client("alice").store(DATA)).blob_id
    for name in world.node_names:
        await world.until(lambda name=name: world.is_complete(name), f"{name} is complete")  # type: ignore[misc]
    await pass_round()
    nodes = (await ask(SLIVERS, b=blob_id_text(blob_id)))["blob"]["slivers"]["nodes"]
    encoded = codec.encode_blob(DATA, N_SHARDS)
    assert [sliver["pair"] for sliver in nodes] == list(range(N_SHARDS))
    assert sorted(sliver["shard"] for sliver in nodes) == list(range(N_SHARDS))
    for sliver in nodes:
        assert raw(sliver["hash"]) == encoded.metadata.pairs[sliver["pair"]].primary
        assert int(sliver["sizeBytes"]) == len(encoded.pair(sliver["pair"]).primary.data)
        assert (sliver["stored"], sliver["verifiedAt"]) == (True, None), "nothing has been read again yet"
    await world.node("node-1").scrubber.run_once()
    nodes = (await ask(SLIVERS, b=blob_id_text(blob_id)))["blob"]["slivers"]["nodes"]
    assert {sliver["node"]["name"] for sliver in nodes if sliver["verifiedAt"] is not None} == {"node-1"}
    await world.kill("node-2")
    await pass_round()
    nodes = (await ask(SLIVERS, b=blob_id_text(blob_id)))["blob"]["slivers"]["nodes"]
    assert {sliver["node"]["name"] for sliver in nodes if sliver["stored"] is None} == {"node-2"}
    assert len((await ask(SLIVERS, b=blob_id_text(blob_id), stored=True))["blob"]["slivers"]["nodes"]) == 8
    durability = (await ask(MARGIN, b=blob_id_text(blob_id)))["blob"]["durability"]
    assert durability == {"liveShards": 8, "marginShards": 4, "toleratedNodeLosses": 2}
    diagnosis = "{ storageNodes { nodes { name diagnosis { code } } } }"
    found = {node["name"]: node["diagnosis"] for node in (await ask(diagnosis))["storageNodes"]["nodes"]}
    assert {name for name, codes in found.items() if {"code": "UNREACHABLE"} in codes} == {"node-2"}
    await world.restart("node-2")
    await pass_round()
    assert (await ask(MARGIN, b=blob_id_text(blob_id)))["blob"]["durability"]["marginShards"] == 6


async def proofs_hold_alone(world: World, ask: Ask) -> None:
    blob_id = (await world.client("alice").store(DATA)).blob_id
    encoded = codec.encode_blob(DATA, N_SHARDS)
    for pair, axis in ((0, "PRIMARY"), (9, "SECONDARY"), (5, "SECONDARY")):
        proof = (await ask(PROOF, b=blob_id_text(blob_id), p=pair, axis=axis))["blob"]["proof"]
        # Everything from here on uses BLAKE2b and nothing of ours.
        running = blake(b"\0", raw(proof["primaryHash"]), raw(proof["secondaryHash"]))
        index = proof["pair"]
        for sibling in map(raw, proof["merklePath"]):
            running = blake(b"\1", sibling, running) if index & 1 else blake(b"\1", running, sibling)
            index >>= 1
        assert running == raw(proof["metadataRoot"])
        size = int(proof["unencodedSize"]).to_bytes(8, "little")
        assert blake(bytes([proof["encodingCode"]]), size, running) == blob_id
        assert proof["sliverHash"] == proof["primaryHash" if axis == "PRIMARY" else "secondaryHash"]
        expected = encoded.pair(pair).primary if axis == "PRIMARY" else encoded.pair(pair).secondary
        assert raw(proof["sliver"]) == bytes(expected.data)
    proof = (await ask(RANGE, b=blob_id_text(blob_id)))["blob"]["rangeProof"]
    row_bytes = int(proof["rowBytes"])
    content = b"".join(raw(sliver["sliver"]) for sliver in proof["slivers"])
    first = 700 - proof["slivers"][0]["pair"] * row_bytes
    assert content[first : first + 1000] == DATA[700:1700]


def pair_proof_of(answer: Any) -> PairProof:
    """A proof as the API sends it, in the words of who checks it."""
    return PairProof(
        encoding_type=EncodingType(answer["encodingCode"]),
        unencoded_length=int(answer["unencodedSize"]),
        n_shards=N_SHARDS,
        pair_index=answer["pair"],
        hashes=SliverPairHashes(raw(answer["primaryHash"]), raw(answer["secondaryHash"])),
        path=MerkleProof(tuple(None if raw(s) == bytes(32) else raw(s) for s in answer["merklePath"])),
    )


async def proofs_of_stripes_hold_alone(world: World, ask: Ask) -> None:
    """Two stripes of four rows; nothing but the blob id and what the API answers goes into the checks."""
    data = bytes(range(251)) * 1_900
    request = StoreRequest(n_epochs=5, encoding=EncodingType.RS8)
    blob_id = (await world.client("alice").store(data, request)).blob_id
    for name in world.node_names:
        await world.until(lambda name=name: world.is_complete(name), f"{name} is complete")  # type: ignore[misc]
    for pair, axis in ((0, "PRIMARY"), (9, "SECONDARY")):
        arguments = {"b": blob_id_text(blob_id), "p": pair, "axis": axis}
        proof = (await ask(STRIPES, first=1, count=1, **arguments))["blob"]["proof"]
        verify_pair_proof(pair_proof_of(proof), blob_id)
        (piece,) = proof["stripes"]
        assert (piece["firstStripe"], piece["count"], proof["nStripes"]) == (1, 1, 2)
        index = sliver_index_of_pair(SliverPairIndex(pair), Axis[axis], N_SHARDS)
        verify_stripes(pair_proof_of(proof).metadata(), Axis[axis], stripes_of(proof, piece, index))
        # The whole sliver is of the same hash, and holds the stripe.
        whole = raw((await ask(PROOF, **arguments))["blob"]["proof"]["sliver"])
        codec.verify_sliver(
            pair_proof_of(proof).metadata(), Axis[axis], codec.Sliver(whole, proof["symbolSize"], index)
        )
        assert whole[len(whole) // 2 :] == raw(piece["data"])

    striping = codec.rs8.striping_of(len(data), N_SHARDS)
    start, length = striping.stripe_bytes - 50, 100  # the end of one stripe and the beginning of the next
    found = (await ask(STRIPED_RANGE, b=blob_id_text(blob_id), start=str(start), length=str(length)))["blob"][
        "rangeProof"
    ]
    row_bytes, stripe_bytes = int(found["rowBytes"]), int(found["stripeBytes"])
    parts: dict[tuple[int, int], bytes] = {}  # by stripe and row
    for proof in found["slivers"]:
        verify_pair_proof(pair_proof_of(proof), blob_id)
        for piece in proof["stripes"]:
            verify_stripes(pair_proof_of(proof).metadata(), Axis.PRIMARY, stripes_of(proof, piece, proof["pair"]))
            for i in range(piece["count"]):
                part = raw(piece["data"])[i * row_bytes : (i + 1) * row_bytes]
                parts[piece["firstStripe"] + i, proof["pair"]] = part
    assert sorted(parts) == [(0, 3), (1, 0)]
    places = [(i // stripe_bytes, i % stripe_bytes) for i in range(start, start + length)]
    assert bytes(parts[t, j // row_bytes][j % row_bytes] for t, j in places) == data[start : start + length]


def stripes_of(proof: Any, piece: Any, index: int) -> SliverStripes:
    """Stripes as the API sends them, in the words of who checks them."""
    siblings = tuple(raw(sibling) for sibling in piece["siblings"])
    return SliverStripes(raw(piece["data"]), proof["symbolSize"], index, piece["firstStripe"], siblings)


async def verification_tells_good_from_bad(world: World, ask: Ask) -> None:
    blob_id = (await world.client("alice").store(DATA)).blob_id
    answer = await ask(VERIFY, b=blob_id_text(blob_id))
    assert answer["verifyBlob"]["valid"] is True
    assert len(answer["verifyBlob"]["checks"]) == 5
    c = answer["certificate"]
    good = {"m": c["message"], "s": c["signature"], "n": c["signers"], "e": c["epoch"]}
    assert (await ask(CERTIFICATE, **good))["verifyCertificate"]["valid"] is True
    other = base64.b64encode(raw(c["message"])[:-1] + b"\xff").decode()
    for bad in ({"m": other}, {"n": c["signers"][:1]}, {"e": 77}, {"n": [*c["signers"], 900]}):
        verdict = (await ask(CERTIFICATE, **{**good, **bad}))["verifyCertificate"]
        assert verdict["valid"] is False
        assert [check["passed"] for check in verdict["checks"]].count(False) == 1
    for name in ("node-0", "node-1", "node-2", "node-3"):
        await world.kill(name)
    verdict = (await ask(VERIFY, b=blob_id_text(blob_id)))["verifyBlob"]
    assert verdict["valid"] is False
    missing = (await ask(VERIFY, b=blob_id_text(bytes(32))))["verifyBlob"]  # type: ignore[arg-type]
    assert missing == {"valid": False, "checks": [{"name": "certified on the ledger", "passed": False}]}


async def plans_are_those_of_the_ledger(world: World, ask: Ask) -> None:
    alice = world.client("alice")
    quote = await ask(
        '{ estimateCost(sizes: ["10240", "1"], epochs: 5) { total writeCost storageCost encodingTypes } }'
    )
    replica = world.hosts["alice"].replica
    assert replica is not None
    lengths = [codec.sizes.encoded_length(size, N_SHARDS) for size in (10_240, 1)]
    expected = [queries.quote(replica.view, encoded_bytes=length, n_epochs=5) for length in lengths]
    assert int(quote["estimateCost"]["total"]) == sum(q.total_frost for q in expected) > 0
    before = await alice.network.view.balance(alice.wallet.address)
    assert before > 0
    node = world.network.nodes[1]
    query = """query ($c: [StakeChangeInput!]!, $l: [ID!]) { simulateAssignment(stakeChanges: $c, leaving: $l) {
      epoch possible extraMoves warnings members { weightBefore weightAfter shards node { name } }
      moves { shard fromNode { name } toNode { name } } } }"""
    change = {"node": global_id("StorageNode", node.node_id), "delta": "2000000000000"}
    plan = (await ask(query, c=[change]))["simulateAssignment"]
    own = plan_next_committee(replica.view, stake_changes={node.node_id: 2_000_000_000_000})
    shards = {m["node"]["name"]: tuple(m["shards"]) for m in plan["members"]}
    names = {n.node_id: n.name for n in world.network.nodes}
    assert shards == {names[node_id]: assigned for node_id, assigned in own.assignment.items()}
    assert len(plan["moves"]) == len(own.moves)
    assert (plan["epoch"], plan["possible"], plan["warnings"]) == (2, True, [])
    leaving = [global_id("StorageNode", n.node_id) for n in world.network.nodes[:3]]
    plan = (await ask(query, c=[], l=leaving))["simulateAssignment"]
    assert plan["possible"] is False
    assert plan["warnings"] and not plan["moves"]


@pytest.mark.parametrize(
    "story",
    [
        margins_follow_what_nodes_have,
        slivers_have_holders,
        proofs_hold_alone,
        proofs_of_stripes_hold_alone,
        verification_tells_good_from_bad,
        plans_are_those_of_the_ledger,
    ],
)
def test_what_the_api_says_of_a_network(tell: Any, story: Any) -> None:
    tell(story)
