"""The whole network at a glance."""

from __future__ import annotations

from monitoring.boards.shared import (
    DIVERGED,
    EPOCH,
    INCOMPLETE,
    LARGEST,
    MARGIN,
    NET,
    PROCESSES_DOWN,
    REACHABLE,
    SHARDS_DOWN,
    UNATTESTED,
)
from monitoring.objectives import READS, STORES
from monitoring.panel import RED, Board, Panel, Query

NETWORK = Board(
    "haulout-network",
    "Haulout: network",
    "Is anything wrong, and where.",
    (
        ("Is anything wrong?", (MARGIN, SHARDS_DOWN, PROCESSES_DOWN, INCOMPLETE, UNATTESTED, DIVERGED, EPOCH)),
        (
            "Room to lose",
            (
                Panel(
                    "Reachable shards",
                    "Against what reading and storing take.",
                    (
                        Query(REACHABLE, "reachable"),
                        Query(f"{REACHABLE} - {LARGEST}", "reachable without the largest node"),
                        Query(f"max(haulout_committee_write_quorum_shards{{{NET}}})", "storing takes"),
                        Query(f"max(haulout_committee_read_quorum_shards{{{NET}}})", "reading takes"),
                    ),
                    moves="kill",
                ),
                Panel(
                    "Shards by node",
                    "What each member owns.",
                    (Query(f"max by (node) (haulout_committee_shards{{{NET}}})", "{{node}}"),),
                ),
                Panel(
                    "Up",
                    "1 while a process answers scrapes.",
                    (Query(f'up{{job="haulout",{NET}}}', "{{process}}"),),
                    moves="kill",
                ),
            ),
        ),
        (
            "Objectives",
            (
                Panel(
                    "Failed reads",
                    "Share of the last hour's reads that ended with an error of ours; objective 0.05 %.",
                    (Query(f"{READS.record('1h')}{{{NET}}}", "1 h"), Query(f"{READS.record('5m')}{{{NET}}}", "5 min")),
                    unit="percentunit",
                    steps=((0.0005, RED),),
                ),
                Panel(
                    "Failed stores",
                    "Share of the last hour's stores that ended with an error of ours; objective 0.1 %.",
                    (
                        Query(f"{STORES.record('1h')}{{{NET}}}", "1 h"),
                        Query(f"{STORES.record('5m')}{{{NET}}}", "5 min"),
                    ),
                    unit="percentunit",
                    steps=((0.001, RED),),
                ),
                Panel(
                    "Stored",
                    "Bytes of durable slivers over all nodes.",
                    (Query(f"sum(haulout_node_stored_bytes{{{NET}}})", "slivers"),),
                    unit="bytes",
                ),
            ),
        ),
    ),
)
