"""Custom resource definitions from the typed models: structural schemas, CEL rules, columns and the scale subresource.

`python -m haulout_operator.crds FOLDER` writes them; a test compares what is committed with what would be written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from haulout_operator.models.base import CATEGORY, GROUP, NUMBER_OR_TEXT, VERSION, Model, rule
from haulout_operator.models.network import StorageNetworkSpec, StorageNetworkStatus
from haulout_operator.models.pool import (
    StorageNodePoolSpec,
    StorageNodePoolStatus,
    StorageNodeSpec,
    StorageNodeStatus,
)
from haulout_operator.models.transition import EpochTransitionSpec, EpochTransitionStatus
from haulout_operator.names import SUFFIX_LENGTH

HEADER = """{{- if .Values.crds.create }}
# Made by `make gen` from the models in operator/haulout_operator; do not change by hand."""
DROPPED = frozenset(("title", "$defs", "discriminator", "examples"))
KEPT = frozenset(("type", "description", "default", "enum", "format", "pattern", "required"))
KEPT |= {f"{limit}{what}" for limit in ("min", "max") for what in ("imum", "Length", "Items", "Properties")}
KEPT |= {f"x-kubernetes-{word}" for word in ("validations", "list-type", "list-map-keys")}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as people meet it."""

    kind: str
    plural: str
    short: str
    spec: type[Model]
    status: type[Model]
    columns: Sequence[tuple[str, str, str]]  # name, type, path; a name in brackets is shown with -o wide only
    scale: bool = False
    max_name: int = 40  # characters; none are counted where nothing is named after it
    rules: Sequence[dict[str, str]] = ()  # of the whole object, beside those of its name


def ready_columns() -> tuple[tuple[str, str, str], ...]:
    """The last columns of every kind."""
    return (
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
        ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
        ("Age", "date", ".metadata.creationTimestamp"),
    )


KINDS = (
    Kind(
        "StorageNetwork",
        "storagenetworks",
        "snet",
        StorageNetworkSpec,
        StorageNetworkStatus,
        (
            ("Epoch", "integer", ".status.epoch.number"),
            ("Phase", "string", ".status.epoch.phase"),
            ("Nodes", "string", ".status.nodes.summary"),
            ("Shards", "integer", ".status.shards.available"),
            ("Budget", "string", ".status.faultBudget.summary"),
            *ready_columns(),
        ),
        rules=(
            rule(
                "self.spec.deletion.policy == 'Retain' || !has(self.spec.deletion.confirm)"
                " || self.spec.deletion.confirm == self.metadata.name",
                "deletion.confirm is not the network's name",
            ),
        ),
    ),
    Kind(
        "StorageNodePool",
        "storagenodepools",
        "snp",
        StorageNodePoolSpec,
        StorageNodePoolStatus,
        (
            ("Network", "string", ".spec.networkRef.name"),
            ("Desired", "integer", ".spec.replicas"),
            ("Nodes", "integer", ".status.replicas"),
            ("Ready nodes", "integer", ".status.readyReplicas"),
            ("Draining", "integer", ".status.drainingReplicas"),
            ("[Updated]", "integer", ".status.updatedReplicas"),
            ("[Revision]", "string", ".status.updateRevision"),
            *ready_columns(),
        ),
        scale=True,
        max_name=40 - 1 - SUFFIX_LENGTH,
    ),
    Kind(
        "StorageNode",
        "storagenodes",
        "sn",
        StorageNodeSpec,
        StorageNodeStatus,
        (
            ("Phase", "string", ".status.phase"),
            ("Stake", "string", ".status.stake"),
            ("Shards", "integer", ".status.committee.shardCount"),
            ("Synced", "string", '.status.conditions[?(@.type=="Synced")].status'),
            ("Epoch", "integer", ".status.committee.epoch"),
            ("[Node]", "string", ".status.kubernetesNode"),
            ("[Volume]", "string", ".status.volume"),
            ("[Disk]", "string", ".status.storage.summary"),
            ("[Version]", "string", ".status.version"),
            *ready_columns(),
        ),
    ),
    Kind(
        "EpochTransition",
        "epochtransitions",
        "ept",
        EpochTransitionSpec,
        EpochTransitionStatus,
        (
            ("From", "integer", ".spec.fromEpoch"),
            ("To", "integer", ".spec.toEpoch"),
            ("Phase", "string", ".status.phase"),
            ("Moves", "integer", ".status.moves.total"),
            ("Done", "integer", ".status.moves.done"),
            ("[Bytes]", "integer", ".status.moves.bytes"),
            ("Complete", "string", '.status.conditions[?(@.type=="Complete")].status'),
            ("Stalled", "string", '.status.conditions[?(@.type=="Stalled")].status'),
            ("Age", "date", ".metadata.creationTimestamp"),
        ),
        max_name=0,
    ),
)


def build_crd(kind: Kind) -> dict[str, Any]:
    """The definition of a kind."""
    spec = structural(kind.spec)
    root: dict[str, Any] = {
        "type": "object",
        "description": (kind.spec.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": without_defaults(structural(kind.status)),
        },
    }
    if all_rules := [*name_rules(kind), *kind.rules]:
        root["x-kubernetes-validations"] = all_rules
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    columns = [
        {"name": name.strip("[]"), "type": type_, "jsonPath": path, **({"priority": 1} if name[0] == "[" else {})}
        for name, type_, path in kind.columns
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": root},
                    "subresources": subresources,
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }


def name_rules(kind: Kind) -> list[dict[str, str]]:
    """What a name has to be, for names that others are made from."""
    if not kind.max_name:
        return []
    return [
        rule(
            f"size(self.metadata.name) <= {kind.max_name}",
            f"at most {kind.max_name} characters: names of Pods, volumes and Services follow from it",
        ),
        rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "a letter, then letters, digits and dashes, all lower case: names of Services follow from it",
        ),
    ]


def structural(model: type[Model]) -> dict[str, Any]:
    """The structural schema of a model: no references, no unions, no nulls."""
    document = model.model_json_schema(by_alias=True)
    return _structural(document, document.get("$defs", {}), ())


def _structural(node: dict[str, Any], definitions: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name in path:
            raise AssertionError(f"{name} contains itself: no structural schema can say that")
        merged = {**definitions[name], **{key: value for key, value in node.items() if key != "$ref"}}
        both = [*definitions[name].get("x-kubernetes-validations", ()), *node.get("x-kubernetes-validations", ())]
        if both:
            merged["x-kubernetes-validations"] = both
        return _structural(merged, definitions, (*path, name))
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise AssertionError(f"{node}: write one optional field per case and a rule")
        rest = {
            key: value for key, value in node.items() if key != "anyOf" and not (key == "default" and value is None)
        }
        return _structural({**options[0], **rest}, definitions, path)
    if NUMBER_OR_TEXT in node:
        either = [{"type": "integer"}, {"type": "string"}]
        return {"anyOf": either, NUMBER_OR_TEXT: True, "pattern": node["pattern"], "maxLength": node["maxLength"]}
    out = {key: value for key, value in node.items() if key in KEPT}
    unknown = set(node) - KEPT - DROPPED - {"properties", "items", "additionalProperties", "const"}
    if unknown:
        raise AssertionError(f"{sorted(unknown)}: not known how to say this in a structural schema")
    if "const" in node:
        out["enum"] = [node["const"]]
    if "properties" in node:
        out["properties"] = {key: _structural(value, definitions, path) for key, value in node["properties"].items()}
    if "items" in node:
        out["items"] = _structural(node["items"], definitions, path)
    extra = node.get("additionalProperties")
    if isinstance(extra, dict):
        out["additionalProperties"] = _structural(extra, definitions, path)
    elif extra is True or (node.get("type") == "object" and "properties" not in node and extra is None):
        out["x-kubernetes-preserve-unknown-fields"] = True
    if out.get("type") == "object" and isinstance(out.get("default"), dict):
        out["default"] = _without_nulls(out["default"])
    return out


def without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """A status is what its writer wrote: the API server adds nothing to it."""
    out = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in out:
        out["properties"] = {key: without_defaults(value) for key, value in out["properties"].items()}
    if "items" in out:
        out["items"] = without_defaults(out["items"])
    return out


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


class PlainDumper(yaml.SafeDumper):
    """Writes equal parts out instead of referring to them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def crd_yaml(kind: Kind) -> str:
    """The definition as the chart has it: installed unless another release did, and kept when the release goes."""
    text: str = yaml.dump(build_crd(kind), Dumper=PlainDumper, sort_keys=True, width=118, allow_unicode=True)
    return f"{HEADER}\n{text}{{{{- end }}}}\n"


def write_all(folder: Path) -> None:
    """Write one file per kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / f"{kind.plural}.yaml").write_text(crd_yaml(kind))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
