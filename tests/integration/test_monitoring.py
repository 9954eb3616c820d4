"""`haulout up --monitoring`: a real Prometheus scrapes a real network, every panel shows something, and the panels that
should move do: when a node goes, when a disk rots, when the epoch changes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry

import haulout.observability
from haulout.observability.tracing import variables_for
from haulout_operator.kube import Kube
from haulout_operator.reconcile import Reconciler
from monitoring.boards import BOARDS, OPERATOR
from monitoring.panel import Panel

LiveNetwork = Any  # of conftest.py, which cannot be imported
Collector = Any
NAMES = re.compile(r"\bhaulout[_:][a-z0-9_:]+\b")
RULES = Path(haulout.observability.__file__).parent / "monitoring"
PATIENCE_S = 60
BLOB = bytes(range(256)) * 800
OF_OPERATOR = ("haulout_operator_", "haulout:operator_")
LIVE_BOARDS = [board for board in BOARDS if board is not OPERATOR]


class Prometheus:
    """What it has scraped, as panels ask for it."""

    def __init__(self, network: LiveNetwork) -> None:
        self.network = network
        base = json.loads((network.folder / "network.json").read_text())["port_base"]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{base + 4}/api/v1/", timeout=20)

    def get(self, path: str, **params: str) -> Any:
        answer = self.http.get(path, params=params).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, expr: str) -> list[float]:
        """The numbers that a query shows; not a number is nothing."""
        for name, value in (("$__rate_interval", "20s"), ("$network", "local"), ("$process", ".*")):
            expr = expr.replace(name, value)
        found = [float(sample["value"][1]) for sample in self.get("query", query=expr)["result"]]
        return sorted(value for value in found if math.isfinite(value))

    def shows(self, panel: Panel) -> list[list[float]]:
        return [self.values(query.expr) for query in panel.queries]

    def use(self, number: int) -> None:
        """Something to show: a blob in, a blob out, a question."""
        blob_id = self.network.store(number.to_bytes(4, "big") + BLOB)
        assert self.network.read(blob_id).status_code == 200
        self.http.post(self.network.graphql, json={"query": "{ system { blobCount } }"}).raise_for_status()

    def wait(self, condition: Callable[[], bool], what: Callable[[], object], *, use: bool = False) -> None:
        deadline = time.monotonic() + PATIENCE_S
        number = 1_000
        while not condition():
            assert time.monotonic() < deadline, what()
            if use:
                number += 1
                self.use(number)
            time.sleep(0.3)


@pytest.fixture(scope="module")
def prometheus(start_network: Callable[..., LiveNetwork], collector: Collector) -> Iterator[Prometheus]:
    traces = f"--traces={collector.endpoint}"
    chatty = {"HAULOUT_LOG_LEVEL": "debug", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    network = start_network("--nodes=4", "--shards=20", "--monitoring", traces, **chatty)
    scrape_often(network.folder)
    found = Prometheus(network)
    with found.http:
        yield found


def scrape_often(folder: Path) -> None:
    """Each second, so that the test is short."""
    file = folder / "monitoring" / "prometheus.yml"
    document = json.loads(file.read_text())
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    file.write_text(json.dumps(document))
    os.kill(json.loads((folder / "supervisor.json").read_text())["children"]["prometheus"], signal.SIGHUP)


@contextlib.contextmanager
def moving(prometheus: Prometheus, cause: str) -> Iterator[None]:
    """Wait until every panel that has to move with a cause shows something else than before."""
    panels = {(b.title, p.title): p for b in LIVE_BOARDS for p in b.panels() if p.moves == cause}
    assert panels
    before = {name: prometheus.shows(panel) for name, panel in panels.items()}
    yield

    def still() -> list[tuple[str, str]]:
        return [name for name, panel in panels.items() if prometheus.shows(panel) == before[name]]

    prometheus.wait(lambda: not still(), still)


def metrics_of(text: str) -> set[str]:
    return {name.removesuffix("_bucket").removesuffix("_count") for name in NAMES.findall(text)}


def expressions_of_rules(folder: Path) -> list[str]:
    groups = yaml.safe_load((folder / "rules.yaml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    empty = [
        (board.title, panel.title, query.expr)
        for board in LIVE_BOARDS
        for panel in board.panels()
        for query in panel.queries
    ]

    def all_shown() -> bool:
        empty[:] = [place for place in empty if not prometheus.values(place[-1])]
        return not empty

    prometheus.wait(all_shown, lambda: empty, use=True)


def test_every_metric_of_panels_and_rules_is_scraped(prometheus: Prometheus) -> None:
    expressions = expressions_of_rules(prometheus.network.folder / "monitoring")
    expressions += [query.expr for board in BOARDS for panel in board.panels() for query in panel.queries]
    asked = set().union(*(metrics_of(expression) for expression in expressions))
    scraped = {name.removesuffix("_bucket") for name in prometheus.get("label/__name__/values")}
    assert asked - scraped == {name for name in asked if name.startswith(OF_OPERATOR)}


def test_what_is_asked_of_the_operator_is_what_it_counts(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    nothing: Any = None
    kube = Kube(nothing, tmp_path, registry)
    Reconciler(
        kube, nothing, nothing, nothing, namespace="n", clock=nothing, rng=nothing, registry=registry
    )  # fmt: skip
    counted = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    expressions = [query.expr for panel in OPERATOR.panels() for query in panel.queries]
    expressions += expressions_of_rules(RULES)
    asked = set().union(*(metrics_of(expression) for expression in expressions))
    assert {name for name in asked if name.startswith("haulout_operator_")} <= counted
    assert {"haulout_operator_stuck_objects", "haulout_operator_reconcile_duration_seconds"} <= asked


def test_one_trace_leads_from_the_gateway_to_every_sliver_and_transaction(
    prometheus: Prometheus, collector: Collector
) -> None:
    network, trace_id = prometheus.network, "ab" * 16
    answer = httpx.put(
        f"{network.gateway}/v1/blobs?epochs=2",
        content=b"a traced walrus",
        headers={"traceparent": f"00-{trace_id}-{'cd' * 8}-01"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    everybody = {"gateway", "ledger", "node-0", "node-1", "node-2", "node-3"}

    def seen() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for named, span in collector.trace(trace_id):
            found.setdefault(named["service.instance.id"], []).append(span.name)
        return found

    def is_whole() -> bool:
        """Everybody has told of its part, and every span is a part of another one."""
        spans = [span for _, span in collector.trace(trace_id)]
        known = {span.span_id for span in spans} | {bytes.fromhex("cd" * 8)}
        return everybody <= set(seen()) and all(span.parent_span_id in known for span in spans)

    prometheus.wait(is_whole, seen)
    spans = seen()
    assert set(spans) == everybody
    assert spans["gateway"].count("PUT /v1/blobs") == 1
    slivers = [span for named, span in collector.trace(trace_id) if span.name == "keep sliver"]
    places = {tuple(sorted((a.key, str(a.value)) for a in span.attributes)) for span in slivers}
    assert len(slivers) == len(places) == 2 * 20  # both of each shard
    assert all({"StoreAndConfirm", "keep sliver", "sync"} <= set(spans[f"node-{i}"]) for i in range(4))
    assert spans["ledger"].count("transaction") == 2  # it is registered, and certified

    def exemplars() -> set[str]:
        window = {"start": str(time.time() - 300), "end": str(time.time() + 1)}
        series = prometheus.get("query_exemplars", query="haulout_http_request_duration_seconds_bucket", **window)
        return {one["labels"]["trace_id"] for of_series in series for one in of_series["exemplars"]}

    prometheus.wait(lambda: trace_id in exemplars(), exemplars)
    assert {span.trace_id.hex() for _, span in collector.spans} >= exemplars()
    for name in everybody:
        log = (network.folder / "logs" / f"{name}.log").read_text()
        told = [line for line in map(json.loads, log.splitlines()) if line.get("trace_id") == trace_id]
        assert told and all(line["process"] == name for line in told), name


def test_the_trace_of_a_mutation_goes_on_in_the_gateway(prometheus: Prometheus, collector: Collector) -> None:
    network, trace_id = prometheus.network, "ef" * 16
    secret = network.ask("token", "create", "uploads", "--scope", "WRITE_BLOB")["secret"]
    headers = {"authorization": f"Bearer {secret}", "traceparent": f"00-{trace_id}-{'cd' * 8}-01"}
    document = "mutation { createUpload(input: {epochs: 3}) { uploadUrl } }"
    answer = prometheus.http.post(network.graphql, json={"query": document}, headers=headers).json()
    assert answer["data"]["createUpload"]["uploadUrl"], answer

    def seen() -> set[tuple[str, str]]:
        return {(named["service.name"], span.name) for named, span in collector.trace(trace_id)}

    wanted = {("haulout-graphql", name) for name in ("POST /graphql", "mutation createUpload", "POST")}
    wanted.add(("haulout-gateway", "POST /v1/uploads"))
    prometheus.wait(lambda: wanted <= seen(), seen)


def test_a_command_begins_a_trace(
    prometheus: Prometheus, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, trace_id = prometheus.network, "c1" * 16
    traced = {"TRACEPARENT": f"00-{trace_id}-{'cd' * 8}-01", **variables_for(collector.endpoint)}
    monkeypatch.setattr(network, "environment", {**network.environment, **traced})
    file = network.folder / "traced"
    file.write_bytes(b"stored by a traced command")
    network.run("store", str(file), "--epochs", "2")

    def seen() -> set[tuple[str, str]]:
        return {(named["service.instance.id"], span.name) for named, span in collector.trace(trace_id)}

    wanted = {("cli", "haulout store"), ("ledger", "transaction"), *((f"node-{i}", "keep sliver") for i in range(4))}
    prometheus.wait(lambda: wanted <= seen(), seen)


def test_panels_move_when_a_node_goes(prometheus: Prometheus) -> None:
    with moving(prometheus, "kill"):
        prometheus.network.stop("node-3")
    prometheus.network.start("node-3")


def test_panels_move_when_a_disk_rots(prometheus: Prometheus) -> None:
    large = BLOB * 16
    blob_id = prometheus.network.store(large)
    files = [path for path in (prometheus.network.folder / "nodes/node-1/data").rglob("*") if path.is_file()]
    flipped = [path for path in files if path.stat().st_size > 4_096]
    assert flipped
    with moving(prometheus, "damage"):
        for path in flipped:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        target = prometheus.network.folder / "read-back"
        prometheus.network.run("read", blob_id, "--out", str(target))
        assert target.read_bytes() == large


def test_panels_move_with_the_epoch(prometheus: Prometheus) -> None:
    with moving(prometheus, "epoch"):
        prometheus.network.run("epoch", "advance")
