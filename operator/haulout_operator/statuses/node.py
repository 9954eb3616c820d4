"""The status of a StorageNode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from haulout.primitives import frost_text, hex_id_text
from haulout_operator.genesis import stake_of
from haulout_operator.models.pool import StorageNodeSpec
from haulout_operator.names import keys_name, node_address, volume_name
from haulout_operator.observed import LedgerNode, Observed, PodFacts, Resource
from haulout_operator.planning.budget import compute_budget
from haulout_operator.planning.leaving import counts_toward_replicas, is_scaled_down, plan_leaving
from haulout_operator.planning.node import claim_subject, may_restart, revision_of
from haulout_operator.pods import camel_case
from haulout_operator.quantities import bytes_text, find_bytes
from haulout_operator.statuses.conditions import Fact, merge_conditions, time_text

Node = Resource[StorageNodeSpec]

VOLUME_TROUBLES = ("DiskFull", "ForeignVolume", "StorageFailed", "WrongVolumeVersion")


def compute_node_status(observed: Observed, node: Node) -> dict[str, Any]:
    """What one node is."""
    known, pod = observed.ledger_node(node.name), observed.pod_of(node.name)
    facts = [
        ready_fact(observed, node, known, pod),
        storage_fact(observed, node, pod),
        registered_fact(observed, known),
        staked_fact(observed, node, known),
        committee_fact(observed, known),
        synced_fact(observed, known),
        *drained_facts(observed, node),
    ]
    status: dict[str, Any] = {
        "observedGeneration": node.generation,
        "phase": phase_of(node, known, pod),
        "address": node_address(node.name, observed.namespace),
        "podName": "" if pod is None else pod.name,
        "kubernetesNode": "" if pod is None else pod.machine,
        "volume": volume_name(node.name),
        "revision": revision_of(observed, node),
        **told_status(observed, node),
        "conditions": merge_conditions(node.status, facts, now_ms=observed.now_ms, generation=node.generation),
    }
    if known is not None and observed.ledger is not None:
        status |= {
            "ledgerNodeId": hex_id_text(known.node_id),
            "stakeFrost": known.stake_frost,
            "stake": frost_text(known.stake_frost),
            "committee": {
                "epoch": observed.ledger.epoch,
                "shardCount": len(known.shards),
                "shards": ranges_text(known.shards)[:1000],
            },
        }
    else:  # the ledger cannot be asked now: what it said last stands, under LedgerReachable=False of the network
        kept = ("ledgerNodeId", "stakeFrost", "stake", "committee")
        status |= {key: node.status[key] for key in kept if key in node.status}
    return status


def told_status(observed: Observed, node: Node) -> dict[str, Any]:
    """What the node tells of itself: what it told last stands while it is silent, with the time of that beside it.

    A network at rest is written nothing about: no time while the node answers, and a new number of bytes only once the
    one that was written is off by more than a sixteenth.
    """
    report, old = observed.reports.get(node.name), node.status
    status = {key: old[key] for key in ("version", "protocolVersion") if key in old}
    before = (old.get("storage") or {}).get("usedBytes")
    used = before
    if report is not None:
        status = {"version": report.release, "protocolVersion": report.protocol_version}
        is_off = before is None or abs(report.stored_bytes - before) * 16 > before
        used = report.stored_bytes if is_off else before
    if used is not None:
        claim = observed.child("PersistentVolumeClaim", volume_name(node.name)) or {}
        has = ((claim.get("status") or {}).get("capacity") or {}).get("storage", "")
        capacity = find_bytes(has) or 0
        summary = f"{bytes_text(used)}/{bytes_text(capacity)}" if capacity else bytes_text(used)
        status["storage"] = {"usedBytes": used, "capacityBytes": capacity, "summary": summary}
    answered_ms = observed.answered_ms.get(node.name)
    if report is None and observed.ledger is not None and answered_ms is not None:
        status["lastSeen"] = time_text(answered_ms)
    elif report is None and "lastSeen" in old:  # nobody is asked without a ledger; or another process saw it last
        status["lastSeen"] = old["lastSeen"]
    return status


def phase_of(node: Node, known: LedgerNode | None, pod: PodFacts | None) -> str:
    """One word for people; conditions carry the facts."""
    if node.is_deleting or is_scaled_down(node):
        return "Leaving"
    if node.spec.desired_state != "Active":
        return node.spec.desired_state
    if pod is None:
        return "Pending"
    if not pod.is_ready:
        return "Provisioning"
    if known is None:
        return "Registering"
    return "Active" if known.shards else "Standby"


def ready_fact(observed: Observed, node: Node, known: LedgerNode | None, pod: PodFacts | None) -> Fact:
    """Whether the node does its work, and what keeps it from that."""
    failure = observed.failures.get(node.subject)
    if not counts_toward_replicas(node):
        leaving = plan_leaving(observed, node)
        text = f"{leaving.message}; {failure}" if failure else leaving.message
        return Fact("Ready", False, leaving.reason, text)
    if failure:
        return Fact("Ready", False, camel_case(failure.partition(":")[0]), failure)
    if keys_name(node.name) not in observed.secrets:
        if known is not None:
            return Fact(
                "Ready",
                False,
                "KeysMissing",
                f"secret/{keys_name(node.name)} is gone; nobody else has these keys. Next: restore it from a backup, "
                f"or delete sn/{node.name} to have another node take its place.",
            )
        if observed.was_founded and observed.ledger is None:
            text = f"secret/{keys_name(node.name)} is not there; whether it ever was, the ledger tells when it answers"
            return Fact("Ready", False, "LedgerUnreachable", text)
        return Fact("Ready", False, "MakingKeys", "its keys are being made")
    if observed.genesis is None:
        return Fact(
            "Ready", False, "WaitingForGenesis", "the network is not founded yet; kubectl describe snet says why"
        )
    if node.spec.desired_state == "Maintenance":
        return maintenance_fact(observed, node, known, pod)
    if pod is None:
        refused = observed.complaints.get(("StatefulSet", node.name))
        if refused:
            text = (
                f"Kubernetes does not make its Pod: {refused}. Next: mend what that names; it is tried again by itself."
            )
            return Fact("Ready", False, "PodRefused", text)
        return Fact("Ready", False, "NoPod", "its Pod is not there yet")
    if not pod.is_ready:
        reason, claim = pod.problem.partition(":")[0], volume_name(node.name)
        lacking = observed.complaints.get(("PersistentVolumeClaim", claim))
        problem = f"{pod.problem}; pvc/{claim}: {lacking}" if lacking else pod.problem
        return Fact("Ready", False, reason or "Starting", problem)
    report = observed.reports.get(node.name)
    if report is not None and known is not None and report.node_id != known.node_id:
        return Fact(
            "Ready",
            False,
            "ForeignIdentity",
            f"its Pod answers as {hex_id_text(report.node_id)}, the ledger has it as {hex_id_text(known.node_id)}. "
            f"Next: look for what was copied; secret/{keys_name(node.name)} must be the one it was registered with.",
        )
    return Fact("Ready", True, "Serving", "its Pod is ready")


def storage_fact(observed: Observed, node: Node, pod: PodFacts | None) -> Fact:
    """Whether its volume takes slivers in."""
    reason = "" if pod is None else pod.problem.partition(":")[0]
    if pod is not None and reason in VOLUME_TROUBLES:
        return Fact("StorageHealthy", False, reason, pod.problem)
    report = observed.reports.get(node.name)
    if report is None:
        return Fact("StorageHealthy", None, "NotAsked", "it is asked once its Pod is ready and the ledger knows it")
    if report.is_full:
        pool = "<pool>" if node.spec.pool_ref is None else node.spec.pool_ref.name
        return Fact(
            "StorageHealthy",
            False,
            "DiskFull",
            f"pvc/{volume_name(node.name)} is full: the node serves reads and takes nothing in. Next: raise "
            f"template.storage.size of snp/{pool} where the storage class can grow volumes, or add nodes.",
        )
    refused = observed.failures.get(claim_subject(volume_name(node.name)))
    if refused:
        return Fact(
            "StorageHealthy",
            False,
            "VolumeCannotGrow",
            f"it serves on with the volume it has; {refused}. Next: kubectl delete sn/{node.name} --wait=false, its "
            "substitute has a volume of the new size; or a storage class with allowVolumeExpansion.",
        )
    return Fact("StorageHealthy", True, "Writable")


def maintenance_fact(observed: Observed, node: Node, known: LedgerNode | None, pod: PodFacts | None) -> Fact:
    """A node that people work on: its Pod is stopped, or waits until the others bear that."""
    back = f'Next: kubectl patch sn/{node.name} --type=merge -p \'{{"spec":{{"desiredState":"Active"}}}}\''
    if pod is None:
        return Fact("Ready", False, "Maintenance", f"its Pod is stopped, its volume is free. {back}")
    if known is not None and observed.ledger is not None and not may_restart(observed, node):
        budget = compute_budget(observed, observed.ledger)
        return Fact(
            "Ready",
            True,
            "MaintenanceWaits",
            f"it serves on until its {len(known.shards)} shards fit the fault budget; {budget.remaining} remain",
        )
    return Fact("Ready", False, "Stopping", "its Pod is being stopped")


def registered_fact(observed: Observed, known: LedgerNode | None) -> Fact:
    """Whether the ledger knows it."""
    if observed.ledger is None:
        return Fact("Registered", None, "LedgerUnreachable", observed.ledger_problem)
    if known is None:
        return Fact("Registered", False, "NotYet", "the operator registers it from the treasury")
    return Fact("Registered", True, "Registered", hex_id_text(known.node_id))


def staked_fact(observed: Observed, node: Node, known: LedgerNode | None) -> Fact:
    """Whether it has stake, without which it gets no shards."""
    if observed.ledger is None:
        return Fact("Staked", None, "LedgerUnreachable", observed.ledger_problem)
    if known is not None and known.stake_frost:
        return Fact("Staked", True, "Staked", frost_text(known.stake_frost))
    amount = stake_of(node.spec.template.stake)
    if amount > observed.ledger.treasury_frost:
        lacking = frost_text(amount - observed.ledger.treasury_frost)
        return Fact(
            "Staked",
            False,
            "StakeUnfunded",
            f"template.stake is {frost_text(amount)} and the treasury lacks {lacking} of it. Next: transfer that much "
            f"to the treasury{_treasury_text(observed)}, or lower template.stake of the pool.",
        )
    return Fact("Staked", False, "WaitingUntilReady", "staked once it is registered, ready and at the ledger's head")


def _treasury_text(observed: Observed) -> str:
    """The treasury's address: it governs the nodes from genesis on."""
    nodes = () if observed.genesis is None else observed.genesis.nodes
    return f", account {hex_id_text(nodes[0].governance)}" if nodes else ""


def committee_fact(observed: Observed, known: LedgerNode | None) -> Fact:
    """Whether it holds shards now."""
    if observed.ledger is None:
        return Fact("InCommittee", None, "LedgerUnreachable", observed.ledger_problem)
    if known is not None and known.shards:
        text = f"{len(known.shards)} of {observed.ledger.n_shards} shards in epoch {observed.ledger.epoch}"
        return Fact("InCommittee", True, "Member", text)
    if known is not None and known.is_leaving:
        return Fact("InCommittee", False, "Left", "the ledger has let it go; it is chosen for no committee again")
    if known is not None and known.stake_frost:
        return Fact("InCommittee", False, "NextEpoch", "its stake counts when the next committee is chosen")
    return Fact("InCommittee", False, "NoStake", "it has no stake")


def synced_fact(observed: Observed, known: LedgerNode | None) -> Fact:
    """Whether it has all that it owns."""
    if observed.ledger is None:
        return Fact("Synced", None, "LedgerUnreachable", observed.ledger_problem)
    if known is not None and known.incoming:
        return Fact("Synced", False, "Fetching", f"{known.incoming} shards are on their way to it")
    return Fact("Synced", True, "Synced")


def drained_facts(observed: Observed, node: Node) -> list[Fact]:
    """Of a node on its way out: whether there is proof that nothing of it is needed."""
    if counts_toward_replicas(node):
        return []
    leaving = plan_leaving(observed, node)
    return [Fact("Drained", leaving.is_over, leaving.reason, leaving.message)]


def ranges_text(numbers: Iterable[int]) -> str:
    """Numbers as ranges: 0-3,7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
