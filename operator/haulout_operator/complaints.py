"""Why there is no Pod, or no volume: what Kubernetes says of objects that wait, which it says in events alone.

A quota, a policy or a priority class that is not there keeps a StatefulSet from making its Pod, and a storage class
keeps a claim without a volume. Neither has a status that tells why, so events are asked for while something waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from haulout_operator.manifests.common import Manifest
from haulout_operator.observed import PodFacts

Key = tuple[str, str]  # kind and name

MESSAGE_MAX = 600


def find_waiting(children: Mapping[Key, Manifest], pods: Sequence[PodFacts]) -> dict[Key, str]:
    """Objects without the Pod or volume that they should have: kind and name, with their UIDs."""
    there = {pod.name for pod in pods}
    found: dict[Key, str] = {}
    for (kind, name), body in children.items():
        if body["metadata"].get("deletionTimestamp"):
            continue
        lacks_pod = kind == "StatefulSet" and body["spec"].get("replicas", 1) and f"{name}-0" not in there
        lacks_volume = kind == "PersistentVolumeClaim" and (body.get("status") or {}).get("phase") == "Pending"
        if lacks_pod or lacks_volume:
            found[kind, name] = body["metadata"]["uid"]
    return found


def read_events(events: Iterable[Manifest], waiting: Mapping[Key, str]) -> dict[Key, str]:
    """The newest event about each object that waits, as Kubernetes words it."""
    newest: dict[Key, tuple[str, str]] = {}
    for event in events:
        about = event.get("involvedObject") or {}
        key = (about.get("kind", ""), about.get("name", ""))
        if waiting.get(key) != about.get("uid", ""):
            continue
        when = _time_of(event)
        if when >= newest.get(key, ("", ""))[0]:
            newest[key] = (when, f"{event.get('reason', '')}: {event.get('message', '')}"[:MESSAGE_MAX])
    return {key: said for key, (_, said) in newest.items()}


def read_failed_deployments(children: Mapping[Key, Manifest]) -> dict[Key, str]:
    """Deployments that say themselves why they lack Pods."""
    found: dict[Key, str] = {}
    for (kind, name), body in children.items():
        conditions: Iterable[Mapping[str, Any]] = (body.get("status") or {}).get("conditions") or ()
        for one in conditions if kind == "Deployment" else ():
            if one.get("type") == "ReplicaFailure" and one.get("status") == "True":
                found[kind, name] = f"{one.get('reason', '')}: {one.get('message', '')}"[:MESSAGE_MAX]
    return found


def _time_of(event: Manifest) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")
