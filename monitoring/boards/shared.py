"""What several dashboards share: words of PromQL, and the numbers that say whether something is wrong."""

from __future__ import annotations

from monitoring.panel import AMBER, GREEN, RED, Panel, Query

NET = 'network="$network"'
ONE = f'{NET},process=~"$process"'
WARN_ABOVE_0 = ((1, AMBER),)
BAD_ABOVE_0 = ((1, RED),)

REACHABLE = f"min(haulout_committee_reachable_shards{{{NET}}})"
LARGEST = f"max(haulout_committee_shards{{{NET}}})"


def rate(metric: str, labels: str = NET, *, by: str = "") -> str:
    """The sum of a counter's rate."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{labels}}}[$__rate_interval]))"


def total(metric: str) -> str:
    """A counter over all processes, since they began."""
    return f"sum({metric}{{{NET}}})"


def quantile(q: str, histogram: str, labels: str = NET, *, by: str = "") -> str:
    """A quantile of a histogram's observations."""
    grouped = f"le, {by}" if by else "le"
    rates = f"sum by ({grouped}) (rate({histogram}_bucket{{{labels}}}[$__rate_interval]))"
    return f"histogram_quantile({q}, {rates})"


MARGIN = Panel(
    "Worst blob's margin",
    "Shards that the blob nearest to being lost can still lose. At 0 it cannot lose one.",
    (Query(f"min(haulout_blobs_min_margin_shards{{{NET}}})"),),
    base=RED,
    steps=((1, AMBER), (10, GREEN)),
    kind="number",
    moves="kill",
)
SHARDS_DOWN = Panel(
    "Shards down",
    "Shards of members that do not answer. Beyond f nothing can be stored, beyond 2f nothing read.",
    (Query(f"max(haulout_committee_total_shards{{{NET}}}) - {REACHABLE}"),),
    steps=BAD_ABOVE_0,
    kind="number",
    moves="kill",
)
INCOMPLETE = Panel(
    "Blobs being repaired",
    "Blobs of which some node that answers lacks a part. Repair brings it back to 0.",
    (Query(f"max(haulout_graphql_incomplete_blobs{{{NET}}})"),),
    steps=WARN_ABOVE_0,
    kind="number",
)
EPOCH = Panel(
    "Epoch",
    "Number of the current epoch.",
    (Query(f"max(haulout_epoch_current{{{NET}}})"),),
    kind="number",
    moves="epoch",
)
PROCESSES_DOWN = Panel(
    "Processes down",
    "Processes that did not answer the last scrape.",
    (Query(f'count(up{{job="haulout",{NET}}}) - sum(up{{job="haulout",{NET}}})'),),
    steps=BAD_ABOVE_0,
    kind="number",
    moves="kill",
)
UNATTESTED = Panel(
    "Blocks not attested",
    "Blocks that n - f shards have not signed yet.",
    (Query(f"max(haulout_ledger_height{{{NET}}}) - max(haulout_ledger_attested_height{{{NET}}})"),),
    steps=((10, AMBER), (100, RED)),
    kind="number",
)
DIVERGED = Panel(
    "Diverged",
    "Processes that executed a block and got another state.",
    (Query(f"sum(haulout_replica_diverged{{{NET}}})"),),
    steps=BAD_ABOVE_0,
    kind="number",
)
