"""All alerts, by what they are about."""

from __future__ import annotations

from monitoring.alert import Alert

REACHABLE = "min by (network) (haulout_committee_reachable_shards)"
LARGEST = "max by (network) (haulout_committee_shards)"
FAULTY = "max by (network) (haulout_committee_max_faulty_shards)"
READ_QUORUM = "max by (network) (haulout_committee_read_quorum_shards)"
WRITE_QUORUM = "max by (network) (haulout_committee_write_quorum_shards)"
DOWN = f"max by (network) (haulout_committee_total_shards) - {REACHABLE}"
PHASE_S = "(time() - max by (network) (haulout_epoch_phase_start_timestamp_seconds))"
IN_SYNC = 'on (network) max by (network) (haulout_epoch_phase{phase="sync"}) == 1'
EPOCH_S = "max by (network) (haulout_epoch_duration_seconds)"
SYNC_S = "histogram_quantile(0.99, sum by (network, process, le) (rate(haulout_node_sync_duration_seconds_bucket[5m])))"
ARRIVING = (  # shards on their way to a node, and not stuck there
    "(haulout_node_gaining_shards > 0"
    " and on (network, process) increase(haulout_node_shard_sync_slivers_total[10m]) > 0)"
)
NODES = "`haulout status`, or `kubectl get sn`, shows which nodes are away; their logs say why"

DURABILITY = (
    Alert(
        name="HauloutBlobAtRisk",
        expr="min by (network) (haulout_blobs_min_margin_shards) <= 0",
        wait="1m",
        severity="page",
        summary="A blob of {{ $labels.network }} has no shard left to lose (margin {{ $value }})",
        means="One more shard lost, and a certified blob cannot be read; below 0 one already cannot.",
        look='`{ system { worstDurability { liveShards marginShards } } }` in GraphQL, and "Durability and repair".',
        do=("Bring nodes back before anything else: each brings its shards.", "Restart none that runs."),
    ),
    Alert(
        name="HauloutRedundancyLag",
        expr=f"sum by (network) (haulout_node_incomplete_blobs unless on (network, process) {ARRIVING}) > 0",
        wait="20m",
        severity="page",
        summary="Nodes of {{ $labels.network }} have lacked parts of blobs for 20 minutes ({{ $value }} blobs)",
        means="Repair takes minutes. What lasts longer is stuck, and the blobs stand further losses less well. A node "
        "to which shards move is not counted while something of them arrives every ten minutes: whoever hands them "
        "over keeps them until it has everything.",
        look="`haulout_node_failed_repairs_total` and `haulout_node_peer_failures_total` by node, and that node's log.",
        do=(
            "Bring back nodes that are down: repair reads from them, and so does who takes their shards.",
            "Make room where `haulout_node_read_only` is 1.",
        ),
    ),
    Alert(
        name="HauloutReadQuorumAtRisk",
        expr=f"{REACHABLE} - {LARGEST} < {READ_QUORUM}",
        wait="2m",
        severity="page",
        summary="If the largest node of {{ $labels.network }} goes too, nothing can be read",
        means="Reachable shards less those of the largest node are below n - 2f.",
        look=NODES + ".",
        do=("Bring nodes back.", "Put off every restart and upgrade."),
    ),
    Alert(
        name="HauloutWriteQuorumAtRisk",
        expr=f"{REACHABLE} - {LARGEST} < {WRITE_QUORUM}",
        wait="2m",
        severity="page",
        summary="If the largest node of {{ $labels.network }} goes too, nothing can be stored",
        means="Reachable shards less those of the largest node are below n - f. In a network of few nodes one that is "
        "down is enough for that.",
        look=NODES + ".",
        do=("Bring nodes back.", "Put off every restart and upgrade."),
    ),
    Alert(
        name="HauloutShardsDown",
        expr=f"{DOWN} > 0",
        wait="10m",
        severity="ticket",
        summary="{{ $value }} shards of {{ $labels.network }} cannot be reached",
        means="The network stands f shards down; these are part of them.",
        look=NODES + ".",
        do=("Bring the node back, or take it out for good, so that its shards find another owner.",),
    ),
    Alert(
        name="HauloutManyShardsDown",
        expr=f"{DOWN} > {FAULTY} / 2",
        wait="2m",
        severity="page",
        summary="{{ $value }} shards of {{ $labels.network }} cannot be reached: more than half of what it stands",
        means="Beyond f shards nothing can be stored any more, beyond 2f nothing read.",
        look=NODES + ".",
        do=("Bring nodes back, those with most shards first.",),
    ),
    Alert(
        name="HauloutInconsistentBlob",
        expr="sum by (network) (increase(haulout_node_inconsistent_blobs_total[1h])) > 0",
        wait="0m",
        severity="ticket",
        summary="A blob of {{ $labels.network }} was encoded wrongly by whoever stored it",
        means="No node is at fault: its own symbols prove that the blob was never right. Readers get an error, never "
        "wrong bytes.",
        look="The nodes' logs name the blob id.",
        do=("Tell whoever stored it to store it again.", "If it was our own client, keep the input and report it."),
    ),
)

INTEGRITY = (
    Alert(
        name="HauloutLedgerDiverged",
        expr="max by (network, process) (haulout_replica_diverged) > 0",
        wait="0m",
        severity="page",
        summary="{{ $labels.process }} of {{ $labels.network }} executed a block and got another state",
        means="Either the ledger hands out wrong blocks or this process computes wrongly. It has stopped: it signs and "
        "shows nothing that it has not verified.",
        look="The log of the process, at LEDGER_DIVERGED: height and both roots. Did others stop at that height too?",
        do=(
            "One alone: suspect its disk or its build. Keep the folder, give it an empty one, let it follow anew.",
            "Several: stop the ledger, keep its folder, and restore it from the nodes (`haulout ledger restore`).",
        ),
    ),
    Alert(
        name="HauloutSignerRefused",
        expr="sum by (network, process, reason) (increase("
        'haulout_node_checkpoint_refusals_total{reason=~"set_back|forged|not_certified|below_mark"}[15m])) > 0',
        wait="0m",
        severity="page",
        summary="{{ $labels.process }} refused a checkpoint: {{ $labels.reason }}",
        means="A node was asked to sign what it must not, or was shown a forged signature. `set_back`: its own disk is "
        "older than its last signature.",
        look="The node's log, and whether its volume was restored from a backup.",
        do=(
            "`set_back`: nothing; it stays silent until the next Done and then signs again, nothing new of epochs "
            "before that.",
            "Otherwise suspect the ledger: compare its head with what several nodes have.",
        ),
    ),
    Alert(
        name="HauloutPeerLies",
        expr="sum by (network, node) (increase(haulout_node_peer_lies_total[1h]))"
        " + sum by (network, node) (increase(haulout_client_bad_slivers_total[1h])) > 0",
        wait="0m",
        severity="ticket",
        summary="{{ $labels.node }} hands out bytes that do not verify",
        means="Nobody was served wrong bytes: they were thrown away. The node's disk or build is damaged, or it lies.",
        look="`haulout_node_corrupt_slivers_total` of that node: does it notice itself?",
        do=("Look at its disk.", "If it goes on, take the node out; its shards are rebuilt from the others."),
    ),
    Alert(
        name="HauloutScrubCorruption",
        expr="sum by (network, process) (increase(haulout_node_corrupt_slivers_total[1h])) > 0",
        wait="0m",
        severity="ticket",
        summary="{{ $labels.process }} found {{ $value }} damaged slivers on its disk",
        means="They are rebuilt from other nodes. A disk that damages some will damage more.",
        look="The disk's own counters (SMART), the kernel's log, and whether repair is done "
        "(`haulout_node_incomplete_blobs` is 0).",
        do=("Replace the disk when it happens again.",),
    ),
    Alert(
        name="HauloutScrubOverdue",
        expr="time() - max by (network, process) (haulout_node_last_scrub_timestamp_seconds) > 7 * 86400",
        wait="1h",
        severity="ticket",
        summary="{{ $labels.process }} has not read everything again for a week",
        means="Damage that nobody reads stays unnoticed, while the others' copies may go too.",
        look="`rate(haulout_node_scrubbed_bytes_total[1h])` against the bytes that the node stores.",
        do=(
            "Raise `--scrub-rate` of the node (`HAULOUT_SCRUB_RATE`, 2 MiB/s by default) where its disk has time left.",
            "Spread its shards over more nodes, or give it a faster disk.",
        ),
    ),
)

LEDGER = (
    Alert(
        name="HauloutLedgerStalled",
        expr="max by (network) (haulout_ledger_pending_transactions) > 0"
        " and on (network) max by (network) (changes(haulout_ledger_height[2m])) == 0",
        wait="2m",
        severity="page",
        summary="Transactions of {{ $labels.network }} wait, and no block is made",
        means="Nothing can be registered or certified. Reads go on.",
        look="The ledger's log and disk.",
        do=("Make room on its disk.", "Restart it: what it has acknowledged is durable."),
    ),
    Alert(
        name="HauloutAttestationStalled",
        expr="max by (network) (haulout_ledger_height) - max by (network) (haulout_ledger_attested_height) > 0"
        " unless on (network) max by (network) (changes(haulout_ledger_attested_height[5m])) > 0",
        wait="5m",
        severity="page",
        summary="The nodes of {{ $labels.network }} have signed nothing for minutes ({{ $value }} blocks wait)",
        means="Blocks are not proven to strangers, and nodes delete nothing. Stores and reads go on.",
        look="`haulout_node_attested_height` and `haulout_node_checkpoint_refusals_total` by node.",
        do=("Bring nodes back until n - f shards sign.", "See the reasons for which they refuse."),
    ),
    Alert(
        name="HauloutReplicaLagging",
        expr="max by (network, process) (haulout_replica_lag_blocks) > 100",
        wait="10m",
        severity="ticket",
        summary="{{ $labels.process }} is {{ $value }} blocks behind",
        means="It confirms nothing that is newer than what it has executed, and shows an old state.",
        look="Its CPU, and its log for blocks that it cannot fetch.",
        do=("Give it CPU.", "Restart it if its height does not move."),
    ),
    Alert(
        name="HauloutUpgradeRequired",
        expr="max by (network, process) (haulout_replica_upgrade_required) > 0",
        wait="0m",
        severity="page",
        summary="{{ $labels.process }} is too old for {{ $labels.network }}",
        means="The ledger speaks a later version. The process has stopped following.",
        look="`haulout_build_info` over all processes.",
        do=("Upgrade it.",),
    ),
    Alert(
        name="HauloutEpochChangeSlow",
        expr=f"{PHASE_S} > {EPOCH_S} / 4 and {IN_SYNC}",
        wait="0m",
        severity="ticket",
        summary="Shards of {{ $labels.network }} have been moving for half of the time that they have",
        means="Half an epoch after the change a deadline ends Sync, with hand-overs open.",
        look='"Ledger and epoch": which node still gains shards, and how fast bytes arrive.',
        do=("Bring givers back.", "Look at the slowest taker's disk and network."),
    ),
    Alert(
        name="HauloutEpochChangeOverdue",
        expr=f"{PHASE_S} > {EPOCH_S} / 2 and {IN_SYNC}",
        wait="0m",
        severity="page",
        summary="Shards of {{ $labels.network }} did not arrive in time",
        means="The deadline is over and the epoch still in Sync: nobody forces Done, or the ledger refuses it.",
        look="The log of whoever drives epochs: the operator, `haulout up`, and the nodes as a fallback.",
        do=("Make the driver run.", "On a network with manual epochs: `haulout epoch advance`."),
    ),
    Alert(
        name="HauloutEpochForced",
        expr="max by (network) (haulout_epoch_forced) > 0",
        wait="0m",
        severity="ticket",
        summary="A deadline ended the last change of epoch of {{ $labels.network }}",
        means="Not all shards had arrived. Their hand-overs stay open, and the givers keep serving.",
        look="`haulout_committee_moving_shards`, and which node lacks blobs.",
        do=("Help the takers to finish; the flag goes with the next change that is in time.",),
    ),
    Alert(
        name="HauloutCommitteeKept",
        expr="max by (network) (haulout_committee_kept) > 0",
        wait="0m",
        severity="ticket",
        summary="Those who have stake in {{ $labels.network }} cannot hold all shards",
        means="Nobody joins or leaves: the next vote leaves the committee as it is. Reads and stores go on.",
        look="`haulout info` says how many nodes are needed, `haulout epoch plan` who has stake.",
        do=("Add nodes, or stake on those that have too little.",),
    ),
    Alert(
        name="HauloutCommitteeConcentration",
        expr=f"{LARGEST} > {FAULTY}",
        wait="0m",
        severity="ticket",
        summary="One node of {{ $labels.network }} owns {{ $value }} shards, more than f",
        means="If it goes, nothing can be stored; if it lies, the promises do not hold.",
        look="`haulout_committee_shards` by node, and stakes in GraphQL.",
        do=("Move stake to other nodes; shards follow with the next epoch.",),
    ),
)

PROCESSES = (
    Alert(
        name="HauloutProcessDown",
        expr='min by (network, process) (up{job="haulout"}) == 0',
        wait="2m",
        severity="ticket",
        summary="{{ $labels.process }} of {{ $labels.network }} does not answer",
        means="What it means for blobs is said by the alerts on shards; for the ledger, nothing can be stored.",
        look="`haulout status`, or `kubectl describe pod`; its log.",
        do=("Start it again; it goes on from its own disk.",),
    ),
    Alert(
        name="HauloutNotReady",
        expr="max by (network, process) (haulout_ready) == 0",
        wait="5m",
        severity="ticket",
        summary="{{ $labels.process }} of {{ $labels.network }} runs and is not ready",
        means="It gets no traffic.",
        look="Its `/readyz` says the reason, with a stable word in front.",
        do=("Act on the reason.",),
    ),
    Alert(
        name="HauloutDiskFillingUp",
        expr="predict_linear(haulout_disk_free_bytes[6h], 86400) < 0",
        wait="1h",
        severity="ticket",
        summary="The disk of {{ $labels.process }} will be full within a day",
        means="A full node takes nothing more, and repairs stop there.",
        look="`haulout_node_stored_bytes`: is it blobs, or somebody else's files?",
        do=("Enlarge the volume.", "Add nodes: shards move to them."),
    ),
    Alert(
        name="HauloutDiskAlmostFull",
        expr="haulout_disk_free_bytes / haulout_disk_size_bytes < 0.05",
        wait="10m",
        severity="page",
        summary="The disk of {{ $labels.process }} has less than 5 % left",
        means="A full node takes nothing more; a full ledger stops the network.",
        look="What fills it.",
        do=("Enlarge the volume now.",),
    ),
    Alert(
        name="HauloutNodeReadOnly",
        expr="max by (network, process) (haulout_node_read_only) > 0",
        wait="5m",
        severity="page",
        summary="{{ $labels.process }} has no room and takes nothing",
        means="Its shards count as down for every store; reads go on.",
        look="Its disk.",
        do=("Enlarge the volume; it takes again within a second.",),
    ),
    Alert(
        name="HauloutSyncSlow",
        expr=f"{SYNC_S} > 0.5",
        wait="10m",
        severity="ticket",
        summary="{{ $labels.process }} needs {{ $value }} s to make data durable (p99)",
        means="Every store waits for n - f shards; slow disks become slow stores.",
        look="The disk's latency and who else uses it.",
        do=("Give the node a disk of its own, or a faster one.",),
    ),
    Alert(
        name="HauloutSyncVerySlow",
        expr=f"{SYNC_S} > 1",
        wait="10m",
        severity="page",
        summary="{{ $labels.process }} needs {{ $value }} s to make data durable (p99)",
        means="A disk that takes seconds is often one that fails soon, and stores that wait for it time out.",
        look="The kernel's log and the disk's own counters (SMART), then who else uses the disk.",
        do=("Stop what else writes to it.", "Move the node to another disk; its shards are rebuilt from the others."),
    ),
    Alert(
        name="HauloutDiskErrors",
        expr="sum by (network, process, operation) (increase(haulout_disk_errors_total[15m])) > 0",
        wait="0m",
        severity="ticket",
        summary="The disk of {{ $labels.process }} refused to {{ $labels.operation }}",
        means="After a sync or commit that failed the process ends, since nobody knows what is on the disk. It goes on "
        "after others; a disk that refuses once will again.",
        look="The process's log at STORAGE_FAILED, DISK_FULL or STORE_CORRUPT, and the kernel's log.",
        do=("Make room if it is full.", "Otherwise replace the disk; what was on it is rebuilt from the others."),
    ),
)

SERVICES = (
    Alert(
        name="HauloutPublisherBalanceCritical",
        expr="predict_linear(haulout_publisher_balance_frost[6h], 86400) < 0",
        wait="10m",
        severity="page",
        summary="{{ $labels.process }} of {{ $labels.network }} runs out of money within a day",
        means="Then stores through this gateway are refused.",
        look="`haulout_publisher_balance_frost`, and who stores so much.",
        do=("Transfer tokens to the gateway's account now.",),
    ),
    Alert(
        name="HauloutPublisherBalanceLow",
        expr="predict_linear(haulout_publisher_balance_frost[6h], 3 * 86400) < 0",
        wait="10m",
        severity="ticket",
        summary="{{ $labels.process }} of {{ $labels.network }} runs out of money within three days",
        means="Then stores through this gateway are refused.",
        look="`haulout_publisher_balance_frost`, and who stores so much.",
        do=("Transfer tokens to the gateway's account.",),
    ),
    Alert(
        name="HauloutGraphQLRejections",
        expr="sum by (network) (rate(haulout_graphql_rejections_total[10m])) > 1"
        " and sum by (network) (rate(haulout_graphql_rejections_total[10m]))"
        " > 10 * sum by (network) (rate(haulout_graphql_rejections_total[1d]))",
        wait="10m",
        severity="ticket",
        summary="GraphQL of {{ $labels.network }} refuses ten times as much as usual",
        means="A client is broken, or somebody tries what can be asked for.",
        look="`haulout_graphql_rejections_total` by code; the log has the trace ids.",
        do=("Find the client by its trace id.",),
    ),
    Alert(
        name="HauloutReadModelLag",
        expr="max by (network, process) (haulout_read_model_lag_seconds) > 60",
        wait="5m",
        severity="ticket",
        summary="{{ $labels.process }} answers from a state that is {{ $value }} s old",
        means="Answers stay right as of their watermark; they are old.",
        look="The database: locks, disk, connections.",
        do=("Free the database.", "Rebuild the read model as a last resort; nothing of it is lost."),
    ),
    Alert(
        name="HauloutRetentionFailed",
        expr='sum by (network) (increase(haulout_graphql_retention_renewals_total{outcome=~"refused|ended"}[1h])) > 0',
        wait="0m",
        severity="ticket",
        summary="A blob of {{ $labels.network }} that is to be kept was not extended",
        means="What the ledger refused is tried again in the next epoch, while the blob lasts. A blob that has ended, "
        "that is somebody else's by now or that was encoded wrongly is not tried again.",
        look="The log of GraphQL names the objects; `retention { error { code message } }` of each says what was in "
        "the way, and `renewBlob` in `auditEvents` when.",
        do=(
            "`INSUFFICIENT_FUNDS`: transfer tokens to the account of GraphQL; `INSUFFICIENT_SHARED_FUNDS`: "
            "`fundSharedBlob`. Then set the policy again: it is tried at once.",
            "`RETENTION_TOO_LATE`: store the blob again, and leave more time with `extendWhenBelow`.",
            "Otherwise act on the code, or end the policy with `keepEpochs: 0`.",
        ),
    ),
    Alert(
        name="HauloutOperatorStuck",
        # Also for hours after an operator that is gone altogether, whose metrics are gone with it.
        expr="time() - max by (namespace) (last_over_time(haulout_operator_last_success_timestamp_seconds[6h])) > 600",
        wait="0m",
        severity="page",
        summary="The operator in {{ $labels.namespace }} has had no good round for ten minutes",
        means="Nothing is repaired, scaled or upgraded. Data and epochs go on.",
        look="`kubectl logs` of the operator; `haulout_operator_api_requests_total` by outcome.",
        do=("Act on what it says; restart it if it says nothing.",),
    ),
    Alert(
        name="HauloutObjectsStuck",
        expr="sum by (namespace, kind) (haulout_operator_stuck_objects) > 0",
        wait="1m",
        severity="ticket",
        summary="{{ $value }} of {{ $labels.kind }} in {{ $labels.namespace }} have not been ready for ten minutes",
        means="The operator works and does not get there. What it means for blobs is said by the alerts on shards.",
        look="`kubectl haulout why` for the object: the condition's reason, and what comes next.",
        do=("Do what the condition says.",),
    ),
    Alert(
        name="HauloutMetricAbsent",
        expr=" or ".join(
            f"absent({name})"
            for name in (
                "haulout_ledger_height",
                "haulout_node_stored_bytes",
                "haulout_http_requests_total",
                "haulout_blobs_min_margin_shards",
            )
        ),
        wait="5m",
        severity="ticket",
        summary="A metric that alerts need is not there",
        means="Whole kinds of alert are blind: of the ledger, the nodes, the gateway, or GraphQL.",
        look="Targets in Prometheus: which process is not scraped?",
        do=("Start it, or mend the scrape configuration.",),
    ),
)

GROUPS = {
    "durability": DURABILITY,
    "integrity": INTEGRITY,
    "ledger": LEDGER,
    "processes": PROCESSES,
    "services": SERVICES,
}
