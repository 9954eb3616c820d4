"""Shards on their way: a record per shard that changes owner, open until the new owner has everything.

Who serves a shard's older blobs, who may delete and which leaver may go are read from these records, never from the
committee: an epoch may be forced to Done, and the next may begin, while shards are still on their way. A shard that
moves on before it has arrived has one open record per move, and each giver keeps what it has::

    epoch 7: A -> B, open      A has the blobs certified before 7
    epoch 8: B -> C, open      B has those certified in 7

When C reports the shard it has both, so both are done. When B reports it, only the first is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from haulout import bcs
from haulout.ledger import keys, queries
from haulout.ledger.epoch_events import ShardMove
from haulout.ledger.execution import Execution
from haulout.ledger.indexes import open_hand_over_keys
from haulout.ledger.state import STATE_VERSION, HandOver

EPOCHS_REMEMBERED = 2


def open_hand_overs(run: Execution, epoch: int, moves: Sequence[ShardMove]) -> None:
    """Record the moves with which an epoch begins."""
    for move in moves:
        _put(run, epoch, move.shard_index, HandOver(STATE_VERSION, move.from_node, move.to_node, False))


def close_hand_overs(run: Execution, node_id: bytes, shard_index: int) -> None:
    """A node has everything of a shard: the last hand-over to it and all before it are done."""
    records = list(queries.open_hand_overs(run.draft, shard_index=shard_index))
    last = max((record.epoch for record in records if record.to_node == node_id), default=-1)
    for record in records:
        if record.epoch <= last:
            done = HandOver(STATE_VERSION, record.from_node, record.to_node, True)
            _put(run, record.epoch, shard_index, done)


def forget_hand_overs(run: Execution) -> None:
    """Drop records that are done and were opened some epochs ago."""
    start, end = keys.hand_overs_before(max(0, run.epoch - EPOCHS_REMEMBERED))
    for key, raw in list(run.draft.scan(start, end)):
        record: HandOver = bcs.decode(HandOver, raw)
        if record.done:
            run.draft.put(key, None)


def _put(run: Execution, epoch: int, shard_index: int, record: HandOver) -> None:
    raw = bcs.encode(record)
    for key in open_hand_over_keys(epoch, shard_index, bcs.encode(replace(record, done=False))):
        run.draft.put(key, None if record.done else b"")
    run.draft.put(keys.hand_over(epoch, shard_index), raw)
