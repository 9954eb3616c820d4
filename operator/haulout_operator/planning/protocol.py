"""The next version of the rules: put in force from the next epoch on, once everything that runs can follow it.

The ledger's process, all nodes and the services have to run what the spec asks for, and each node's own build has to
know the version. Nothing here waits for an attested state, though what is chosen is never taken back: each node looks
at its own replica before it votes, so a ledger that tells us something else brings no votes together.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout.ledger.apply import PROTOCOL_VERSION
from haulout_operator.actions import ActivateProtocol
from haulout_operator.manifests.node import name_revision
from haulout_operator.manifests.services import names_of
from haulout_operator.names import ACTIVATE_ANNOTATION, component_name
from haulout_operator.observed import LedgerFacts, Observed, Subject
from haulout_operator.planning.budget import is_spent
from haulout_operator.planning.leaving import counts_toward_replicas
from haulout_operator.planning.node import revision_of
from haulout_operator.planning.place import place_of


@dataclass(frozen=True, slots=True)
class ProtocolState:
    """How the rules stand, and what is to be done about it now."""

    is_newest: bool | None  # None while nobody knows
    reason: str
    message: str
    action: ActivateProtocol | None = None


def plan_protocol(observed: Observed) -> list[ActivateProtocol]:
    """The vote for the next version, when it is due."""
    action = find_protocol_state(observed).action
    return [] if action is None else [action]


def find_protocol_state(observed: Observed) -> ProtocolState:
    """Whether the newest rules that this operator knows are in force, and what they wait for."""
    ledger, network = observed.ledger, observed.network
    if ledger is None:
        return ProtocolState(None, "LedgerUnreachable", observed.ledger_problem)
    if ledger.protocol_version >= PROTOCOL_VERSION:
        text = f"protocol version {ledger.protocol_version} is in force; this operator knows no newer one"
        return ProtocolState(True, "ProtocolNewest", text)
    version = ledger.protocol_version + 1
    if ledger.next_protocol is not None:
        chosen, epoch = ledger.next_protocol
        return ProtocolState(False, "ProtocolChosen", f"protocol version {chosen} begins with epoch {epoch}")
    waits = _what_is_not_ready(observed, ledger, version)
    if waits is not None:
        return ProtocolState(False, "ProtocolWaits", f"protocol version {version} waits until {waits}")
    is_asked = network.annotations.get(ACTIVATE_ANNOTATION) == str(version)
    ask = f"kubectl annotate --overwrite snet/{network.name} {ACTIVATE_ANNOTATION}={version}"
    elsewhere = _who_runs_elsewhere(observed, ledger)
    if elsewhere and not is_asked:
        text = (
            f"protocol version {version} waits for {', '.join(elsewhere)}, which other people run: nobody here knows "
            f"whether they can follow it. Next: ask their owners, then {ask}, and it begins with the next epoch."
        )
        return ProtocolState(False, "ProtocolWaits", text)
    if network.spec.protocol.activation == "Manual" and not is_asked:
        text = (
            f"everything that runs can follow protocol version {version}. "
            f"Next: {ask}, and it begins with the next epoch."
        )
        return ProtocolState(False, "ProtocolManual", text)
    subject = protocol_subject(network.name)
    action = ActivateProtocol(subject, version, ledger.epoch + 1)
    failure = observed.failures.get(subject)
    if failure:
        return ProtocolState(False, "ProtocolVotesMissing", failure, action)
    text = f"the nodes are asked to vote for protocol version {version} from epoch {ledger.epoch + 1} on"
    return ProtocolState(False, "ProtocolDue", text, action)


def protocol_subject(network: str) -> Subject:
    """The rules as the subject of what is done to them alone: votes that are missing hold up nothing else."""
    return Subject("Protocol", network)


def _what_is_not_ready(observed: Observed, ledger: LedgerFacts, version: int) -> str | None:
    """What has to be so before it, in the order of an upgrade; None when all of it is."""
    if ledger.phase == "Sync" or ledger.moving:
        return "shards are where they belong"
    place = place_of(observed)
    services = [("Deployment", name) for name in names_of(place).values()]
    for kind, name in (("StatefulSet", component_name(observed.network.name, "ledger")), *services):
        if not _is_rolled(observed, kind, name, place.image):
            return f"{kind.lower()}/{name} runs {place.image} alone"
    if ledger.knows < version:
        return f"the ledger's process knows it; its release knows up to {ledger.knows}"
    templates = {pool.name: pool.spec.template for pool in observed.pools}
    for node in observed.nodes:
        pool = "" if node.spec.pool_ref is None else node.spec.pool_ref.name
        newest = name_revision(place, pool, templates[pool]) if pool in templates else None
        is_old = counts_toward_replicas(node) and newest is not None and revision_of(observed, node) != newest
        if is_old or is_spent(observed, node.name):
            return f"sn/{node.name} runs what its pool asks for, and is ready"
    for name in sorted(node.name for node in observed.nodes):
        told = observed.reports.get(name)
        if told is None:
            return f"{name} is registered and says what its release knows"
        if told.protocol_version < version:
            return f"{name} knows it; its release {told.release or '(it does not tell which)'} does not"
        if told.epoch != ledger.epoch:
            return f"{name} is in epoch {ledger.epoch}"
    return None


def _who_runs_elsewhere(observed: Observed, ledger: LedgerFacts) -> list[str]:
    """Nodes with shards or stake that are no objects here: nobody asks them what their release knows."""
    named = {node.name for node in observed.nodes}
    counted = {name for name, node in ledger.nodes.items() if node.shards or node.is_next or node.stake_frost}
    return sorted(counted - named)


def _is_rolled(observed: Observed, kind: str, name: str, image: str) -> bool:
    """Whether all Pods of a workload are made from what it is now, and that from the network's image."""
    live = observed.child(kind, name)
    if live is None or live["spec"]["template"]["spec"]["containers"][0]["image"] != image:
        return False
    status = live.get("status") or {}
    wanted, updated = live["spec"].get("replicas", 1), status.get("updatedReplicas") or 0
    is_seen = (status.get("observedGeneration") or 0) >= live["metadata"].get("generation", 0)
    return bool(is_seen and updated >= wanted and (status.get("replicas") or 0) <= updated)
