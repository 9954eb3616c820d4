"""What the actors ask of the world: eight ports, most with a real and a simulated implementation.

Actors get them by argument and know nothing behind them, so the same code runs in a cluster, on one machine and in
a deterministic simulation. Every implementation of a port passes that port's contract suite (`tests/contract`);
`ClusterControl` has two that share no fake, a supervisor and an operator, and is tested where they are. Errors are
those of `haulout.errors`; foreign exceptions never pass a port.
"""

from __future__ import annotations

from haulout.ports.clock import Clock
from haulout.ports.cluster_control import ClusterControl, ClusterReport, Condition, ProcessInfo, ReviewedToken
from haulout.ports.disk import Disk
from haulout.ports.ledger import Attestation, Finality, Ledger, LedgerStatus, StateEntry, StateRead
from haulout.ports.rng import Rng
from haulout.ports.storage_node import (
    BlobHoldings,
    IncompleteBlob,
    IncompletePage,
    NodeHealth,
    NodeTransport,
    Outcome,
    PartialSliver,
    ProofUpload,
    SignedMessage,
    SliverUpload,
    StorageNodeApi,
    SyncedSliver,
)
from haulout.ports.store import Store
from haulout.ports.workers import Workers

__all__ = [
    "Attestation",
    "BlobHoldings",
    "Clock",
    "ClusterControl",
    "ClusterReport",
    "Condition",
    "Disk",
    "Finality",
    "IncompleteBlob",
    "IncompletePage",
    "Ledger",
    "LedgerStatus",
    "NodeHealth",
    "NodeTransport",
    "Outcome",
    "PartialSliver",
    "ProcessInfo",
    "ProofUpload",
    "ReviewedToken",
    "Rng",
    "SignedMessage",
    "SliverUpload",
    "StateEntry",
    "StateRead",
    "StorageNodeApi",
    "Store",
    "SyncedSliver",
    "Workers",
]
