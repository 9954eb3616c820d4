"""The whole state in chunks: out of one store, into another, believed because of its root alone.

    chunk 0     SnapshotHead: the header of its block, and the peaks of the history tree before it
    chunk 1 …   SnapshotRows: rows of the committed tables in key order, about CHUNK_BYTES each

Same state, same chunks. The tree and the indexes do not travel: the importer builds both from the rows, so a source
cannot slip in an index that says something else than the state. What it cannot check alone is that the header is
the network's: the caller names the block's digest, from a source it trusts.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TypeVar

from haulout import bcs
from haulout.bcs import U8, Bytes32
from haulout.chain import history, tree
from haulout.chain.block import Block, BlockHeader
from haulout.chain.merkle_log import complete_subtrees, fold_root
from haulout.errors import UndecodableBytes
from haulout.ledger.indexes import derive_index_keys
from haulout.ledger.state import FIRST_DERIVED
from haulout.ports import Store, Workers
from haulout.primitives import Digest
from haulout.replica.errors import BadSnapshot, StoreNotEmpty
from haulout.replica.ledger_rows import begin_import, discard_import, finish_import, is_half_imported, read_head
from haulout.replica.ledger_store import LedgerStore

T = TypeVar("T")
SNAPSHOT_VERSION = 1
CHUNK_BYTES = 1 << 20
MAX_CHUNK_BYTES = 4 * CHUNK_BYTES
_ROWS_START, _ROWS_END = b"\x00", bytes((FIRST_DERIVED,))


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """What the rows are checked against, and what the next block needs of history."""

    version: U8
    header: BlockHeader
    history_peaks: tuple[Bytes32, ...]  # of the complete subtrees over all earlier blocks, left to right


@dataclass(frozen=True, slots=True)
class SnapshotRows:
    """Rows in strictly ascending order of their keys, also from chunk to chunk."""

    rows: tuple[tuple[bytes, bytes], ...]


async def export_snapshot(store: LedgerStore) -> AsyncIterator[bytes]:
    """The state at the head as of the first chunk; blocks that come meanwhile do not show in it."""
    header = read_head(store.view)  # of the rows that are read here, which a commit shows before `store.head`
    assert header is not None, "an open ledger store has a head"
    scan = store.view.scan(_ROWS_START, _ROWS_END)
    peaks = [store.view.get(history.node_key(level, index)) for level, index in complete_subtrees(header.height)]
    assert None not in peaks, "the history tree holds the peaks of every size"
    yield bcs.encode(SnapshotHead(SNAPSHOT_VERSION, header, tuple(peak for peak in peaks if peak is not None)))
    rows: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    for row in scan:
        rows.append(row)
        size_bytes += len(row[0]) + len(row[1])
        if size_bytes >= CHUNK_BYTES:
            yield bcs.encode(SnapshotRows(tuple(rows)))
            rows, size_bytes = [], 0
    if rows:
        yield bcs.encode(SnapshotRows(tuple(rows)))


async def import_snapshot(
    store: Store, chunks: AsyncIterable[bytes], *, trusted_digest: Digest, workers: Workers
) -> BlockHeader:
    """Fill an empty store with a snapshot; open it with `LedgerStore.open` afterwards.

    If it stops half-way the store is no ledger yet, and importing again starts over.

    Args:
        store: empty, or left over from an import that was cut short.
        chunks: as exported.
        trusted_digest: of the block whose state it is, from somewhere the caller trusts.
        workers: hashing runs there.

    Raises:
        StoreNotEmpty: the store holds a ledger.
        BadSnapshot: damaged, another block's, or its rows do not have the root of its header.
    """
    present = None if is_half_imported(store) else read_head(store)
    if present is not None:
        raise StoreNotEmpty(height=present.height)
    await begin_import(store)
    head: SnapshotHead | None = None
    last_key = b""
    async for chunk in chunks:
        if head is None:
            head = _read_snapshot_head(chunk, trusted_digest)
            continue
        rows = _read_rows(chunk, last_key)
        last_key = rows[-1][0]
        _, pages = await workers.run(tree.update, store, dict(rows))
        await store.commit({**dict(rows), **_derive_indexes(rows), **pages}, durable=False)
    if head is None:
        raise BadSnapshot(problem="it is empty")
    root = tree.read_root(store)
    if root != head.header.state_root:
        await discard_import(store)
        raise BadSnapshot(problem=f"its rows have root {root.hex()}, its header says {head.header.state_root.hex()}")
    peaks = zip(complete_subtrees(head.header.height), head.history_peaks, strict=True)
    await finish_import(store, Block(head.header, ()), {history.node_key(*place): peak for place, peak in peaks})
    return head.header


def _read(row_type: type[T], value: bytes) -> T:
    try:
        return bcs.decode(row_type, value)
    except UndecodableBytes as e:
        raise BadSnapshot(problem=str(e)) from e


def read_snapshot_header(chunk: bytes) -> BlockHeader:
    """The header that a snapshot's first chunk claims to be of. Raises `BadSnapshot`."""
    return _read(SnapshotHead, chunk).header


def _read_snapshot_head(chunk: bytes, trusted_digest: Digest) -> SnapshotHead:
    head = _read(SnapshotHead, chunk)
    if head.version != SNAPSHOT_VERSION:
        raise BadSnapshot(problem=f"format {head.version}, this build knows {SNAPSHOT_VERSION}")
    if head.header.digest() != trusted_digest:
        raise BadSnapshot(problem=f"it is of block {head.header.digest().hex()}, not {trusted_digest.hex()}")
    expected = len(complete_subtrees(head.header.height))
    if len(head.history_peaks) != expected or fold_root(list(head.history_peaks)) != head.header.history_root:
        raise BadSnapshot(problem="its history does not have the root of its header")
    return head


def _read_rows(chunk: bytes, last_key: bytes) -> tuple[tuple[bytes, bytes], ...]:
    if len(chunk) > MAX_CHUNK_BYTES:
        raise BadSnapshot(problem=f"a chunk of {len(chunk)} bytes")
    rows = _read(SnapshotRows, chunk).rows
    if not rows:
        raise BadSnapshot(problem="an empty chunk")
    for key, _ in rows:
        if key <= last_key or key[0] >= FIRST_DERIVED:
            raise BadSnapshot(problem=f"row {key[:40].hex()} is out of place")
        last_key = key
    return rows


def _derive_indexes(rows: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    try:
        return {index: b"" for key, value in rows for index in derive_index_keys(key, value)}
    except UndecodableBytes as e:
        raise BadSnapshot(problem=str(e)) from e
