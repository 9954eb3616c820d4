"""What a client counts. Made over a registry by a service, or over none by a command that lives for a second."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from haulout.observability.metrics import LATENCY_BUCKETS_S

PHASES = ("encoding", "registering", "uploading", "certifying")


class ClientMetrics:
    """Counters of stores and reads."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._known: set[str] = set()
        self.bad_slivers = Counter(
            "haulout_client_bad_slivers_total",
            "Slivers and metadata that a node handed out and that did not verify.",
            ["node"],
            registry=registry,
        )
        self.bad_confirmations = Counter(
            "haulout_client_bad_confirmations_total",
            "Confirmations of a node that did not verify.",
            ["node"],
            registry=registry,
        )
        self.hedges = Counter(
            "haulout_read_hedges_total", "Requests made because an earlier one was slow.", registry=registry
        )
        self.node_failures = Counter(
            "haulout_client_node_failures_total", "Calls to a node that failed.", ["node"], registry=registry
        )
        self.store_phase = Histogram(
            "haulout_store_phase_seconds",
            "Time that each phase of a store took.",
            ["phase"],
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        for phase in PHASES:
            self.store_phase.labels(phase)

    def know_node(self, name: str) -> None:
        """Start a node's counters at 0, so that its first failure is seen as one."""
        if name in self._known:
            return
        self._known.add(name)
        self.bad_slivers.labels(name)
        self.bad_confirmations.labels(name)
        self.node_failures.labels(name)
