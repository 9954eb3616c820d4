"""What a storage node counts. One registry per process, handed in by whoever builds the node."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from haulout.observability.metrics import LATENCY_BUCKETS_S
from haulout.primitives import Axis

_AXES = tuple(axis.name.lower() for axis in Axis)

_WHY = ("reason",)
REDUNDANCY_BUCKETS_S = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3_600, 21_600, 86_400)
REPAIR_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
STATUSES = {
    "Active": "active",
    "Standby": "standby",
    "Stopping": "stopping",
    "UpgradeRequired": "upgrade_required",
    "Diverged": "diverged",
    "StorageFailed": "storage_failed",
}
REFUSALS = ("below_mark", "barred", "set_back", "forged", "not_certified", "time", "ledger")


class NodeMetrics:
    """Counters and gauges under `haulout_node_`. Label values are known early, so that rates start at 0."""

    def __init__(self, registry: CollectorRegistry, *, peers: Iterable[str] = ()) -> None:
        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"haulout_node_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"haulout_node_{name}", text, labels, registry=registry)

        self.metadata_stored = counter("metadata_stored_total", "Blob metadata accepted from uploads.")
        self.slivers_stored = counter("slivers_stored_total", "Slivers accepted from uploads.", ("axis",))
        self.slivers_read = counter("slivers_read_total", "Slivers handed out.", ("axis",))
        self.symbols_read = counter("recovery_symbols_read_total", "Recovery symbols handed out.")
        self.confirmations = counter("storage_confirmations_issued_total", "Storage confirmations signed.")
        self.corrupt_slivers = counter("corrupt_slivers_total", "Stored slivers or metadata found damaged when read.")
        self.repaired_blobs = counter("repaired_blobs_total", "Certified blobs completed in the background.")
        self.failed_repairs = counter("failed_repairs_total", "Attempts to complete a blob that will be made again.")
        self.rebuilt_slivers = counter("rebuilt_slivers_total", "Slivers rebuilt from other nodes.", ("axis",))
        self.repair_bytes = counter("repair_received_bytes_total", "Bytes received from other nodes for repairs.")
        self.inconsistent_blobs = counter("inconsistent_blobs_total", "Blobs whose own symbols prove a wrong encoding.")
        self.lies = counter("peer_lies_total", "Bytes from a peer that do not verify.", ("node",))
        self.peer_failures = counter("peer_failures_total", "Calls to a peer that failed.", ("node",))
        self.dropped_blobs = counter("dropped_blobs_total", "Blobs deleted because nobody pays for them any more.")
        self.swept_files = counter("swept_files_total", "Leftover files of unfinished uploads removed.")
        self.shard_sync_bytes = counter("shard_sync_received_bytes_total", "Bytes of shards pulled from their givers.")
        self.shard_sync_slivers = counter("shard_sync_slivers_total", "Slivers of gained shards kept.")
        self.shard_sync_seconds = counter("shard_sync_seconds_total", "Time spent pulling shards from their givers.")
        self.handed_over_bytes = counter("shard_sync_sent_bytes_total", "Bytes of shards handed over to others.")
        self.sync_done_reports = counter("sync_done_reports_total", "Times the ledger was told of complete shards.")
        self.refused_reports = counter("refused_reports_total", "Reports of complete shards that the ledger refused.")
        self.dropped_shards = counter("dropped_shards_total", "Shards deleted after they were handed over.")
        self.scrubbed_bytes = counter("scrubbed_bytes_total", "Bytes read again to find damage.")
        self.scrub_rounds = counter("scrub_rounds_total", "Times everything was read again.")
        self.last_scrub = gauge("last_scrub_timestamp_seconds", "When a round ended, or at first when scrubbing began.")
        self.sync_seconds = Histogram(
            "haulout_node_sync_duration_seconds",
            "Time to make what came for a blob durable.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.redundancy_seconds = Histogram(
            "haulout_node_time_to_full_redundancy_seconds",
            "Time from a blob's certification until this node has all of its part durably.",
            buckets=REDUNDANCY_BUCKETS_S,
            registry=registry,
        )
        self.repair_seconds = Histogram(
            "haulout_node_repair_duration_seconds",
            "Time of an attempt that completed a blob.",
            buckets=REPAIR_BUCKETS_S,
            registry=registry,
        )
        self.gaining_shards = gauge("gaining_shards", "Shards on their way here.")
        self.giving_shards = gauge("giving_shards", "Shards kept for others until they have everything.")
        self.checkpoints_signed = counter("checkpoints_signed_total", "Checkpoints of the ledger signed.")
        self.checkpoint_refusals = counter("checkpoint_refusals_total", "Checkpoints not signed or not believed.", _WHY)
        self.attested_height = gauge("attested_height", "Highest block that n - f shards have signed, verified here.")
        self.incomplete_blobs = gauge("incomplete_blobs", "Certified blobs of which something is lacking here.")
        self.stored_slivers = gauge("stored_slivers", "Durable slivers.")
        self.stored_bytes = gauge("stored_bytes", "Bytes of durable slivers.")
        self.buffered_bytes = gauge("buffered_bytes", "Bytes of uploads waiting in memory for their sync.")
        self.status = gauge("status", "1 for what the node is, 0 for what it is not.", ("status",))
        self.is_read_only = gauge("read_only", "1 while the disk is too full to take anything.")
        for reason in REFUSALS:
            self.checkpoint_refusals.labels(reason)
        for axis in _AXES:
            self.slivers_stored.labels(axis)
            self.slivers_read.labels(axis)
            self.rebuilt_slivers.labels(axis)
        for name in peers:
            self.know_peer(name)

    def note_status(self, word: str) -> None:
        """How the node is, in its own word."""
        for each, label in STATUSES.items():
            self.status.labels(label).set(each == word)

    def note_whole(self, after_ms: int) -> None:
        """A certified blob is whole here, so long after its certification; one that was before took no time."""
        self.redundancy_seconds.observe(max(0, after_ms) / 1000)

    def know_peer(self, name: str) -> None:
        """Start the peer's counters at 0."""
        self.lies.labels(name)
        self.peer_failures.labels(name)
