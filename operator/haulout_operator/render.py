"""`haulout-operator render`: every child of given specs, as it would be applied; for review and for golden files.

Keys are not made: Secrets and genesis are shown by name only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from haulout.errors import InvalidField
from haulout_operator.crds import PlainDumper, structural
from haulout_operator.manifests.common import Manifest, Owner, Place
from haulout_operator.manifests.ledger import build_ledger
from haulout_operator.manifests.node import NodeShape, build_node, build_volume
from haulout_operator.manifests.policies import build_disruption_budget, build_network_policies
from haulout_operator.manifests.services import build_gateway, build_graphql
from haulout_operator.models.base import Reference
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.models.pool import StorageNodePoolSpec, StorageNodeSpec
from haulout_operator.names import node_name
from haulout_operator.observe import read_resource

UNKNOWN_UID = "00000000-0000-0000-0000-000000000000"


def render(documents: Sequence[Manifest], *, namespace: str, image: str) -> list[Manifest]:
    """Children of the networks and pools among the documents, with names as if the pools had a UID of zeros.

    Raises:
        InvalidField: a spec is not one or has a field too many, or a pool's network is not among the documents.
    """
    for body in documents:
        kind = StorageNetworkSpec if body["kind"] == "StorageNetwork" else StorageNodePoolSpec
        check_known(body.get("spec") or {}, structural(kind), "spec")
    networks = {
        body["metadata"]["name"]: read_resource(body, StorageNetworkSpec)
        for body in documents
        if body["kind"] == "StorageNetwork"
    }
    pools = [read_resource(body, StorageNodePoolSpec) for body in documents if body["kind"] == "StorageNodePool"]
    out: list[Manifest] = []
    for network in networks.values():
        place = Place(namespace, network.name, network.spec, image)
        owner = Owner(network.kind, network.name, network.uid or UNKNOWN_UID)
        n_nodes = sum(pool.spec.replicas for pool in pools if pool.spec.network_ref.name == network.name)
        out += build_ledger(place, owner)
        out += build_gateway(place, owner)
        out += build_graphql(place, owner)
        out += build_network_policies(place, owner)
        out.append(build_disruption_budget(place, owner, min_available=max(0, n_nodes - 1)))
    for pool in pools:
        known = networks.get(pool.spec.network_ref.name)
        if known is None:
            raise InvalidField(
                field=f"snp/{pool.name}", problem=f"its network {pool.spec.network_ref.name} is not in the file"
            )
        place = Place(namespace, known.name, known.spec, image)
        for serial in range(pool.spec.replicas):
            name = node_name(pool.name, pool.uid or UNKNOWN_UID, serial)
            spec = StorageNodeSpec(
                network_ref=Reference(name=known.name),
                pool_ref=Reference(name=pool.name),
                serial=serial,
                template=pool.spec.template,
            )
            shape = NodeShape(name, spec, None)
            out += [build_volume(place, shape), *build_node(place, shape, Owner("StorageNode", name, UNKNOWN_UID))]
    return out


def check_known(value: Any, schema: Mapping[str, Any], field: str) -> None:
    """Refuse a field that the kind does not have: the operator passes over it, whoever reviews should not.

    Raises:
        InvalidField: with the field's path.
    """
    known = schema.get("properties")
    if isinstance(value, dict) and known is not None:
        for name, part in value.items():
            if name not in known:
                raise InvalidField(
                    field=f"{field}.{name}", problem=f"there is no such field; there are: {', '.join(known)}"
                )
            check_known(part, known[name], f"{field}.{name}")
    elif isinstance(value, list) and "items" in schema:
        for index, part in enumerate(value):
            check_known(part, schema["items"], f"{field}.{index}")


def render_text(manifests: Sequence[Manifest]) -> str:
    """Manifests as YAML."""
    text: str = yaml.dump_all(manifests, Dumper=PlainDumper, sort_keys=True, width=118)
    return text
