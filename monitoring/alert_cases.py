"""For each alert a history in which it fires and one, as like as may be, in which it stays silent.

A history is a list of series in the notation of promtool: `1x60` is 61 times 1, `0+5x60` rises by 5, `_` is a gap.
There is a sample a minute unless `step` says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

N = 'network="local"'
P = f'{N},process="node-0"'
P1 = f'{N},process="node-1"'
COMMITTEE = (
    f'haulout_committee_total_shards{{{N}}} 100x60',
    f'haulout_committee_max_faulty_shards{{{N}}} 33x60',
    f'haulout_committee_read_quorum_shards{{{N}}} 34x60',
    f'haulout_committee_write_quorum_shards{{{N}}} 67x60',
    f'haulout_committee_shards{{{N},node="a"}} 25x60',
)  # fmt: skip
SYNCING = (
    f'haulout_epoch_phase_start_timestamp_seconds{{{N}}} 0x60',
    f'haulout_epoch_phase{{{N},phase="sync"}} 1x60',
)  # fmt: skip
HTTP = "haulout_http_requests_total"
READ = f'{HTTP}{{{N},route="blob",method="GET",code='
STORE = f'{HTTP}{{{N},route="store",method="PUT",code='
RENEWALS = "haulout_graphql_retention_renewals_total"
SYNC_BUCKET = f"haulout_node_sync_duration_seconds_bucket{{{P},le="
PRESENT = (
    f'haulout_ledger_height{{{N}}} 1x60',
    f'haulout_node_stored_bytes{{{P}}} 1x60',
    f'{READ}"200"}} 1x60',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """An alert's histories, looked at `at` after their first sample; some have a second reason to fire."""

    fires: tuple[str, ...]
    silent: tuple[str, ...]
    at: str = "50m"
    step: str = "1m"
    fires_too: tuple[str, ...] = ()


def reachable(shards: int) -> tuple[str, ...]:
    return (*COMMITTEE, f"haulout_committee_reachable_shards{{{N}}} {shards}x60")


def lacking(blobs: str, process: str = P) -> tuple[str, ...]:
    return (f"haulout_node_incomplete_blobs{{{process}}} {blobs}",)


def taking(shards: int, slivers: str, process: str = P) -> tuple[str, ...]:
    """A node to which so many shards are on their way, and what has arrived of shards ever."""
    return (
        f"haulout_node_gaining_shards{{{process}}} {shards}x60",
        f"haulout_node_shard_sync_slivers_total{{{process}}} {slivers}",
    )


def syncs(limit: str, within: int) -> tuple[str, ...]:
    """Ten syncs a minute, so many of them within a limit in seconds."""
    ends = ((limit, within), ("5", 10), ("+Inf", 10))
    return tuple(f'{SYNC_BUCKET}"{le}"}} 0+{count}x60' for le, count in ends)


def durations(histogram: str, labels: str, limit: str, within: int) -> tuple[str, ...]:
    """A thousand observations a sample, so many of them within a limit in seconds."""
    bucket = f'{histogram}_bucket{{{labels},le="{limit}"}} 0+{within}x100'
    return (bucket, f"{histogram}_count{{{labels}}} 0+1000x100")


def burns(alert: str, histogram: str, labels: str, limit: str, *around: tuple[int, int]) -> dict[str, Case]:
    """The cases of an objective's three alerts, by how many of a thousand are in time when it fires and when not."""
    looked_at = (("Fast", "80m", "1m"), ("Medium", "7h", "10m"), ("Slow", "90h", "1h"))
    return {
        f"{alert}{suffix}": Case(
            durations(histogram, labels, limit, fires), durations(histogram, labels, limit, silent), at=at, step=step
        )
        for (suffix, at, step), (fires, silent) in zip(looked_at, around, strict=True)
    }


CASES = {
    "HauloutBlobAtRisk": Case(
        (f"haulout_blobs_min_margin_shards{{{N}}} 0x60",), (f"haulout_blobs_min_margin_shards{{{N}}} 1x60",)
    ),
    "HauloutRedundancyLag": Case(
        (*lacking("3x60"), *taking(0, "0+9x60")),  # what it took is whole
        (
            *lacking("3x60"),
            *taking(25, "0+9x60"),  # shards arrive
            *lacking("3x40 0 3x18", P1),  # repaired in between
            *taking(0, "0x60", P1),
        ),
        fires_too=(*lacking("3x60"), *taking(25, "0+9x10 90x50")),  # shards have stopped arriving
    ),
    "HauloutReadQuorumAtRisk": Case(reachable(58), reachable(59)),
    "HauloutWriteQuorumAtRisk": Case(reachable(91), reachable(92)),
    "HauloutShardsDown": Case(reachable(99), reachable(100)),
    "HauloutManyShardsDown": Case(reachable(83), reachable(84)),
    "HauloutInconsistentBlob": Case(
        (f"haulout_node_inconsistent_blobs_total{{{P}}} 0x30 1x30",),
        (f"haulout_node_inconsistent_blobs_total{{{P}}} 1x60",),
    ),
    "HauloutLedgerDiverged": Case(
        (f"haulout_replica_diverged{{{P}}} 0x49 1x10",), (f"haulout_replica_diverged{{{P}}} 0x60",)
    ),
    "HauloutSignerRefused": Case(
        (f'haulout_node_checkpoint_refusals_total{{{P},reason="forged"}} 0x45 1x15',),
        (f'haulout_node_checkpoint_refusals_total{{{P},reason="time"}} 0x45 1x15',),  # a clock: no attack
    ),
    "HauloutPeerLies": Case(
        (
            f'haulout_node_peer_lies_total{{{P},node="node-1"}} 0x45 1x15',
            f'haulout_client_bad_slivers_total{{{N},process="gateway",node="node-1"}} 0x60',
        ),
        (
            f'haulout_node_peer_lies_total{{{P},node="node-1"}} 1x60',
            f'haulout_client_bad_slivers_total{{{N},process="gateway",node="node-1"}} 0x60',
        ),
    ),
    "HauloutScrubCorruption": Case(
        (f"haulout_node_corrupt_slivers_total{{{P}}} 0x45 1x15",), (f"haulout_node_corrupt_slivers_total{{{P}}} 1x60",)
    ),
    "HauloutScrubOverdue": Case(
        (f"haulout_node_last_scrub_timestamp_seconds{{{P}}} 0x240",),
        (f"haulout_node_last_scrub_timestamp_seconds{{{P}}} 0x100 360000x140",),
        at="175h",
        step="1h",
    ),
    "HauloutLedgerStalled": Case(
        (f"haulout_ledger_pending_transactions{{{N}}} 1x60", f"haulout_ledger_height{{{N}}} 7x60"),
        (f"haulout_ledger_pending_transactions{{{N}}} 1x60", f"haulout_ledger_height{{{N}}} 7+1x60"),
    ),
    "HauloutAttestationStalled": Case(
        (f"haulout_ledger_height{{{N}}} 9x60", f"haulout_ledger_attested_height{{{N}}} 7x60"),
        (f"haulout_ledger_height{{{N}}} 9+1x60", f"haulout_ledger_attested_height{{{N}}} 7+1x60"),
    ),
    "HauloutReplicaLagging": Case(
        (f"haulout_replica_lag_blocks{{{P}}} 101x60",), (f"haulout_replica_lag_blocks{{{P}}} 100x60",)
    ),
    "HauloutUpgradeRequired": Case(
        (f"haulout_replica_upgrade_required{{{P}}} 1x60",), (f"haulout_replica_upgrade_required{{{P}}} 0x60",)
    ),
    "HauloutEpochChangeSlow": Case(
        (*SYNCING, f"haulout_epoch_duration_seconds{{{N}}} 11900x60"),  # a quarter is 2,975 s; it is the 3,000th
        (*SYNCING, f"haulout_epoch_duration_seconds{{{N}}} 12100x60"),
    ),
    "HauloutEpochChangeOverdue": Case(
        (*SYNCING, f"haulout_epoch_duration_seconds{{{N}}} 5900x60"),
        (*SYNCING, f"haulout_epoch_duration_seconds{{{N}}} 6100x60"),
    ),
    "HauloutEpochForced": Case((f"haulout_epoch_forced{{{N}}} 1x60",), (f"haulout_epoch_forced{{{N}}} 0x60",)),
    "HauloutCommitteeKept": Case(
        (f'haulout_committee_kept{{{N},reason="committee_too_small"}} 1x60',),
        (f'haulout_committee_kept{{{N},reason="committee_too_small"}} 0x60',),
    ),
    "HauloutCommitteeConcentration": Case(
        (*COMMITTEE, f'haulout_committee_shards{{{N},node="b"}} 34x60'),
        (*COMMITTEE, f'haulout_committee_shards{{{N},node="b"}} 33x60'),
    ),
    "HauloutProcessDown": Case(
        (f'up{{job="haulout",{P}}} 0x60',),
        (f'up{{job="haulout",{P}}} 1x60', f'up{{job="other",{P}}} 0x60'),
    ),
    "HauloutNotReady": Case((f"haulout_ready{{{P}}} 0x60",), (f"haulout_ready{{{P}}} 0x47 1 0x12",)),
    "HauloutDiskFillingUp": Case(
        (f"haulout_disk_free_bytes{{{P}}} 1000000-6000x48",),
        (f"haulout_disk_free_bytes{{{P}}} 1000000-1000x48",),
        at="8h",
        step="10m",
    ),
    "HauloutDiskAlmostFull": Case(
        (f"haulout_disk_free_bytes{{{P}}} 49x60", f"haulout_disk_size_bytes{{{P}}} 1000x60"),
        (f"haulout_disk_free_bytes{{{P}}} 51x60", f"haulout_disk_size_bytes{{{P}}} 1000x60"),
    ),
    "HauloutNodeReadOnly": Case(
        (f"haulout_node_read_only{{{P}}} 1x60",), (f"haulout_node_read_only{{{P}}} 0x60",)
    ),
    "HauloutSyncSlow": Case(syncs("0.5", 9), syncs("0.5", 10)),
    "HauloutSyncVerySlow": Case(syncs("1", 9), syncs("1", 10)),
    "HauloutDiskErrors": Case(
        (f'haulout_disk_errors_total{{{P},operation="sync"}} 0x45 1x15',),
        (f'haulout_disk_errors_total{{{P},operation="sync"}} 1x60',),
    ),
    "HauloutPublisherBalanceCritical": Case(
        (f"haulout_publisher_balance_frost{{{P}}} 1000000-8000x48",),
        (f"haulout_publisher_balance_frost{{{P}}} 1000000-3000x48",),
        at="8h",
        step="10m",
    ),
    "HauloutPublisherBalanceLow": Case(
        (f"haulout_publisher_balance_frost{{{P}}} 1000000-3000x48",),
        (f"haulout_publisher_balance_frost{{{P}}} 5000000-3000x48",),
        at="8h",
        step="10m",
    ),
    "HauloutGraphQLRejections": Case(
        (f'haulout_graphql_rejections_total{{{N},code="A"}} 0x280 0+3000x10',),
        (f'haulout_graphql_rejections_total{{{N},code="A"}} 0+3000x290',),  # as usual
        at="1430m",
        step="5m",
    ),
    "HauloutReadModelLag": Case(
        (f"haulout_read_model_lag_seconds{{{P}}} 61x60",), (f"haulout_read_model_lag_seconds{{{P}}} 60x60",)
    ),
    "HauloutRetentionFailed": Case(
        (f'{RENEWALS}{{{N},outcome="extended"}} 0+1x60', f'{RENEWALS}{{{N},outcome="ended"}} 0x45 1x15'),
        (
            f'{RENEWALS}{{{N},outcome="extended"}} 0+1x60',
            f'{RENEWALS}{{{N},outcome="unanswered"}} 0+1x60',  # is looked at again within minutes
            f'{RENEWALS}{{{N},outcome="refused"}} 1x60',  # long ago
        ),
    ),
    "HauloutObjectsStuck": Case(
        ('haulout_operator_stuck_objects{namespace="a",kind="StorageNode"} 1x60',),
        ('haulout_operator_stuck_objects{namespace="a",kind="StorageNode"} 0x60',),
    ),
    "HauloutOperatorStuck": Case(
        ('haulout_operator_last_success_timestamp_seconds{namespace="a"} 2000x35',),  # then it is gone
        ('haulout_operator_last_success_timestamp_seconds{namespace="a"} 2500x60',),
    ),
    "HauloutMetricAbsent": Case(PRESENT, (*PRESENT, f"haulout_blobs_min_margin_shards{{{N}}} 66x60")),
    "HauloutReadErrorsFast": Case(
        (f'{READ}"200"}} 0+990x90', f'{READ}"500"}} 0+10x90'),
        (f'{READ}"200"}} 0+990x90', f'{READ}"500"}} 0+10x60 600x30'),  # over: the short window is clean
        at="80m",
    ),
    "HauloutReadErrorsMedium": Case(
        (f'{READ}"200"}} 0+9960x48', f'{READ}"503"}} 0+40x48'),
        (f'{READ}"200"}} 0+9980x48', f'{READ}"404"}} 0+40x48', f'{READ}"503"}} 0+20x48'),
        at="7h",
        step="10m",
    ),
    "HauloutReadErrorsSlow": Case(
        (f'{READ}"200"}} 0+99900x100', f'{READ}"500"}} 0+100x100'),
        (f'{READ}"200"}} 0+99960x100', f'{READ}"500"}} 0+40x100'),
        at="90h",
        step="1h",
    ),
    "HauloutStoreErrorsFast": Case(
        (f'{STORE}"200"}} 0+980x90', f'{STORE}"500"}} 0+20x90'),
        (f'{STORE}"200"}} 0+990x90', f'{STORE}"500"}} 0+10x90'),
        at="80m",
    ),
    "HauloutStoreErrorsMedium": Case(
        (f'{STORE}"200"}} 0+9930x48', f'{STORE}"503"}} 0+70x48'),
        (f'{STORE}"200"}} 0+9950x48', f'{STORE}"503"}} 0+50x48'),
        at="7h",
        step="10m",
    ),
    "HauloutStoreErrorsSlow": Case(
        (f'{STORE}"200"}} 0+99800x100', f'{STORE}"500"}} 0+200x100'),
        (f'{STORE}"200"}} 0+99950x100', f'{STORE}"500"}} 0+50x100'),
        at="90h",
        step="1h",
    ),
    **burns(
        "HauloutReadLatency", "haulout_http_request_duration_seconds", f'{N},route="blob"', "1.0",
        (270, 290), (690, 710), (940, 960),
    ),
    **burns(
        "HauloutRedundancyTime", "haulout_node_time_to_full_redundancy_seconds", P, "300.0",
        (850, 860), (935, 945), (985, 995),
    ),
    **burns(
        "HauloutAttestationLag", "haulout_ledger_attestation_lag_seconds", N, "30.0",
        (850, 860), (935, 945), (985, 995),
    ),
    **burns(
        "HauloutReconcileTime", "haulout_operator_reconcile_duration_seconds", 'namespace="a"', "60.0",
        (850, 860), (935, 945), (985, 995),
    ),
}  # fmt: skip
