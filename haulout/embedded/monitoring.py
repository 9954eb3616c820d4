"""`haulout up --monitoring`: Prometheus with our rules beside the network, and files that show it to a Grafana.

::

    monitoring/prometheus.yml           what Prometheus is started with
    monitoring/targets.json             whom it scrapes; written again when nodes come and go
    monitoring/rules.yaml               alerts and recordings
    monitoring/data/                    its samples
    monitoring/grafana/provisioning/    data source and dashboards, as Grafana provisions them
    monitoring/grafana/dashboards/

The same rules and dashboards are in the chart; `monitoring/` in the repository makes them.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import haulout.observability
from haulout.embedded.child import Child
from haulout.embedded.folder import NetworkFolder, write_json
from haulout.embedded.layout import Layout, role_of
from haulout.embedded.supervisor import Supervisor
from haulout.errors import HauloutError
from haulout.ports import Clock

SOURCES = Path(haulout.observability.__file__).parent / "monitoring"
NETWORK = "local"  # what the label `network` says of a network on one machine
INTERVAL = "5s"  # of scrapes and of rules
RETENTION = "15d"
LOOK_AGAIN_MS = 1_000


def monitoring_folder(folder: NetworkFolder) -> Path:
    """Where everything of it is."""
    return folder.root / "monitoring"


def find_prometheus() -> str | None:
    """The program, if this machine has it."""
    return shutil.which("prometheus")


def write_monitoring(folder: NetworkFolder, layout: Layout) -> None:
    """Write all files but the targets.

    Raises:
        DiskFull, FolderUnusable: some are as they were.
    """
    root = monitoring_folder(folder)
    boards = root / "grafana" / "dashboards"
    provisioning = root / "grafana" / "provisioning"
    write_json(root / "prometheus.yml", _prometheus(root))
    shutil.copyfile(SOURCES / "rules.yaml", root / "rules.yaml")
    shutil.copytree(SOURCES / "dashboards", boards, dirs_exist_ok=True)
    url = f"http://{layout.address_of('prometheus')}"
    source = {"name": "Haulout", "type": "prometheus", "uid": "haulout", "url": url, "isDefault": True}
    write_json(provisioning / "datasources" / "haulout.yaml", {"apiVersion": 1, "datasources": [source]})
    provider = {"name": "Haulout", "type": "file", "folder": "Haulout", "options": {"path": str(boards)}}
    write_json(provisioning / "dashboards" / "haulout.yaml", {"apiVersion": 1, "providers": [provider]})


def grafana_command(folder: NetworkFolder) -> str:
    """How to start a Grafana that shows it."""
    provisioning = monitoring_folder(folder) / "grafana" / "provisioning"
    return f"GF_PATHS_PROVISIONING={provisioning} grafana server --homepath /usr/share/grafana"


class Monitoring:
    """Keeps Prometheus running and its targets right. `run()` it beside the supervisor."""

    def __init__(self, folder: NetworkFolder, supervisor: Supervisor, clock: Clock) -> None:
        self._folder = folder
        self._supervisor = supervisor
        self._clock = clock
        self._targets: list[Any] = []

    async def run(self) -> None:
        """Until cancelled. Without the program the files are there, for a Prometheus elsewhere."""
        program = find_prometheus()
        child = None
        if program is not None:
            child = Child(
                name="prometheus",
                command=_command(program, self._folder, self._supervisor.layout),
                environment={},
                log=self._folder.log_of("prometheus"),
                restart=True,
            )
            self._supervisor.companions["prometheus"] = child
        try:
            self._write_targets()
            if child is not None:
                await child.start()
            while True:
                await self._clock.sleep_ms(LOOK_AGAIN_MS)
                with contextlib.suppress(HauloutError):  # a full disk: they are written once there is room
                    self._write_targets()
        finally:
            if child is not None:
                await child.stop()

    def _write_targets(self) -> None:
        layout = self._supervisor.layout
        targets = [
            {
                "targets": [layout.metrics_address_of(name)],
                "labels": {"network": NETWORK, "process": name, "role": role_of(name)},
            }
            for name in layout.names
        ]
        if targets != self._targets:
            write_json(monitoring_folder(self._folder) / "targets.json", targets)
            self._targets = targets


def _command(program: str, folder: NetworkFolder, layout: Layout) -> list[str]:
    root = monitoring_folder(folder)
    return [
        program,
        f"--config.file={root / 'prometheus.yml'}",
        f"--storage.tsdb.path={root / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address={layout.address_of('prometheus')}",
        "--enable-feature=exemplar-storage",  # which trace an observation is from
        "--log.format=json",
    ]


def _prometheus(root: Path) -> dict[str, Any]:
    """Its configuration; JSON is YAML."""
    return {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(root / "rules.yaml")],
        "scrape_configs": [
            {"job_name": "haulout", "file_sd_configs": [{"files": [str(root / "targets.json")]}]},
        ],
    }
