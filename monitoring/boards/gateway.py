"""Blobs over HTTP, and GraphQL."""

from __future__ import annotations

from monitoring.boards.shared import NET, quantile, rate
from monitoring.objectives import READS, STORES
from monitoring.panel import AMBER, GREEN, RED, Board, Panel, Query

GATEWAY = Board(
    "haulout-gateway",
    "Haulout: gateway",
    "Blobs in and out over HTTP, and what GraphQL answers.",
    (
        (
            "Is anything wrong?",
            (
                Panel(
                    "Failed reads",
                    "Share of the last 5 minutes' reads that ended with an error of ours.",
                    (Query(f"{READS.record('5m')}{{{NET}}}"),),
                    unit="percentunit",
                    steps=((0.0005, AMBER), (0.01, RED)),
                    kind="number",
                ),
                Panel(
                    "Failed stores",
                    "Share of the last 5 minutes' stores that ended with an error of ours.",
                    (Query(f"{STORES.record('5m')}{{{NET}}}"),),
                    unit="percentunit",
                    steps=((0.001, AMBER), (0.01, RED)),
                    kind="number",
                ),
                Panel(
                    "Slow reads",
                    "95th percentile of the time to the first byte.",
                    (Query(quantile("0.95", "haulout_http_request_duration_seconds", NET + ',route=~"blob|object"')),),
                    unit="s",
                    steps=((0.5, AMBER), (1, RED)),
                    kind="number",
                ),
                Panel(
                    "On their way",
                    "Bytes of blobs that are being taken in or sent.",
                    (Query(f"sum(haulout_http_inflight_bytes{{{NET}}})"),),
                    unit="bytes",
                    kind="number",
                ),
                Panel(
                    "Publisher's balance",
                    "FROST that the account that pays for stores still has.",
                    (Query(f"min(haulout_publisher_balance_frost{{{NET}}})"),),
                    base=RED,
                    steps=((1, AMBER), (1_000_000_000, GREEN)),
                    kind="number",
                ),
                Panel(
                    "Read model's lag",
                    "Age of the oldest block that GraphQL does not show yet.",
                    (Query(f"max(haulout_read_model_lag_seconds{{{NET}}})"),),
                    unit="s",
                    steps=((10, AMBER), (60, RED)),
                    kind="number",
                ),
            ),
        ),
        (
            "Blobs",
            (
                Panel(
                    "Requests",
                    "Per second, by route and code.",
                    (Query(rate("haulout_http_requests_total", by="route, code"), "{{route}} {{code}}"),),
                    unit="reqps",
                ),
                Panel(
                    "Time to the response's head",
                    "95th percentile, by route.",
                    (Query(quantile("0.95", "haulout_http_request_duration_seconds", by="route"), "{{route}}"),),
                    unit="s",
                ),
                Panel(
                    "Reads by size",
                    "95th percentile of the time to the response's head, by the size up to which content is sent.",
                    (
                        Query(
                            quantile(
                                "0.95",
                                "haulout_http_request_duration_seconds",
                                NET + ',route=~"blob|object",size_class!="none"',
                                by="size_class",
                            ),
                            "{{size_class}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Phases of a store",
                    "95th percentile of each.",
                    (Query(quantile("0.95", "haulout_store_phase_seconds", by="phase"), "{{phase}}"),),
                    unit="s",
                ),
                Panel(
                    "Hedged reads",
                    "Requests made because an earlier one was slow, per second.",
                    (Query(rate("haulout_read_hedges_total"), "hedges"),),
                    unit="ops",
                ),
                Panel(
                    "Cache",
                    "Reads by whether the blob was cached, per second.",
                    (Query(rate("haulout_cache_requests_total", by="result"), "{{result}}"),),
                    unit="reqps",
                ),
            ),
        ),
        (
            "GraphQL",
            (
                Panel(
                    "Time to answer",
                    "50th and 99th percentile.",
                    (
                        Query(quantile("0.5", "haulout_graphql_request_seconds"), "p50"),
                        Query(quantile("0.99", "haulout_graphql_request_seconds"), "p99"),
                    ),
                    unit="s",
                ),
                Panel(
                    "Cost of requests",
                    "95th percentile of the upper bound that limits are checked against.",
                    (Query(quantile("0.95", "haulout_graphql_cost"), "p95"),),
                ),
                Panel(
                    "From block to row",
                    "99th percentile of the time until a block's rows can be read.",
                    (Query(quantile("0.99", "haulout_read_model_delay_seconds"), "p99"),),
                    unit="s",
                ),
            ),
        ),
    ),
)
