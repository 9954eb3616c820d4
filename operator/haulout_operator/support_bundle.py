"""`kubectl haulout report`: everything about our objects that helps somebody else to understand them, and no secret.

Secrets are never asked for. What people may have put elsewhere is struck out, and of objects that are not ours only the
names are taken along: who shares the namespace has nothing to do with it.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from haulout_operator.models.base import GROUP
from haulout_operator.names import EPOCHS_COMPONENT, FIELD_MANAGER, NETWORK_LABEL
from haulout_operator.redaction import redact, redact_log, redact_text

OBJECTS = (
    "snet",
    "snp",
    "sn",
    "ept",
    "pods",
    "statefulsets",
    "deployments",
    "jobs",
    "services",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "networkpolicies",
    "configmaps",
    "resourcequotas",
    "events",
)
ANYBODYS = ("Event", "ResourceQuota")  # they say why others wait
LOG_LINES = 2_000

# Runs kubectl with these arguments in the right namespace; its output, or why there is none.
Kubectl = Callable[..., str]


def collect(kubectl: Kubectl) -> dict[str, str]:
    """Files of the bundle by name; what cannot be had says why in its place."""
    files: dict[str, str] = {"version.txt": redact_text(kubectl("version"))}
    for kind in OBJECTS:
        text = kubectl("get", kind, "-o", "json")
        try:
            items = json.loads(text).get("items") or ()
        except (AttributeError, ValueError):
            files[f"{kind}.txt"] = redact_text(text)
            continue
        kept = [redact(one) if is_ours(one) or one.get("kind") in ANYBODYS else name_of(one) for one in items]
        files[f"{kind}.json"] = json.dumps({"items": kept}, indent=1, sort_keys=True, ensure_ascii=False)
    for pod, container in containers_of(json.loads(files.get("pods.json", "{}"))):
        more = {"": (), ".previous": ("--previous",)}
        for suffix, arguments in more.items():
            log = kubectl("logs", pod, "-c", container, f"--tail={LOG_LINES}", *arguments)
            files[f"logs/{pod}.{container}{suffix}.log"] = redact_log(log)
    return files


def is_ours(body: Mapping[str, Any]) -> bool:
    """Whether an object is one of our kinds, of a network, or of the chart."""
    labels = (body.get("metadata") or {}).get("labels") or {}
    component = labels.get("app.kubernetes.io/component", "")
    return (
        str(body.get("apiVersion", "")).startswith(f"{GROUP}/")
        or NETWORK_LABEL in labels
        or component in (FIELD_MANAGER, EPOCHS_COMPONENT)
        or str(labels.get("helm.sh/chart", "")).startswith("haulout-")
    )


def name_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is not ours."""
    return {"kind": body.get("kind", ""), "metadata": {"name": (body.get("metadata") or {}).get("name", "")}}


def containers_of(pods: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Pods of ours and their containers."""
    for pod in pods.get("items") or ():
        spec = pod.get("spec") or {}  # of others there is but the name
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
            yield pod["metadata"]["name"], container["name"]


def pack(files: Mapping[str, str]) -> bytes:
    """A .tar.gz of the files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in sorted(files.items()):
            raw = text.encode()
            info = tarfile.TarInfo(f"haulout-report/{name}")
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return out.getvalue()
