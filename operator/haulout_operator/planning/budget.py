"""The fault budget: how many shards may be unavailable, by accident and by our own doing together.

With n shards, f = (n - 1) // 3 may be lost or lying. The shards of committee members that are down are spent; what
remains is what a restart, an eviction or an upgrade may take away for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout.primitives import max_faulty
from haulout_operator.observed import LedgerFacts, Observed


@dataclass(frozen=True, slots=True)
class FaultBudget:
    """Shards; `remaining` is negative when more is down than the network bears."""

    limit: int
    used: int

    @property
    def remaining(self) -> int:
        return self.limit - self.used

    def allows(self, shards: int) -> bool:
        """Whether so many shards may be taken away for a while."""
        return shards <= self.remaining


def compute_budget(observed: Observed, ledger: LedgerFacts) -> FaultBudget:
    """The budget now: a member without a ready Pod, or whose Pod is about to go, has spent its shards, and so has every
    shard that is still on its way to its owner, of this epoch's change or of an earlier one."""
    limit = max_faulty(ledger.n_shards)
    chosen = observed.network.spec.safety.max_unavailable_shards
    if chosen is not None:
        limit = min(limit, chosen)
    down = {shard for name, node in ledger.nodes.items() if is_spent(observed, name) for shard in node.shards}
    return FaultBudget(limit=limit, used=len(down | ledger.moving))


def is_up(observed: Observed, name: str) -> bool:
    """Whether a node has a ready Pod."""
    pod = observed.pod_of(name)
    return pod is not None and pod.is_ready


def is_spent(observed: Observed, name: str) -> bool:
    """Whether a node is down, or about to be: its workload has changed, and Kubernetes has not made its Pod anew yet.

    However late Kubernetes is, no second Pod is taken away before the first one is back.
    """
    if not is_up(observed, name):
        return True
    live = observed.child("StatefulSet", name)
    if live is None:
        return False
    status = live.get("status") or {}
    is_seen = (status.get("observedGeneration") or 0) >= live["metadata"].get("generation", 0)
    return not is_seen or (status.get("updatedReplicas") or 0) < live["spec"].get("replicas", 1)


def min_available_pods(observed: Observed, ledger: LedgerFacts) -> int:
    """Node Pods that evictions must leave: all but the k heaviest that the remaining budget bears."""
    names = [*(node.name for node in observed.nodes), *observed.unread_nodes]
    weights = sorted((_weight(ledger, name) for name in names), reverse=True)
    remaining, k = compute_budget(observed, ledger).remaining, 0
    for weight in weights:
        if weight > remaining:
            break
        remaining -= weight
        k += 1
    return len(weights) - k


def _weight(ledger: LedgerFacts, name: str) -> int:
    node = ledger.nodes.get(name)
    return 0 if node is None else len(node.shards)
