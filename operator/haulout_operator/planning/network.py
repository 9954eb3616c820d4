"""A network: accounts, genesis, ledger, services and policies, in the order in which they need one another."""

from __future__ import annotations

from haulout.primitives import smallest_committee
from haulout_operator.actions import (
    Action,
    AddFinalizer,
    AdvanceEpoch,
    Apply,
    CreateGenesis,
    CreateToken,
    CreateWallet,
    Delete,
    DropFinalizer,
    GenesisNode,
)
from haulout_operator.genesis import capacity_of, stake_of
from haulout_operator.manifests.common import Manifest, Owner
from haulout_operator.manifests.ledger import build_ledger, build_restore_map
from haulout_operator.manifests.policies import build_disruption_budget, build_network_policies
from haulout_operator.manifests.services import build_gateway, build_graphql
from haulout_operator.models.base import API_VERSION
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.models.pool import StorageNodePoolSpec
from haulout_operator.names import (
    ADVANCE_ANNOTATION,
    NETWORK_LABEL,
    NODE_LABEL,
    ROLE_LABEL,
    component_name,
    control_name,
    keys_name,
    labels_of,
    node_address,
    treasury_name,
    volume_name,
)
from haulout_operator.observed import Observed, Resource
from haulout_operator.observed import labels_of as live_labels
from haulout_operator.planning.budget import min_available_pods
from haulout_operator.planning.drift import needs_apply
from haulout_operator.planning.leaving import counts_toward_replicas
from haulout_operator.planning.node import plan_volume
from haulout_operator.planning.place import place_of


def wallet_names(network: str) -> dict[str, str]:
    """Secrets of the network's accounts by role."""
    return {"treasury": treasury_name(network)} | {
        role: component_name(network, role) for role in ("gateway", "graphql")
    }


def plan_network(observed: Observed) -> list[Action]:
    """The next steps of what the network has once."""
    network, place = observed.network, place_of(observed)
    subject = network.subject
    actions: list[Action] = []
    if not network.holds_finalizer:
        actions.append(AddFinalizer(subject, network.uid))
    for role, name in wallet_names(network.name).items():
        if name not in observed.secrets and not observed.was_founded:
            labels = tuple(sorted(labels_of(network.name, role).items()))
            actions.append(CreateWallet(subject, name, labels))
    token = control_name(network.name)
    if token not in observed.secrets:
        labels = tuple(sorted(labels_of(network.name, "control").items()))
        actions.append(CreateToken(subject, token, labels))
    if observed.genesis is None:
        return [*actions, *_plan_genesis(observed)]
    owner = Owner(network.kind, network.name, network.uid)
    lost = [] if not is_ledger_lost(observed) else [build_restore_map(place, owner, node_addresses(observed))]
    wanted = [
        *lost,  # before the claim: no Pod starts on that without it
        *build_ledger(place, owner),
        *build_gateway(place, owner),
        *build_graphql(place, owner),
        *build_network_policies(place, owner),
    ]
    if observed.ledger is not None and observed.nodes:
        least = min_available_pods(observed, observed.ledger)
        wanted.append(build_disruption_budget(place, owner, min_available=least))
    for manifest in wanted:
        live = observed.child(manifest["kind"], manifest["metadata"]["name"])
        if manifest["kind"] == "PersistentVolumeClaim":
            actions += plan_volume(subject, manifest, live)
        elif needs_apply(manifest, live):
            actions.append(Apply(subject, manifest))
    return [*actions, *_remove_what_is_off(observed, wanted)]


def is_ledger_lost(observed: Observed) -> bool:
    """Whether the ledger's volume is gone while nodes' are there: it is restored from them, never begun anew."""
    claim = volume_name(component_name(observed.network.name, "ledger"))
    return observed.child("PersistentVolumeClaim", claim) is None and bool(observed.volumes())


def node_addresses(observed: Observed) -> list[str]:
    """Where all nodes are reached that have a volume."""
    names = sorted(live_labels(claim)[NODE_LABEL] for claim in observed.volumes())
    return [node_address(name, observed.namespace) for name in names]


def _plan_genesis(observed: Observed) -> list[Action]:
    if why_no_genesis(observed) is not None:
        return []
    nodes = first_nodes(observed)
    names = {*wallet_names(observed.network.name).values(), *(keys_name(node.name) for node in nodes)}
    if not names <= observed.secrets:
        return []  # they are made in this round
    return [CreateGenesis(observed.network.subject, tuple(nodes))]


def first_nodes(observed: Observed) -> list[GenesisNode]:
    """The nodes that found the network: those of all pools there are by then."""
    return [
        GenesisNode(node.name, stake_of(node.spec.template.stake), capacity_of(node.spec.template.storage.size))
        for pool in sorted(founding_pools(observed), key=lambda pool: pool.name)
        for node in observed.nodes_of(pool.name)
        if counts_toward_replicas(node)
    ]


def founding_pools(observed: Observed) -> list[Resource[StorageNodePoolSpec]]:
    """Pools whose nodes stand in genesis: whoever stands there has stake. Nodes of others are registered afterwards."""
    return [pool for pool in observed.pools if stake_of(pool.spec.template.stake)]


def why_no_genesis(observed: Observed) -> tuple[str, str] | None:
    """Reason and message of what keeps the network from being founded; None when nothing does."""
    if observed.genesis_problem:
        return "GenesisUnreadable", observed.genesis_problem
    network = observed.network.name
    if volumes := observed.volumes_of_founded():
        return (
            "GenesisMissing",
            f"configmap/{network}-genesis is gone, and volumes of the network founded with it are there "
            f"({', '.join(volumes[:5])}). Next: restore the ConfigMap; founding anew would lose everything.",
        )
    if not observed.pools:
        return "NoPool", f"no StorageNodePool has networkRef.name {network}. Next: create one."
    smallest, founding = smallest_committee(observed.network.spec.shards), founding_pools(observed)
    if not founding:
        pool = observed.pools[0].name
        text = f"template.stake is 0, and whoever founds a network has stake. Next: give snp/{pool} a template.stake."
        return "GenesisTooSmall", text
    wanted = sum(pool.spec.replicas for pool in founding)
    if wanted < smallest:
        pool = founding[0].name
        return (
            "GenesisTooSmall",
            f"{wanted} nodes cannot hold {observed.network.spec.shards} shards when none may hold more than a third. "
            f"Next: kubectl scale snp/{pool} --replicas={smallest}.",
        )
    if len(first_nodes(observed)) < wanted:
        return "NodesMissing", f"{len(first_nodes(observed))} of {wanted} StorageNodes are made"
    return None


def _remove_what_is_off(observed: Observed, wanted: list[Manifest]) -> list[Action]:
    """Workloads of roles that the spec has switched off since."""
    kept = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted}
    actions: list[Action] = []
    for (kind, name), body in observed.children.items():
        labels = live_labels(body)
        removable = kind in ("Deployment", "Service", "NetworkPolicy") and labels.get(ROLE_LABEL) in (
            "gateway",
            "graphql",
            *(("ledger", "node", "control") if kind == "NetworkPolicy" else ()),
        )
        if removable and labels.get(NETWORK_LABEL) == observed.network.name and (kind, name) not in kept:
            uid = body["metadata"]["uid"]
            actions.append(Delete(observed.network.subject, body["apiVersion"], kind, name, uid))
    return actions


def plan_epoch(observed: Observed) -> list[Action]:
    """What people ask for by annotation: the change out of the epoch that they name, on networks with manual epochs."""
    asked = observed.network.annotations.get(ADVANCE_ANNOTATION, "")
    ledger = observed.ledger
    if ledger is None or asked != str(ledger.epoch) or ledger.phase == "Sync":
        return []
    return [AdvanceEpoch(observed.network.subject, ledger.epoch)]


def is_destroyed(network: Resource[StorageNetworkSpec]) -> bool:
    """Whether it is being deleted, and everything that holds data is to go with it."""
    deletion = network.spec.deletion
    return network.is_deleting and deletion.policy == "Destroy" and deletion.confirm == network.name


def plan_network_removal(observed: Observed) -> list[Action]:
    """Let go of a network: with Retain everything that holds data stays, with Destroy it goes. Its StorageNodes go with
    it, and their Pods with them: without a ledger there is nothing that they could serve."""
    network = observed.network
    actions: list[Action] = []
    if is_destroyed(network):
        for (kind, name), body in observed.children.items():
            if kind in ("PersistentVolumeClaim", "ConfigMap") and not body["metadata"].get("deletionTimestamp"):
                actions.append(Delete(network.subject, body["apiVersion"], kind, name, body["metadata"]["uid"]))
        for name in sorted(observed.secrets):
            actions.append(Delete(network.subject, "v1", "Secret", name, ""))
    for node in observed.nodes:
        if not node.is_deleting:
            actions.append(Delete(network.subject, API_VERSION, "StorageNode", node.name, node.uid))
        if node.holds_finalizer:
            actions.append(DropFinalizer(node.subject, node.uid))
    if network.holds_finalizer:
        actions.append(DropFinalizer(network.subject, network.uid))
    return actions
