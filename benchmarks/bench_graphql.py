"""The GraphQL API: loading, pages, documents beside their peers, many subscribers, ingest, start and memory.

    python -m benchmarks graphql [--quick] [--json]

1. A read model of 10,000 blobs is filled event by event and loaded in one pass; every row must be the same. One of
   1,000,000 is loaded.
2. The real process serves pages of 50 blobs with owner, storage and certificate from both, to a client that walks
   through them; its start and memory are looked at.
3. Documents of the playground's tour that need the read model alone, beside graphql-core and a JSON endpoint that run
   the same SQL (`graphql_peers`), in CPU time of one process.
4. 1,000 subscribers of one document on the real process while the real ledger orders ten transfers a second, then 100
   documents with a filter each. Latency is from the block's stamp to the client.

`--quick` does all of it with a hundredth of the rows and a tenth of the subscribers. The exit code is 1 when an aim is
missed; with `--quick` it says nothing about those.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import websockets

from benchmarks.bench_network_tx import sign, submit
from benchmarks.bench_start import memory_mib, started
from benchmarks.graphql_peers import DOCUMENTS, FIELDS, call, four_ways, requests_per_s
from benchmarks.live import PORT_BASE, print_table
from benchmarks.read_model_load import differing_tables
from benchmarks.read_model_story import PER_BLOCK, Story, ingest
from graphql_api.read_model.summaries import is_certificate
from haulout.account.wallet import read_secret
from haulout.crypto.bls import Bls12381
from haulout.crypto.certificate import Signer, bitmap_of
from haulout.crypto.messages import storage_confirmation
from haulout.embedded.folder import NetworkFolder
from haulout.embedded.founding import found_network
from haulout.embedded.layout import Layout, choose_layout
from haulout.ledger.commands import Transfer
from haulout.ledger.events import BlobCertified
from haulout.ledger.genesis import Genesis
from haulout.observability.logs import configure_logs
from haulout.primitives import BlobId, hex_id_text
from haulout.wire.ledger import GrpcLedger
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng

N_NODES, N_SHARDS = 5, 100
FAN_OUT = """subscription ($a: Address!) { events(filter: { account: $a }) { __typename sequence timestamp } }"""
WALK = f"""query ($after: String) {{ blobs(first: 50, after: $after) {{
  nodes {{ {FIELDS} }} pageInfo {{ endCursor hasNextPage }} }} }}"""
PEERS = ("core", "prepared", "json")
MANY_FILES = 65_536
N_CERTIFICATES = 100
AIMS = {
    "load_s": 120.0,
    "page_p99_ms": 50.0,
    "page_ratio": 1.5,
    "core_share": 0.7,
    "json_share": 0.2,
    "fan_out_p99_ms": 500.0,
    "ingest_per_s": 5_000.0,
}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def new_network(root: Path, offset: int) -> tuple[NetworkFolder, Layout]:
    """A founded network without any process."""
    folder, layout = NetworkFolder(root), choose_layout(PORT_BASE + offset + os.getpid() % 20 * 250, N_NODES)
    found_network(folder, layout, n_shards=N_SHARDS, clock=SystemClock(), rng=SystemRng())
    return folder, layout


# --- loading and ingest -------------------------------------------------------------------------------------


def measure_loading(root: Path, genesis_file: Path, n_small: int, n_large: int) -> dict[str, Any]:
    """Fill the small one both ways and compare; load the large one in a process of its own."""
    story = Story(Genesis.from_json(genesis_file.read_text()))
    ingested, loaded, large = root / "ingested.sqlite", root / "small.sqlite", root / "large.sqlite"
    n_events = story.first_sequence(n_small // PER_BLOCK + 1)
    seconds, cpu_s = ingest(ingested, story, n_small)
    load(genesis_file, loaded, n_small)
    differing = differing_tables(ingested, loaded)
    if differing:
        raise SystemExit(f"what was loaded is not what was ingested: {', '.join(differing)}")
    load_s, load_cpu_s = load(genesis_file, large, n_large)
    return {
        "ingest_blobs": n_small,
        "ingest_per_s": n_events / seconds,
        "ingest_per_cpu_s": n_events / cpu_s,
        **certificates_ms(),
        "equal_rows_at": n_small,
        "load_blobs": n_large,
        "load_s": load_s,
        "load_cpu_s": load_cpu_s,
    }


def load(genesis_file: Path, out: Path, n_blobs: int) -> tuple[float, float]:
    """Seconds and CPU seconds, as the loader says."""
    command = [sys.executable, str(Path(__file__).with_name("read_model_load.py")), "--genesis", str(genesis_file)]
    command += ["--out", str(out), "--blobs", str(n_blobs)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    answer = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
    seconds, cpu_s = map(float, answer.split())
    return seconds, cpu_s


def certificates_ms() -> dict[str, float]:
    """What the projection takes to check a real certificate, which `ingest` leaves out.

    In the process the replica has executed the block before, and checked the certificate with the same scheme, which
    remembers what it found; only a read model that is built again beside its replica checks for the first time.
    """
    scheme = Bls12381()
    secrets = [scheme.generate(bytes([number]) * 32) for number in range(N_NODES)]
    members = [Signer(scheme.public_key(secret), N_SHARDS // N_NODES) for secret in secrets]
    signing = range(4)
    weight = sum(members[number].weight for number in signing)
    bodies = []
    for place in range(N_CERTIFICATES):
        blob_id = BlobId(bytes([place]) * 32)
        message = storage_confirmation(1, blob_id, None)
        signature = scheme.aggregate([scheme.sign(secrets[number], message) for number in signing])
        signers = bitmap_of(signing)
        bodies.append(BlobCertified(bytes(32), blob_id, 1, 2, 1, False, False, weight, message, signature, signers, 0))
    scheme = Bls12381()
    found = {}
    for name in ("certificate_ms", "certificate_again_ms"):
        start = time.process_time()
        assert all(is_certificate(body, members, scheme) for body in bodies)
        found[name] = (time.process_time() - start) * 1000 / N_CERTIFICATES
    return found


# --- pages --------------------------------------------------------------------------------------------------


def measure_pages(read_model: Path, folder: NetworkFolder, layout: Layout, n_requests: int) -> dict[str, Any]:
    """The real process over a read model: its start, pages all over the list, its memory afterwards."""
    place = folder.data_of("graphql") / "read_model.sqlite"
    place.unlink(missing_ok=True)
    os.link(read_model, place)
    with started("ledger", folder, layout), started("graphql", folder, layout) as (process, start):
        connection = http.client.HTTPConnection(layout.address_of("graphql"), timeout=60)
        after: str | None = None
        chance = random.Random(1)
        times_ms = []
        cursors: list[str] = []
        for number in range(n_requests + 20):
            begun = time.perf_counter()
            page = ask(connection, WALK, {"after": after})["blobs"]
            if number >= 20:
                times_ms.append((time.perf_counter() - begun) * 1000)
            if page["pageInfo"]["hasNextPage"]:
                cursors.append(page["pageInfo"]["endCursor"])
            after = chance.choice(cursors[-50:]) if chance.random() < 0.9 else None
        connection.close()
        return {
            "page_p50_ms": percentile(times_ms, 0.5),
            "page_p99_ms": percentile(times_ms, 0.99),
            **start,
            **memory_mib(process),
        }


def ask(connection: http.client.HTTPConnection, query: str, variables: dict[str, Any]) -> Any:
    """The data of an answer without errors."""
    body = json.dumps({"query": query, "variables": variables})
    connection.request("POST", "/graphql", body, {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    if "errors" in answer:
        raise SystemExit(str(answer["errors"][0]))
    return answer["data"]


async def measure_peers(read_model: Path, genesis: Genesis, n_requests: int) -> dict[str, Any]:
    """Requests per second of each document, four ways; all must say the same."""
    found: dict[str, Any] = {}
    async with four_ways(read_model, genesis) as apps:
        for name, document in DOCUMENTS.items():
            answers = [await call(app, document.query) for app in apps.values()]
            if any(without_urls(answer) != without_urls(answers[0]) for answer in answers):
                raise SystemExit(f"{name}: the peers answer something else")
            found[name] = await requests_per_s(apps, document.query, n_requests)
    return found


def without_urls(answer: Any) -> Any:
    """An answer without the links in it, which name who answers."""
    return json.loads(json.dumps(answer), object_hook=lambda o: {k: v for k, v in o.items() if k != "contentUrl"})


# --- subscribers --------------------------------------------------------------------------------------------


class Subscribers:
    """Clients of one process, each with a connection and a subscription of its own."""

    def __init__(self, address: str) -> None:
        self._url = f"ws://{address}/graphql"
        self.latencies_ms: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._places = asyncio.Semaphore(50)
        self.n_ready = 0

    async def add(self, variables: dict[str, Any]) -> None:
        """One more; returns when it is subscribed."""
        ready = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._listen(variables, ready)))
        await ready.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, variables: dict[str, Any], ready: asyncio.Event) -> None:
        protocols: Any = ["graphql-transport-ws"]
        async with self._places:
            socket = await websockets.connect(self._url, subprotocols=protocols, compression=None, proxy=None)
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            payload = {"query": FAN_OUT, "variables": variables}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            ready.set()
        async for text in socket:
            heard_ms = time.time() * 1000
            message = json.loads(text)
            if message["type"] == "ping":
                await socket.send('{"type":"pong"}')
            elif message["type"] == "next":
                stamp = message["payload"]["data"]["events"]["timestamp"]
                self.latencies_ms.append(heard_ms - stamp_ms(stamp))
            else:
                raise SystemExit(f"a subscriber was told {text[:300]!r}")


def stamp_ms(text: str) -> float:
    """Milliseconds of a timestamp."""
    return datetime.fromisoformat(text).timestamp() * 1000


async def measure_fan_out(
    folder: NetworkFolder, layout: Layout, receivers: Sequence[bytes], n_each: int, n_events: int
) -> dict[str, Any]:
    """`n_each` subscribers for each receiver's events; ten transfers a second, to one receiver after another."""
    genesis = Genesis.from_json(folder.genesis_file.read_text())
    secret = read_secret(folder.wallet_file)
    ledger = GrpcLedger(layout.address_of("ledger"))
    subscribers = Subscribers(layout.address_of("graphql"))
    metrics = layout.metrics_address_of("graphql")
    try:
        variables = [{"a": hex_id_text(receiver)} for receiver in receivers for _ in range(n_each)]
        await asyncio.gather(*(subscribers.add(one) for one in variables))
        while counter(metrics, "haulout_graphql_listeners") < len(variables):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        before = counter(metrics, "haulout_graphql_stream_results_total")
        start = time.perf_counter()
        submitting = []
        for number in range(n_events):
            await asyncio.sleep(max(0.0, start + number / 10 - time.perf_counter()))
            command = Transfer(receivers[number % len(receivers)], 1)
            raw = sign(secret, genesis.chain_id, (command,), os.urandom(16))
            submitting.append(asyncio.create_task(submit(ledger, raw)))
        await asyncio.gather(*submitting)
        expected = n_events * n_each
        deadline = time.perf_counter() + 30
        while len(subscribers.latencies_ms) < expected and time.perf_counter() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        executed = counter(metrics, "haulout_graphql_stream_results_total") - before
    finally:
        await subscribers.close()
        await ledger.close()
    return {
        "subscribers": len(variables),
        "documents": len(receivers),
        "events": n_events,
        "delivered": len(subscribers.latencies_ms),
        "expected": expected,
        "executed": executed,
        "p50_ms": percentile(subscribers.latencies_ms, 0.5),
        "p99_ms": percentile(subscribers.latencies_ms, 0.99),
        "max_ms": max(subscribers.latencies_ms),
    }


def counter(address: str, name: str) -> float:
    """A number that a process shows of itself."""
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name) and line[len(name)] in " {":
                return float(line.rsplit(" ", 1)[1])
    raise SystemExit(f"there is no {name} at {address}")


# --- all of it ----------------------------------------------------------------------------------------------


def measure(*, quick: bool) -> dict[str, Any]:
    """Everything, as plain numbers."""
    n_small, n_large = (1_000, 10_000) if quick else (10_000, 1_000_000)
    n_requests, n_subscribers, n_events = (100, 100, 30) if quick else (500, 1_000, 200)
    os.environ["HAULOUT_POINTS_PER_HOUR"] = "0"
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MANY_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as name:
        root = Path(name)
        folder, layout = new_network(root / "pages", 0)
        report: dict[str, Any] = measure_loading(root, folder.genesis_file, n_small, n_large)
        genesis = Genesis.from_json(folder.genesis_file.read_text())
        report["peers_per_s"] = asyncio.run(measure_peers(root / "small.sqlite", genesis, n_requests))
        for size in ("small", "large"):
            report[size] = measure_pages(root / f"{size}.sqlite", folder, layout, n_requests)
        folder, layout = new_network(root / "fan_out", 100)
        with started("ledger", folder, layout), started("graphql", folder, layout):
            one = [os.urandom(32)]
            many = [os.urandom(32) for _ in range(100 if not quick else 10)]
            report["fan_out"] = asyncio.run(measure_fan_out(folder, layout, one, n_subscribers, n_events))
            report["filters"] = asyncio.run(measure_fan_out(folder, layout, many, 1, n_events))
    report["page_ratio"] = report["large"]["page_p99_ms"] / report["small"]["page_p99_ms"]
    report["load_average"] = os.getloadavg()[0]
    report["aims"] = AIMS
    report["missed"] = [] if quick else missed(report)
    return report


def missed(report: dict[str, Any]) -> list[str]:
    """Aims that were not reached."""
    shares = report["peers_per_s"].values()
    held = {
        "load_s": report["load_s"] <= AIMS["load_s"],
        "page_p99_ms": max(report[size]["page_p99_ms"] for size in ("small", "large")) < AIMS["page_p99_ms"],
        "page_ratio": report["page_ratio"] <= AIMS["page_ratio"],
        "core_share": all(rates["api"] / rates["core"] >= AIMS["core_share"] for rates in shares),
        "json_share": all(rates["api"] / rates["json"] >= AIMS["json_share"] for rates in shares),
        "fan_out_p99_ms": all(report[way]["p99_ms"] <= AIMS["fan_out_p99_ms"] for way in ("fan_out", "filters")),
        "ingest_per_s": report["ingest_per_s"] >= AIMS["ingest_per_s"],
        "executed once": report["fan_out"]["executed"] == report["fan_out"]["events"],
        "nothing lost": all(report[way]["delivered"] == report[way]["expected"] for way in ("fan_out", "filters")),
    }
    return [aim for aim, is_held in held.items() if not is_held]


def show(report: dict[str, Any]) -> None:
    """For people."""
    print(
        f"ingest {report['ingest_per_s']:,.0f} events/s, {report['ingest_per_cpu_s']:,.0f} in a second of CPU; "
        f"{report['certificate_again_ms']:.2f} ms more per BLS certificate that the replica has checked, "
        f"{report['certificate_ms']:.2f} ms per other\n{report['load_blobs']:,} blobs loaded in "
        f"{report['load_s']:.0f} s, {report['load_cpu_s']:.0f} s of CPU; rows equal at {report['equal_rows_at']:,}"
    )
    rows = [
        [
            name,
            f"{report[size]['page_p50_ms']:.1f} ms",
            f"{report[size]['page_p99_ms']:.1f} ms",
            f"{report[size]['ready_s']:.1f} s",
            f"{report[size]['cpu_s']:.1f} s",
            f"{report[size]['rss_at_start_mib']:.0f} MiB",
            f"{report[size]['rss_peak_mib']:.0f} MiB",
        ]
        for size, name in (("small", f"{report['ingest_blobs']:,}"), ("large", f"{report['load_blobs']:,}"))
    ]
    print_table(["Page of 50 of blobs", "p50", "p99", "ready", "CPU", "at start", "peak"], rows)
    print(f"p99 ratio {report['page_ratio']:.2f}")
    rows = [
        [name, *(f"{rates[way]:,.0f}/s" for way in ("api", *PEERS))]
        + [f"{rates['api'] / rates[way]:.0%}" for way in PEERS]
        for name, rates in report["peers_per_s"].items()
    ]
    print_table(["Document", "API", "graphql-core", "prepared", "JSON", "of core", "of prepared", "of JSON"], rows)
    rows = [
        [f"{f['subscribers']:,} on {f['documents']}", f"{f['delivered']:,}", f"{f['executed']:,.0f}"]
        + [f"{f[name]:.0f} ms" for name in ("p50_ms", "p99_ms", "max_ms")]
        for f in (report["fan_out"], report["filters"])
    ]
    print_table(["Subscribers", "delivered", "executed", "p50", "p99", "max"], rows)
    print(f"load average {report['load_average']:.1f}; missed: {', '.join(report['missed']) or 'nothing'}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The GraphQL API beside its peers.")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows, a tenth of the subscribers")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    configure_logs(level="warning")
    report = measure(quick=arguments.quick)
    if arguments.json:
        print(json.dumps(report))
    else:
        show(report)
    return 1 if report["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
