"""Bytes that a node of 20 of 100 shards receives until it has everything, for each byte that it then keeps.

    python -m benchmarks rebuild [--sizes 64K,1M,16M] [--json]

Five nodes with the real actors, on simulated wires, disks and time: no byte more or less travels than between
machines. *Pulled*: a sixth node gets stake, and the shards' owners hand them over. *Rebuilt*: a node comes back with
empty disks, and nobody hands anything over. What is received is counted where the node receives it: slivers, symbols
and metadata; what is kept is slivers and metadata. The exit code is 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Coroutine
from typing import Any

from prometheus_client import Counter

from benchmarks.live import print_table, size_text
from haulout.client.store import StoreRequest
from haulout.ledger import queries
from haulout.ledger.commands import Stake
from haulout.node.storage_node import StorageNode
from haulout.primitives import BlobId
from haulout.sim.disk import DiskMedium
from haulout.sim.loop import run
from haulout.sim.store import StoreMedium
from haulout.sim.world import LEDGER, World

N_SHARDS, N_OWN = 100, 20
WAL = 10**9
STAKES = {**{f"node-{n}": 2_000 * WAL for n in range(5)}, "node-5": WAL}
TAKER_STAKE = 2_500 * WAL
FUNDS = 1_000_000 * WAL
EPOCH_MS = 60_000
COUNTS = {1 << 16: 8, 1 << 20: 4}  # blobs of a size; one of any other
LIMITS = {"pulled": 1.05, "rebuilt": 1.2}


def make_world() -> World:
    """Five nodes with twenty shards each, and one with almost nothing at stake and no shard."""
    return World(
        1, n_nodes=6, n_shards=N_SHARDS, stake_frost=STAKES, epoch_ms=EPOCH_MS, grace_ms=500, funds_frost=FUNDS
    )


async def store_all(world: World, size_bytes: int) -> list[BlobId]:
    """Blobs of one size, on every node."""
    blob_ids = []
    for _ in range(COUNTS.get(size_bytes, 1)):
        data = world.rng.random_bytes(size_bytes)
        blob_ids.append((await world.client("alice").store(data, StoreRequest(n_epochs=5))).blob_id)
    await world.until(lambda: all(world.is_complete(name) for name in world.node_names), "everything is stored")
    return blob_ids


async def pull(size_bytes: int) -> dict[str, Any]:
    """The node without shards gets stake, and with the next epoch its shards."""
    async with make_world() as world:
        blob_ids = await store_all(world, size_bytes)
        taker = world.node("node-5")
        stake = Stake(world.secrets("node-5").node_id, TAKER_STAKE)
        await world.client("alice").wallet.execute([stake])

        def has_shards() -> bool:
            sequencer, duty = world.hosts[LEDGER].sequencer, taker.vault.duty()
            assert sequencer is not None, "the ledger is on"
            return bool(duty.shards) and not duty.gaining and queries.next_committee(sequencer.store.view) is None

        await world.until(has_shards, "its shards are there", within_ms=3 * EPOCH_MS)
        return await figures(taker, blob_ids)


async def rebuild(size_bytes: int) -> dict[str, Any]:
    """A node loses everything that it kept, and comes back as the one it was."""
    async with make_world() as world:
        blob_ids = await store_all(world, size_bytes)
        host = world.hosts["node-0"]
        await world.kill("node-0")
        host.state, host.rows, host.files = StoreMedium(), StoreMedium(), DiskMedium()
        await world.restart("node-0")
        node = world.node("node-0")

        def has_everything() -> bool:
            mask = node.vault.duty().wanted_mask
            return all(mask and node.vault.slivers.is_durable(blob_id, mask) for blob_id in blob_ids)

        await world.until(has_everything, "everything is rebuilt")
        return await figures(node, blob_ids)


async def figures(node: StorageNode, blob_ids: list[BlobId]) -> dict[str, Any]:
    """What it has received and what it keeps."""
    metrics, slivers = node.vault.metrics, node.vault.slivers
    metadata = [await node.vault.metadata_bytes(blob_id) for blob_id in blob_ids]
    stored_bytes = slivers.stored_bytes + sum(len(raw or b"") for raw in metadata)
    received_bytes = value_of(metrics.shard_sync_bytes) + value_of(metrics.repair_bytes)
    return {
        "shards": len(node.vault.duty().shards),
        "blobs": len(blob_ids),
        "received_bytes": received_bytes,
        "stored_bytes": stored_bytes,
        "ratio": received_bytes / stored_bytes,
    }


def value_of(counter: Counter) -> int:
    """What a counter without labels stands at."""
    (family,) = counter.collect()
    return int(next(sample.value for sample in family.samples if sample.name.endswith("_total")))


def timed(story: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run a story on virtual time, and say how much real time it took."""
    start = time.perf_counter()
    return {**run(story), "seconds": time.perf_counter() - start}


def parse_size(text: str) -> int:
    """64K, 1M."""
    return int(text[:-1]) << {"K": 10, "M": 20}[text[-1]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Bytes received by a node until it has its shards.")
    parser.add_argument("--sizes", default="64K,1M,16M")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sizes = [parse_size(text) for text in arguments.sizes.split(",")]
    report = {size_text(size): {"pulled": timed(pull(size)), "rebuilt": timed(rebuild(size))} for size in sizes}
    if arguments.json:
        print(json.dumps(report))
    else:
        rows = [(name, kind, row) for name, found in report.items() for kind, row in found.items()]
        print_table(
            ("blobs", "", "shards", "kept MiB", "received MiB", "ratio", "limit", "seconds"),
            [
                (
                    f"{row['blobs']} × {name}",
                    kind,
                    str(row["shards"]),
                    f"{row['stored_bytes'] / 2**20:.2f}",
                    f"{row['received_bytes'] / 2**20:.2f}",
                    f"{row['ratio']:.3f}",
                    f"{LIMITS[kind]:.2f}",
                    f"{row['seconds']:.1f}",
                )
                for name, kind, row in rows
            ],
        )
    missed = [
        f"{kind} at {name}: {row['ratio']:.3f}"
        for name, found in report.items()
        for kind, row in found.items()
        if row["ratio"] > LIMITS[kind]
    ]
    if missed:
        sys.exit(f"more bytes than allowed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
