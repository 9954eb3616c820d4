"""What the supervisor counts of its children, read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from haulout.embedded.supervisor import Supervisor


class SupervisorCollector(Collector):
    """The numbers of one supervisor; registers itself."""

    def __init__(self, supervisor: Supervisor, registry: CollectorRegistry) -> None:
        self._supervisor = supervisor
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Whether each process is ready, and how often it was started again."""
        ready = GaugeMetricFamily(
            "haulout_supervisor_process_ready", "1 while the process says that it is ready.", labels=["process"]
        )
        restarts = CounterMetricFamily(
            "haulout_supervisor_restarts_total", "Times that a dead process was started again.", labels=["process"]
        )
        for report in self._supervisor.reports():
            ready.add_metric([report.name], report.state == "ready")
            restarts.add_metric([report.name], report.n_restarts)
        yield ready
        yield restarts
