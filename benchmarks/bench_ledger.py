"""The ledger by itself: transactions per second over a large state.

    python benchmarks/bench_ledger.py [--objects 1000000] [--transactions 4000] [--repeat 5] [--json]

A state of that many certified blobs is written in one pass (`large_state.py`), then a sequencer orders signed
transfers, and registrations that reserve storage, on SQLite with every block synced. Each kind is run several times
and the best counts, since other work on the machine only ever takes away. The peer in the same run is SQLite itself,
which stores the same transactions durably in groups of the same size: what any ledger on it would have to pay.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.large_state import load
from benchmarks.live import print_table
from haulout.crypto.bls import Bls12381
from haulout.ledger import commands
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.genesis import DevelopmentNetwork, Genesis, build_development_network
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.sequencer.sequencer import MAX_BLOCK_TRANSACTIONS, Sequencer
from haulout.world.clock import SystemClock
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers

CLIENTS = 1_000
KINDS = ("transfers", "registrations")
AIM_TX_PER_S = 1_000


def build_network() -> DevelopmentNetwork:
    """Five nodes, a rich account, a hundred shards; always the same but for the time."""
    return build_development_network(
        node_addresses={f"node-{n}": (f"127.0.0.1:{31425 + n}",) for n in range(5)},
        n_shards=100,
        stake_frost=2_000 * 10**9,
        account_funds_frost={"client": 10**18},
        genesis_time_ms=1_800_000_000_000,
        seed=bytes(32),
        scheme=Bls12381(),
        node_capacity_bytes=1 << 50,
    )


def sign_many(secret: bytes, genesis: Genesis, count: int, kind: str, attempt: int, now_ms: int) -> list[bytes]:
    """Transfers to as many accounts, or registrations of as many blobs with the storage they need."""
    signed = []
    for n in range(count):
        tag = hashlib.blake2b(b"%s %d %d %d" % (kind.encode(), now_ms, attempt, n), digest_size=32).digest()
        if kind == "transfers":
            script: tuple[commands.Command, ...] = (commands.Transfer(to=tag, amount_frost=1),)
        else:
            blob_id = derive_blob_id(1, 1000, tag)
            script = (
                commands.ReserveSpace(size_bytes=8 << 20, start_epoch=0, end_epoch=6),
                commands.RegisterBlob(commands.Created(0, 0), blob_id, tag, 1000, 1, False),
            )
        transaction = sign_transaction(
            secret,
            genesis.chain_id,
            script,
            nonce=tag[:16],
            valid_until_ms=now_ms + 500_000,
        )
        signed.append(encode_transaction(transaction))
    return signed


async def run_sequencer(path: Path, genesis: Genesis, transactions: list[bytes]) -> tuple[float, int]:
    """Seconds until all are durable, and the number of blocks; `CLIENTS` submit at once."""
    workers = ThreadWorkers(1)
    sequencer = await Sequencer.open(
        store=SqliteStore(path),
        genesis=genesis,
        scheme=Bls12381(),
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


async def measure_kind(
    path: Path, genesis: Genesis, secret: bytes, kind: str, count: int, repeat: int
) -> dict[str, Any]:
    """The best of several runs over a loaded ledger, each beside its peer."""
    best: dict[str, Any] = {"tx_per_s": 0.0}
    rates = []
    for attempt in range(repeat):
        now_ms = max(SystemClock().now_ms(), genesis.genesis_time_ms)
        transactions = sign_many(secret, genesis, count, kind, attempt, now_ms)
        cpu_s = time.process_time()
        seconds, blocks = await run_sequencer(path, genesis, transactions)
        cpu_s = time.process_time() - cpu_s
        with tempfile.TemporaryDirectory(dir=path.parent) as peer:
            peer_s = run_peer(Path(peer), transactions)
        rates.append(round(count / seconds))
        if count / seconds > best["tx_per_s"]:
            best = {
                "tx_per_s": count / seconds,
                "of_aim": count / seconds / AIM_TX_PER_S,
                "blocks": blocks,
                "cpu_us_per_tx": cpu_s / count * 1e6,
                "sqlite_log_tx_per_s": count / peer_s,
                "ratio_to_sqlite_log": peer_s / seconds,
            }
    return {**best, "all_tx_per_s": rates, "load_average": os.getloadavg()[0]}


async def measure(n_objects: int, count: int, repeat: int) -> dict[str, Any]:
    """Everything, as plain numbers."""
    network = build_network()
    secret = network.account_secrets["client"]
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as name:
        path, genesis_file = Path(name) / "rows.db", Path(name) / "genesis.json"
        genesis_file.write_text(network.genesis.to_json())
        load("ledger", genesis_file, path, n_objects)
        kinds = {kind: await measure_kind(path, network.genesis, secret, kind, count, repeat) for kind in KINDS}
    return {"objects": n_objects, "transactions": count, **kinds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The ledger alone, against SQLite storing the same bytes.")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--transactions", type=int, default=4_000)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each kind; the best one counts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = asyncio.run(measure(arguments.objects, arguments.transactions, arguments.repeat))
    if arguments.json:
        print(json.dumps(report))
        return
    print_report(report)


def print_report(report: dict[str, Any]) -> None:
    """A table for people."""
    print(f"{report['transactions']:,} transactions of each kind over {report['objects']:,} blobs")
    print_table(
        ("kind", "tx/s", "of the aim", "CPU us/tx", "of SQLite's log", "every run", "load"),
        [
            (
                kind,
                f"{row['tx_per_s']:,.0f}",
                f"{row['of_aim']:.0%}",
                f"{row['cpu_us_per_tx']:,.0f}",
                f"{row['ratio_to_sqlite_log']:.1%}",
                " ".join(map(str, row["all_tx_per_s"])),
                f"{row['load_average']:.1f}",
            )
            for kind, row in ((kind, report[kind]) for kind in KINDS)
        ],
    )


if __name__ == "__main__":
    main()
