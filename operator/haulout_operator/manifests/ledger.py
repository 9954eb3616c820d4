"""The ledger's children: volume, Service, StatefulSet of one; and the genesis document it begins from."""

from __future__ import annotations

from haulout.ledger.genesis import Genesis
from haulout_operator.manifests.common import (
    DATA,
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
)
from haulout_operator.names import GRPC_PORT, component_name, genesis_name, labels_of, volume_name

ROLE = "ledger"
GENESIS_FILE = "genesis.json"


def build_genesis_map(place: Place, genesis: Genesis) -> Manifest:
    """The immutable ConfigMap that every process of the network begins from; made once, never changed."""
    body = {"immutable": True, "data": {GENESIS_FILE: genesis.to_json()}}
    labels = labels_of(place.network, "genesis")
    name = genesis_name(place.network)
    return build_object("v1", "ConfigMap", name=name, place=place, labels=labels, owner=None, body=body)


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
        volumes=[claim_volume("data", volume_name(name))],
        mounts=[{"name": "data", "mountPath": DATA}],
    )
    return [
        build_claim(volume_name(name), place, labels, spec.storage.size, spec.storage.storage_class_name),
        build_service(name, place, labels, selector, {"grpc": GRPC_PORT}, owner, unready_too=True),
        build_single(name, place, labels, selector, build_pod_spec(place, process), owner),
    ]
