"""The children of one storage node: volume, Service, StatefulSet of one."""

from __future__ import annotations

from dataclasses import dataclass

from haulout_operator.manifests.common import (
    DATA,
    Manifest,
    Owner,
    Place,
    PodExtras,
    Process,
    build_claim,
    build_pod_metadata,
    build_pod_spec,
    build_service,
    build_single,
    claim_volume,
    digest_of,
    secret_volume,
)
from haulout_operator.models.base import Reference
from haulout_operator.models.pool import NodeTemplate, StorageNodeSpec
from haulout_operator.names import (
    GRPC_PORT,
    NETWORK_LABEL,
    NODE_LABEL,
    REVISION_ANNOTATION,
    ROLE_LABEL,
    keys_name,
    ledger_address,
    node_labels,
    volume_name,
)

ROLE = "node"
KEYS_FOLDER = "/etc/haulout/keys"


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What a node's children are made from."""

    name: str
    spec: StorageNodeSpec
    node_id: str | None  # None for a node of genesis, which finds itself there

    @property
    def pool(self) -> str:
        return "" if self.spec.pool_ref is None else self.spec.pool_ref.name

    def labels(self, network: str) -> dict[str, str]:
        return node_labels(network, self.pool, self.name, self.spec.serial)

    def selector(self, network: str) -> dict[str, str]:
        return {NETWORK_LABEL: network, ROLE_LABEL: ROLE, NODE_LABEL: self.name}


def build_volume(place: Place, node: NodeShape) -> Manifest:
    """The node's volume claim."""
    storage = node.spec.template.storage
    labels = node.labels(place.network)
    return build_claim(volume_name(node.name), place, labels, storage.size, storage.storage_class_name)


def build_node(place: Place, node: NodeShape, owner: Owner) -> list[Manifest]:
    """Service and StatefulSet."""
    labels = node.labels(place.network)
    selector = node.selector(place.network)
    template = node.spec.template
    workload = build_single(
        node.name,
        place,
        labels,
        selector,
        build_node_pod(place, node),
        owner,
        is_stopped=node.spec.desired_state == "Maintenance",
        extras=extras_of(template),
        annotations={REVISION_ANNOTATION: name_revision(place, node.pool, template)},
    )
    return [
        build_service(node.name, place, labels, selector, {"grpc": GRPC_PORT}, owner, unready_too=True),
        workload,
    ]


def build_node_pod(place: Place, node: NodeShape) -> Manifest:
    """The specification of its Pod."""
    template = node.spec.template
    environment = {
        "HAULOUT_DATA": DATA,
        "HAULOUT_LISTEN": f"0.0.0.0:{GRPC_PORT}",
        "HAULOUT_LEDGER": ledger_address(place.network, place.namespace),
        "HAULOUT_KEYS": f"{KEYS_FOLDER}/keys.json",
        "HAULOUT_PROCESS": node.name,
    }
    if node.node_id is not None:
        environment["HAULOUT_NODE_ID"] = node.node_id
    if template.scrub_bytes_per_second is not None:
        environment["HAULOUT_SCRUB_RATE"] = str(template.scrub_bytes_per_second)
    process = Process(
        role=ROLE,
        command=["python", "-m", "node_grpc"],
        environment=environment,
        ports={"grpc": GRPC_PORT},
        resources=template.resources,
        image=template.image,
        extra_environment=[one.model_dump(by_alias=True, exclude_none=True) for one in template.extra_env],
        volumes=[claim_volume("data", volume_name(node.name)), secret_volume("keys", keys_name(node.name))],
        mounts=[
            {"name": "data", "mountPath": DATA},
            {"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True},
        ],
        needs_kernels=True,
        node_selector=template.node_selector,
        tolerations=[one.model_dump(by_alias=True, exclude_none=True) for one in template.tolerations],
        affinity=template.affinity,
        spread_constraints=template.topology_spread_constraints,
        priority_class_name=template.priority_class_name,
    )
    return build_pod_spec(place, process, spread={NETWORK_LABEL: place.network, ROLE_LABEL: ROLE})


def extras_of(template: NodeTemplate) -> PodExtras:
    """What people add to the metadata of these nodes' Pods."""
    return PodExtras(template.pod_labels, template.pod_annotations)


def name_revision(place: Place, pool: str, template: NodeTemplate) -> str:
    """Names what all Pods of a template have alike, as a StatefulSet names its revisions: main-1f0c39d2a4b58e67.

    Size and stake are no part of it, nor is who a node is: a new revision is what makes Pods anew.
    """
    anybody = NodeShape("", StorageNodeSpec(network_ref=Reference(name=place.network), template=template), None)
    metadata = build_pod_metadata(place, {}, extras_of(template))
    digest = digest_of([metadata, build_node_pod(place, anybody)])
    return f"{pool}-{digest}" if pool else digest
