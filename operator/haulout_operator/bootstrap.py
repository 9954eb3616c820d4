"""The network that a chart brings: manifests in a folder, applied at start and never deleted.

What people changed since stays: a manifest is applied when it is new or has changed, and a pool keeps the size it was
scaled to unless the manifest names another one than last time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from haulout.errors import HauloutError, InvalidField, Rejected
from haulout.observability.logs import get_logger
from haulout.ports import Clock
from haulout_operator.events import MESSAGE_MAX, Happening, build_events
from haulout_operator.kube import AccessRefused, Kube, Manifest, ManifestRefused
from haulout_operator.manifests.common import digest_of
from haulout_operator.models.base import API_VERSION, GROUP
from haulout_operator.observed import Subject

KINDS = ("StorageNetwork", "StorageNodePool")
INSTALLED_ANNOTATION = f"{GROUP}/installed"
REPLICAS_ANNOTATION = f"{GROUP}/installed-replicas"
FIELD_MANAGER = "haulout-install"
INSTALL_PAUSE_MS = 3_000
INSTALL_PAUSE_MS_MAX = 60_000

log = get_logger("operator")


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


@dataclass(eq=False)
class InstallationRefused(Rejected):
    """The API server does not take what the chart brings."""

    code = "INSTALLATION_REFUSED"
    template = "not applied: {problem}"
    hint = "helm upgrade with values that are taken; what was there before stays"
    subject: Subject
    uid: str
    problem: str


async def install(kube: Kube, manifests: list[Manifest], namespace: str) -> None:
    """Apply what is new or changed.

    Raises:
        InstallationRefused: the API server does not take an object: a rule, a schema, a permission.
        HauloutError: it does not answer.
    """
    for body in manifests:
        kind, name = body["kind"], body["metadata"]["name"]
        live = await kube.get(API_VERSION, kind, namespace, name)
        wanted = merge_with_live(body, live, namespace)
        if wanted is None:
            continue
        try:
            await kube.apply(wanted, manager=FIELD_MANAGER)
        except (ManifestRefused, AccessRefused) as e:
            uid = "" if live is None else str(live["metadata"].get("uid", ""))
            raise InstallationRefused(subject=Subject(kind, name), uid=uid, problem=str(e)) from e


async def install_until_done(
    kube: Kube, manifests: list[Manifest], namespace: str, *, clock: Clock, is_stopped: Callable[[], bool]
) -> None:
    """Apply what a chart brings, again and again until it is taken; what is refused is told as an event of its object,
    where `kubectl describe` shows it, once for each reason."""
    pause_ms, told = INSTALL_PAUSE_MS, ""
    while not is_stopped():
        try:
            await install(kube, manifests, namespace)
        except InstallationRefused as e:
            if e.problem != told:
                log.warning("network of the chart is refused", code=e.code, problem=str(e))
                await _announce(kube, namespace, e, clock.now_ms())
            told, pause_ms = e.problem, min(2 * pause_ms, INSTALL_PAUSE_MS_MAX)
        except HauloutError as e:
            log.warning("network of the chart not applied yet", code=e.code, problem=str(e))
        else:
            return
        await clock.sleep_ms(pause_ms)


async def _announce(kube: Kube, namespace: str, refused: InstallationRefused, now_ms: int) -> None:
    said = Happening(
        "Warning", "InstallationRefused", f"not applied: {refused.problem}. Next: {refused.hint}"[:MESSAGE_MAX]
    )
    for event in build_events(refused.subject, refused.uid, namespace, [said], now_ms):
        try:
            await kube.create(event)
        except HauloutError as e:
            log.info("event not written", reason=event["reason"], problem=str(e))


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
