"""The panels of the operator's dashboard and its objective, in a Prometheus that finds it as the chart says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes
import pytest
import yaml

from haulout.observability.health_server import serve_health
from haulout_operator.kube import ApiServerUnavailable, Kube
from monitoring.boards import OPERATOR
from monitoring.rules import build_rules
from tests.unit.haulout_operator.fake_kube import NAMESPACE

CHART = Path(__file__).resolve().parents[3] / "helm" / "haulout"
PATIENCE_S = 300
ALERTMANAGER = "127.0.0.1:3"  # there is none
LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
OF_OPERATOR = re.compile(r"\bhaulout[_:]operator_")


def pod(name: str, *, phase: str = "Running", port: str = "metrics") -> dict[str, str]:
    """What Kubernetes tells of a port of a Pod."""
    told = {"namespace": NAMESPACE, "pod_name": name, "pod_phase": phase, "pod_container_port_name": port}
    told["pod_label_app_kubernetes_io_component"] = "operator"
    return {f"__meta_kubernetes_{name}": value for name, value in told.items()}


@contextlib.asynccontextmanager
async def running_prometheus(folder: Path, target: str) -> AsyncIterator[str]:
    """Its address; what it scrapes is there within a moment."""
    (folder / "rules.yaml").write_text(json.dumps(build_rules()))
    text = (CHART / "templates" / "_helpers.tpl").read_text()
    text = text.partition('{{- define "haulout.prometheusConfig" -}}\n')[2].partition("{{- end -}}")[0]
    text = re.sub(r"^\{\{- .*\}\}\n", "", text, flags=re.MULTILINE)  # an Alertmanager is named
    text = text.replace("{{ . | quote }}", ALERTMANAGER).replace("{{ .Release.Namespace }}", NAMESPACE)
    configuration = yaml.safe_load(text)
    configuration["global"] = {"scrape_interval": "200ms", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(folder / "rules.yaml")]
    [scraping] = configuration["scrape_configs"]
    # The distribution's Prometheus cannot ask Kubernetes: it is told what it would hear.
    assert scraping.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": [NAMESPACE]}}]
    scraping["static_configs"] = [
        {"targets": [target], "labels": pod("haulout-operator-5c6d")},
        {"targets": ["127.0.0.1:1"], "labels": pod("haulout-operator-evicted", phase="Failed")},
        {"targets": ["127.0.0.1:2"], "labels": pod("main-gateway-7f8e", port="http")},
    ]
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    log = folder / "prometheus.log"
    with log.open("wb") as told:
        process = await asyncio.create_subprocess_exec(*command, "--web.listen-address=127.0.0.1:0", stderr=told)
    try:
        while (found := LISTENING.search(log.read_text())) is None:
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.05)
        yield found[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def busy_operator(town: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Where the metrics are of an operator that has round after round; requests to its API server fail."""

    async def sleep_ms(duration_ms: int) -> None:
        town.clock.time_ms += duration_ms
        await asyncio.sleep(0.05)

    town.found()
    await town.play()
    monkeypatch.setattr(town.clock, "sleep_ms", sleep_ms)
    configuration = kubernetes.client.Configuration()
    configuration.host, configuration.retries = "http://127.0.0.1:1", False
    kube = Kube(kubernetes.client.ApiClient(configuration), folder, town.registry)

    async def work() -> None:
        while True:
            with contextlib.suppress(ApiServerUnavailable):
                await kube.get("v1", "Secret", NAMESPACE, "main-treasury")
            town.operator.wake("main")
            await asyncio.sleep(0.05)

    working = asyncio.create_task(work())
    try:
        async with serve_health("127.0.0.1:0", town.registry, ready=tuple) as address:
            yield address
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_every_panel_and_rule_of_the_operator_has_something_to_show(
    town: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = [(panel.title, query.expr) for panel in OPERATOR.panels() for query in panel.queries]
    rules = [rule for group in build_rules()["groups"] for rule in group["rules"]]
    recorded = [(rule["record"], rule["record"]) for rule in rules if OF_OPERATOR.search(rule.get("record", ""))]
    assert len(panels) > 5
    assert len(recorded) == 5
    empty = [*panels, *recorded]
    wanted = {"namespace": NAMESPACE, "role": "operator", "process": "haulout-operator-5c6d", "job": "haulout"}
    async with (
        busy_operator(town, tmp_path, monkeypatch) as target,
        running_prometheus(tmp_path, target) as address,
        httpx.AsyncClient(base_url=f"http://{address}/api/v1/", trust_env=False, timeout=60) as http,
    ):

        async def is_empty(expr: str) -> bool:
            query = expr.replace("$__rate_interval", "10s")
            answer = (await http.get("query", params={"query": query})).json()
            assert answer["status"] == "success", answer
            return not any(math.isfinite(float(sample["value"][1])) for sample in answer["data"]["result"])

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while empty:
                    empty = [place for place in empty if await is_empty(place[-1])]
                    await asyncio.sleep(0.1)
        assert empty == []
        targets = (await http.get("targets")).json()["data"]
        assert [one["labels"] for one in targets["activeTargets"]] == [{**wanted, "instance": target}]
        assert len(targets["droppedTargets"]) == 2
        told = (await http.get("alertmanagers")).json()["data"]["activeAlertmanagers"]
        assert [one["url"] for one in told] == [f"http://{ALERTMANAGER}/api/v2/alerts"]
