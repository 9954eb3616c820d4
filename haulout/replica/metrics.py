"""How far a replica is, read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from haulout.replica.replica import Replica


class ReplicaCollector(Collector):
    """The numbers of one replica; registers itself."""

    def __init__(self, replica: Replica, registry: CollectorRegistry) -> None:
        self._replica = replica
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Height, distance from the ledger, and whether it may go on."""
        replica = self._replica
        height = replica.head.height
        yield GaugeMetricFamily("haulout_replica_height", "Height of the last block executed here.", height)
        lag = max(0, (replica.heard_height or 0) - height)
        yield GaugeMetricFamily("haulout_replica_lag_blocks", "Blocks that the ledger has and this has not.", lag)
        text = "1 when a block did not match its own execution: it stopped for ever."
        yield GaugeMetricFamily("haulout_replica_diverged", text, int(replica.diverged is not None))
        text = "1 when the ledger speaks a later version than this build."
        yield GaugeMetricFamily("haulout_replica_upgrade_required", text, int(replica.upgrade_required is not None))
