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
from monitoring.objectives import ATTESTATION, READ_LATENCY, READS, REDUNDANCY, STORES, Objective
from monitoring.panel import AMBER, RED, Board, Panel, Query

FAILED_REQUESTS = Panel(
    "Failed requests",
    "Share of the last 5 minutes' reads and stores that ended with an error of ours.",
    (
        Query(f"{READS.record('5m')}{{{NET}}}", "reads"),
        Query(f"{STORES.record('5m')}{{{NET}}}", "stores"),
    ),
    unit="percentunit",
    steps=((0.0005, AMBER), (0.01, RED)),
    kind="number",
)


def _spent(title: str, about: str, objective: Objective) -> Panel:
    """What of an objective is bad, over the two windows that wake people soonest."""
    return Panel(
        title,
        about,
        tuple(Query(f"{objective.record(w)}{{{NET}}}", legend) for w, legend in (("1h", "1 h"), ("5m", "5 min"))),
        unit="percentunit",
        steps=((float(objective.budget), RED),),
    )


NETWORK = Board(
    "haulout-network",
    "Haulout: network",
    "Is anything wrong, and where.",
    (
        (
            "Is anything wrong?",
            (MARGIN, SHARDS_DOWN, PROCESSES_DOWN, FAILED_REQUESTS, INCOMPLETE, UNATTESTED, DIVERGED, EPOCH),
        ),
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
                _spent("Failed reads", "Reads that ended with an error of ours; objective 0.05 %.", READS),
                _spent("Failed stores", "Stores that ended with an error of ours; objective 0.1 %.", STORES),
                _spent("Slow reads", "Reads whose first byte took more than 1 s; objective 5 %.", READ_LATENCY),
                _spent(
                    "Late redundancy",
                    "Blobs that a node had its part of later than 5 min after they were certified; objective 1 %.",
                    REDUNDANCY,
                ),
                _spent("Late signatures", "Blocks that were signed after more than 30 s; objective 1 %.", ATTESTATION),
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
