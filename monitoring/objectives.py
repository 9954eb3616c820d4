"""Service level objectives over 28 days, and alerts on how fast their error budget burns.

A burn of 1 uses the budget up in exactly 28 days. Two windows have to agree: the long one says that it matters, the
short one that it still goes on (Google, "The Site Reliability Workbook", chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitoring.alert import Alert

WINDOWS = ("5m", "30m", "1h", "6h", "3d")


@dataclass(frozen=True, slots=True)
class Requests:
    """HTTP requests of some routes; those that end with an error of ours (5xx) are bad."""

    routes: str

    def bad_share(self, window: str, by: str) -> str:
        """Their share in a window; nothing while there is no request."""
        total = f'haulout_http_requests_total{{route=~"{self.routes}"}}[{window}]'
        errors = f'haulout_http_requests_total{{route=~"{self.routes}",code=~"5.."}}[{window}]'
        return f"sum by ({by}) (rate({errors})) / sum by ({by}) (rate({total}))"


@dataclass(frozen=True, slots=True)
class Durations:
    """What a histogram has observed; what took longer than one of its buckets is bad."""

    histogram: str
    limit_s: float
    labels: str = ""

    def bad_share(self, window: str, by: str) -> str:
        """Their share in a window; nothing while nothing is observed."""
        within = ",".join(filter(None, (self.labels, f'le="{float(self.limit_s)}"')))
        good = f"{self.histogram}_bucket{{{within}}}[{window}]"
        total = (
            f"{self.histogram}_count{{{self.labels}}}[{window}]" if self.labels else f"{self.histogram}_count[{window}]"
        )
        return f"1 - sum by ({by}) (rate({good})) / sum by ({by}) (rate({total}))"


@dataclass(frozen=True, slots=True)
class Objective:
    """All but a share of what is counted is good.

    Attributes:
        name: of what is bad, in the names of the recorded shares.
        alert: what the names of its alerts begin with.
        budget: the share that may be bad, as PromQL writes it.
        what: what is said of those that are bad, in a sentence about the whole network.
        bad: the same, of a share of them.
        by: tells those apart that have a budget each.
    """

    name: str
    alert: str
    source: Requests | Durations
    budget: str
    what: str
    bad: str
    look: str
    by: str = "network"

    def record(self, window: str) -> str:
        """The name of the recorded share."""
        return f"haulout:{self.name}:ratio_rate{window}"


GATEWAY = '"Gateway": which codes, since when; then the alerts on shards and on the ledger.'
READS = Objective(
    name="read_errors",
    alert="HauloutReadErrors",
    source=Requests("blob|object"),
    budget="0.0005",
    what="Reads of {{ $labels.network }} fail",
    bad="all requests of the last {window} failed",
    look=GATEWAY,
)
STORES = Objective(
    name="store_errors",
    alert="HauloutStoreErrors",
    source=Requests("store"),
    budget="0.001",
    what="Stores of {{ $labels.network }} fail",
    bad="all requests of the last {window} failed",
    look=GATEWAY,
)
READ_LATENCY = Objective(
    name="slow_reads",
    alert="HauloutReadLatency",
    source=Durations("haulout_http_request_duration_seconds", 1, 'route=~"blob|object"'),
    budget="0.05",
    what="Reads of {{ $labels.network }} take more than 1 s until their first byte",
    bad="all reads of the last {window} took longer than 1 s",
    look='"Gateway": hedges, cache hits, and calls to nodes that fail.',
)
REDUNDANCY = Objective(
    name="slow_redundancy",
    alert="HauloutRedundancyTime",
    source=Durations("haulout_node_time_to_full_redundancy_seconds", 300),
    budget="0.01",
    what="Nodes of {{ $labels.network }} take more than 5 min to have their part of a certified blob",
    bad="what became whole on a node in the last {window} had been certified for more than 5 min",
    look='"Durability and repair": which node lacks blobs, and why its repairs fail '
    "(`haulout_node_failed_repairs_total`, `haulout_node_peer_failures_total`).",
)
ATTESTATION = Objective(
    name="slow_attestation",
    alert="HauloutAttestationLag",
    source=Durations("haulout_ledger_attestation_lag_seconds", 30),
    budget="0.01",
    what="Blocks of {{ $labels.network }} wait for more than 30 s to be signed",
    bad="the blocks that were signed in the last {window} had waited for more than 30 s",
    look="`haulout_ledger_checkpoint_signed_shards`, then `haulout_node_attested_height` and "
    "`haulout_node_checkpoint_refusals_total` by node.",
)
ROUNDS = Objective(
    name="operator_slow_rounds",
    alert="HauloutReconcileTime",
    source=Durations("haulout_operator_reconcile_duration_seconds", 60),
    budget="0.01",
    what="Rounds of the operator in {{ $labels.namespace }} take more than a minute",
    bad="the rounds of the last {window} took longer than a minute",
    look='"Operator", and `haulout_operator_api_requests_total` by outcome: is the API server slow?',
    by="namespace",
)
OBJECTIVES = (READS, STORES, READ_LATENCY, REDUNDANCY, ATTESTATION, ROUNDS)


def recordings() -> list[tuple[str, str]]:
    """Name and expression of every recorded share."""
    return [(o.record(window), o.source.bad_share(window, o.by)) for o in OBJECTIVES for window in WINDOWS]


def burn_alerts() -> tuple[Alert, ...]:
    """Three alerts an objective: hours, a day, or a month until the budget is gone."""
    return tuple(alert for objective in OBJECTIVES for alert in _alerts_of(objective))


def _alerts_of(objective: Objective) -> tuple[Alert, ...]:
    def burn(suffix: str, factor: str, long: str, short: str, severity: Literal["page", "ticket"], until: str) -> Alert:
        limit = f"({factor} * {objective.budget})"
        return Alert(
            name=f"{objective.alert}{suffix}",
            expr=f"{objective.record(long)} > {limit} and {objective.record(short)} > {limit}",
            wait="0m",
            severity=severity,
            summary=f"{objective.what} so often that the error budget is gone in {until}",
            means=f"More than {factor} times {objective.budget} of {objective.bad.format(window=long)}.",
            look=objective.look,
            do=("Mend what these say.", "The alert ends by itself when the short window is clean."),
        )

    return (
        burn("Fast", "14.4", "1h", "5m", "page", "two days"),
        burn("Medium", "6", "6h", "30m", "page", "five days"),
        burn("Slow", "1", "3d", "6h", "ticket", "28 days"),
    )
