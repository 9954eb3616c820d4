"""The ledger by itself: transactions per second over a large state, and what it costs to start.

    python benchmarks/bench_ledger.py [--objects 1000000] [--transactions 4000] [--json]

A state of that many certified blobs is written in one pass (rows in key order, the tree over all of them), then a
sequencer orders signed transfers, and registrations that reserve storage, on SQLite with every block synced. The
peer in the same run is SQLite itself, which stores the same transactions durably in groups of the same size: what
any ledger on it would have to pay. Start time and resident memory are measured in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from haulout import bcs
from haulout.chain import history, tree
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import commands, keys, queries
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.genesis import DevelopmentNetwork, build_development_network, build_genesis
from haulout.ledger.indexes import derive_index_keys
from haulout.ledger.state import STATE_VERSION, Blob, BlobRecord
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.replica.ledger_store import LedgerStore, begin_import, finish_import
from haulout.sequencer.sequencer import MAX_BLOCK_TRANSACTIONS, Sequencer
from haulout.world.clock import SystemClock
from haulout.world.memory_store import MemoryStore
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers

LOAD_ROWS = 50_000
CLIENTS = 1_000
GENESIS_AGE_MS = 60_000


def build_network() -> DevelopmentNetwork:
    """Five nodes, a rich account, a hundred shards; always the same but for the time."""
    return build_development_network(
        node_addresses={f"node-{n}": (f"127.0.0.1:{31425 + n}",) for n in range(5)},
        n_shards=100,
        stake_frost=2_000 * 10**9,
        account_funds_frost={"client": 10**18},
        genesis_time_ms=1_800_000_000_000,
        seed=bytes(32),
        scheme=KeyedHash(),
        node_capacity_bytes=1 << 50,
    )


# --- a large state ------------------------------------------------------------------------------------------


def blob_rows(n_objects: int, owner: bytes) -> Iterator[tuple[bytes, bytes]]:
    """One certified blob object and its record per number; values are spliced, since encoding two million is slow."""
    mark_id, mark_root, mark_storage = b"\xaa" * 32, b"\xbb" * 32, b"\xcc" * 32
    blob = bcs.encode(Blob(STATE_VERSION, owner, mark_id, 1024, 1, 1, 1, False, mark_storage, 1, 50, 1 << 20, {}))
    fields = {field.name: None for field in dataclasses.fields(BlobRecord)}
    fields |= {"version": STATE_VERSION, "size_bytes": 1024, "encoding_type": 1, "root_hash": mark_root}
    fields |= {"registered_end_epoch": 50, "certified_end_epoch": 50, "initial_certified_epoch": 1}
    fields |= {"permanent_end_epoch": 50, "permanent_certified": True, "permanent_total": 1}
    fields |= {"deletable_total": 0, "deletable_certified": 0, "certified_height": 0, "certified_sequence": 0}
    record = bcs.encode(BlobRecord(**fields))
    for n in range(n_objects):
        root = hashlib.blake2b(b"root%d" % n, digest_size=32).digest()
        object_id = hashlib.blake2b(b"object%d" % n, digest_size=32).digest()
        blob_id = derive_blob_id(1, 1024, root)
        yield keys.blob(object_id), blob.replace(mark_id, blob_id).replace(mark_storage, object_id)
        yield keys.blob_record(blob_id), record.replace(mark_root, root)


async def load_large_state(folder: Path, network: DevelopmentNetwork, n_objects: int) -> None:
    """Genesis plus `n_objects` blobs as block 1, in the folder's store."""
    genesis = build_genesis(network.genesis, KeyedHash())
    state = {key: value for key, value in genesis.writes.items() if value is not None and key[0] < tree.PREFIX[0]}
    state.update(blob_rows(n_objects, network.address("client")))
    rows = dict(state)
    for key, value in state.items():
        if keys.is_committed(key):
            rows.update(dict.fromkeys(derive_index_keys(key, value), b""))
    root, pages = tree.update(MemoryStore(), {key: value for key, value in state.items() if keys.is_committed(key)})
    rows.update({key: value for key, value in pages.items() if value is not None})
    history_root, nodes = history.append(MemoryStore(), 0, genesis.header.digest())
    header = dataclasses.replace(
        genesis.header,
        height=1,
        previous_digest=genesis.header.digest(),
        state_root=root,
        history_root=history_root,
    )
    store = SqliteStore(folder / "rows.db")
    await begin_import(store)
    ordered = sorted(rows)
    for start in range(0, len(ordered), LOAD_ROWS):
        await store.commit({key: rows[key] for key in ordered[start : start + LOAD_ROWS]}, durable=False)
    await finish_import(store, type(genesis.block)(header, ()), nodes)
    await store.close()


# --- throughput ---------------------------------------------------------------------------------------------


def sign_many(network: DevelopmentNetwork, count: int, kind: str, now_ms: int) -> list[bytes]:
    """Transfers to as many accounts, or registrations of as many blobs with the storage they need."""
    signed = []
    for n in range(count):
        tag = hashlib.blake2b(b"%s %d" % (kind.encode(), n), digest_size=32).digest()
        if kind == "transfers":
            script: tuple[commands.Command, ...] = (commands.Transfer(to=tag, amount_frost=1),)
        else:
            blob_id = derive_blob_id(1, 1000, tag)
            script = (
                commands.ReserveSpace(size_bytes=8 << 20, start_epoch=0, end_epoch=6),
                commands.RegisterBlob(commands.Created(0, 0), blob_id, tag, 1000, 1, False),
            )
        transaction = sign_transaction(
            network.account_secrets["client"],
            network.genesis.chain_id,
            script,
            nonce=tag[:16],
            valid_until_ms=now_ms + 500_000,
        )
        signed.append(encode_transaction(transaction))
    return signed


async def run_sequencer(folder: Path, network: DevelopmentNetwork, transactions: list[bytes]) -> tuple[float, int]:
    """Seconds until all are durable, and the number of blocks; `CLIENTS` submit at once."""
    workers = ThreadWorkers(1)
    sequencer = await Sequencer.open(
        store=SqliteStore(folder / "rows.db"),
        genesis=network.genesis,
        scheme=KeyedHash(),
        clock=SystemClock(),
        workers=workers,
        engine="sqlite",
    )
    running = asyncio.ensure_future(sequencer.run())
    first_height = sequencer.head.height
    waiting = iter(transactions)

    async def client() -> None:
        for raw in waiting:
            result = await sequencer.submit(raw, wait_ms=600_000)
            assert result is not None and result.is_ok, result

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    seconds = time.perf_counter() - start
    blocks = sequencer.head.height - first_height
    sequencer.stop()
    await running
    await sequencer.close()
    workers.close()
    return seconds, blocks


def run_peer(folder: Path, transactions: list[bytes]) -> float:
    """Seconds for SQLite to store the same bytes by their digests, a block's worth per durable commit."""
    connection = sqlite3.connect(folder / "peer.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE log (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")
    start = time.perf_counter()
    for at in range(0, len(transactions), MAX_BLOCK_TRANSACTIONS):
        group = transactions[at : at + MAX_BLOCK_TRANSACTIONS]
        connection.execute("BEGIN IMMEDIATE")
        rows = [(hashlib.blake2b(raw, digest_size=32).digest(), raw) for raw in group]
        connection.executemany("INSERT INTO log VALUES (?, ?)", rows)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return seconds


# --- start --------------------------------------------------------------------------------------------------


async def probe(folder: Path) -> None:
    """In a process of its own: open the ledger, read from it, and say how long that took and what is resident."""
    network = build_network()
    start = time.perf_counter()
    store = await LedgerStore.open(SqliteStore(folder / "rows.db"), network.genesis, KeyedHash())
    queries.system(store.view)
    found = sum(1 for _ in store.view.scan(keys.BLOB, keys.prefix_end(keys.BLOB), limit=1_000))
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    resident_kib = int(status.split("VmRSS:")[1].split()[0])
    await store.close()
    print(json.dumps({"start_s": seconds, "rss_mib": resident_kib / 1024, "rows_read": found}))


def run_probe(folder: Path) -> dict[str, float]:
    """Start a process on the loaded store; its own account plus the time until it answered."""
    start = time.perf_counter()
    command = [sys.executable, str(Path(__file__).resolve()), "--probe", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    answer = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    report: dict[str, float] = json.loads(answer.stdout)
    return {**report, "process_s": time.perf_counter() - start}


async def measure(n_objects: int, n_transactions: int) -> dict[str, object]:
    """Everything, as plain numbers."""
    network = build_network()
    report: dict[str, object] = {"objects": n_objects, "transactions": n_transactions}
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as name:
        folder = Path(name)
        start = time.perf_counter()
        await asyncio.to_thread(_load_in_process, folder, n_objects)
        report["load_s"] = round(time.perf_counter() - start, 1)
        report["start"] = {key: round(value, 2) for key, value in run_probe(folder).items()}
        now_ms = max(SystemClock().now_ms(), network.genesis.genesis_time_ms)
        for kind in ("transfers", "registrations"):
            transactions = sign_many(network, n_transactions, kind, now_ms)
            seconds, blocks = await run_sequencer(folder, network, transactions)
            (folder / kind).mkdir()
            peer_seconds = run_peer(folder / kind, transactions)
            report[kind] = {
                "tx_per_s": round(n_transactions / seconds),
                "blocks": blocks,
                "sqlite_log_tx_per_s": round(n_transactions / peer_seconds),
                "ratio_to_sqlite_log": round(peer_seconds / seconds, 4),
            }
    return report


def _load_in_process(folder: Path, n_objects: int) -> None:
    """Loading takes gigabytes that must not count for what is measured later."""
    command = [sys.executable, str(Path(__file__).resolve()), "--load", str(folder), "--objects", str(n_objects)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run(command, check=True, env=environment)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The ledger alone, against SQLite storing the same bytes.")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--transactions", type=int, default=4_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe is not None:
        asyncio.run(probe(arguments.probe))
        return
    if arguments.load is not None:
        asyncio.run(load_large_state(arguments.load, build_network(), arguments.objects))
        return
    report = asyncio.run(measure(arguments.objects, arguments.transactions))
    if arguments.json:
        print(json.dumps(report))
        return
    start = report["start"]
    print(f"a ledger of {report['objects']:,} blobs starts in {start['start_s']} s with {start['rss_mib']} MiB")
    for kind in ("transfers", "registrations"):
        figures = report[kind]
        print(
            f"{kind}: {figures['tx_per_s']:,} tx/s in {figures['blocks']} blocks, "
            f"{figures['ratio_to_sqlite_log']:.1%} of SQLite storing the same bytes"
            f" ({figures['sqlite_log_tx_per_s']:,}/s)"
        )


if __name__ == "__main__":
    main()
