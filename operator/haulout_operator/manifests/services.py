"""Gateway and GraphQL: Deployments and their Services. All that either keeps is GraphQL's tokens and audit."""

from __future__ import annotations

from collections.abc import Mapping

from haulout_operator.identity import TOKEN_FILE
from haulout_operator.manifests.common import (
    DATA,
    Manifest,
    Owner,
    Place,
    Process,
    build_claim,
    build_deployment,
    build_pod_spec,
    build_service,
    claim_volume,
    secret_volume,
)
from haulout_operator.models.network import GraphqlLimits
from haulout_operator.names import (
    HTTP_PORT,
    METRICS_PORT,
    NETWORK_LABEL,
    ROLE_LABEL,
    component_name,
    control_name,
    labels_of,
    ledger_address,
    volume_name,
)
from haulout_operator.quantities import parse_duration_ms

WALLET_FOLDER = "/etc/haulout/wallet"
CONTROL_FOLDER = "/etc/haulout/control"
RECORDS_FOLDER = "/records"
RECORDS_VARIABLE = "HAULOUT_RECORDS"
URL_FILE = "url"


def build_gateway(place: Place, owner: Owner) -> list[Manifest]:
    """Publisher and aggregator over HTTP."""
    if not place.spec.gateway.enabled:
        return []
    name = component_name(place.network, "gateway")
    process = Process(
        role="gateway",
        command=["haulout", "gateway"],
        environment={
            **_environment(place, name),
            "HAULOUT_WALLET": f"{WALLET_FOLDER}/wallet.json",
            "HAULOUT_CACHE": str(place.spec.gateway.cache_bytes),
        },
        ports={"http": HTTP_PORT},
        resources=place.spec.gateway.resources,
        volumes=[{"name": "data", "emptyDir": {}}, secret_volume("wallet", name)],
        mounts=[
            {"name": "data", "mountPath": DATA},
            {"name": "wallet", "mountPath": WALLET_FOLDER, "readOnly": True},
        ],
        needs_kernels=True,
    )
    return _build(place, owner, process, name, place.spec.gateway.replicas)


def build_graphql(place: Place, owner: Owner) -> list[Manifest]:
    """GraphQL over a read model that is filled anew from the ledger when its Pod starts, and records that are kept."""
    if not place.spec.graphql.enabled:
        return []
    name = component_name(place.network, "graphql")
    gateway = f"http://{component_name(place.network, 'gateway')}.{place.namespace}.svc:{HTTP_PORT}"
    control = {
        "HAULOUT_CONTROL": place.control_address,
        "HAULOUT_CONTROL_TOKEN_FILE": f"{CONTROL_FOLDER}/{TOKEN_FILE}",
    }
    has_control = bool(place.control_address)
    spec = place.spec.graphql
    is_kept_here = spec.records_secret is None
    records = {RECORDS_VARIABLE: f"sqlite:///{RECORDS_FOLDER}/records.sqlite"}
    process = Process(
        role="graphql",
        command=["python", "-m", "graphql_api"],
        environment={
            **_environment(place, name),
            "HAULOUT_GATEWAY_URL": gateway,
            "HAULOUT_PUBLIC_GATEWAY_URL": place.spec.gateway.public_url,
            **(records if is_kept_here else {}),
            "HAULOUT_WALLET": f"{WALLET_FOLDER}/wallet.json",
            **_limits(spec.limits),
            **(control if has_control else {}),
        },
        secrets={} if spec.records_secret is None else {RECORDS_VARIABLE: (spec.records_secret, URL_FILE)},
        ports={"http": HTTP_PORT},
        resources=spec.resources,
        volumes=[
            {"name": "data", "emptyDir": {}},
            *([claim_volume("records", volume_name(name))] if is_kept_here else []),
            secret_volume("wallet", name),
            *([secret_volume("control", control_name(place.network))] if has_control else []),
        ],
        mounts=[
            {"name": "data", "mountPath": DATA},
            *([{"name": "records", "mountPath": RECORDS_FOLDER}] if is_kept_here else []),
            {"name": "wallet", "mountPath": WALLET_FOLDER, "readOnly": True},
            *([{"name": "control", "mountPath": CONTROL_FOLDER, "readOnly": True}] if has_control else []),
        ],
    )
    served = _build(place, owner, process, name, spec.replicas, is_alone=is_kept_here)
    if not is_kept_here:
        return served
    labels = labels_of(place.network, process.role)
    claim = build_claim(volume_name(name), place, labels, spec.storage.size, spec.storage.storage_class_name)
    return [claim, *served]


def _environment(place: Place, name: str) -> Mapping[str, str]:
    return {
        "HAULOUT_DATA": DATA,
        "HAULOUT_LISTEN": f"0.0.0.0:{HTTP_PORT}",
        "HAULOUT_LEDGER": ledger_address(place.network, place.namespace),
        "HAULOUT_PROCESS": name,
    }


def _limits(limits: GraphqlLimits) -> Mapping[str, str]:
    return {
        "HAULOUT_MAX_COST": str(limits.max_cost),
        "HAULOUT_MAX_COST_WITH_TOKEN": str(limits.max_cost_with_token),
        "HAULOUT_MAX_DEPTH": str(limits.max_depth),
        "HAULOUT_MAX_ALIASES": str(limits.max_aliases),
        "HAULOUT_MAX_SUBSCRIPTIONS": str(limits.max_subscriptions),
        "HAULOUT_QUERY_TIMEOUT_MS": str(parse_duration_ms(limits.query_timeout)),
        "HAULOUT_MUTATION_TIMEOUT_MS": str(parse_duration_ms(limits.mutation_timeout)),
        "HAULOUT_POINTS_PER_HOUR": str(limits.points_per_hour),
    }


def _build(
    place: Place, owner: Owner, process: Process, name: str, replicas: int, *, is_alone: bool = False
) -> list[Manifest]:
    labels = labels_of(place.network, process.role)
    selector = {NETWORK_LABEL: place.network, ROLE_LABEL: process.role}
    pod = build_pod_spec(place, process, spread=selector)
    return [
        build_service(name, place, labels, selector, {"http": HTTP_PORT, "metrics": METRICS_PORT}, owner),
        build_deployment(name, place, labels, selector, pod, owner, replicas=replicas, is_alone=is_alone),
    ]


def names_of(place: Place) -> dict[str, str]:
    """The Deployments that a network has by its spec, by role."""
    enabled = {"gateway": place.spec.gateway.enabled, "graphql": place.spec.graphql.enabled}
    return {role: component_name(place.network, role) for role, is_on in enabled.items() if is_on}
