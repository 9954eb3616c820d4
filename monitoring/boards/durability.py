"""How far blobs are from being lost, and repair."""

from __future__ import annotations

from monitoring.boards.shared import (
    BAD_ABOVE_0,
    INCOMPLETE,
    MARGIN,
    NET,
    SHARDS_DOWN,
    WARN_ABOVE_0,
    quantile,
    rate,
    total,
)
from monitoring.panel import AMBER, RED, Board, Panel, Query

DURABILITY = Board(
    "haulout-durability",
    "Haulout: durability and repair",
    "How far blobs are from being lost, and what is done about it.",
    (
        (
            "Is anything wrong?",
            (
                MARGIN,
                SHARDS_DOWN,
                INCOMPLETE,
                Panel(
                    "Damaged slivers",
                    "Found on nodes' disks since they began.",
                    (Query(total("haulout_node_corrupt_slivers_total")),),
                    steps=WARN_ABOVE_0,
                    kind="number",
                    moves="damage",
                ),
                Panel(
                    "Lies",
                    "Answers of peers that did not verify.",
                    (Query(f"{total('haulout_node_peer_lies_total')} + {total('haulout_client_bad_slivers_total')}"),),
                    steps=BAD_ABOVE_0,
                    kind="number",
                ),
                Panel(
                    "Wrongly encoded",
                    "Blobs whose own symbols prove a wrong encoding.",
                    (Query(f"max(haulout_node_inconsistent_blobs_total{{{NET}}})"),),
                    steps=WARN_ABOVE_0,
                    kind="number",
                ),
            ),
        ),
        (
            "Repair",
            (
                Panel(
                    "Lacking by node",
                    "Certified blobs of which a node lacks something.",
                    (Query(f"haulout_node_incomplete_blobs{{{NET}}}", "{{process}}"),),
                ),
                Panel(
                    "Repaired",
                    "Blobs completed, and attempts that will be made again.",
                    (
                        Query(total("haulout_node_repaired_blobs_total"), "repaired"),
                        Query(total("haulout_node_failed_repairs_total"), "attempts that failed"),
                    ),
                    moves="damage",
                ),
                Panel(
                    "Time to full redundancy",
                    "From a blob's certification until a node has its part. Objectives: half within 30 s, 99 % within "
                    "5 min.",
                    (
                        Query(quantile("0.5", "haulout_node_time_to_full_redundancy_seconds"), "p50"),
                        Query(quantile("0.99", "haulout_node_time_to_full_redundancy_seconds"), "p99"),
                    ),
                    unit="s",
                    steps=((30, AMBER), (300, RED)),
                ),
                Panel(
                    "Repairs at a time",
                    "Mean number under way, by node; each counts once it has succeeded.",
                    (Query(rate("haulout_node_repair_duration_seconds_sum", by="process"), "{{process}}"),),
                ),
                Panel(
                    "Bytes received for repairs",
                    "Per second, by node.",
                    (Query(rate("haulout_node_repair_received_bytes_total", by="process"), "{{process}}"),),
                    unit="Bps",
                ),
                Panel(
                    "Slivers rebuilt",
                    "Per second, by axis.",
                    (Query(rate("haulout_node_rebuilt_slivers_total", by="axis"), "{{axis}}"),),
                    unit="ops",
                ),
                Panel(
                    "Calls to peers that failed",
                    "Per second, by the node that was called.",
                    (Query(rate("haulout_node_peer_failures_total", by="node"), "{{node}}"),),
                    unit="ops",
                ),
            ),
        ),
        (
            "Scrubbing",
            (
                Panel(
                    "Read again",
                    "Bytes per second, by node.",
                    (Query(rate("haulout_node_scrubbed_bytes_total", by="process"), "{{process}}"),),
                    unit="Bps",
                ),
                Panel(
                    "Since the last round",
                    "Time since everything was read again.",
                    (Query(f"time() - haulout_node_last_scrub_timestamp_seconds{{{NET}}}", "{{process}}"),),
                    unit="s",
                    steps=((7 * 86_400, AMBER),),
                ),
                Panel(
                    "Rounds",
                    "Since the processes began.",
                    (Query(f"haulout_node_scrub_rounds_total{{{NET}}}", "{{process}}"),),
                ),
            ),
        ),
    ),
)
