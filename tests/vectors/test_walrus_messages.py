"""Messages, signatures, the certificate and the shard mapping of `walrus_messages.json`."""

import json
from pathlib import Path
from typing import Any

import pytest

from haulout.crypto import messages
from haulout.crypto.bls import Bls12381
from haulout.crypto.certificate import Signer, bitmap_of, check_certificate
from haulout.primitives import Axis, BlobId, is_quorum, pair_of_shard, shard_of_pair

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "walrus_messages.json").read_text())
SCHEME = Bls12381()
EPOCH = 21
BLOB = b"\x07" * 32
COUNTING = bytes(range(32))
MADE = {
    "storage_confirmation_permanent": messages.storage_confirmation(EPOCH, BLOB, None),
    "storage_confirmation_deletable": messages.storage_confirmation(EPOCH, BLOB, b"\x2a" * 32),
    "invalid_blob_id": messages.invalid_blob_id(EPOCH, COUNTING),
    "proof_of_possession": messages.proof_of_possession(EPOCH, b"\x2a" * 32, bytes.fromhex(DATA["public_keys"]["117"])),
    "sync_shard_primary": messages.sync_shard_request(
        EPOCH, shard_index=5, axis=Axis.PRIMARY, starting_blob_id=BLOB, sliver_count=1000
    ),
    "sync_shard_secondary": messages.sync_shard_request(
        EPOCH, shard_index=5, axis=Axis.SECONDARY, starting_blob_id=BLOB, sliver_count=1000
    ),
    "deny_list_update": messages.deny_list_update(
        EPOCH, node_id=b"\x09" * 32, sequence=3, size_bytes=1024, root=COUNTING
    ),
    "deny_list_blob_deleted": messages.deny_listed_blob_deleted(EPOCH, BLOB),
    "protocol_version": messages.protocol_version(EPOCH, start_epoch=22, version=7),
}


def secret(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize("number", list(DATA["public_keys"]))
def test_public_key_of_a_scalar(number: str) -> None:
    assert SCHEME.public_key(secret(int(number))).hex() == DATA["public_keys"][number]


@pytest.mark.parametrize("name", list(DATA["messages"]))
def test_message_and_its_signature(name: str) -> None:
    vector = DATA["messages"][name]
    assert MADE[name].hex() == vector["message_hex"]
    assert len(MADE[name]) == vector["length"]
    assert messages.build_message(EPOCH, messages.parse(MADE[name]).body) == MADE[name]
    signature = SCHEME.sign(secret(117), MADE[name])
    assert signature.hex() == vector["signature_sk117_hex"]
    assert SCHEME.verify(bytes.fromhex(DATA["public_keys"]["117"]), MADE[name], signature)


def test_certificate_of_seven_of_ten() -> None:
    vector = DATA["certificate"]
    message = bytes.fromhex(vector["message_hex"])
    signatures = [SCHEME.sign(secret(i + 1), message) for i in vector["signers"]]
    assert [signature.hex() for signature in signatures] == vector["signatures_hex"]
    aggregate = SCHEME.aggregate(signatures)
    assert aggregate.hex() == vector["aggregate_signature_hex"]
    assert bitmap_of(vector["signers"]).hex() == vector["signers_bitmap_hex"]
    members = [Signer(bytes.fromhex(DATA["public_keys"][str(i)]), 1) for i in range(1, 11)]
    weight = check_certificate(
        SCHEME,
        members,
        message=message,
        signature=aggregate,
        bitmap=bytes.fromhex(vector["signers_bitmap_hex"]),
        is_enough=is_quorum,
    )
    assert weight == 7


@pytest.mark.parametrize("vector", DATA["shard_mapping"], ids=lambda v: f"{v['n_shards']}-{v['note'][:8]}")
def test_shard_mapping(vector: dict[str, Any]) -> None:
    blob_id, n_shards = BlobId(bytes.fromhex(vector["blob_id_hex"])), vector["n_shards"]
    for pair, shard in vector["pair_to_shard"].items():
        assert shard_of_pair(int(pair), blob_id, n_shards) == shard
    for shard, pair in vector["shard_to_pair"].items():
        assert pair_of_shard(int(shard), blob_id, n_shards) == pair
