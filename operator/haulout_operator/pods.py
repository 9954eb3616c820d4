"""Pods as far as they matter: whether they are ready, where they are, and what keeps them from running.

A process of ours that cannot go on ends with one line that holds a stable code and a sentence. Kubernetes keeps a
container's last lines (`terminationMessagePolicy: FallbackToLogsOnError`), so that a Pod that restarts again and again
says why, and not only that it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haulout_operator.manifests.common import Manifest
from haulout_operator.names import ZONE_LABEL
from haulout_operator.observed import PodFacts

ORDINARY = (None, "PodInitializing", "ContainerCreating")
KEYS_FIELD = "keys."


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a process said when it ended."""

    code: str
    problem: str

    def explain(self) -> str:
        """`Reason: message`, with what to do where that is known."""
        if self.code == "MALFORMED_REQUEST" and self.problem.startswith(KEYS_FIELD):
            return f"ForeignIdentity: {self.problem}. Next: restore the Secret with the keys that the ledger knows."
        reason, advice = KNOWN.get(self.code, (camel_case(self.code), ""))
        return f"{reason}: {self.problem}{f'. Next: {advice}' if advice else ''}"


# Reasons and what to do by the code that a process ends with; `docs/operations.md` has the same.
KNOWN = {
    "UNKNOWN_STORE_VERSION": (
        "WrongVolumeVersion",
        "run the release that wrote the volume (spec.image), or delete the StorageNode to have another take its place.",
    ),
    "WRONG_GENESIS": (
        "ForeignVolume",
        "give the volume back to the network that it belongs to; once the claim and the Pod are deleted the node is "
        "rebuilt from the others on a new one.",
    ),
    "DISK_FULL": ("DiskFull", "raise template.storage.size of the pool, or ledger.storage.size of the network."),
}


def camel_case(code: str) -> str:
    """A stable code as a condition's reason."""
    return code.title().replace("_", "")


def read_pod(body: Manifest) -> PodFacts:
    """A Pod as far as it matters."""
    status: Mapping[str, Any] = body.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    labels = body["metadata"].get("labels") or {}
    is_deleting = bool(body["metadata"].get("deletionTimestamp"))
    return PodFacts(
        name=body["metadata"]["name"],
        labels=labels,
        is_ready=conditions.get("Ready", {}).get("status") == "True" and not is_deleting,
        machine=(body.get("spec") or {}).get("nodeName") or "",
        zone=labels.get(ZONE_LABEL, ""),
        problem="Terminating: its Pod is ending" if is_deleting else _problem_of(status, conditions),
        n_restarts=sum(int(one.get("restartCount") or 0) for one in status.get("containerStatuses") or ()),
    )


def _problem_of(status: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unscheduled')}: {scheduled.get('message', '')}"
    ready = conditions.get("Ready", {})
    if ready.get("status") == "True":
        return ""
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        said = None if container.get("ready") else _last_words(container)
        if said is not None:
            return said.explain()
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in ORDINARY:
            last = (container.get("lastState") or {}).get("terminated") or {}
            ended = f"; it ended with code {last['exitCode']} ({last.get('reason', '')})" if last else ""
            return f"{waiting['reason']}: {waiting.get('message', '')}{ended}"
    return f"{ready.get('reason', 'Starting')}: {ready.get('message', 'the Pod is starting')}"


def _last_words(container: Mapping[str, Any]) -> LastWords | None:
    """The error that the container's process ended with last; None when it said nothing of the kind."""
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        ended = state.get("terminated") or {}
        if not ended.get("exitCode"):
            continue
        for line in reversed(str(ended.get("message") or "").splitlines()):
            try:
                document = json.loads(line)
            except ValueError:
                continue
            if isinstance(document, dict) and document.get("code") and document.get("problem"):
                return LastWords(str(document["code"]), str(document["problem"]))
        return None
    return None
