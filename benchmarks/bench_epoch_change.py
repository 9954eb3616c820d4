"""What an epoch change costs the ledger: 100 nodes, 1,000 shards, many blobs.

    python -m benchmarks epoch_change [--objects 100000] [--json]

A state of that many certified blobs is written in one pass (`large_state.py`); then half of the nodes get stake, so
that shards move, and the blocks with the voting end, the epoch change and all reports of the nodes are applied from
SQLite. The peer in the same run is the same change over a hundredth of the blobs: an epoch change must not walk them.
It reads some more rows all the same, since paths in the state tree are longer. Memory is the peak of Python's own
allocations, in a second pass.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.large_state import load
from benchmarks.live import print_table
from haulout.chain.block import BlockHeader
from haulout.crypto.bls import Bls12381
from haulout.ledger import commands, queries
from haulout.ledger.apply import BlockOut, apply_block
from haulout.ledger.draft import Draft
from haulout.ledger.genesis import DevelopmentNetwork, build_development_network
from haulout.ledger.state import View
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.replica.ledger_store import LedgerStore
from haulout.world.sqlite_store import SqliteStore

N_NODES, N_SHARDS = 100, 1_000
WAL = 10**9
DURATION_MS = 600_000
PEER_FRACTION = 100
LIMIT_RATIO = 5.0  # a walk would be at a hundred


class CountingView:
    """A view that counts the rows it hands out."""

    def __init__(self, base: View) -> None:
        self.base = base
        self.n_rows = 0

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        self.n_rows += 1
        return self.base.get(key)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows in a range."""
        for row in self.base.scan(start, end, reverse=reverse, limit=limit):
            self.n_rows += 1
            yield row


def build_network() -> DevelopmentNetwork:
    """A hundred nodes of equal stake and a rich account."""
    return build_development_network(
        node_addresses={f"node-{n}": (f"127.0.0.1:{20000 + n}",) for n in range(N_NODES)},
        n_shards=N_SHARDS,
        stake_frost=2_000 * WAL,
        account_funds_frost={"client": 10**18},
        genesis_time_ms=1_800_000_000_000,
        seed=bytes(32),
        scheme=Bls12381(),
        node_capacity_bytes=1 << 50,
        epoch_duration_ms=DURATION_MS,
    )


class Change:
    """The blocks of one epoch change over a loaded state."""

    def __init__(self, network: DevelopmentNetwork, view: View, head: BlockHeader) -> None:
        self.network = network
        self.view = CountingView(view)
        self.state = Draft(self.view)
        self.head = head
        self.n_signed = 0

    def sign(self, secret: bytes, *asked: commands.Command, time_ms: int) -> bytes:
        """A transaction that is valid at a time."""
        self.n_signed += 1
        nonce = self.n_signed.to_bytes(16, "big")
        chain_id = self.network.genesis.chain_id
        return encode_transaction(sign_transaction(secret, chain_id, asked, nonce=nonce, valid_until_ms=time_ms))

    def apply(self, transactions: list[bytes], time_ms: int) -> dict[str, Any]:
        """The next block, as figures."""
        rows, start = self.view.n_rows, time.perf_counter()
        out: BlockOut = apply_block(self.state, self.head, time_ms, transactions, Bls12381())
        seconds = time.perf_counter() - start
        refused = [result.message for result in out.results if not result.is_ok]
        assert not refused and not out.inadmissible, (refused, out.inadmissible)
        self.state.absorb(out.writes)
        self.head = out.header
        return {"seconds": seconds, "rows_read": self.view.n_rows - rows, "rows_written": len(out.writes)}

    def run(self) -> dict[str, Any]:
        """Voting end, change and reports; stake for every second node comes before."""
        client, genesis = self.network.account_secrets["client"], self.network.genesis
        due = genesis.genesis_time_ms + DURATION_MS
        stakes = [commands.Stake(node.node_id, 1_500 * WAL) for node in self.network.nodes[::2]]
        self.apply([self.sign(client, *stakes, time_ms=due)], due)
        voting_end = self.apply([self.sign(client, commands.EndVoting(1), time_ms=due)], due)
        change = self.apply([self.sign(client, commands.ChangeEpoch(1), time_ms=due)], due)
        n_moved = sum(1 for _ in queries.open_hand_overs(self.state))
        owned = {member.node_id: member.shards for member in queries.committee(self.state).members}
        reports = [
            self.sign(
                node.capability_secret,
                commands.ReportSyncDone(node.node_id, 2, owned.get(node.node_id, ())),
                time_ms=due,
            )
            for node in self.network.nodes
        ]
        reported = self.apply(reports, due)
        assert not list(queries.open_hand_overs(self.state))
        return {"n_moved": n_moved, "voting end": voting_end, "epoch change": change, "100 reports": reported}


async def measure_over(n_objects: int) -> dict[str, Any]:
    """The change over a state of so many blobs: once for time, once for memory."""
    network = build_network()
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as name:
        path, genesis_file = Path(name) / "rows.db", Path(name) / "genesis.json"
        genesis_file.write_text(network.genesis.to_json())
        load("ledger", genesis_file, path, n_objects)
        store = SqliteStore(path)
        ledger = await LedgerStore.open(store, network.genesis, Bls12381())
        report = Change(network, ledger.view, ledger.head).run()
        tracemalloc.start()
        Change(network, ledger.view, ledger.head).run()
        report["peak_mib"] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        await store.close()
    return report


async def measure(n_objects: int) -> dict[str, Any]:
    """Both states, and how they compare."""
    many, few = await measure_over(n_objects), await measure_over(n_objects // PEER_FRACTION)
    steps = ("voting end", "epoch change", "100 reports")
    ratios = {step: many[step]["rows_read"] / few[step]["rows_read"] for step in steps}
    return {"objects": n_objects, "steps": steps, "many": many, "few": few, "rows_ratio": ratios}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="An epoch change of 100 nodes and 1,000 shards over many blobs.")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = asyncio.run(measure(arguments.objects))
    if arguments.json:
        print(json.dumps(report))
    else:
        print_report(report)
    missed = [step for step, ratio in report["rows_ratio"].items() if ratio > LIMIT_RATIO]
    if missed:
        raise SystemExit(f"these steps read more rows the more blobs there are: {', '.join(missed)}")


def print_report(report: dict[str, Any]) -> None:
    """A table for people."""
    many, few = report["many"], report["few"]
    print(f"{N_NODES} nodes, {N_SHARDS:,} shards, {many['n_moved']} of them move, {report['objects']:,} blobs")
    print_table(
        ("block", "seconds", "rows read", "rows written", f"rows at 1/{PEER_FRACTION} of the blobs", "ratio"),
        [
            (
                step,
                f"{many[step]['seconds']:.3f}",
                f"{many[step]['rows_read']:,}",
                f"{many[step]['rows_written']:,}",
                f"{few[step]['rows_read']:,}",
                f"{report['rows_ratio'][step]:.2f}",
            )
            for step in report["steps"]
        ],
    )
    print(f"peak of memory: {many['peak_mib']:.1f} MiB, at 1/{PEER_FRACTION} of the blobs {few['peak_mib']:.1f} MiB")


if __name__ == "__main__":
    main()
