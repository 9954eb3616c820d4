"""Mutations over a virtual network: each takes effect on the ledger and shows it, or says why not."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from haulout import codec
from haulout.codec import sizes
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.messages import storage_confirmation
from haulout.ledger import commands as c
from haulout.ledger.transactions import SignedTransaction, encode_transaction, sign_transaction
from haulout.primitives import FROST_PER_WAL, BlobId, blob_id_text, hex_id_text
from haulout.sim.clock import VirtualClock
from haulout.sim.world import World

ERRORS = "userErrors { code message path retry }"
TRANSACTION = "transaction { digest height createdIds }"
OBJECT = """object { objectId certifiedEpoch persistence attributes { key value } owner { address }
  storage { endEpoch } }"""


def mutation(name: str, input_type: str, selection: str) -> str:
    return f"mutation ($i: {input_type}!) {{ {name}(input: $i) {{ clientMutationId {selection} {ERRORS} }} }}"


def on_object(name: str, input_type: str) -> str:
    return mutation(name, input_type, f"{TRANSACTION} {OBJECT}")


STORE = mutation("storeInline", "StoreInlineInput", f"alreadyCertified blob {{ blobId state }} {OBJECT}")
REGISTER = on_object("registerBlob", "RegisterBlobInput")
CERTIFY = on_object("certifyBlob", "CertifyBlobInput")
EXTEND = on_object("extendBlob", "ExtendBlobInput")
TRANSFER = on_object("transferBlob", "TransferBlobInput")
SHARED = "shared { funds } owner { address } endEpoch"
SHARE = mutation("shareBlob", "ShareBlobInput", f"{TRANSACTION} object {{ {SHARED} }}")
FUND = mutation("fundSharedBlob", "FundSharedBlobInput", f"{TRANSACTION} object {{ {SHARED} }}")
EXTEND_SHARED = mutation("extendBlob", "ExtendBlobInput", f"object {{ {SHARED} storage {{ owner {{ address }} }} }}")
SHARING = """query ($o: ObjectID!) { events(first: 9, filter: {object: $o, types: [
  "BlobShared", "SharedBlobFunded", "SharedBlobExtended"]}) { nodes { __typename
  ... on BlobShared { formerOwner { address } funds blob { blobId } object { objectId } }
  ... on SharedBlobFunded { sender { address } amount funds blob { blobId } object { objectId } }
  ... on SharedBlobExtended { sender { address } epochs cost funds blob { blobId } object { objectId } } } } }"""
ATTRIBUTES = on_object("setBlobAttributes", "SetBlobAttributesInput")
DELETE = mutation("deleteBlobs", "ObjectsInput", f"{TRANSACTION} deletedIds")
BURN = mutation("burnBlobs", "ObjectsInput", f"{TRANSACTION} deletedIds")
STORAGE = "objectId startEpoch endEpoch sizeBytes"
RESERVE = mutation("reserveStorage", "ReserveStorageInput", f"reservation {{ {STORAGE} }}")
SPLIT = mutation("splitStorage", "SplitStorageInput", f"reservation {{ objectId }} reservations {{ {STORAGE} }}")
MERGE = mutation("mergeStorage", "MergeStorageInput", f"{TRANSACTION} reservations {{ {STORAGE} }}")
STAKE = mutation("stake", "StakeInput", "stake { objectId principal state }")
UNSTAKE = mutation("requestUnstake", "RequestUnstakeInput", "stake { objectId principal state }")
WITHDRAW = mutation("withdrawStake", "WithdrawStakeInput", "account { walBalance }")
POLICY = "retention { keepEpochs extendWhenBelow nextActionEpoch lastTriedEpoch error { code } }"
RETAIN = mutation("setRetention", "RetentionInput", f"object {{ {POLICY} }}")
KEPT = f"query ($o: ObjectID!) {{ blobObject(objectId: $o) {{ endEpoch {POLICY} }} }}"
BALANCE = "{ blobObjects { nodes { owner { walBalance } } } }"
AUDIT = "{ auditEvents { nodes { mutation code } } }"
PAY = mutation("transferFunds", "TransferFundsInput", "account { walBalance }")
ADVANCE = mutation("advanceEpoch", "AdvanceEpochInput", "epoch { number }")
EXECUTE = mutation("executeTransaction", "ExecuteTransactionInput", TRANSACTION)


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def refusal(payload: Any) -> tuple[str, str]:
    (error,) = payload["userErrors"]
    return error["code"], error["retry"]


async def a_small_blob_is_stored_extended_named_and_deleted(world: World, api: Any) -> None:
    attributes = [{"key": "type", "value": "note"}]
    stored = await api.mutate(STORE, i={"data": text(b"hello"), "epochs": 3, "attributes": attributes})
    assert stored["userErrors"] == []
    assert stored["alreadyCertified"] is False
    assert stored["blob"]["blobId"] == blob_id_text(codec.encode_blob(b"hello", 10).blob_id)
    assert stored["blob"]["state"] == "CERTIFIED"
    kept = stored["object"]
    assert kept["attributes"] == attributes
    assert kept["storage"]["endEpoch"] == 4
    alice = world.client("alice")
    assert kept["owner"]["address"] == hex_id_text(alice.wallet.address)
    again = await api.mutate(STORE, i={"data": text(b"hello"), "epochs": 3})
    assert (again["alreadyCertified"], again["object"]["objectId"]) == (True, kept["objectId"])

    wanted = {"objectId": kept["objectId"], "clientMutationId": "x"}
    extended = await api.mutate(EXTEND, i={**wanted, "epochs": 2})
    assert (extended["clientMutationId"], extended["object"]["storage"]["endEpoch"]) == ("x", 6)
    assert int(extended["transaction"]["height"]) > 0
    changes = {"set": [{"key": "year", "value": "1999"}], "remove": ["type"]}
    named = await api.mutate(ATTRIBUTES, i={**wanted, **changes})
    assert named["object"]["attributes"] == [{"key": "year", "value": "1999"}]
    assert refusal(await api.mutate(ATTRIBUTES, i={**wanted, "remove": ["type"]})) == ("MISSING_METADATA", "NEVER")
    assert refusal(await api.mutate(ATTRIBUTES, i=wanted)) == ("INVALID_ARGUMENT", "NEVER")

    deleted = await api.mutate(DELETE, i={"objectIds": [kept["objectId"]]})
    assert deleted["deletedIds"] == [kept["objectId"]]
    assert len(deleted["transaction"]["createdIds"]) == 1  # its storage, free again
    assert refusal(await api.mutate(DELETE, i={"objectIds": [kept["objectId"]]})) == ("OBJECT_NOT_FOUND", "NEVER")
    twice = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]
    for bad, code in (([{"key": "", "value": ""}], "INVALID_ATTRIBUTE"), (twice, "INVALID_ARGUMENT")):
        refused = await api.mutate(STORE, i={"data": text(b"other"), "epochs": 1, "attributes": bad})
        assert (refusal(refused), refused["blob"]) == ((code, "NEVER"), None)
    too_much = await api.mutate(STORE, i={"data": text(bytes(65 * 1024)), "epochs": 1})
    assert refusal(too_much) == ("INVALID_ARGUMENT", "NEVER")


async def a_blob_is_registered_transferred_and_burned(world: World, api: Any) -> None:
    encoded = codec.encode_blob(b"mine", 10)
    needed = sizes.encoded_length(4, 10)
    bought = (await api.mutate(RESERVE, i={"sizeBytes": str(needed), "epochs": 2}))["reservation"]
    assert (int(bought["sizeBytes"]), bought["endEpoch"] - bought["startEpoch"]) == (needed, 2)
    root = text(encoded.metadata.root_hash())
    wanted = {"blobId": blob_id_text(encoded.blob_id), "metadataRoot": root, "size": "4"}
    kept = (await api.mutate(REGISTER, i={**wanted, "storage": bought["objectId"]}))["object"]
    assert (kept["certifiedEpoch"], kept["persistence"]) == (None, "DELETABLE")
    other = (await api.mutate(REGISTER, i={**wanted, "epochs": 1, "persistence": "PERMANENT"}))["object"]
    assert other["persistence"] == "PERMANENT"
    assert refusal(await api.mutate(REGISTER, i={**wanted, "epochs": 99})) == ("INVALID_ARGUMENT", "NEVER")
    assert refusal(await api.mutate(REGISTER, i=wanted)) == ("INVALID_ARGUMENT", "NEVER")
    assert refusal(await api.mutate(REGISTER, i={**wanted, "size": "5", "epochs": 1})) == ("INVALID_BLOB_ID", "NEVER")
    forged = {"objectId": kept["objectId"], "message": "AAAA", "signature": text(bytes(96)), "signers": [0, 1, 2, 3]}
    code, _ = refusal(await api.mutate(CERTIFY, i=forged))
    assert code not in ("INTERNAL", "INVALID_ARGUMENT")
    assert refusal(await api.mutate(CERTIFY, i={**forged, "signers": [-1]})) == ("INVALID_ARGUMENT", "NEVER")
    await it_is_certified_by_who_has_the_confirmations(world, api, encoded.blob_id, other["objectId"])
    assert refusal(await api.mutate(EXTEND, i={"objectId": kept["objectId"], "epochs": 1})) == (
        "NOT_CERTIFIED",
        "NEVER",
    )

    assert refusal(await api.mutate(DELETE, i={"objectIds": [other["objectId"]]})) == ("BLOB_NOT_DELETABLE", "NEVER")
    burned = await api.mutate(BURN, i={"objectIds": [other["objectId"]]})
    assert burned["deletedIds"] == [other["objectId"]]
    to = "0x" + "ab" * 32
    given = await api.mutate(TRANSFER, i={"objectId": kept["objectId"], "to": to})
    assert given["object"]["owner"]["address"] == to
    assert refusal(await api.mutate(TRANSFER, i={"objectId": kept["objectId"], "to": to})) == ("NOT_OWNER", "NEVER")


async def it_is_certified_by_who_has_the_confirmations(world: World, api: Any, blob_id: BlobId, object_id: str) -> None:
    message = storage_confirmation(1, blob_id, None)  # it is permanent
    scheme = KeyedHash()
    committee = await world.client("alice").network.view.committee()
    secrets = {node.node_id: node.bls_secret for node in world.network.nodes}
    signed = [scheme.sign(secrets[member.node_id], message) for member in committee.members]
    proof = {"message": text(message), "signature": text(scheme.aggregate(signed)), "signers": [*range(len(signed))]}
    certified = await api.mutate(CERTIFY, i={"objectId": object_id, **proof})
    assert (certified["userErrors"], certified["object"]["certifiedEpoch"]) == ([], 1)
    shown = await api(
        "query ($b: BlobID!) { blob(blobId: $b) { state certificate { weight verified signers } } }",
        b=blob_id_text(blob_id),
    )
    certificate = {"weight": 10, "verified": True, "signers": proof["signers"]}
    assert shown["blob"] == {"state": "CERTIFIED", "certificate": certificate}


async def a_blob_is_shared_funded_and_extended(world: World, api: Any) -> None:
    permanent = {"data": text(b"ours"), "epochs": 2, "persistence": "PERMANENT"}
    kept = (await api.mutate(STORE, i=permanent))["object"]["objectId"]
    alice = hex_id_text(world.client("alice").wallet.address)
    loose = (await api.mutate(STORE, i={"data": text(b"loose"), "epochs": 2}))["object"]["objectId"]
    assert refusal(await api.mutate(SHARE, i={"objectId": loose})) == ("NOT_SHAREABLE", "NEVER")
    assert refusal(await api.mutate(SHARE, i={"objectId": "0x1"})) == ("BLOB_NOT_FOUND", "NEVER")
    assert refusal(await api.mutate(FUND, i={"objectId": kept, "amount": "1"})) == ("BLOB_NOT_SHARED", "NEVER")
    assert refusal(await api.mutate(SHARE, i={"objectId": kept, "amount": str(2**63)}))[0] == "INSUFFICIENT_FUNDS"

    given = await api.mutate(SHARE, i={"objectId": kept, "amount": "5"})
    assert given["object"] == {"shared": {"funds": "5"}, "owner": None, "endEpoch": 3}
    assert int(given["transaction"]["height"]) > 0
    assert refusal(await api.mutate(EXTEND, i={"objectId": kept, "epochs": 1})) == ("BLOB_IS_SHARED", "NEVER")
    from_funds = {"objectId": kept, "epochs": 2, "shared": True}
    assert refusal(await api.mutate(EXTEND_SHARED, i=from_funds)) == ("INSUFFICIENT_SHARED_FUNDS", "NEVER")
    both = {"objectId": kept, "storage": loose, "shared": True}
    assert refusal(await api.mutate(EXTEND_SHARED, i=both)) == ("INVALID_ARGUMENT", "NEVER")
    funded = await api.mutate(FUND, i={"objectId": kept, "amount": str(FROST_PER_WAL)})
    assert funded["object"]["shared"] == {"funds": str(FROST_PER_WAL + 5)}
    extended = (await api.mutate(EXTEND_SHARED, i=from_funds))["object"]
    assert (extended["endEpoch"], extended["owner"], extended["storage"]) == (5, None, {"owner": None})

    shared, put_in, taken = (await api(SHARING, o=kept))["events"]["nodes"]
    left = int(extended["shared"]["funds"])
    about = {"blob": shared["blob"], "object": {"objectId": kept}}
    assert shared == {"__typename": "BlobShared", "formerOwner": {"address": alice}, "funds": "5", **about}
    total, by = str(FROST_PER_WAL + 5), {"address": alice}
    assert put_in == {
        **about,
        "__typename": "SharedBlobFunded",
        "sender": by,
        "amount": str(FROST_PER_WAL),
        "funds": total,
    }
    assert taken == {
        **about,
        "__typename": "SharedBlobExtended",
        "sender": by,
        "epochs": 2,
        "cost": str(int(total) - left),
        "funds": str(left),
    }
    answer = (await api.http.post("/graphql", json={"query": AUDIT}, headers=await api.token("ADMIN"))).json()
    audited = [(event["mutation"], event["code"]) for event in answer["data"]["auditEvents"]["nodes"]]
    assert ("shareBlob", "OK") in audited
    assert ("shareBlob", "NOT_SHAREABLE") in audited
    assert ("fundSharedBlob", "OK") in audited


async def storage_is_cut_and_put_together(world: World, api: Any) -> None:
    bought = (await api.mutate(RESERVE, i={"sizeBytes": str(8 << 20), "epochs": 4}))["reservation"]
    whole = {"objectId": bought["objectId"]}
    first, second = (await api.mutate(SPLIT, i={**whole, "atBytes": str(3 << 20)}))["reservations"]
    assert (first["objectId"], first["sizeBytes"], second["sizeBytes"]) == (
        bought["objectId"],
        str(3 << 20),
        str(5 << 20),
    )
    early, late = (await api.mutate(SPLIT, i={**whole, "atEpoch": 3}))["reservations"]
    assert ((early["startEpoch"], early["endEpoch"]), (late["startEpoch"], late["endEpoch"])) == ((1, 3), (3, 5))
    crooked = await api.mutate(MERGE, i={"objectIds": [early["objectId"], second["objectId"]]})
    assert refusal(crooked) == ("INCOMPATIBLE_EPOCHS", "NEVER")
    together = [early["objectId"], late["objectId"], second["objectId"]]
    (merged,) = (await api.mutate(MERGE, i={"objectIds": together}))["reservations"]
    assert merged == bought
    for bad in ({}, {"atEpoch": 2, "atBytes": "1"}, {"atEpoch": -1}):
        assert refusal(await api.mutate(SPLIT, i={**whole, **bad})) == ("INVALID_ARGUMENT", "NEVER")
    assert refusal(await api.mutate(SPLIT, i={**whole, "atEpoch": 9})) == ("INVALID_EPOCH", "NEVER")
    assert refusal(await api.mutate(MERGE, i={"objectIds": together[:1]})) == ("INVALID_ARGUMENT", "NEVER")
    gone = await api.mutate(MERGE, i={"objectIds": together})
    assert refusal(gone) == ("OBJECT_NOT_FOUND", "NEVER")


async def stake_comes_and_goes(world: World, api: Any) -> None:
    node = hex_id_text(world.network.nodes[0].node_id)
    locked = (await api.mutate(STAKE, i={"nodeId": node, "amount": str(5 * FROST_PER_WAL)}))["stake"]
    assert int(locked["principal"]) == 5 * FROST_PER_WAL
    small = await api.mutate(STAKE, i={"nodeId": node, "amount": "1"})
    assert refusal(small) == ("STAKE_BELOW_THRESHOLD", "NEVER")
    nobody = await api.mutate(STAKE, i={"nodeId": "0x1", "amount": str(FROST_PER_WAL)})
    assert refusal(nobody) == ("POOL_NOT_FOUND", "NEVER")
    broke = await api.mutate(STAKE, i={"nodeId": node, "amount": str(2**63)})
    assert refusal(broke) == ("INSUFFICIENT_FUNDS", "NEVER")
    paid = await api.mutate(PAY, i={"to": "0x" + "cd" * 32, "amount": "1000"})
    before = int(paid["account"]["walBalance"])
    part = await api.mutate(UNSTAKE, i={"stakeId": locked["objectId"], "amount": str(2 * FROST_PER_WAL)})
    # A stake that does not count yet is taken out at once.
    assert refusal(part)[0] == "WITHDRAW_DIRECTLY"
    back = await api.mutate(WITHDRAW, i={"stakeId": locked["objectId"]})
    assert int(back["account"]["walBalance"]) == before + 5 * FROST_PER_WAL
    assert refusal(await api.mutate(ADVANCE, i={})) == ("EPOCHS_NOT_MANUAL", "NEVER")


async def a_caller_signs_alone(world: World, api: Any) -> None:
    until_ms = VirtualClock().now_ms() + 60_000

    def signed(number: int) -> SignedTransaction:
        return sign_transaction(
            world.network.account_secrets["alice"],
            world.network.genesis.chain_id,
            [c.Transfer(bytes([9]) * 32, 77)],
            nonce=bytes([number]) * 16,
            valid_until_ms=until_ms,
        )

    raw = encode_transaction(signed(1))
    done = await api.mutate(EXECUTE, i={"transaction": text(raw)})
    assert done["transaction"]["digest"] == hex_id_text(signed(1).transaction.digest())
    assert await api.mutate(EXECUTE, i={"transaction": text(raw)}) == done  # the recorded result
    balance = await api('{ account(address: "0x' + "09" * 32 + '") { walBalance } }')
    assert balance["account"]["walBalance"] == "77"
    forged = encode_transaction(signed(2))[:-1] + b"?"
    assert refusal(await api.mutate(EXECUTE, i={"transaction": text(forged)})) == ("BAD_SIGNATURE", "NEVER")
    assert refusal(await api.mutate(EXECUTE, i={"transaction": text(b"abc")})) == ("INVALID_ARGUMENT", "NEVER")


async def a_blob_is_kept_until_the_money_is_gone(world: World, api: Any) -> None:
    kept = (await api.mutate(STORE, i={"data": text(b"keep me"), "epochs": 1}))["object"]["objectId"]
    assert refusal(await api.mutate(RETAIN, i={"objectId": "0x1", "keepEpochs": 3})) == ("OBJECT_NOT_FOUND", "NEVER")
    for bad in ({"keepEpochs": 1}, {"keepEpochs": 99}, {"keepEpochs": 3, "extendWhenBelow": 4}, {"keepEpochs": -1}):
        assert refusal(await api.mutate(RETAIN, i={"objectId": kept, **bad})) == ("INVALID_ARGUMENT", "NEVER")
    policy = (await api.mutate(RETAIN, i={"objectId": kept, "keepEpochs": 3}))["object"]["retention"]
    assert policy == {
        "keepEpochs": 3,
        "extendWhenBelow": 2,
        "nextActionEpoch": 1,
        "lastTriedEpoch": None,
        "error": None,
    }

    async def until(next_epoch: int | None) -> Any:
        while True:
            shown = (await api(KEPT, o=kept))["blobObject"]
            if shown["retention"]["nextActionEpoch"] == next_epoch:
                return shown
            await asyncio.sleep(5)

    shown = await until(3)  # there was one epoch, now there are three
    assert (shown["endEpoch"], shown["retention"]["lastTriedEpoch"], shown["retention"]["error"]) == (4, 1, None)
    poor = {"to": "0x" + "cd" * 32, "amount": (await api(BALANCE))["blobObjects"]["nodes"][0]["owner"]["walBalance"]}
    assert (await api.mutate(PAY, i=poor))["account"] == {"walBalance": "0"}
    shown = await until(4)
    assert (shown["endEpoch"], shown["retention"]["lastTriedEpoch"]) == (4, 3)
    assert shown["retention"]["error"]["code"] == "INSUFFICIENT_FUNDS"
    shown = await until(None)
    assert shown["retention"]["error"]["code"] == "RETENTION_TOO_LATE"
    late = await api.mutate(RETAIN, i={"objectId": kept, "keepEpochs": 3})
    assert refusal(late) == ("RESOURCE_BOUNDS", "NEVER")
    assert (await api.mutate(RETAIN, i={"objectId": kept}))["object"]["retention"] is None
    answer = (await api.http.post("/graphql", json={"query": AUDIT}, headers=await api.token("ADMIN"))).json()
    codes = [event["code"] for event in answer["data"]["auditEvents"]["nodes"] if event["mutation"] == "renewBlob"]
    assert codes == ["INSUFFICIENT_FUNDS", "OK"]


def test_blobs_are_kept_by_a_policy(tell: Any) -> None:
    tell(a_blob_is_kept_until_the_money_is_gone, epoch_ms=20_000, grace_ms=1_000)


async def scopes_are_kept_apart(world: World, api: Any) -> None:
    needed = {ADVANCE: "OPERATE", STAKE: "STAKE", STORE: "WRITE_BLOB"}
    inputs = {STAKE: {"nodeId": "0x1", "amount": "1"}, STORE: {"data": "", "epochs": 99}, ADVANCE: {}}
    for query, scope in needed.items():
        for held in ("READ", "WRITE_BLOB", "STAKE", "OPERATE", "ADMIN"):
            body = {"query": query, "variables": {"i": inputs[query]}}
            answer = (await api.http.post("/graphql", json=body, headers=await api.token(held))).json()
            codes = [error["extensions"]["code"] for error in answer.get("errors", ())]
            assert codes == ([] if held in (scope, "ADMIN") else ["PERMISSION_DENIED"]), (query, held, answer)


@pytest.mark.parametrize(
    "story",
    [
        a_small_blob_is_stored_extended_named_and_deleted,
        a_blob_is_registered_transferred_and_burned,
        a_blob_is_shared_funded_and_extended,
        storage_is_cut_and_put_together,
        stake_comes_and_goes,
        a_caller_signs_alone,
        scopes_are_kept_apart,
    ],
)
def test_what_the_api_changes(tell: Any, story: Any) -> None:
    tell(story)
