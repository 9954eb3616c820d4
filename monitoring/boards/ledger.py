"""Blocks, who has executed and signed them, and the change of epoch."""

from __future__ import annotations

from monitoring.boards.shared import DIVERGED, EPOCH, NET, UNATTESTED, WARN_ABOVE_0, quantile, rate
from monitoring.panel import AMBER, RED, Board, Panel, Query

LEDGER = Board(
    "haulout-ledger",
    "Haulout: ledger and epoch",
    "Blocks, who has executed and signed them, and the change of epoch.",
    (
        (
            "Is anything wrong?",
            (
                UNATTESTED,
                Panel(
                    "Waiting",
                    "Transactions that are admitted and in no block yet.",
                    (Query(f"max(haulout_ledger_pending_transactions{{{NET}}})"),),
                    steps=((1_000, AMBER), (10_000, RED)),
                    kind="number",
                ),
                DIVERGED,
                EPOCH,
                Panel(
                    "Shards moving",
                    "On their way to a new owner.",
                    (Query(f"max(haulout_committee_moving_shards{{{NET}}})"),),
                    kind="number",
                ),
                Panel(
                    "Forced",
                    "1 when a deadline ended the last Sync.",
                    (Query(f"max(haulout_epoch_forced{{{NET}}})"),),
                    steps=WARN_ABOVE_0,
                    kind="number",
                ),
            ),
        ),
        (
            "Blocks",
            (
                Panel(
                    "Height",
                    "Of the ledger, and of the replicas that execute it again.",
                    (
                        Query(f"haulout_ledger_height{{{NET}}}", "ledger"),
                        Query(f"haulout_replica_height{{{NET}}}", "{{process}}"),
                    ),
                    moves="epoch",
                ),
                Panel(
                    "Attested height",
                    "What each node knows to be signed by n - f shards.",
                    (
                        Query(f"haulout_ledger_attested_height{{{NET}}}", "ledger"),
                        Query(f"haulout_node_attested_height{{{NET}}}", "{{process}}"),
                    ),
                    moves="epoch",
                ),
                Panel(
                    "Transactions",
                    "In blocks, and of them refused, per second.",
                    (
                        Query(rate("haulout_ledger_transactions_total"), "in blocks"),
                        Query(rate("haulout_ledger_refused_total"), "refused"),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Commands",
                    "Of the transactions in blocks, per second, by kind and by what became of their transaction.",
                    (Query(f"{rate('haulout_ledger_commands_total', by='kind, result')} > 0", "{{kind}} {{result}}"),),
                    unit="ops",
                ),
                Panel(
                    "Wait for signatures",
                    "From a block until n - f shards have signed it: 50th and 99th percentile; the objective is 30 s.",
                    (
                        Query(quantile("0.5", "haulout_ledger_attestation_lag_seconds"), "p50"),
                        Query(quantile("0.99", "haulout_ledger_attestation_lag_seconds"), "p99"),
                    ),
                    unit="s",
                    steps=((30, RED),),
                ),
                Panel(
                    "Shards that signed",
                    "Behind the last checkpoint, or behind one that was given up; whoever is late is not counted.",
                    (
                        Query(f"max(haulout_ledger_checkpoint_signed_shards{{{NET}}})", "signed"),
                        Query(f"max(haulout_committee_write_quorum_shards{{{NET}}})", "a checkpoint takes"),
                    ),
                ),
            ),
        ),
        (
            "Epoch",
            (
                Panel(
                    "Phase",
                    "1 for the epoch's phase.",
                    (Query(f"max by (phase) (haulout_epoch_phase{{{NET}}})", "{{phase}}"),),
                ),
                Panel(
                    "Shards gained and given",
                    "Still on their way, by node.",
                    (
                        Query(f"haulout_node_gaining_shards{{{NET}}}", "{{process}} gains"),
                        Query(f"haulout_node_giving_shards{{{NET}}}", "{{process}} gives"),
                    ),
                ),
                Panel(
                    "Bytes handed over",
                    "Received from givers, per second.",
                    (Query(rate("haulout_node_shard_sync_received_bytes_total", by="process"), "{{process}}"),),
                    unit="Bps",
                ),
                Panel(
                    "Checkpoints signed",
                    "Per second, by node.",
                    (Query(rate("haulout_node_checkpoints_signed_total", by="process"), "{{process}}"),),
                    unit="ops",
                ),
                Panel(
                    "Checkpoints refused",
                    "Since the processes began, by reason.",
                    (Query(f"sum by (reason) (haulout_node_checkpoint_refusals_total{{{NET}}})", "{{reason}}"),),
                    steps=WARN_ABOVE_0,
                ),
            ),
        ),
    ),
)
