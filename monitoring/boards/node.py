"""Storage nodes, one or several beside each other."""

from __future__ import annotations

from monitoring.boards.shared import BAD_ABOVE_0, ONE, WARN_ABOVE_0, quantile, rate
from monitoring.panel import AMBER, GREEN, RED, Board, Panel, Query

NODE = Board(
    "haulout-node",
    "Haulout: node",
    "One storage node, or several beside each other.",
    (
        (
            "Is anything wrong?",
            (
                Panel(
                    "Not ready",
                    "Nodes that run and say no on /readyz.",
                    (Query(f"count(haulout_ready{{{ONE}}}) - sum(haulout_ready{{{ONE}}})"),),
                    steps=BAD_ABOVE_0,
                    kind="number",
                ),
                Panel(
                    "Lacking",
                    "Blobs of which something is lacking, summed over the nodes.",
                    (Query(f"sum(haulout_node_incomplete_blobs{{{ONE}}})"),),
                    steps=WARN_ABOVE_0,
                    kind="number",
                ),
                Panel(
                    "Damaged slivers",
                    "Found since the processes began.",
                    (Query(f"sum(haulout_node_corrupt_slivers_total{{{ONE}}})"),),
                    steps=WARN_ABOVE_0,
                    kind="number",
                    moves="damage",
                ),
                Panel(
                    "Read only",
                    "Nodes without room.",
                    (Query(f"sum(haulout_node_read_only{{{ONE}}})"),),
                    steps=BAD_ABOVE_0,
                    kind="number",
                ),
                Panel(
                    "Disk errors",
                    "Operations that a node's disk has refused since the processes began.",
                    (Query(f"sum(haulout_disk_errors_total{{{ONE}}})"),),
                    steps=BAD_ABOVE_0,
                    kind="number",
                ),
                Panel(
                    "Least free disk",
                    "Share of the disk that is free, on the node that has least.",
                    (Query(f"min(haulout_disk_free_bytes{{{ONE}}} / haulout_disk_size_bytes{{{ONE}}})"),),
                    unit="percentunit",
                    base=RED,
                    steps=((0.05, AMBER), (0.2, GREEN)),
                    kind="number",
                ),
                Panel(
                    "Blocks behind",
                    "Of the replica that is furthest behind.",
                    (Query(f"max(haulout_replica_lag_blocks{{{ONE}}})"),),
                    steps=((10, AMBER), (100, RED)),
                    kind="number",
                ),
            ),
        ),
        (
            "Work",
            (
                Panel(
                    "What it is",
                    "Active with shards, standby without; all else is a reason to read its log.",
                    (Query(f"haulout_node_status{{{ONE}}} == 1", "{{process}} {{status}}"),),
                ),
                Panel(
                    "Slivers stored",
                    "Accepted from uploads, per second.",
                    (Query(rate("haulout_node_slivers_stored_total", ONE, by="process"), "{{process}}"),),
                    unit="ops",
                ),
                Panel(
                    "Slivers read",
                    "Handed out, per second.",
                    (Query(rate("haulout_node_slivers_read_total", ONE, by="process"), "{{process}}"),),
                    unit="ops",
                ),
                Panel(
                    "Time to make durable",
                    "99th percentile of what a blob's sync takes.",
                    (Query(quantile("0.99", "haulout_node_sync_duration_seconds", ONE, by="process"), "{{process}}"),),
                    unit="s",
                    steps=((0.5, AMBER), (1, RED)),
                ),
                Panel(
                    "Calls",
                    "gRPC calls answered, by method.",
                    (Query(rate("haulout_grpc_calls_total", ONE, by="method"), "{{method}}"),),
                    unit="ops",
                ),
                Panel(
                    "Slow calls",
                    "99th percentile of a call's duration, by method.",
                    (Query(quantile("0.99", "haulout_grpc_call_seconds", ONE, by="method"), "{{method}}"),),
                    unit="s",
                ),
                Panel(
                    "Confirmations",
                    "Storage confirmations signed, per second.",
                    (Query(rate("haulout_node_storage_confirmations_issued_total", ONE, by="process"), "{{process}}"),),
                    unit="ops",
                ),
            ),
        ),
        (
            "Means",
            (
                Panel(
                    "CPU",
                    "CPU seconds per second.",
                    (Query(f"rate(haulout_process_cpu_seconds_total{{{ONE}}}[$__rate_interval])", "{{process}}"),),
                ),
                Panel(
                    "Memory",
                    "Resident.",
                    (Query(f"haulout_process_resident_memory_bytes{{{ONE}}}", "{{process}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Stored bytes",
                    "Bytes of durable slivers.",
                    (Query(f"haulout_node_stored_bytes{{{ONE}}}", "{{process}}"),),
                    unit="bytes",
                ),
            ),
        ),
    ),
    by_process="haulout_node_stored_bytes",
)
