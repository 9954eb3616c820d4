"""What `haulout up --monitoring` writes for a Prometheus and a Grafana, whether this machine has them or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from haulout.embedded import monitoring
from haulout.embedded.folder import NetworkFolder
from haulout.embedded.layout import Layout
from haulout.embedded.monitoring import Monitoring, grafana_command, monitoring_folder, write_monitoring
from tests.hand_clock import HandClock

LAYOUT = Layout(31_415, 4)
BOARDS = {"network", "node", "ledger", "gateway", "durability", "operator"}


@pytest.fixture
def folder(tmp_path: Path) -> NetworkFolder:
    made = NetworkFolder(tmp_path / "net")
    write_monitoring(made, LAYOUT)
    return made


@contextlib.asynccontextmanager
async def running(folder: NetworkFolder, supervisor: Any) -> AsyncIterator[None]:
    clock: Any = HandClock()
    task = asyncio.create_task(Monitoring(folder, supervisor, clock).run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def targets_of(folder: NetworkFolder) -> dict[str, tuple[str, str]]:
    """Role and address of each process that is scraped."""
    found = json.loads((monitoring_folder(folder) / "targets.json").read_text())
    assert {one["labels"]["network"] for one in found} == {"local"}
    return {one["labels"]["process"]: (one["labels"]["role"], *one["targets"]) for one in found}


def test_a_grafana_finds_prometheus_and_every_dashboard(folder: NetworkFolder) -> None:
    name, _, program = grafana_command(folder).partition("=")
    provisioning, _, program = program.partition(" ")
    assert (name, program.split()[0]) == ("GF_PATHS_PROVISIONING", "grafana")
    [source] = json.loads((Path(provisioning) / "datasources" / "haulout.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:31419")
    [provider] = json.loads((Path(provisioning) / "dashboards" / "haulout.yaml").read_text())["providers"]
    boards = [json.loads(path.read_text()) for path in Path(provider["options"]["path"]).iterdir()]
    assert {board["uid"].removeprefix("haulout-") for board in boards} == BOARDS


async def test_targets_follow_the_nodes_also_where_no_prometheus_is(
    folder: NetworkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "find_prometheus", lambda: None)
    supervisor = SimpleNamespace(layout=LAYOUT, companions={})
    async with running(folder, supervisor):
        assert list(targets_of(folder)) == ["ledger", "node-0", "node-1", "node-2", "node-3", "gateway", "graphql"]
        assert targets_of(folder)["node-1"] == ("node", "127.0.0.1:31526")
        supervisor.layout = Layout(31_415, 5, frozenset({"node-1"}))
        for _ in range(5):
            await asyncio.sleep(0)
        assert [name for name, (role, _) in targets_of(folder).items() if role == "node"] == [
            "node-0", "node-2", "node-3", "node-4",
        ]  # fmt: skip
    assert supervisor.companions == {}


async def test_prometheus_takes_what_is_written(folder: NetworkFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "find_prometheus", lambda: None)
    async with running(folder, SimpleNamespace(layout=LAYOUT, companions={})):
        pass
    file = monitoring_folder(folder) / "prometheus.yml"
    pipe = asyncio.subprocess.PIPE
    done = await asyncio.create_subprocess_exec("promtool", "check", "config", str(file), stdout=pipe, stderr=pipe)
    told = b"".join(await done.communicate()).decode()
    assert done.returncode == 0, told
    assert "WARNING" not in told
    assert "rules.yaml" in told
