"""The network that a chart brings: manifests in a folder, applied at start and never deleted.

What people changed since stays: a manifest is applied when it is new or has changed, and a pool keeps the size it was
scaled to unless the manifest names another one than last time.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from haulout.errors import InvalidField
from haulout_operator.kube import Kube, Manifest
from haulout_operator.manifests.common import digest_of
from haulout_operator.models.base import API_VERSION, GROUP

KINDS = ("StorageNetwork", "StorageNodePool")
INSTALLED_ANNOTATION = f"{GROUP}/installed"
REPLICAS_ANNOTATION = f"{GROUP}/installed-replicas"
FIELD_MANAGER = "haulout-install"


def read_manifests(folder: Path) -> list[Manifest]:
    """All manifests of the YAML files in a folder, networks first.

    Raises:
        InvalidField: a file is not YAML, or holds something else than a network or a pool.
    """
    found: list[Manifest] = []
    for path in sorted(folder.glob("*.yaml")):
        found += read_documents(path)
    return sorted(found, key=lambda body: KINDS.index(body["kind"]))


def read_documents(path: Path) -> list[Manifest]:
    """Networks and pools of one YAML file.

    Raises:
        InvalidField: it is not YAML, or holds something else.
    """
    try:
        documents: list[Any] = [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
    except (OSError, yaml.YAMLError) as e:
        raise InvalidField(field=str(path), problem=f"cannot be read: {e}") from e
    for body in documents:
        known = isinstance(body, dict) and body.get("apiVersion") == API_VERSION and body.get("kind") in KINDS
        if not known or not (body.get("metadata") or {}).get("name"):
            raise InvalidField(field=str(path), problem=f"holds something else than {' and '.join(KINDS)}")
    return documents


async def install(kube: Kube, manifests: list[Manifest], namespace: str) -> None:
    """Apply what is new or changed.

    Raises:
        HauloutError: the API server refuses it, or does not answer.
    """
    for body in manifests:
        live = await kube.get(API_VERSION, body["kind"], namespace, body["metadata"]["name"])
        wanted = merge_with_live(body, live, namespace)
        if wanted is not None:
            await kube.apply(wanted, manager=FIELD_MANAGER)


def merge_with_live(body: Manifest, live: Manifest | None, namespace: str) -> Manifest | None:
    """What to apply; None when this very manifest was applied before."""
    digest = digest_of(body)
    wanted = copy.deepcopy(body)
    metadata = wanted["metadata"]
    metadata["namespace"] = namespace
    annotations = metadata.setdefault("annotations", {})
    annotations[INSTALLED_ANNOTATION] = digest
    replicas = wanted["spec"].get("replicas")
    if replicas is not None:
        annotations[REPLICAS_ANNOTATION] = str(replicas)
    if live is None:
        return wanted
    before = live["metadata"].get("annotations") or {}
    if before.get(INSTALLED_ANNOTATION) == digest:
        return None
    if replicas is not None and before.get(REPLICAS_ANNOTATION) == str(replicas):
        wanted["spec"]["replicas"] = live["spec"]["replicas"]  # somebody scaled it since
    return wanted
