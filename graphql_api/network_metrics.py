"""The network as a whole for Prometheus: epoch, committee and how far the worst blob is from being lost.

Every replica of the service computes the same, so rules take the worst over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from graphql_api.holdings import HoldingsBoard, tolerated_losses
from haulout.ledger import queries
from haulout.ledger.plan import plan_next_committee
from haulout.ledger.refusals import CommitteeTooSmall, NoStake
from haulout.ledger.state import Phase, View
from haulout.primitives import max_faulty, min_correct, min_decodable


class NetworkCollector(Collector):
    """What rules and dashboards need of the ledger's state and of what the nodes said; registers itself."""

    def __init__(self, view: Callable[[], View], holdings: HoldingsBoard, registry: CollectorRegistry) -> None:
        self._view = view
        self._holdings = holdings
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering asks before there is a state to collect from."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read the state once, then say it."""
        view = self._view()
        yield from _epoch(view)
        yield from self._committee(view)
        yield from self._blobs(view)

    def _committee(self, view: View) -> Iterator[Metric]:
        committee, n_shards = queries.committee(view), queries.params(view).n_shards
        names = {member.node_id: queries.node(view, member.node_id) for member in committee.members}
        owned = GaugeMetricFamily("haulout_committee_shards", "Shards that a member owns.", labels=["node"])
        for member in committee.members:
            node = names[member.node_id]
            owned.add_metric([member.node_id.hex()[:8] if node is None else node.name], member.weight)
        yield owned
        text = "Shards over all members: n."
        yield GaugeMetricFamily("haulout_committee_total_shards", text, n_shards)
        text = "Shards that may be lost or lying: f."
        yield GaugeMetricFamily("haulout_committee_max_faulty_shards", text, max_faulty(n_shards))
        text = "Shards that it takes to read: n - 2f."
        yield GaugeMetricFamily("haulout_committee_read_quorum_shards", text, min_decodable(n_shards))
        text = "Shards that it takes to write: n - f."
        yield GaugeMetricFamily("haulout_committee_write_quorum_shards", text, min_correct(n_shards))
        reports = [(m.weight, self._holdings.report_of(m.node_id)) for m in committee.members]
        if any(report is not None for _, report in reports):
            reachable = sum(weight for weight, report in reports if report is not None and report.is_reachable)
            text = "Shards of members that answered when they were asked last."
            yield GaugeMetricFamily("haulout_committee_reachable_shards", text, reachable)
            left = [weight for weight, report in reports if report is not None and report.is_reachable]
            text = "So many more of the members that have most shards may go before nothing can be read."
            losses = tolerated_losses(left, min_decodable(n_shards))
            yield GaugeMetricFamily("haulout_committee_nodes_to_lose_read", text, losses)
            text = "So many more of the members that have most shards may go before nothing can be written."
            losses = tolerated_losses(left, min_correct(n_shards))
            yield GaugeMetricFamily("haulout_committee_nodes_to_lose_write_quorum", text, losses)
        kept = GaugeMetricFamily(
            "haulout_committee_kept",
            "1 for the reason why voting end will leave the committee as it is, 0 for others.",
            labels=["reason"],
        )
        because = plan_next_committee(view).kept_because
        for reason in (CommitteeTooSmall, NoStake):
            kept.add_metric([reason.code.lower()], int(isinstance(because, reason)))
        yield kept
        moving = sum(1 for _ in queries.open_hand_overs(view))
        yield GaugeMetricFamily("haulout_committee_moving_shards", "Shards on their way to a new owner.", moving)

    def _blobs(self, view: View) -> Iterator[Metric]:
        found = [(blob_id, queries.blob_existence(view, blob_id)) for blob_id in self._holdings.suspects()]
        certified = [(blob_id, existence.certified_epoch) for blob_id, existence in found if existence is not None]
        worst = self._holdings.worst_margin(queries.system(view).epoch, certified)
        if worst is not None:
            text = "Shards that the blob nearest to being lost can still lose; negative when it cannot be read."
            yield GaugeMetricFamily("haulout_blobs_min_margin_shards", text, worst.margin_shards)


def _epoch(view: View) -> Iterator[Metric]:
    staking, params = queries.staking(view), queries.params(view)
    yield GaugeMetricFamily("haulout_epoch_current", "Number of the current epoch.", queries.system(view).epoch)
    phases = GaugeMetricFamily("haulout_epoch_phase", "1 for the epoch's phase, 0 for the others.", labels=["phase"])
    for phase in Phase:
        phases.add_metric([phase.name.lower()], int(phase is staking.phase))
    yield phases
    text = "Done: when it began; Voted: when the Done before it did; Sync: when the committee changed."
    yield GaugeMetricFamily("haulout_epoch_phase_start_timestamp_seconds", text, staking.phase_since_ms / 1000)
    text = "How long an epoch lasts; half of it is the time that Sync has before a deadline ends it."
    yield GaugeMetricFamily("haulout_epoch_duration_seconds", text, params.epoch_duration_ms / 1000)
    yield GaugeMetricFamily(
        "haulout_epoch_forced", "1 when a deadline, not a quorum, ended the last Sync.", int(staking.forced)
    )
