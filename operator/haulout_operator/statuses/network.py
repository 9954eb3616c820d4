"""The status of a StorageNetwork: three conditions that sum everything up, and what they are made of."""

from __future__ import annotations

from typing import Any

from haulout.primitives import hex_id_text, max_faulty
from haulout_operator.manifests.services import names_of
from haulout_operator.names import PAUSED_ANNOTATION, ZONE_LABEL, component_name
from haulout_operator.observed import LedgerFacts, Observed
from haulout_operator.planning.budget import compute_budget, is_up
from haulout_operator.planning.leaving import counts_toward_replicas
from haulout_operator.planning.network import wallet_names, why_no_genesis
from haulout_operator.planning.place import place_of
from haulout_operator.planning.pool import ScalingBlocked
from haulout_operator.planning.protocol import find_protocol_state
from haulout_operator.statuses.conditions import Fact, merge_conditions, time_text


def compute_network_status(observed: Observed, blocked: dict[str, ScalingBlocked]) -> dict[str, Any]:
    """What a network is."""
    network, ledger = observed.network, observed.ledger
    staying = [node for node in observed.nodes if counts_toward_replicas(node)]
    ready = sum(is_up(observed, node.name) for node in staying)
    by_hand = sum(node.spec.pool_ref is None for node in staying)
    desired = sum(pool.spec.replicas for pool in observed.pools) + by_hand
    available = available_fact(observed)
    degraded = degraded_fact(observed, ready, desired)
    facts = [
        ready_fact(observed, available, ready, desired),
        available,
        Fact("Progressing", *_progress(observed, ready, desired, blocked)),
        degraded,
        ledger_fact(observed),
        zone_fact(observed),
        protocol_fact(observed),
        Fact(
            "TransportSecure",
            False,
            "TlsDisabled",
            "gRPC inside the cluster is plaintext; NetworkPolicies say who may connect",
        ),
        Fact("Paused", is_paused(observed), "Annotation" if is_paused(observed) else "Running", _paused_text(observed)),
    ]
    status: dict[str, Any] = {
        "observedGeneration": network.generation,
        "nodes": {
            "desired": desired,
            "ready": ready,
            "inCommittee": 0 if ledger is None else sum(bool(node.shards) for node in ledger.nodes.values()),
            "summary": f"{ready}/{desired}",
        },
        "conditions": merge_conditions(network.status, facts, now_ms=observed.now_ms, generation=network.generation),
    }
    if ledger is not None:
        status |= _ledger_status(observed, ledger)
    else:  # what the ledger said last stands, under LedgerReachable=False
        kept = ("chainId", "protocolVersion", "epoch", "shards", "faultBudget")
        status |= {key: network.status[key] for key in kept if key in network.status}
    return status


def _ledger_status(observed: Observed, ledger: LedgerFacts) -> dict[str, Any]:
    budget = compute_budget(observed, ledger)
    down = sum(len(node.shards) for name, node in ledger.nodes.items() if not is_up(observed, name))
    return {
        "chainId": hex_id_text(ledger.chain_id),
        "protocolVersion": ledger.protocol_version,
        "epoch": {
            "number": ledger.epoch,
            "phase": ledger.phase,
            "endsAt": time_text(ledger.phase_since_ms + ledger.epoch_duration_ms),
        },
        "shards": {
            "total": ledger.n_shards,
            "available": ledger.n_shards - down,
            "moving": len(ledger.moving),
        },
        "faultBudget": {
            "limit": budget.limit,
            "used": budget.used,
            "remaining": budget.remaining,
            "summary": f"{budget.remaining}/{budget.limit}",
        },
    }


def is_paused(observed: Observed) -> bool:
    """Whether people have paused the operator for this network."""
    return observed.network.annotations.get(PAUSED_ANNOTATION, "").lower() == "true"


def _paused_text(observed: Observed) -> str:
    if not is_paused(observed):
        return ""
    command = f"kubectl annotate snet/{observed.network.name} {PAUSED_ANNOTATION}-"
    return f"the operator changes nothing; epochs go on. Next: {command}"


def available_fact(observed: Observed) -> Fact:
    """Whether blobs can be stored and read."""
    blocked = why_no_genesis(observed) if observed.genesis is None else None
    if blocked is not None:
        return Fact("Available", False, *blocked)
    if observed.genesis is None:
        return Fact("Available", False, "Founding", "keys and genesis are being made")
    if observed.ledger is None:
        return Fact("Available", False, "LedgerUnreachable", _ledger_problem(observed))
    budget = compute_budget(observed, observed.ledger)
    down = [node.name for name, node in observed.ledger.nodes.items() if node.shards and not is_up(observed, name)]
    shards = sum(len(observed.ledger.nodes[name].shards) for name in down)
    if shards > max_faulty(observed.ledger.n_shards):
        return Fact(
            "Available",
            False,
            "TooFewShards",
            f"{shards} shards are down ({', '.join(sorted(down))}); with more than "
            f"{max_faulty(observed.ledger.n_shards)} nothing can be stored. Next: kubectl describe sn of these nodes.",
        )
    if missing := missing_services(observed).get("gateway"):
        return Fact("Available", False, "ServicesNotReady", missing)
    return Fact("Available", True, "Available", f"{budget.remaining} of {budget.limit} shards may still fail")


def missing_services(observed: Observed) -> dict[str, str]:
    """Why nobody answers for a service that the spec asks for, by its role."""
    return {
        role: "; ".join(filter(None, [f"not ready: {name}", observed.troubles_of(role)]))
        for role, name in names_of(place_of(observed)).items()
        if not _is_serving(observed, name)
    }


def degraded_fact(observed: Observed, ready: int, desired: int) -> Fact:
    """Whether something is broken that the network bears."""
    troubles = [f"{subject.kind}/{subject.name}: {text}" for subject, text in observed.failures.items() if text]
    full = [node.name for node in observed.nodes if (told := observed.reports.get(node.name)) and told.is_full]
    if full:
        troubles.append(f"volumes are full: {', '.join(sorted(full))}")
    if observed.genesis is not None and ready < desired:
        troubles.append(f"{desired - ready} of {desired} nodes are not ready")
    if observed.genesis is not None:
        troubles += missing_services(observed).values()
    if troubles:
        return Fact("Degraded", True, "Troubles", "; ".join(troubles))
    return Fact("Degraded", False, "AsExpected")


def ledger_fact(observed: Observed) -> Fact:
    """Whether the ledger answers."""
    if observed.ledger is not None:
        return Fact("LedgerReachable", True, "Answers")
    is_foreign = observed.ledger_problem.startswith("FOREIGN_LEDGER")
    reason = "ForeignLedger" if is_foreign else "Unreachable" if observed.genesis is None else "LedgerUnreachable"
    return Fact("LedgerReachable", False, reason, _ledger_problem(observed))


def _ledger_problem(observed: Observed) -> str:
    """What the ledger answers instead of an answer, what keeps its Pod from running, and where to look."""
    told = "; ".join(one for one in (observed.ledger_problem, observed.troubles_of("ledger")) if one)
    if observed.genesis is None or "Next: " in told:
        return told
    return f"{told}. Next: kubectl describe pod/{component_name(observed.network.name, 'ledger')}-0, and its logs."


def zone_fact(observed: Observed) -> Fact:
    """Whether the loss of one zone would cost more shards than may be lost."""
    ledger = observed.ledger
    if ledger is None:
        return Fact("ZoneOverBudget", None, "LedgerUnreachable", observed.ledger_problem)
    zones: dict[str, list[str]] = {}
    for pod in observed.pods:
        if pod.zone and pod.node in ledger.nodes and ledger.nodes[pod.node].shards:
            zones.setdefault(pod.zone, []).append(pod.node)
    if not zones:
        return Fact(
            "ZoneOverBudget", False, "NoZones", f"no machine of a member is known to be in a zone ({ZONE_LABEL})"
        )
    limit = max_faulty(ledger.n_shards)
    weights = {zone: sum(len(ledger.nodes[name].shards) for name in names) for zone, names in zones.items()}
    heavy = [zone for zone in sorted(zones) if weights[zone] > limit]
    if not heavy:
        return Fact(
            "ZoneOverBudget", False, "WithinBudget", f"no zone has more than {limit} of {ledger.n_shards} shards"
        )
    told = "; ".join(f"zone {zone} has {weights[zone]} ({', '.join(sorted(zones[zone]))})" for zone in heavy)
    return Fact(
        "ZoneOverBudget",
        True,
        "ZoneTooHeavy",
        f"{limit} of {ledger.n_shards} shards may be lost, and {told}. Next: bring machines of other zones, then "
        f"kubectl delete sn/{min(zones[heavy[0]])}: its substitute goes where fewest are.",
    )


def protocol_fact(observed: Observed) -> Fact:
    """Whether the newest rules that everything here could follow are in force."""
    state = find_protocol_state(observed)
    return Fact("ProtocolNewest", state.is_newest, state.reason, state.message)


def ready_fact(observed: Observed, available: Fact, ready: int, desired: int) -> Fact:
    """Everything that was asked for is there."""
    lost = [name for name in wallet_names(observed.network.name).values() if name not in observed.secrets]
    if lost and observed.genesis is not None:
        return Fact(
            "Ready",
            False,
            "SecretMissing",
            f"secret/{lost[0]} is gone: its account was funded at genesis, and nobody can make its key again. Next: "
            "restore it from a backup.",
        )
    failure = observed.failures.get(observed.network.subject)
    if failure:
        return Fact("Ready", False, "ActionFailed", failure)
    if not available.holds:
        return Fact("Ready", False, available.reason, available.message)
    if ready < desired:
        down = [node.name for node in observed.nodes if counts_toward_replicas(node) and not is_up(observed, node.name)]
        told = f" Next: kubectl describe sn of {', '.join(sorted(down))}." if down else " The others are being made."
        return Fact("Ready", False, "NodesNotReady", f"{ready} of {desired} nodes are ready.{told}")
    if missing := missing_services(observed):
        return Fact("Ready", False, "ServicesNotReady", "; ".join(missing.values()))
    return Fact("Ready", True, "Ready", f"{ready} of {desired} nodes are ready")


def _progress(
    observed: Observed, ready: int, desired: int, blocked: dict[str, ScalingBlocked]
) -> tuple[bool, str, str]:
    if blocked:
        pool, why = next(iter(blocked.items()))
        return False, "ScalingBlocked", f"snp/{pool}: {why.message}"
    if observed.genesis is None:
        return True, "Founding", ""
    if observed.ledger is not None and observed.ledger.phase != "Done":
        return True, "EpochChange", f"phase {observed.ledger.phase}"
    if ready != desired or len(observed.nodes) != desired:
        return True, "NodesChanging", f"{ready} of {desired} nodes are ready, {len(observed.nodes)} exist"
    return False, "Settled", ""


def _is_serving(observed: Observed, name: str) -> bool:
    live = observed.child("Deployment", name)
    if live is None:
        return False
    wanted = (live.get("spec") or {}).get("replicas", 1)
    return wanted == 0 or ((live.get("status") or {}).get("readyReplicas") or 0) >= 1
