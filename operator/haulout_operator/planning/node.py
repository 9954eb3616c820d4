"""One node: its keys, volume, Service and Pod, its place on the ledger, and its way out."""

from __future__ import annotations

from haulout.primitives import hex_id_text
from haulout_operator.actions import (
    Action,
    AddFinalizer,
    Apply,
    CreateNodeKeys,
    Delete,
    RegisterNode,
    StakeNode,
    VoteCapacity,
)
from haulout_operator.genesis import capacity_of, stake_of
from haulout_operator.manifests.common import Manifest, Owner, Place
from haulout_operator.manifests.node import NodeShape, build_node, build_volume
from haulout_operator.models.base import API_VERSION
from haulout_operator.models.pool import StorageNodePoolSpec, StorageNodeSpec
from haulout_operator.names import RELEASED_LABEL, REVISION_ANNOTATION, keys_name, volume_name
from haulout_operator.observed import LedgerNode, Observed, Resource, Subject, annotations_of, labels_of
from haulout_operator.planning.budget import compute_budget, is_spent, is_up
from haulout_operator.planning.drift import content_of, needs_apply
from haulout_operator.planning.leaving import counts_toward_replicas, is_scaled_down, plan_leaving
from haulout_operator.planning.place import place_of
from haulout_operator.quantities import find_bytes, parse_bytes

Node = Resource[StorageNodeSpec]

# Steps of the way out that end without anything happening in Kubernetes.
AWAITED = ("NodeHolds", "WaitingForAttestation", "WaitingForSample", "WaitingForSubstitute")


def plan_node(observed: Observed, place: Place, node: Node) -> list[Action]:
    """The next steps of one node."""
    if node.is_deleting:
        return _plan_removal(observed, place, node)
    actions: list[Action] = []
    if not node.holds_finalizer:
        actions.append(AddFinalizer(node.subject, node.uid))
    if keys_name(node.name) not in observed.secrets:
        # Keys of a node that the ledger knows are lost for ever if they are gone: new ones would be another node.
        if not observed.was_founded or (observed.ledger is not None and observed.ledger_node(node.name) is None):
            unnamed = NodeShape(node.name, node.spec, None)
            labels = tuple(sorted(unnamed.labels(place.network).items()))
            actions.append(CreateNodeKeys(node.subject, node.name, labels))
        return actions
    if observed.genesis is None:
        return actions
    known = observed.ledger_node(node.name)
    shape = _shape_of(observed, node)
    if shape is None:
        if observed.ledger is not None:
            capacity = capacity_of(node.spec.template.storage.size)
            actions.append(RegisterNode(node.subject, node.name, capacity))
        return actions  # its Pod needs the id that the ledger gives it
    actions += plan_children(observed, place, node, shape)
    if not counts_toward_replicas(node):
        leaving = plan_leaving(observed, node)
        if not leaving.is_over:
            actions += leaving.actions
        if is_scaled_down(node) and leaving.is_let_go:  # all of it is proven under the finalizer before anything goes
            actions.append(Delete(node.subject, API_VERSION, "StorageNode", node.name, node.uid))
        return actions
    if wants_stake(observed, node) and known is not None:
        amount = stake_of(node.spec.template.stake)
        if observed.ledger is not None and amount <= observed.ledger.treasury_frost:
            actions.append(StakeNode(node.subject, node.name, known.node_id, amount))
    if known is not None:
        vote = capacity_to_vote(observed, node, known)
        if vote is not None:
            actions.append(VoteCapacity(node.subject, node.name, known.node_id, vote))
    return actions


def _shape_of(observed: Observed, node: Node) -> NodeShape | None:
    """What its children are made from; None while neither genesis nor ledger knows it, and so nobody its id."""
    if observed.genesis is not None and any(one.name == node.name for one in observed.genesis.nodes):
        return NodeShape(node.name, node.spec, None)
    known = observed.ledger_node(node.name)
    return None if known is None else NodeShape(node.name, node.spec, hex_id_text(known.node_id))


def capacity_to_vote(observed: Observed, node: Node, known: LedgerNode) -> int | None:
    """What the node can hold by its volume claim, once the volume has that size; None when it has voted so already.

    What a volume has beyond its claim is the storage class's own business.
    """
    claim = observed.child("PersistentVolumeClaim", volume_name(node.name))
    if claim is None:
        return None
    asked = find_bytes(claim["spec"]["resources"]["requests"]["storage"])
    has = find_bytes(((claim.get("status") or {}).get("capacity") or {}).get("storage", ""))
    if asked is None or has is None:
        return None
    return asked if has >= asked != known.capacity_bytes else None


def wants_stake(observed: Observed, node: Node) -> bool:
    """Registered, ready and at the ledger's head, without stake, and meant to stay."""
    known = observed.ledger_node(node.name)
    if known is None or known.stake_frost or known.is_leaving or node.spec.desired_state != "Active":
        return False
    if not counts_toward_replicas(node):
        return False
    if stake_of(node.spec.template.stake) == 0 or observed.ledger is None:
        return False
    return is_up(observed, node.name) and _height(observed, node) >= observed.ledger.height


def awaits_word(observed: Observed, node: Node) -> bool:
    """Whether the node's next step hangs on what the ledger or the node itself says next: Kubernetes tells neither."""
    if not counts_toward_replicas(node):
        return plan_leaving(observed, node).reason in AWAITED
    known, ledger = observed.ledger_node(node.name), observed.ledger
    if known is None or ledger is None or known.stake_frost or not is_up(observed, node.name):
        return False
    return node.spec.desired_state == "Active" and 0 < stake_of(node.spec.template.stake) <= ledger.treasury_frost


def _height(observed: Observed, node: Node) -> int:
    told = observed.reports.get(node.name)
    return -1 if told is None else told.height


def plan_children(observed: Observed, place: Place, node: Node, shape: NodeShape) -> list[Action]:
    """Volume, Service and StatefulSet; a Pod is only replaced when the fault budget bears it."""
    owner = Owner(node.kind, node.name, node.uid)
    actions: list[Action] = []
    claim = observed.child("PersistentVolumeClaim", volume_name(node.name))
    actions += plan_volume(node.subject, build_volume(place, shape), claim)
    for manifest in build_node(place, shape, owner):
        live = observed.child(manifest["kind"], node.name)
        if not needs_apply(manifest, live):
            continue
        if live is None or manifest["kind"] != "StatefulSet" or may_restart(observed, node):
            actions.append(Apply(node.subject, manifest))
    return actions


def plan_volume(subject: Subject, wanted: Manifest, live: Manifest | None) -> list[Action]:
    """Made when missing, grown when the spec asks for more, never made smaller.

    Not every storage class can grow a volume: what its claim is refused is the claim's own failure and holds up nothing
    else of its owner. A claim that never had a volume is made anew when the spec names another storage class.
    """
    if live is None:
        return [Apply(subject, wanted)]
    if is_never_bound(live) and live["spec"].get("storageClassName") != wanted["spec"].get(
        "storageClassName", live["spec"].get("storageClassName")
    ):
        if live["metadata"].get("deletionTimestamp"):
            return []
        return [Delete(subject, "v1", "PersistentVolumeClaim", live["metadata"]["name"], live["metadata"]["uid"])]
    asked = parse_bytes(wanted["spec"]["resources"]["requests"]["storage"])
    has = find_bytes(live["spec"]["resources"]["requests"]["storage"])
    return [Apply(claim_subject(wanted["metadata"]["name"]), wanted)] if has is not None and asked > has else []


def is_never_bound(claim: Manifest) -> bool:
    """Whether a claim waits for its first volume, so that nothing can be in it."""
    return (claim.get("status") or {}).get("phase") == "Pending" and not claim["spec"].get("volumeName")


def claim_subject(name: str) -> Subject:
    """A volume claim as the subject of what is done to it alone."""
    return Subject("PersistentVolumeClaim", name)


def may_restart(observed: Observed, node: Node) -> bool:
    """Whether this node's Pod may go now: updates are on, it is its turn, and its shards fit the remaining budget.

    Whether a Pod should run at all (`desiredState: Maintenance`) is no update and waits for the budget alone.
    """
    pool = _pool_of(observed, node)
    is_held = pool is not None and (pool.spec.update.paused or node.spec.serial < pool.spec.update.partition)
    if is_held and _is_running(observed, node) == (node.spec.desired_state != "Maintenance"):
        return False
    if observed.ledger is None or observed.ledger.phase == "Sync":
        return False
    known = observed.ledger.nodes.get(node.name)
    if known is None or not known.shards or is_spent(observed, node.name):
        return True  # nothing is taken away that is not spent already
    return compute_budget(observed, observed.ledger).allows(len(known.shards))


def _is_running(observed: Observed, node: Node) -> bool:
    live = observed.child("StatefulSet", node.name)
    return live is not None and live["spec"].get("replicas", 1) > 0


def _pool_of(observed: Observed, node: Node) -> Resource[StorageNodePoolSpec] | None:
    name = None if node.spec.pool_ref is None else node.spec.pool_ref.name
    return next((pool for pool in observed.pools if pool.name == name), None)


def _plan_removal(observed: Observed, place: Place, node: Node) -> list[Action]:
    """Out by steps, serving until the last; at the end its volume follows the pool's rule, its keys stay."""
    if not node.holds_finalizer:
        return []
    leaving = plan_leaving(observed, node)
    if not leaving.is_over:
        shape = _shape_of(observed, node) if keys_name(node.name) in observed.secrets else None
        children = [] if shape is None else plan_children(observed, place, node, shape)
        return [*children, *leaving.actions]
    actions: list[Action] = []
    pool = _pool_of(observed, node)
    claim = observed.child("PersistentVolumeClaim", volume_name(node.name))
    is_scaled = pool is not None and not pool.is_deleting and not observed.network.is_deleting
    if claim is None:
        return [*leaving.actions]
    if is_scaled and pool is not None and pool.spec.pvc_retention.when_scaled == "Delete":
        uid = claim["metadata"]["uid"]
        actions.append(Delete(node.subject, "v1", "PersistentVolumeClaim", volume_name(node.name), uid))
    elif (is_scaled or leaving.is_for_good) and RELEASED_LABEL not in labels_of(claim):
        # Kept for people: a pool of this name never takes it up as a node, for the ledger would give it no shards.
        volume = build_volume(place_of(observed), NodeShape(node.name, node.spec, None))
        volume["metadata"]["labels"] |= {RELEASED_LABEL: "true"}
        volume["spec"]["resources"]["requests"] = dict(claim["spec"]["resources"]["requests"])
        actions.append(Apply(node.subject, volume))
    return [*actions, *leaving.actions]


def revision_of(observed: Observed, node: Node) -> str:
    """What its Pod is made from; by its content where an earlier release has made it, empty while there is none."""
    live = observed.child("StatefulSet", node.name)
    return "" if live is None else annotations_of(live).get(REVISION_ANNOTATION) or content_of(live)
