"""State of very many certified blobs, written in one pass: a ledger, and what a node holds of them.

    python benchmarks/large_state.py ledger|node --genesis FILE --out FILE [--objects 1000000]

Each runs in a process of its own: what loading takes of memory must not count for what is measured afterwards. Rows
have the form and the size of real ones and the roots are right, so processes that open them go on with them. The
blobs are of 1 KiB; the slivers and metadata that a node holds of them are of the right size, but zeros.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from haulout import bcs
from haulout.chain import history, tree
from haulout.chain.block import Block, BlockHeader
from haulout.codec import sizes
from haulout.crypto.bls import Bls12381
from haulout.ledger import keys
from haulout.ledger.apply import BlockOut
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.genesis import Genesis, build_genesis
from haulout.ledger.indexes import derive_index_keys
from haulout.ledger.state import STATE_VERSION, Blob, BlobRecord
from haulout.node import records, rules
from haulout.primitives import Axis
from haulout.replica.ledger_rows import begin_import, finish_import
from haulout.world.memory_store import MemoryStore
from haulout.world.sqlite_store import SqliteStore

BLOB_BYTES = 1024
STORAGE_BYTES = 1 << 20
END_EPOCH = 50
LOAD_ROWS = 50_000
METADATA_HEAD_BYTES = 1 + 1 + 8 + 2  # version, encoding, length, number of pairs
PAIR_BYTES = 2 * 33


def load(kind: str, genesis: Path, out: Path, n_objects: int, *options: str) -> None:
    """Run this module in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), kind, *options]
    command += ["--genesis", str(genesis), "--out", str(out), "--objects", str(n_objects)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run(command, check=True, env=environment)


def blob_of(number: int) -> tuple[bytes, bytes, bytes]:
    """Object id, root hash and blob id."""
    root = hashlib.blake2b(b"root%d" % number, digest_size=32).digest()
    object_id = hashlib.blake2b(b"object%d" % number, digest_size=32).digest()
    return object_id, root, derive_blob_id(1, BLOB_BYTES, root)


async def commit_all(store: SqliteStore, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Write rows, best in key order, many to a commit."""
    waiting = iter(rows)
    while page := dict(islice(waiting, LOAD_ROWS)):
        await store.commit(page, durable=False)


# --- the ledger ---------------------------------------------------------------------------------------------


def blob_rows(n_objects: int, owner: bytes) -> Iterator[tuple[bytes, bytes]]:
    """One certified blob object and its record per number; values are spliced, since encoding two million is slow."""
    mark_id, mark_root, mark_storage = b"\xaa" * 32, b"\xbb" * 32, b"\xcc" * 32
    row = Blob(STATE_VERSION, owner, mark_id, BLOB_BYTES, 1, 1, 1, False, mark_storage, 1, END_EPOCH, STORAGE_BYTES, {})
    blob = bcs.encode(row)
    fields = {field.name: None for field in dataclasses.fields(BlobRecord)}
    fields |= {"version": STATE_VERSION, "size_bytes": BLOB_BYTES, "encoding_type": 1, "root_hash": mark_root}
    fields |= {"registered_end_epoch": END_EPOCH, "certified_end_epoch": END_EPOCH, "initial_certified_epoch": 1}
    fields |= {"permanent_end_epoch": END_EPOCH, "permanent_certified": True, "permanent_total": 1}
    fields |= {"deletable_total": 0, "deletable_certified": 0, "certified_height": 0, "certified_sequence": 0}
    record = bcs.encode(BlobRecord(**fields))
    for number in range(n_objects):
        object_id, root, blob_id = blob_of(number)
        yield keys.blob(object_id), blob.replace(mark_id, blob_id).replace(mark_storage, object_id)
        yield keys.blob_record(blob_id), record.replace(mark_root, root)


def build_state(genesis: Genesis, n_objects: int, owner: bytes) -> tuple[BlockOut, dict[bytes, bytes]]:
    """Genesis, and all rows of its state and of the blobs without tree and indexes."""
    out = build_genesis(genesis, Bls12381())
    state = {key: value for key, value in out.writes.items() if value is not None and key[0] < tree.PREFIX[0]}
    state.update(blob_rows(n_objects, owner))
    return out, state


def header_over(parent: BlockHeader, state_root: bytes) -> tuple[BlockHeader, dict[bytes, bytes]]:
    """The header of block 1 over a state, and the rows of history that go with it."""
    history_root, nodes = history.append(MemoryStore(), 0, parent.digest())
    header = dataclasses.replace(
        parent, height=1, previous_digest=parent.digest(), state_root=state_root, history_root=history_root
    )
    return header, nodes


async def load_ledger(path: Path, genesis: Genesis, n_objects: int) -> None:
    """Genesis plus the blobs, which the first account owns, as block 1."""
    out, state = build_state(genesis, n_objects, genesis.accounts[0].address)
    rows = dict(state)
    for key, value in state.items():
        if keys.is_committed(key):
            rows.update(dict.fromkeys(derive_index_keys(key, value), b""))
    root, pages = tree.update(MemoryStore(), {key: value for key, value in state.items() if keys.is_committed(key)})
    rows.update({key: value for key, value in pages.items() if value is not None})
    header, nodes = header_over(out.header, root)
    store = SqliteStore(path)
    await begin_import(store)
    await commit_all(store, ((key, rows[key]) for key in sorted(rows)))
    await finish_import(store, Block(header, ()), nodes)
    await store.close()


# --- a node's holdings --------------------------------------------------------------------------------------


def holding_rows(genesis: Genesis, node: int, n_objects: int) -> Iterator[tuple[bytes, bytes]]:
    """Metadata, record and slivers of every blob on the shards of one node, in key order."""
    out = build_genesis(genesis, Bls12381())
    state = Draft(EmptyView())
    state.absorb(out.writes)
    shards = rules.duty_of(state, genesis.node_id(node)).shards
    slivers = {axis: bytes(sizes.sliver_size_bytes(axis, BLOB_BYTES, genesis.n_shards)) for axis in Axis}
    n_bytes = n_objects * len(shards) * sum(map(len, slivers.values()))
    yield _sealed(records.FORMAT_KEY, records.FormatRow(records.STORE_FORMAT))
    yield _sealed(records.TOTALS_KEY, records.TotalsRow(records.ROW_VERSION, 2 * len(shards) * n_objects, n_bytes))
    ids = sorted(blob_of(number)[2] for number in range(n_objects))
    metadata = bytes(METADATA_HEAD_BYTES + PAIR_BYTES * genesis.n_shards)
    for blob_id in ids:
        key = records.metadata_key(blob_id)
        yield key, records.seal(key, metadata)
    held = records.mask_bytes(rules.mask_of(shards))
    row = bcs.encode(records.BlobRow(records.ROW_VERSION, held, (), records.Promise(1, None, 1)))
    for blob_id in ids:
        key = records.blob_key(blob_id)
        yield key, records.seal(key, row)
    for shard_index in sorted(shards):
        for blob_id in ids:
            for axis in Axis:
                key = records.sliver_key(shard_index, blob_id, axis)
                yield _sealed(key, records.SliverRow(records.ROW_VERSION, records.Inline(slivers[axis])))
    yield _sealed(records.CURSOR_KEY, records.CursorRowV1(records.ROW_VERSION, 1))


def _sealed(key: bytes, row: object) -> tuple[bytes, bytes]:
    return key, records.seal_row(key, row)


async def load_node(path: Path, genesis: Genesis, node: int, n_objects: int) -> None:
    """A node's own store with everything on its shards."""
    store = SqliteStore(path)
    await commit_all(store, holding_rows(genesis, node, n_objects))
    await store.close()


def main() -> None:
    """Load one of them."""
    parser = argparse.ArgumentParser(description="Write the state of very many blobs.")
    parser.add_argument("kind", choices=("ledger", "node"))
    parser.add_argument("--genesis", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--node", type=int, default=0)
    arguments = parser.parse_args()
    genesis = Genesis.from_json(arguments.genesis.read_text())
    if arguments.kind == "ledger":
        asyncio.run(load_ledger(arguments.out, genesis, arguments.objects))
    else:
        asyncio.run(load_node(arguments.out, genesis, arguments.node, arguments.objects))


if __name__ == "__main__":
    main()
