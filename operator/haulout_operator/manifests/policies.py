"""What holds for all nodes of a network: how many may be disrupted, and who may reach whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from haulout_operator.manifests.common import Manifest, Owner, Place, build_object
from haulout_operator.names import (
    EPOCHS_COMPONENT,
    FIELD_MANAGER,
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    NETWORK_LABEL,
    ROLE_LABEL,
    component_name,
    labels_of,
)


def build_disruption_budget(place: Place, owner: Owner, *, min_available: int) -> Manifest:
    """Evictions stop where the fault budget in shards would be overspent."""
    body = {
        "minAvailable": min_available,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {NETWORK_LABEL: place.network, ROLE_LABEL: "node"}},
    }
    name = f"{place.network}-nodes"
    labels = labels_of(place.network, "node")
    return build_object(
        "policy/v1", "PodDisruptionBudget", name=name, place=place, labels=labels, owner=owner, body={"spec": body}
    )


def build_network_policies(place: Place, owner: Owner) -> list[Manifest]:
    """Nodes and ledger speak with their own network and the operator, GraphQL with the operator; HTTP and metrics are
    open to the cluster."""
    if not place.spec.network_policy.enabled:
        return []
    ours: list[Manifest] = [
        {"podSelector": {"matchLabels": {NETWORK_LABEL: place.network}}},
        *(
            {"podSelector": {"matchLabels": {"app.kubernetes.io/component": component}}}
            for component in (FIELD_MANAGER, EPOCHS_COMPONENT)
        ),
    ]
    metrics = {"ports": [{"protocol": "TCP", "port": METRICS_PORT}]}
    inside = [{"from": ours, "ports": [{"protocol": "TCP", "port": GRPC_PORT}]}, metrics]
    http = [{"ports": [{"protocol": "TCP", "port": HTTP_PORT}]}, metrics]
    ingress: dict[str, Sequence[dict[str, Any]]] = {"ledger": inside, "node": inside, "gateway": http, "graphql": http}
    graphql: Manifest = {"podSelector": {"matchLabels": {NETWORK_LABEL: place.network, ROLE_LABEL: "graphql"}}}
    ingress["control"] = [{"from": [graphql], "ports": [{"protocol": "TCP", "port": GRPC_PORT}]}, metrics]
    selectors: dict[str, dict[str, str]] = {
        role: {NETWORK_LABEL: place.network, ROLE_LABEL: role} for role in ingress
    } | {"control": {"app.kubernetes.io/component": FIELD_MANAGER}}
    return [
        build_object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            name=component_name(place.network, role),
            place=place,
            labels=labels_of(place.network, role),
            owner=owner,
            body={
                "spec": {
                    "podSelector": {"matchLabels": selectors[role]},
                    "policyTypes": ["Ingress"],
                    "ingress": list(rules),
                }
            },
        )
        for role, rules in ingress.items()
    ]
