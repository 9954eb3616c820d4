"""Row keys of the state: the one place that knows how a table's key is put together.

Numbers in keys are big-endian, so that the order of keys is the order of numbers. Tables are listed in `state`.
"""

from __future__ import annotations

from haulout.ledger.state import FIRST_DERIVED, ObjectKind

PARAMS = b"\x01params"
SYSTEM = b"\x01system"
STAKING = b"\x01staking"
NEXT = b"\x01next"
SUBSIDIES = b"\x01subsidies"

BUCKET = b"\x02"
COMMITTEE = b"\x03"
ACCOUNT = b"\x10"
RECEIPT = b"\x11"
STORAGE = b"\x20"
BLOB = b"\x21"
BLOB_RECORD = b"\x22"
INVALID_BLOB = b"\x23"
NODE = b"\x24"
STAKED_WAL = b"\x25"
HAND_OVER = b"\x26"
NODE_KEY = b"\x27"
NODE_NAME = b"\x28"
POOL_SCHEDULE = b"\x29"
EXCHANGE_RATE = b"\x2a"
SHARED_BLOB = b"\x2b"
OWNED = b"\x80"
BLOB_OBJECT = b"\x81"
BLOB_END = b"\x82"
HAND_OVER_FROM = b"\x83"
HAND_OVER_TO = b"\x84"
HAND_OVER_OF_SHARD = b"\x85"

_OBJECT_TABLES = {ObjectKind.STORAGE: STORAGE, ObjectKind.BLOB: BLOB, ObjectKind.STAKED_WAL: STAKED_WAL}


def bucket(epoch: int) -> bytes:
    """Booking of an epoch."""
    return BUCKET + epoch.to_bytes(4, "big")


def committee(epoch: int) -> bytes:
    """Committee of an epoch."""
    return COMMITTEE + epoch.to_bytes(4, "big")


def account(address: bytes) -> bytes:
    """An account."""
    return ACCOUNT + address


def receipt(valid_until_ms: int, digest: bytes) -> bytes:
    """The receipt of a transaction, ordered by when it may be forgotten."""
    return RECEIPT + valid_until_ms.to_bytes(8, "big") + digest


def expired_receipts(time_ms: int) -> tuple[bytes, bytes]:
    """The range of receipts whose transactions have expired at `time_ms`."""
    return RECEIPT, RECEIPT + time_ms.to_bytes(8, "big")


def owned_object(kind: ObjectKind, object_id: bytes) -> bytes:
    """An object that an account can own."""
    return _OBJECT_TABLES[kind] + object_id


def storage(object_id: bytes) -> bytes:
    """A storage resource."""
    return STORAGE + object_id


def blob(object_id: bytes) -> bytes:
    """A blob object."""
    return BLOB + object_id


def shared_blob(object_id: bytes) -> bytes:
    """The funds of a blob object that is shared."""
    return SHARED_BLOB + object_id


def blob_record(blob_id: bytes) -> bytes:
    """All objects of a blob id, summed up."""
    return BLOB_RECORD + blob_id


def invalid_blob(blob_id: bytes) -> bytes:
    """The mark of an inconsistently encoded blob id."""
    return INVALID_BLOB + blob_id


def node(node_id: bytes) -> bytes:
    """A storage node."""
    return NODE + node_id


def staked_wal(object_id: bytes) -> bytes:
    """A stake object."""
    return STAKED_WAL + object_id


def hand_over(epoch: int, shard_index: int) -> bytes:
    """The hand-over of a shard in an epoch."""
    return HAND_OVER + _epoch_and_shard(epoch, shard_index)


def hand_overs_before(epoch: int) -> tuple[bytes, bytes]:
    """The range of hand-overs of epochs before this one."""
    return HAND_OVER, HAND_OVER + epoch.to_bytes(4, "big")


def hand_overs_of(epoch: int) -> tuple[bytes, bytes]:
    """The range of the hand-overs of an epoch."""
    prefix = HAND_OVER + epoch.to_bytes(4, "big")
    return prefix, prefix_end(prefix)


def pool_schedule(node_id: bytes) -> bytes:
    """What a pool does in later epochs."""
    return POOL_SCHEDULE + node_id


def exchange_rate(node_id: bytes, epoch: int) -> bytes:
    """What a pool's shares are worth from an epoch on."""
    return EXCHANGE_RATE + node_id + epoch.to_bytes(4, "big")


def node_key(public_key: bytes) -> bytes:
    """A registered BLS key (48 bytes) or network key (33 bytes)."""
    return NODE_KEY + public_key


def node_name(name: str) -> bytes:
    """A registered node name."""
    return NODE_NAME + name.encode()


def owned(owner: bytes, kind: ObjectKind, object_id: bytes) -> bytes:
    """Index: what an account owns."""
    return OWNED + owner + bytes((kind,)) + object_id


def owned_range(owner: bytes, kind: ObjectKind) -> tuple[bytes, bytes]:
    """The range of an account's objects of a kind."""
    prefix = OWNED + owner + bytes((kind,))
    return prefix, prefix_end(prefix)


def blob_object(blob_id: bytes, is_certified: bool, end_epoch: int, object_id: bytes) -> bytes:
    """Index: a live object of a blob id."""
    return BLOB_OBJECT + blob_id + bytes((is_certified,)) + end_epoch.to_bytes(4, "big") + object_id


def blob_object_range(blob_id: bytes, is_certified: bool) -> tuple[bytes, bytes]:
    """The range of certified, or of uncertified, objects of a blob id, by end."""
    prefix = BLOB_OBJECT + blob_id + bytes((is_certified,))
    return prefix, prefix_end(prefix)


def blob_end(end_epoch: int, blob_id: bytes) -> bytes:
    """Index: a blob id by the end of its certified life."""
    return BLOB_END + end_epoch.to_bytes(4, "big") + blob_id


def blob_end_range(start_epoch: int, end_epoch: int) -> tuple[bytes, bytes]:
    """The range of blob ids whose certified life ends in [start, end)."""
    return BLOB_END + start_epoch.to_bytes(4, "big"), BLOB_END + end_epoch.to_bytes(4, "big")


def open_hand_over_from(node_id: bytes, epoch: int, shard_index: int) -> bytes:
    """Index: an open hand-over by who gives."""
    return HAND_OVER_FROM + node_id + _epoch_and_shard(epoch, shard_index)


def open_hand_over_to(node_id: bytes, epoch: int, shard_index: int) -> bytes:
    """Index: an open hand-over by who takes."""
    return HAND_OVER_TO + node_id + _epoch_and_shard(epoch, shard_index)


def open_hand_over_of_shard(shard_index: int, epoch: int) -> bytes:
    """Index: an open hand-over by shard."""
    return HAND_OVER_OF_SHARD + shard_index.to_bytes(2, "big") + epoch.to_bytes(4, "big")


def open_hand_overs_range(table: bytes, of: bytes) -> tuple[bytes, bytes]:
    """The range of open hand-overs of a node, or of a shard (two bytes), in one of their indexes."""
    prefix = table + of
    return prefix, prefix_end(prefix)


def table_range(table: bytes, after: bytes | None = None) -> tuple[bytes, bytes]:
    """All rows of a table, or those behind a key of it."""
    return (table if after is None else after + b"\x00"), prefix_end(table)


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that start with `prefix`; the prefix has a byte below FF."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def _epoch_and_shard(epoch: int, shard_index: int) -> bytes:
    return epoch.to_bytes(4, "big") + shard_index.to_bytes(2, "big")


def is_committed(key: bytes) -> bool:
    """Whether the state root covers a row."""
    return key[0] < FIRST_DERIVED
