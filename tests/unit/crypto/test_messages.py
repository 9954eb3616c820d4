"""Signed messages: what a strict reader must refuse."""

import pytest

from haulout.crypto import messages
from haulout.crypto.messages import Intent
from haulout.errors import UndecodableBytes
from haulout.primitives import Axis

BLOB = b"\x07" * 32
ALL = {
    Intent.PROOF_OF_POSSESSION: messages.proof_of_possession(21, b"\x2a" * 32, b"\x05" * 48),
    Intent.STORAGE_CONFIRMATION: messages.storage_confirmation(21, BLOB, None),
    Intent.INVALID_BLOB_ID: messages.invalid_blob_id(21, BLOB),
    Intent.SYNC_SHARD: messages.sync_shard_request(
        21, shard_index=5, axis=Axis.PRIMARY, starting_blob_id=BLOB, sliver_count=1000
    ),
    Intent.DENY_LIST_UPDATE: messages.deny_list_update(21, node_id=BLOB, sequence=3, size_bytes=4, root=BLOB),
    Intent.DENY_LISTED_BLOB_DELETED: messages.deny_listed_blob_deleted(21, BLOB),
    Intent.PROTOCOL_VERSION: messages.protocol_version(21, start_epoch=22, version=7),
    Intent.CHECKPOINT: messages.checkpoint(21, chain_id=BLOB, checkpoint_digest=b"\x08" * 32),
    Intent.SYNC_SHARDS: messages.sync_shards_request(
        21, chain_id=BLOB, shards=(3, 5), starting_blob_id=b"\x08" * 32, blob_count=1000
    ),
    Intent.PROTOCOL_CONSENT: messages.protocol_consent(
        21, chain_id=BLOB, node_id=b"\x08" * 32, version=7, start_epoch=22, signed_ms=1_700_000_000_000
    ),
}


@pytest.mark.parametrize("intent", list(Intent))
def test_every_message_is_read_back_with_its_epoch(intent: Intent) -> None:
    raw = ALL[intent]
    parsed = messages.parse(raw)
    assert raw[:3] == bytes([intent, 0, 3])
    assert parsed.epoch == 21
    assert type(parsed.body) is messages.BODIES[intent]
    assert messages.build_message(21, parsed.body) == raw


@pytest.mark.parametrize("intent", list(Intent))
def test_refuses_truncated_and_longer_messages(intent: Intent) -> None:
    raw = ALL[intent]
    for damaged in (raw[:-1], raw + b"\x00", raw[:7], raw[:6], b""):
        with pytest.raises(UndecodableBytes):
            messages.parse(damaged)


@pytest.mark.parametrize(
    "header", [b"\x07\x00\x03", b"\x7f\x00\x03", b"\x01\x01\x03", b"\x01\x00\x02", b"\xff\x00\x03"]
)
def test_refuses_unknown_intents_versions_and_applications(header: bytes) -> None:
    with pytest.raises(UndecodableBytes, match="unknown intent"):
        messages.parse(header + ALL[Intent.STORAGE_CONFIRMATION][3:])


def test_refuses_a_third_persistence() -> None:
    raw = bytearray(ALL[Intent.STORAGE_CONFIRMATION])
    raw[-1] = 2
    with pytest.raises(UndecodableBytes):
        messages.parse(bytes(raw))


def test_refuses_another_version_of_a_shard_request() -> None:
    raw = bytearray(ALL[Intent.SYNC_SHARD])
    raw[7] = 1
    with pytest.raises(UndecodableBytes, match="version"):
        messages.parse(bytes(raw))


def test_the_bytes_of_a_request_for_many_shards_are_for_ever() -> None:
    expected = "81000315000000" + "07" * 32 + "0203000500" + "08" * 32 + "e803000000000000"
    assert ALL[Intent.SYNC_SHARDS].hex() == expected


def test_our_own_intents_are_clear_of_those_of_walrus() -> None:
    assert Intent.CHECKPOINT >= messages.FIRST_OWN_INTENT > max(i for i in Intent if i < messages.FIRST_OWN_INTENT)
    assert ALL[Intent.CHECKPOINT] != messages.checkpoint(21, chain_id=b"\x09" * 32, checkpoint_digest=b"\x08" * 32)
