"""The ledger's children: volume, Service, StatefulSet of one; and the genesis document it begins from."""

from __future__ import annotations

from collections.abc import Sequence

from haulout.ledger.genesis import Genesis
from haulout_operator.manifests.common import (
    DATA,
    GENESIS_FOLDER,
    Manifest,
    Owner,
    Place,
    Process,
    build_claim,
    build_object,
    build_pod_spec,
    build_service,
    build_single,
    claim_volume,
    container_security,
)
from haulout_operator.models.base import Resources
from haulout_operator.names import GRPC_PORT, component_name, genesis_name, labels_of, restore_name, volume_name

ROLE = "ledger"
RESTORE_FOLDER = "/etc/haulout/restore"
NODES_FILE = "nodes"
GENESIS_FILE = "genesis.json"


def build_genesis_map(place: Place, genesis: Genesis) -> Manifest:
    """The immutable ConfigMap that every process of the network begins from; made once, never changed."""
    body = {"immutable": True, "data": {GENESIS_FILE: genesis.to_json()}}
    labels = labels_of(place.network, "genesis")
    name = genesis_name(place.network)
    return build_object("v1", "ConfigMap", name=name, place=place, labels=labels, owner=None, body=body)


def build_restore_map(place: Place, owner: Owner, addresses: Sequence[str]) -> Manifest:
    """The nodes from which a ledger whose volume was lost is restored before it starts."""
    body = {"data": {NODES_FILE: "".join(f"{address}\n" for address in addresses)}}
    labels = labels_of(place.network, ROLE)
    name = restore_name(place.network)
    return build_object("v1", "ConfigMap", name=name, place=place, labels=labels, owner=owner, body=body)


def build_restore_container(place: Place, resources: Resources) -> Manifest:
    """Puts a lost ledger together again before it starts; does nothing where none was lost, and nothing twice."""
    genesis = f"{GENESIS_FOLDER}/{GENESIS_FILE}"
    listed = f"{RESTORE_FOLDER}/{NODES_FILE}"
    command = ["haulout", "ledger", "restore", "--from-nodes", "--allow-plaintext"]
    return {
        "name": "restore",
        "image": place.image,
        "imagePullPolicy": place.spec.image_pull_policy,
        "command": [*command, "--listed", listed, "--data", DATA, "--genesis", genesis],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": resources.model_dump(),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "genesis", "mountPath": GENESIS_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "data", "mountPath": DATA},
            {"name": "restore", "mountPath": RESTORE_FOLDER, "readOnly": True},
        ],
    }


def build_ledger(place: Place, owner: Owner) -> list[Manifest]:
    """Everything of the ledger, in the order in which it is applied."""
    name = component_name(place.network, ROLE)
    labels = labels_of(place.network, ROLE)
    selector = {key: labels[key] for key in ("app.kubernetes.io/name", "haulout.dev/network", "haulout.dev/role")}
    spec = place.spec.ledger
    process = Process(
        role=ROLE,
        command=["haulout", "ledger"],
        environment={"HAULOUT_DATA": DATA, "HAULOUT_LISTEN": f"0.0.0.0:{GRPC_PORT}", "HAULOUT_PROCESS": name},
        ports={"grpc": GRPC_PORT},
        resources=spec.resources,
        volumes=[
            claim_volume("data", volume_name(name)),
            {"name": "restore", "configMap": {"name": restore_name(place.network), "optional": True}},
        ],
        mounts=[{"name": "data", "mountPath": DATA}],
        first=[build_restore_container(place, spec.resources)],
    )
    return [
        build_claim(volume_name(name), place, labels, spec.storage.size, spec.storage.storage_class_name),
        build_service(name, place, labels, selector, {"grpc": GRPC_PORT}, owner, unready_too=True),
        build_single(name, place, labels, selector, build_pod_spec(place, process), owner),
    ]
