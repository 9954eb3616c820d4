"""The derived tables: which index rows follow from a row of the state.

Handlers write index rows along with the rows they follow from; a snapshot carries only the latter, and whoever
imports one, or checks a state, derives the former here.
"""

from __future__ import annotations

from haulout import bcs
from haulout.ledger import keys
from haulout.ledger.state import Blob, BlobRecord, HandOver, ObjectKind, StakedWal, Storage


def derive_index_keys(key: bytes, value: bytes) -> list[bytes]:
    """Keys of the index rows, all with empty values, that follow from one committed row.

    Raises:
        UndecodableBytes: the value is not a row of its table.
    """
    table, row_id = key[:1], key[1:]
    if table == keys.STORAGE:
        storage: Storage = bcs.decode(Storage, value)
        return [keys.owned(storage.owner, ObjectKind.STORAGE, row_id)]
    if table == keys.STAKED_WAL:
        staked: StakedWal = bcs.decode(StakedWal, value)
        return [keys.owned(staked.owner, ObjectKind.STAKED_WAL, row_id)]
    if table == keys.BLOB:
        blob: Blob = bcs.decode(Blob, value)
        is_certified = blob.certified_epoch is not None
        return [
            keys.owned(blob.owner, ObjectKind.BLOB, row_id),
            keys.blob_object(blob.blob_id, is_certified, blob.end_epoch, row_id),
        ]
    if table == keys.BLOB_RECORD:
        record: BlobRecord = bcs.decode(BlobRecord, value)
        if record.certified_end_epoch is not None:
            return [keys.blob_end(record.certified_end_epoch, row_id)]
    if table == keys.HAND_OVER:
        return open_hand_over_keys(int.from_bytes(row_id[:4], "big"), int.from_bytes(row_id[4:], "big"), value)
    return []


def open_hand_over_keys(epoch: int, shard_index: int, value: bytes) -> list[bytes]:
    """Index rows of a hand-over: none once it is done."""
    record: HandOver = bcs.decode(HandOver, value)
    if record.done:
        return []
    return [
        keys.open_hand_over_from(record.from_node, epoch, shard_index),
        keys.open_hand_over_to(record.to_node, epoch, shard_index),
        keys.open_hand_over_of_shard(shard_index, epoch),
    ]
