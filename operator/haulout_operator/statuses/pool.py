"""The status of a StorageNodePool."""

from __future__ import annotations

from typing import Any

from haulout_operator.manifests.node import name_revision
from haulout_operator.models.pool import StorageNodePoolSpec
from haulout_operator.names import NETWORK_LABEL, POOL_LABEL, ROLE_LABEL
from haulout_operator.observed import Observed, Resource
from haulout_operator.planning.budget import is_up
from haulout_operator.planning.leaving import counts_toward_replicas
from haulout_operator.planning.node import revision_of
from haulout_operator.planning.place import place_of
from haulout_operator.planning.pool import ScalingBlocked
from haulout_operator.statuses.conditions import Fact, merge_conditions

Pool = Resource[StorageNodePoolSpec]


def compute_pool_status(observed: Observed, pool: Pool, blocked: ScalingBlocked | None) -> dict[str, Any]:
    """What a pool is."""
    nodes = observed.nodes_of(pool.name)
    staying = [node for node in nodes if counts_toward_replicas(node)]
    ready = [node for node in staying if is_up(observed, node.name)]
    newest = name_revision(place_of(observed), pool.name, pool.spec.template)
    revisions = [revision_of(observed, node) for node in staying]  # by serial: the first is updated last
    n_updated = revisions.count(newest)
    wanted = pool.spec.replicas
    draining = len(nodes) - len(staying)
    failure = observed.failures.get(pool.subject)
    if failure:
        ready_fact = Fact("Ready", False, "ActionFailed", failure)
    elif blocked is not None:
        ready_fact = Fact("Ready", False, blocked.reason, blocked.message)
    elif len(ready) < wanted:
        names = ", ".join(node.name for node in staying if node not in ready) or "being made"
        ready_fact = Fact("Ready", False, "NodesNotReady", f"{len(ready)} of {wanted} nodes are ready; not: {names}")
    else:
        ready_fact = Fact("Ready", True, "AllReady", f"{len(ready)} of {wanted} nodes are ready")
    moving = len(nodes) != wanted or n_updated < len(staying) or len(ready) < wanted
    facts = [
        ready_fact,
        Fact("Progressing", moving and blocked is None, "Changing" if moving else "Settled"),
        Fact("ScalingBlocked", False, "Free")
        if blocked is None
        else Fact("ScalingBlocked", True, blocked.reason, blocked.message),
    ]
    labels = {NETWORK_LABEL: observed.network.name, POOL_LABEL: pool.name, ROLE_LABEL: "node"}
    return {
        "observedGeneration": pool.generation,
        "replicas": len(nodes),
        "readyReplicas": len(ready),
        "updatedReplicas": n_updated,
        "updateRevision": newest,
        "currentRevision": next((one for one in revisions if one not in ("", newest)), newest),
        "drainingReplicas": draining,
        "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        "conditions": merge_conditions(pool.status, facts, now_ms=observed.now_ms, generation=pool.generation),
    }
