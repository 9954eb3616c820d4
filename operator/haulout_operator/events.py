"""Events: what `kubectl describe` lists below an object. One for each turn of a condition, and none at rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haulout.errors import HauloutError, Unavailable
from haulout_operator.manifests.common import Manifest, digest_of
from haulout_operator.models.base import API_VERSION
from haulout_operator.names import FIELD_MANAGER
from haulout_operator.observed import Subject
from haulout_operator.pods import camel_case
from haulout_operator.statuses.conditions import time_text

MESSAGE_MAX = 1000

# Reasons for which a person is needed, or soon will be; `docs/operations.md` says what to do about each.
WARNINGS = frozenset(
    (
        "AccessRefused",
        "ActionFailed",
        "BelowMinNodes",
        "BudgetExhausted",
        "CapacityExceeded",
        "CrashLoopBackOff",
        "DiskFull",
        "ErrImagePull",
        "ForeignIdentity",
        "ForeignLedger",
        "ForeignVolume",
        "GenesisMissing",
        "GenesisTooSmall",
        "GenesisUnreadable",
        "ImagePullBackOff",
        "InstallationRefused",
        "KeysMissing",
        "LedgerUnreachable",
        "ManifestRefused",
        "NetworkMissing",
        "NodeHolds",
        "NodeSilent",
        "PodRefused",
        "ProtocolVotesMissing",
        "RoundBroken",
        "SampleUnreadable",
        "SecretMissing",
        "ServicesNotReady",
        "SpecUnreadable",
        "StakeUnfunded",
        "StorageFailed",
        "TooFewShards",
        "TransitionStalled",
        "Unschedulable",
        "VolumeCannotGrow",
        "WrongVolumeVersion",
        "ZoneTooHeavy",
    )
)
# Those for which an object is not ready on its way to where it should be: nobody is needed. Whatever else `Ready` is
# False for warns, as the code that a process ended with, or what Kubernetes says of a Pod.
ON_THE_WAY = frozenset(
    (
        "ChosenForNextEpoch",
        "ContainersNotReady",
        "Founding",
        "HandingOver",
        "Maintenance",
        "MakingKeys",
        "NetworkGoes",
        "NeverFounded",
        "NeverStaked",
        "NoPod",
        "NoPool",
        "NodesMissing",
        "NodesNotReady",
        "OwnsShards",
        "Proven",
        "RequestingLeave",
        "Starting",
        "Stopping",
        "Sync",
        "Terminating",
        "Unknown",
        "Voted",
        "Waiting",
        "WaitingForAttestation",
        "WaitingForGenesis",
        "WaitingForSample",
        "WaitingForSubstitute",
        "WithdrawingStake",
    )
)
# Those that are ordinary while a network is being founded, and news only when it was otherwise before.
SETBACKS = frozenset(("LedgerUnreachable", "ServicesNotReady", "TooFewShards"))


@dataclass(frozen=True, slots=True)
class Happening:
    """A condition that turned."""

    type: str  # Normal or Warning
    reason: str
    message: str


def find_happenings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Happening]:
    """What turned between two statuses: once for each reason, since one fact may turn several conditions."""
    before = {one["type"]: (one["status"], one["reason"]) for one in old.get("conditions") or ()}
    found: dict[str, Happening] = {}
    for one in new.get("conditions") or ():
        reason = one["reason"]
        was, is_warning = before.get(one["type"]), needs_person(one)
        if was == (one["status"], reason) or reason in found or one["status"] == "Unknown":
            continue
        if reason in SETBACKS and (was is None or was[0] != "True"):
            continue
        if not before and not is_warning:  # it is new: how it begins is no turn
            continue
        text = one["message"] or f"{one['type']} is {one['status']}"
        found[reason] = Happening("Warning" if is_warning else "Normal", reason, text[:MESSAGE_MAX])
    return list(found.values())


def needs_person(condition: Mapping[str, Any]) -> bool:
    """Whether a condition is one that somebody has to do something about, or soon will have to."""
    reason = condition["reason"]
    if reason in WARNINGS:
        return True
    is_odd = condition["type"] == "Ready" and condition["status"] == "False" and reason not in ON_THE_WAY
    return is_odd and reason not in _reasons_of(Unavailable)  # those are tried again by a machine


def _reasons_of(family: type[HauloutError]) -> set[str]:
    """The codes of a family of errors, as conditions have them."""
    below = {reason for one in family.__subclasses__() for reason in _reasons_of(one)}
    return below | {camel_case(family.code)}


def build_events(subject: Subject, uid: str, namespace: str, found: Sequence[Happening], now_ms: int) -> list[Manifest]:
    """Events as the API server takes them."""
    time = time_text(now_ms)
    return [
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{subject.name}.{digest_of([subject.kind, one.reason, one.message, now_ms])}",
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": subject.kind,
                "name": subject.name,
                "namespace": namespace,
                "uid": uid,
            },
            "type": one.type,
            "reason": one.reason,
            "message": one.message,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": FIELD_MANAGER,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        for one in found
    ]
