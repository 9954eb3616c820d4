"""The operator in Kubernetes."""

from __future__ import annotations

from monitoring.boards.shared import WARN_ABOVE_0, quantile, rate
from monitoring.panel import AMBER, RED, Board, Panel, Query

OPERATOR = Board(
    "haulout-operator",
    "Haulout: operator",
    "Whether the operator in Kubernetes gets its rounds done.",
    (
        (
            "Is anything wrong?",
            (
                Panel(
                    "Since the last good round",
                    "In any of its networks.",
                    (Query("time() - max(haulout_operator_last_success_timestamp_seconds)"),),
                    unit="s",
                    steps=((120, AMBER), (600, RED)),
                    kind="number",
                ),
                Panel(
                    "Failed rounds",
                    "Since it began.",
                    (Query('sum(haulout_operator_reconcile_total{result="failed"})'),),
                    steps=WARN_ABOVE_0,
                    kind="number",
                ),
                Panel(
                    "Stuck objects",
                    "Objects that have not been ready for ten minutes, though nobody meant them not to.",
                    (Query("sum by (kind) (haulout_operator_stuck_objects)", "{{kind}}"),),
                    steps=WARN_ABOVE_0,
                    kind="number",
                ),
            ),
        ),
        (
            "Rounds",
            (
                Panel(
                    "Rounds",
                    "Per second, by result.",
                    (
                        Query(
                            "sum by (result) (rate(haulout_operator_reconcile_total[$__rate_interval]))", "{{result}}"
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Time of a round",
                    "99th percentile; the objective is 60 s.",
                    (Query(quantile("0.99", "haulout_operator_reconcile_duration_seconds", ""), "p99"),),
                    unit="s",
                    steps=((60, RED),),
                ),
                Panel(
                    "Requests to the API server",
                    "Per second, by verb and outcome.",
                    (
                        Query(
                            rate("haulout_operator_api_requests_total", "", by="verb, outcome"), "{{verb}} {{outcome}}"
                        ),
                    ),
                    unit="reqps",
                ),
            ),
        ),
    ),
)
