"""`kubectl haulout report`: everything about a network that helps somebody else to understand it, and no secret.

Secrets are never asked for. Logs and objects carry no keys; what a person might have put into an annotation, an
environment variable or a URL under a name that sounds like one is struck out all the same.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

OBJECTS = (
    "snet",
    "snp",
    "sn",
    "ept",
    "pods",
    "statefulsets",
    "deployments",
    "services",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "networkpolicies",
    "configmaps",
    "events",
)
LOG_LINES = 2_000
STRUCK_OUT = "…"
SOUNDS_SECRET = re.compile(r"(?i)secret|password|passwd|token|credential|private|api[-_]?key|authorization")
USER_IN_URL = re.compile(r"(://)[^/@\s:]+:[^/@\s]+@")
BEARER = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+")

# Runs kubectl with these arguments in the right namespace; its output, or why there is none.
Kubectl = Callable[..., str]


def collect(kubectl: Kubectl) -> dict[str, str]:
    """Files of the bundle by name; what cannot be had says why in its place."""
    files: dict[str, str] = {}
    for kind in OBJECTS:
        text = kubectl("get", kind, "-o", "json")
        try:
            files[f"{kind}.json"] = json.dumps(redact(json.loads(text)), indent=1, sort_keys=True)
        except ValueError:
            files[f"{kind}.txt"] = redact_text(text)
    for pod, container in containers_of(json.loads(files.get("pods.json", "{}"))):
        more = {"": (), ".previous": ("--previous",)}
        for suffix, arguments in more.items():
            log = kubectl("logs", pod, "-c", container, f"--tail={LOG_LINES}", *arguments)
            files[f"logs/{pod}.{container}{suffix}.log"] = redact_text(log)
    return files


def containers_of(pods: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Pods of ours and their containers."""
    for pod in pods.get("items") or ():
        labels = pod["metadata"].get("labels") or {}
        if "haulout.dev/network" in labels or labels.get("app.kubernetes.io/component") == "haulout-operator":
            spec = pod["spec"]
            for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
                yield pod["metadata"]["name"], container["name"]


def redact(value: Any) -> Any:
    """A JSON value without what sounds like a secret; names of Secrets stay, since they explain."""
    if isinstance(value, Mapping):
        is_named = isinstance(value.get("name"), str) and SOUNDS_SECRET.search(value["name"]) and "value" in value
        return {
            key: STRUCK_OUT if isinstance(one, str) and _is_secret(key, one, bool(is_named)) else redact(one)
            for key, one in value.items()
            if key != "managedFields"
        }
    if isinstance(value, list):
        return [redact(one) for one in value]
    return redact_text(value) if isinstance(value, str) else value


def _is_secret(key: str, value: str, is_named: bool) -> bool:
    if key == "value" and is_named:  # an environment variable; a path to a file is none
        return not value.startswith("/")
    return bool(SOUNDS_SECRET.search(key)) and key not in ("secretName", "automountServiceAccountToken")


def redact_text(text: str) -> str:
    """Text without passwords in URLs and bearer tokens."""
    return BEARER.sub(rf"\g<1>{STRUCK_OUT}", USER_IN_URL.sub(rf"\g<1>{STRUCK_OUT}@", text))


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
