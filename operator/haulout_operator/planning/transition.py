"""EpochTransitions: one object per change of epoch, as the ledger has it; old ones go."""

from __future__ import annotations

from haulout_operator.actions import Action, Create, Delete
from haulout_operator.manifests.common import Manifest, Owner
from haulout_operator.models.base import API_VERSION
from haulout_operator.names import labels_of
from haulout_operator.observed import Observed

FIRST_EPOCH = 1


def transition_name(network: str, to_epoch: int) -> str:
    """As in main-7: the change into epoch 7 of network main."""
    return f"{network}-{to_epoch}"


def current_change(observed: Observed) -> int | None:
    """The epoch that the ledger is changing into, or has changed into last; None before there was a change."""
    if observed.ledger is None:
        return None
    to_epoch = observed.ledger.epoch + (observed.ledger.phase == "Voted")
    return to_epoch if to_epoch > FIRST_EPOCH else None


def plan_transitions(observed: Observed) -> list[Action]:
    """Make the object of the current change, and forget the oldest ones beyond the limit."""
    to_epoch = current_change(observed)
    if to_epoch is None:
        return []
    network = observed.network
    name = transition_name(network.name, to_epoch)
    known = {body["metadata"]["name"]: body for body in observed.transitions}
    actions: list[Action] = []
    if name not in known:
        manifest: Manifest = {
            "apiVersion": API_VERSION,
            "kind": "EpochTransition",
            "metadata": {
                "name": name,
                "namespace": observed.namespace,
                "labels": labels_of(network.name, "epoch"),
                "ownerReferences": [Owner(network.kind, network.name, network.uid).reference()],
            },
            "spec": {"networkRef": {"name": network.name}, "fromEpoch": to_epoch - 1, "toEpoch": to_epoch},
        }
        actions.append(Create(network.subject, manifest))
    finished = sorted((body for body in known.values() if body["spec"]["toEpoch"] < to_epoch), key=_to_epoch)
    for body in finished[: max(0, len(finished) - network.spec.epoch.history_limit)]:
        name, uid = body["metadata"]["name"], body["metadata"]["uid"]
        actions.append(Delete(network.subject, API_VERSION, "EpochTransition", name, uid))
    return actions


def _to_epoch(body: Manifest) -> int:
    return int(body["spec"]["toEpoch"])
