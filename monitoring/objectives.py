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
class Objective:
    """Requests of these routes end without an error of ours (5xx), but for this share of them."""

    name: str
    routes: str
    budget: str  # as PromQL writes it

    def record(self, window: str) -> str:
        """The name of the recorded share of errors."""
        return f"haulout:{self.name}_errors:ratio_rate{window}"

    def ratio(self, window: str) -> str:
        """The share of errors in a window; nothing while there is no request."""
        total = f'haulout_http_requests_total{{route=~"{self.routes}"}}[{window}]'
        errors = f'haulout_http_requests_total{{route=~"{self.routes}",code=~"5.."}}[{window}]'
        return f"sum by (network) (rate({errors})) / sum by (network) (rate({total}))"


READS = Objective("read", "blob|object", "0.0005")
STORES = Objective("store", "store", "0.001")
OBJECTIVES = (READS, STORES)


def recordings() -> list[tuple[str, str]]:
    """Name and expression of every recorded share."""
    return [(o.record(window), o.ratio(window)) for o in OBJECTIVES for window in WINDOWS]


def burn_alerts() -> tuple[Alert, ...]:
    """Three alerts an objective: hours, a day, or a month until the budget is gone."""
    return tuple(alert for objective in OBJECTIVES for alert in _alerts_of(objective))


def _alerts_of(objective: Objective) -> tuple[Alert, ...]:
    def burn(suffix: str, factor: str, long: str, short: str, severity: Literal["page", "ticket"], until: str) -> Alert:
        limit = f"({factor} * {objective.budget})"
        return Alert(
            name=f"Haulout{objective.name.capitalize()}Errors{suffix}",
            expr=f"{objective.record(long)} > {limit} and {objective.record(short)} > {limit}",
            wait="0m",
            severity=severity,
            summary=f"{objective.name.capitalize()}s of {{{{ $labels.network }}}} fail so often that the error budget "
            f"is gone in {until}",
            means=f"More than {factor} times {objective.budget} of all requests of the last {long} failed.",
            look='"Gateway": which codes, since when; then the alerts on shards and on the ledger.',
            do=("Mend what these say.", "The alert ends by itself when the short window is clean."),
        )

    return (
        burn("Fast", "14.4", "1h", "5m", "page", "two days"),
        burn("Medium", "6", "6h", "30m", "page", "five days"),
        burn("Slow", "1", "3d", "6h", "ticket", "28 days"),
    )
