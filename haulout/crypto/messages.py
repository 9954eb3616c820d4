"""The messages that storage nodes sign, and one that their owners do: three bytes of intent, the epoch, a body.

Walrus's own have intent types 0 to 6 and exactly its bytes, so its tools verify them. Ours have types from 128 on
and bind the chain id. Whoever verifies parses first, requires type, epoch and body, and checks the signature last.
Source: `walrus-core`, `messages.rs`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from haulout import bcs
from haulout.bcs import U8, U16, U32, U64, Bytes32, Bytes48, Union
from haulout.errors import UndecodableBytes
from haulout.primitives import Axis

INTENT_VERSION = 0
APP_ID = 3
HEADER_BYTES = 7
SYNC_SHARD_VERSION = 0


FIRST_OWN_INTENT = 128


class Intent(enum.IntEnum):
    """What a message is about; numbers are for ever. Walrus's below 128, ours from there on."""

    PROOF_OF_POSSESSION = 0
    STORAGE_CONFIRMATION = 1
    INVALID_BLOB_ID = 2
    SYNC_SHARD = 3
    DENY_LIST_UPDATE = 4
    DENY_LISTED_BLOB_DELETED = 5
    PROTOCOL_VERSION = 6
    CHECKPOINT = 128
    SYNC_SHARDS = 129
    PROTOCOL_CONSENT = 130


@dataclass(frozen=True, slots=True)
class ProofOfPossession:
    """The signer holds the secret of `public_key` and registers it from `address`."""

    address: Bytes32
    public_key: Bytes48


@dataclass(frozen=True, slots=True)
class Permanent:
    """A blob that cannot be deleted before it expires."""


@dataclass(frozen=True, slots=True)
class Deletable:
    """A deletable blob, confirmed for one of its objects."""

    object_id: Bytes32


_PERSISTENCE = Union({0: Permanent, 1: Deletable})


@dataclass(frozen=True, slots=True)
class StorageConfirmation:
    """The signer has all slivers of its shards for this blob, durably."""

    blob_id: Bytes32
    persistence: Annotated[Permanent | Deletable, _PERSISTENCE]

    @property
    def object_id(self) -> bytes | None:
        """The object of a deletable blob, None for a permanent one."""
        return self.persistence.object_id if isinstance(self.persistence, Deletable) else None


@dataclass(frozen=True, slots=True)
class InvalidBlobId:
    """The signer has seen proof that this blob is encoded inconsistently."""

    blob_id: Bytes32


@dataclass(frozen=True, slots=True)
class SyncShardRequest:
    """A new owner asks the previous one for slivers of a shard."""

    version: U8
    shard_index: U16
    axis: Axis
    starting_blob_id: Bytes32
    sliver_count: U64
    epoch: U32

    def __post_init__(self) -> None:
        if self.version != SYNC_SHARD_VERSION:
            raise ValueError(f"unknown version {self.version}")


@dataclass(frozen=True, slots=True)
class SyncShardsRequest:
    """As many of `SyncShardRequest` as there are shards, both axes of each, under one signature: verifying one costs
    as much as proving a MiB of slivers."""

    chain_id: Bytes32
    shards: tuple[U16, ...]
    starting_blob_id: Bytes32
    blob_count: U64


@dataclass(frozen=True, slots=True)
class DenyListUpdate:
    """The signer has checked a node's deny list."""

    node_id: Bytes32
    sequence: U64
    size_bytes: U64
    root: Bytes32


@dataclass(frozen=True, slots=True)
class DenyListedBlobDeleted:
    """The signer has deleted a deny-listed blob."""

    blob_id: Bytes32


@dataclass(frozen=True, slots=True)
class ProtocolVersion:
    """The signer is ready for this protocol version from this epoch on."""

    start_epoch: U32
    protocol_version: U64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The signer has re-executed this chain and its checkpoint has this digest."""

    chain_id: Bytes32
    checkpoint_digest: Bytes32


@dataclass(frozen=True, slots=True)
class ProtocolConsent:
    """A node's owner lets the node vote for exactly this; signed by the account that governs the node (Ed25519).

    `signed_ms`, the owner's clock, says which of two given in one epoch is the later one.
    """

    chain_id: Bytes32
    node_id: Bytes32
    protocol_version: U32
    start_epoch: U32
    signed_ms: U64


Body = (
    ProofOfPossession
    | StorageConfirmation
    | InvalidBlobId
    | SyncShardRequest
    | SyncShardsRequest
    | DenyListUpdate
    | DenyListedBlobDeleted
    | ProtocolVersion
    | Checkpoint
    | ProtocolConsent
)

BODIES: dict[Intent, type[Body]] = {
    Intent.PROOF_OF_POSSESSION: ProofOfPossession,
    Intent.STORAGE_CONFIRMATION: StorageConfirmation,
    Intent.INVALID_BLOB_ID: InvalidBlobId,
    Intent.SYNC_SHARD: SyncShardRequest,
    Intent.DENY_LIST_UPDATE: DenyListUpdate,
    Intent.DENY_LISTED_BLOB_DELETED: DenyListedBlobDeleted,
    Intent.PROTOCOL_VERSION: ProtocolVersion,
    Intent.CHECKPOINT: Checkpoint,
    Intent.SYNC_SHARDS: SyncShardsRequest,
    Intent.PROTOCOL_CONSENT: ProtocolConsent,
}
_INTENTS: dict[type[Body], Intent] = {body: intent for intent, body in BODIES.items()}


_KNOWN = frozenset(int(intent) for intent in BODIES)


@dataclass(frozen=True, slots=True)
class Message:
    """A parsed message."""

    epoch: int
    body: Body


def build_message(epoch: int, body: Body) -> bytes:
    """The bytes to sign; `epoch` is the one in which they are signed."""
    return header_bytes(_INTENTS[type(body)]) + epoch.to_bytes(4, "little") + bcs.encode(body)


def header_bytes(intent: Intent) -> bytes:
    """The intent triple with which every message of this kind starts."""
    return bytes([intent, INTENT_VERSION, APP_ID])


def parse(message: bytes) -> Message:
    """Read a message strictly.

    Raises:
        UndecodableBytes: wrong intent triple, truncated, trailing bytes.
    """
    if len(message) < HEADER_BYTES:
        raise UndecodableBytes(type_name="signed message", problem="truncated")
    kind, version, app = message[0], message[1], message[2]
    if version != INTENT_VERSION or app != APP_ID or kind not in _KNOWN:
        raise UndecodableBytes(type_name="signed message", problem=f"unknown intent {kind}.{version}.{app}")
    body: Body = bcs.decode(BODIES[Intent(kind)], message[HEADER_BYTES:])
    return Message(int.from_bytes(message[3:HEADER_BYTES], "little"), body)


def storage_confirmation(epoch: int, blob_id: bytes, object_id: bytes | None) -> bytes:
    """Bytes of a storage confirmation; `object_id` for a deletable blob, None for a permanent one."""
    persistence = Permanent() if object_id is None else Deletable(object_id)
    return build_message(epoch, StorageConfirmation(blob_id, persistence))


def proof_of_possession(epoch: int, address: bytes, public_key: bytes) -> bytes:
    """Bytes that prove possession of a key when signed with it."""
    return build_message(epoch, ProofOfPossession(address, public_key))


def invalid_blob_id(epoch: int, blob_id: bytes) -> bytes:
    """Bytes that attest an inconsistent encoding."""
    return build_message(epoch, InvalidBlobId(blob_id))


def sync_shard_request(
    epoch: int, *, shard_index: int, axis: Axis, starting_blob_id: bytes, sliver_count: int
) -> bytes:
    """Bytes of a request for slivers of a shard, from one node to another; the request's epoch is the signer's."""
    body = SyncShardRequest(SYNC_SHARD_VERSION, shard_index, axis, starting_blob_id, sliver_count, epoch)
    return build_message(epoch, body)


def sync_shards_request(
    epoch: int, *, chain_id: bytes, shards: Sequence[int], starting_blob_id: bytes, blob_count: int
) -> bytes:
    """Bytes of a request for all slivers of some shards, from one node to another."""
    return build_message(epoch, SyncShardsRequest(chain_id, tuple(shards), starting_blob_id, blob_count))


def deny_list_update(epoch: int, *, node_id: bytes, sequence: int, size_bytes: int, root: bytes) -> bytes:
    """Bytes that attest a node's new deny list."""
    return build_message(epoch, DenyListUpdate(node_id, sequence, size_bytes, root))


def deny_listed_blob_deleted(epoch: int, blob_id: bytes) -> bytes:
    """Bytes that attest the deletion of a deny-listed blob."""
    return build_message(epoch, DenyListedBlobDeleted(blob_id))


def protocol_version(epoch: int, *, start_epoch: int, version: int) -> bytes:
    """Bytes that vote for a protocol version from an epoch on."""
    return build_message(epoch, ProtocolVersion(start_epoch, version))


def checkpoint(epoch: int, *, chain_id: bytes, checkpoint_digest: bytes) -> bytes:
    """Bytes that attest a checkpoint of one chain; no other chain can use the signature."""
    return build_message(epoch, Checkpoint(chain_id, checkpoint_digest))


def protocol_consent(
    epoch: int, *, chain_id: bytes, node_id: bytes, version: int, start_epoch: int, signed_ms: int
) -> bytes:
    """Bytes with which its owner lets a node of one chain vote for a protocol version from an epoch on."""
    return build_message(epoch, ProtocolConsent(chain_id, node_id, version, start_epoch, signed_ms))
