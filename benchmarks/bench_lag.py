"""How far the read model is behind the ledger while a network of 5 nodes executes transactions at a steady rate.

    python -m benchmarks lag [--rate 100] [--seconds 20] [--json]

Registrations are handed in on a schedule, with a bounded number of them in flight. Meanwhile the read model's height
is looked at all the time. It is behind by the age of the oldest block that the ledger has made durable and the read
model does not hold; that age is compared with the limit at the 99th percentile. The rate that was really reached
stands beside it: a machine that cannot execute so much has measured something else. The usual rate is a third of what
the network is meant to carry at least, so that eight processes that all execute it find room on two cores. The exit
code is 1 when the limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench_network_tx import registration, sign, submit
from benchmarks.live import LiveNetwork, live_network
from haulout.account.wallet import read_secret
from haulout.ledger.genesis import Genesis
from haulout.wire.ledger import GrpcLedger

LIMIT_MS = 2_000
SAMPLE_PAUSE_S = 0.02
IN_FLIGHT = 256  # half of what the ledger takes at once


async def watch_ledger(ledger: GrpcLedger, first_height: int, times_ms: dict[int, int]) -> None:
    """Note when each block was made, until cancelled."""
    async for block in ledger.blocks(first_height):
        times_ms[block.header.height] = block.header.time_ms


async def watch_read_model(url: str, times_ms: dict[int, int], lags_ms: list[int]) -> None:
    """Note how far the read model is behind, until cancelled."""
    async with httpx.AsyncClient(timeout=30.0) as client:
        while True:
            height = int((await client.get(url)).json()["height"])
            made_ms = times_ms.get(height + 1)
            lags_ms.append(0 if made_ms is None else max(0, time.time_ns() // 10**6 - made_ms))
            await asyncio.sleep(SAMPLE_PAUSE_S)


async def measure(network: LiveNetwork, rate: int, seconds: int) -> dict[str, Any]:
    """Everything, as plain numbers."""
    genesis = Genesis.from_json(Path(network.addresses["genesis"]).read_text())
    secret = read_secret(Path(network.addresses["wallet"]))
    run = str(time.time_ns()).encode()
    tags = [blake2b(run + b"%d" % n, digest_size=32).digest() for n in range(rate * seconds)]
    signed = [sign(secret, genesis.chain_id, registration(tag), tag) for tag in tags]
    ledger = GrpcLedger(network.addresses["ledger"])
    status_url = network.addresses["graphql"].removesuffix("/graphql") + "/status"
    times_ms: dict[int, int] = {}
    lags_ms: list[int] = []
    try:
        first_height = (await ledger.status()).head.height + 1
        watching = [
            asyncio.create_task(watch_ledger(ledger, first_height, times_ms)),
            asyncio.create_task(watch_read_model(status_url, times_ms, lags_ms)),
        ]
        places = asyncio.Semaphore(IN_FLIGHT)

        async def submit_one(raw: bytes) -> None:
            try:
                await submit(ledger, raw)
            finally:
                places.release()

        submitting = []
        start = time.perf_counter()
        for n, raw in enumerate(signed):
            await asyncio.sleep(max(0.0, start + n / rate - time.perf_counter()))
            await places.acquire()
            submitting.append(asyncio.create_task(submit_one(raw)))
        await asyncio.gather(*submitting)
        durable_s = time.perf_counter() - start
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    finally:
        await ledger.close()
    lags_ms.sort()
    return {
        "transactions": len(signed),
        "blocks": len(times_ms),
        "rate_asked_tx_per_s": rate,
        "rate_reached_tx_per_s": len(signed) / durable_s,
        "samples": len(lags_ms),
        "lag_p50_ms": lags_ms[len(lags_ms) // 2],
        "lag_p99_ms": lags_ms[len(lags_ms) * 99 // 100],
        "lag_max_ms": lags_ms[-1],
        "limit_ms": LIMIT_MS,
        "load_average": os.getloadavg()[0],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The read model's lag behind the ledger under a steady load.")
    parser.add_argument("--rate", type=int, default=100, help="registrations a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with live_network() as network:
        network.wait_for_kernels()
        report = asyncio.run(measure(network, arguments.rate, arguments.seconds))
    if arguments.json:
        print(json.dumps(report))
    else:
        print(
            f"{report['rate_reached_tx_per_s']:,.0f} of {report['rate_asked_tx_per_s']:,} tx/s in {report['blocks']} "
            f"blocks; the read model is behind by {report['lag_p50_ms']} ms (median), {report['lag_p99_ms']} ms (p99, "
            f"{report['lag_p99_ms'] / LIMIT_MS:.0%} of the limit), {report['lag_max_ms']} ms at most; "
            f"load average {report['load_average']:.1f}"
        )
    return 0 if report["lag_p99_ms"] <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
