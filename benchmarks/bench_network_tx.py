"""Registrations through the ledger of a whole network: 5 nodes, gateway and read model execute every block again.

    python -m benchmarks network_tx [--transactions 3000] [--wallets 16] [--json]

Each transaction reserves storage and registers a blob. All are signed beforehand and handed in by wallets in parallel,
each with several in flight. Two rates: until the last is durable at the ledger, and until every node has executed
the last block and found the same state root. The peer in the same run is one durable SQLite commit per transaction,
which is what one writer alone could do without any ledger on this disk.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from benchmarks.live import LiveNetwork, live_network, print_table
from haulout.account.wallet import read_secret
from haulout.crypto import ed25519
from haulout.ledger import commands
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.genesis import Genesis
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport

IN_FLIGHT = 32  # per wallet
FUNDS_FROST = 10**13
WAIT_MS = 60_000
PEER_COMMITS = 200
AIM_TX_PER_S = 300


def sign(secret: bytes, chain_id: bytes, script: tuple[commands.Command, ...], tag: bytes) -> bytes:
    """A transaction's bytes, good for ten minutes."""
    valid_until_ms = time.time_ns() // 10**6 + 500_000
    signed = sign_transaction(secret, chain_id, script, nonce=tag[:16], valid_until_ms=valid_until_ms)
    return encode_transaction(signed)


def registration(tag: bytes) -> tuple[commands.Command, ...]:
    """Storage for a blob of 1000 bytes, and its registration."""
    return (
        commands.ReserveSpace(size_bytes=8 << 20, start_epoch=0, end_epoch=3),
        commands.RegisterBlob(commands.Created(0, 0), derive_blob_id(1, 1000, tag), tag, 1000, 1, False),
    )


async def submit(ledger: GrpcLedger, raw: bytes) -> None:
    """Durable, and not refused."""
    result = await ledger.submit(raw, wait_ms=WAIT_MS)
    if result is None or result.reason:
        raise SystemExit(f"a transaction came to nothing: {result}")


async def measure(network: LiveNetwork, n_transactions: int, n_wallets: int) -> dict[str, Any]:
    """Everything, as plain numbers."""
    genesis = Genesis.from_json(Path(network.addresses["genesis"]).read_text())
    rich = read_secret(Path(network.addresses["wallet"]))
    run = hashlib.blake2b(str(time.time_ns()).encode(), digest_size=32).digest()
    secrets = [hashlib.blake2b(run + bytes([n]), digest_size=32).digest() for n in range(n_wallets)]
    nodes = [process for process in network.processes() if process["role"] == "node"]
    ledger = GrpcLedger(network.addresses["ledger"])
    transport = GrpcNodeTransport()
    try:
        addresses = [ed25519.address_of(ed25519.public_key(secret)) for secret in secrets]
        gifts = tuple(commands.Transfer(to=address, amount_frost=FUNDS_FROST) for address in addresses)
        await submit(ledger, sign(rich, genesis.chain_id, gifts, run))
        queues = []
        for n, secret in enumerate(secrets):
            tags = (
                hashlib.blake2b(run + b"%d %d" % (n, i), digest_size=32).digest()
                for i in range(n_transactions // n_wallets)
            )
            queues.append([sign(secret, genesis.chain_id, registration(tag), tag) for tag in tags])
        n_signed = sum(map(len, queues))
        first_height = (await ledger.status()).head.height

        async def client(queue: list[bytes]) -> None:
            while queue:
                await submit(ledger, queue.pop())

        start = time.perf_counter()
        await asyncio.gather(*(client(queue) for queue in queues for _ in range(IN_FLIGHT)))
        durable_s = time.perf_counter() - start
        height = (await ledger.status()).head.height
        for node in nodes:
            api = transport.connect(node["urls"]["grpc"])
            while (await api.health()).height < height:  # noqa: ASYNC110 - another process's height
                await asyncio.sleep(0.02)
        executed_s = time.perf_counter() - start
    finally:
        await ledger.close()
        await transport.close()
    peer_s = time_peer(network.folder / "peer.db")
    return {
        "transactions": n_signed,
        "wallets": n_wallets,
        "blocks": height - first_height,
        "durable_tx_per_s": n_signed / durable_s,
        "executed_tx_per_s": n_signed / executed_s,
        "aim_tx_per_s": AIM_TX_PER_S,
        "sqlite_commits_per_s": PEER_COMMITS / peer_s,
        "ratio_to_sqlite_commits": (n_signed / executed_s) / (PEER_COMMITS / peer_s),
    }


def time_peer(path: Path) -> float:
    """Seconds for that many rows, each durable by itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE log (k INTEGER PRIMARY KEY, v BLOB)")
    start = time.perf_counter()
    for number in range(PEER_COMMITS):
        connection.execute("INSERT INTO log VALUES (?, ?)", (number, bytes(300)))
    seconds = time.perf_counter() - start
    connection.close()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Registrations through a network of 5 nodes.")
    parser.add_argument("--transactions", type=int, default=3_000)
    parser.add_argument("--wallets", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with live_network() as network:
        network.wait_for_kernels()
        report = asyncio.run(measure(network, arguments.transactions, arguments.wallets))
    if arguments.json:
        print(json.dumps(report))
        return
    print(f"{report['transactions']:,} registrations by {report['wallets']} wallets in {report['blocks']} blocks")
    print_table(
        ("until", "tx/s", "of the aim", "of SQLite commits"),
        [
            (
                what,
                f"{rate:,.0f}",
                f"{rate / report['aim_tx_per_s']:.0%}",
                f"{rate / report['sqlite_commits_per_s']:.1%}",
            )
            for what, rate in (
                ("durable at the ledger", report["durable_tx_per_s"]),
                ("executed by 5 nodes", report["executed_tx_per_s"]),
            )
        ],
    )
    print(f"one SQLite commit per row, alone: {report['sqlite_commits_per_s']:,.0f}/s")


if __name__ == "__main__":
    main()
