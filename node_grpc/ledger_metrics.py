"""What the ledger's process tells Prometheus: the sequencer's own numbers, and how long blocks wait for signatures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from haulout.ledger.commands import COMMANDS
from haulout.ports import LedgerStatus

# What counts for ever; the other numbers of a status go up and down.
COUNTERS = frozenset(("blocks", "transactions", "refused", "inadmissible", "busy", "replays"))
LAG_BUCKETS_S = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3_600)
WAITING_MAX = 100_000  # heads that are remembered while nobody signs: half a day of them


class LedgerMetrics(Collector):
    """The sequencer's numbers as of its last status; registers itself.

    The lag of attestation is that of the blocks that were the head at some status, not of each block: so it costs
    nothing however many blocks there are, and is as exact as the statuses are close.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._status: LedgerStatus | None = None
        self._waiting: deque[tuple[int, int]] = deque(maxlen=WAITING_MAX)  # height and time of heads, unattested
        self._lag = Histogram(
            "haulout_ledger_attestation_lag_seconds",
            "Time from a block's stamp until n - f shards have signed it or a later one.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        registry.register(self)

    def note(self, status: LedgerStatus, now_ms: int) -> None:
        """Take the sequencer's latest status."""
        self._status = status
        if status.finality is None:
            return
        head, attested = status.head, status.finality.attested
        if head.height > max(attested, self._waiting[-1][0] if self._waiting else 0):
            self._waiting.append((head.height, head.time_ms))
        while self._waiting and self._waiting[0][0] <= attested:
            _, time_ms = self._waiting.popleft()
            self._lag.observe(max(0, now_ms - time_ms) / 1000)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering asks before there is a status."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Engine, height, time, queue, and whatever the engine counts."""
        status = self._status
        if status is None:
            return
        text = "What keeps the ledger; always 1."
        yield InfoMetricFamily("haulout_ledger_engine", text, {"engine": status.engine})
        yield GaugeMetricFamily("haulout_ledger_height", "Height of the last durable block.", status.head.height)
        yield GaugeMetricFamily(
            "haulout_ledger_block_time_seconds", "Time in the last block's header.", status.head.time_ms / 1000
        )
        yield GaugeMetricFamily(
            "haulout_ledger_pending_transactions", "Admitted and in no block yet.", status.pending_transactions
        )
        if status.finality is not None:
            text = "Height of the last block that n - f shards have signed."
            yield GaugeMetricFamily("haulout_ledger_attested_height", text, status.finality.attested)
        for name, value in status.metrics.items():
            family = CounterMetricFamily if name in COUNTERS else GaugeMetricFamily
            yield family(f"haulout_ledger_{name}", f"{name.replace('_', ' ')} of the sequencer.", value)
        text = "Transactions that a rule refused, by its code."
        refusals = CounterMetricFamily("haulout_ledger_refusals", text, labels=["code"])
        for code, count in status.refusals.items():
            refusals.add_metric([code], count)
        yield refusals
        text = "Commands of transactions in blocks, by kind and by what became of the transaction that they are in."
        commands = CounterMetricFamily("haulout_ledger_commands", text, labels=["kind", "result"])
        for cls in COMMANDS.variants.values():
            for is_ok, result in ((True, "executed"), (False, "refused")):
                commands.add_metric([cls.__name__, result], status.commands.get((cls.__name__, is_ok), 0))
        yield commands
        if status.epoch_change_ms is not None:
            text = "How long the last change of epoch took, from its new committee to Done."
            yield GaugeMetricFamily("haulout_epoch_change_duration_seconds", text, status.epoch_change_ms / 1000)
