"""The chart's schema of values: what `network.spec` and `pool.spec` may be comes from the kinds themselves.

`python -m haulout_operator.chart_schema FOLDER` writes it; a test compares what is committed with what would be
written. The API server drops fields that it does not know, so a typo has to be refused before anything is sent to it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from haulout_operator.crds import structural
from haulout_operator.models.base import NUMBER_OR_TEXT, Model
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.models.pool import StorageNodePoolSpec

SPECS: dict[str, type[Model]] = {"network": StorageNetworkSpec, "pool": StorageNodePoolSpec}
SAID_ELSEWHERE = ("networkRef", "replicas")  # by network.name and pool.replicas
# What Kubernetes has where our kinds take what it takes: the names at least, so that a typo does not vanish.
AFFINITY = ("nodeAffinity", "podAffinity", "podAntiAffinity")
SPREAD = (
    "labelSelector",
    "matchLabelKeys",
    "maxSkew",
    "minDomains",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "topologyKey",
    "whenUnsatisfiable",
)
VARIABLE = ("name", "value", "valueFrom")
MOUNT = ("mountPath", "mountPropagation", "name", "readOnly", "recursiveReadOnly", "subPath", "subPathExpr")
KEPT: tuple[str, ...] = ("type", "description", "enum", "pattern", "required")
KEPT += tuple(f"{limit}{what}" for limit in ("min", "max") for what in ("imum", "Length", "Items", "Properties"))


def build_schema(folder: Path) -> str:
    """The schema as it is, with the specs as the models have them now."""
    schema: dict[str, Any] = json.loads((folder / "values.schema.json").read_text())
    for part, model in SPECS.items():
        spec = closed(structural(model))
        spec["properties"] = {name: one for name, one in spec["properties"].items() if name not in SAID_ELSEWHERE}
        spec.pop("required", None)
        schema["properties"][part]["properties"]["spec"] = spec
    template = schema["properties"]["pool"]["properties"]["spec"]["properties"]["template"]["properties"]
    allow(template["affinity"], AFFINITY)
    allow(template["topologySpreadConstraints"]["items"], SPREAD)
    operator = schema["properties"]["operator"]["properties"]
    operator["tolerations"]["items"] = template["tolerations"]["items"]
    allow(operator["affinity"], AFFINITY)
    allow(operator["extraEnv"]["items"], VARIABLE)
    allow(operator["extraVolumeMounts"]["items"], MOUNT)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def allow(node: dict[str, Any], names: Sequence[str]) -> None:
    """Close an object: what it may have, and what is known of that already."""
    known = node.get("properties", {})
    node["properties"] = {name: known.get(name, {}) for name in names}
    node["additionalProperties"] = False


def closed(node: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as JSON Schema, in which nothing may be said that it does not know."""
    if NUMBER_OR_TEXT in node:
        return {"type": ["string", "integer"], "pattern": node["pattern"]}
    out = {key: value for key, value in node.items() if key in KEPT}
    if "properties" in node:
        out["properties"] = {key: closed(value) for key, value in node["properties"].items()}
        out["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = closed(node["additionalProperties"])
    if "items" in node:
        out["items"] = closed(node["items"])
    return out


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "values.schema.json").write_text(build_schema(target))
