"""Why a node is not as it should be: findings from its own words, the ledger and this API's view, worst first.

Pure: `diagnose` takes what is known and returns what follows from it, each with its evidence and what to do.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import strawberry

from graphql_api.health import Checkup
from graphql_api.holdings import NodeReport
from haulout.ports import NodeHealth

BEHIND_BLOCKS = 50
ATTESTED_BEHIND_BLOCKS = 500


@strawberry.enum(description="How bad a finding is.")
class Severity(enum.Enum):
    INFO = strawberry.enum_value("INFO", description="Good to know.")
    WARNING = strawberry.enum_value("WARNING", description="It does less than it should; others make up for it.")
    CRITICAL = strawberry.enum_value("CRITICAL", description="It does not do its work; look at it now.")


@strawberry.type(description="A finding about a node: what is wrong, how one can tell, and what to do.")
class Diagnosis:
    code: str = strawberry.field(description="Stable name of the finding.")
    severity: Severity = strawberry.field(description="How bad it is.")
    summary: str = strawberry.field(description="What is wrong, in a sentence.")
    evidence: list[str] = strawberry.field(description="What this follows from.")
    remedy: str = strawberry.field(description="What to do about it.")


@strawberry.type(description="Something that holds or does not, in the manner of Kubernetes.")
class Condition:
    type: str = strawberry.field(description="What it is about.")
    status: bool = strawberry.field(description="Whether it holds.")
    reason: str = strawberry.field(description="Why, in a word.")
    message: str = strawberry.field(description="Why, for people; empty when the word says it all.")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a node from elsewhere.

    Attributes:
        address: where it was asked.
        epoch: the ledger's.
        height: of the ledger, as executed here.
        weight: shards that it owns by the ledger.
        stake_frost: its pool's active stake.
        arriving: shards on their way to it.
        leaving: shards that it still has to hand over.
        is_asked_to_leave: whether it is on its way out of the network.
    """

    address: str
    epoch: int
    height: int
    weight: int
    stake_frost: int
    arriving: int
    leaving: int
    is_asked_to_leave: bool = False


def diagnose(checkup: Checkup, report: NodeReport | None, known: Known) -> list[Diagnosis]:
    """All that is wrong with a node, worst first; nothing for one that is well."""
    health = checkup.health
    if health is None:
        return [
            Diagnosis(
                code="UNREACHABLE",
                severity=Severity.CRITICAL if known.weight else Severity.WARNING,
                summary="It does not answer.",
                evidence=[f"no answer from {known.address} within a second", f"it owns {known.weight} shards"],
                remedy="See whether its process runs and its address is the one on the ledger; then read its log.",
            )
        ]
    found = []
    if not health.is_serving:
        found.append(
            Diagnosis(
                code="STOPPED",
                severity=Severity.CRITICAL,
                summary="It has stopped by itself and serves nothing more.",
                evidence=[f"it says: {health.status}"],
                remedy="Diverged: compare its build with the others', then resume it. StorageFailed: replace its disk.",
            )
        )
    head = _head(health, known)
    if head - health.height > BEHIND_BLOCKS:
        deaf = head - health.head_height > BEHIND_BLOCKS
        found.append(
            Diagnosis(
                code="CANNOT_HEAR_LEDGER" if deaf else "BEHIND",
                severity=Severity.WARNING,
                summary="It does not hear of new blocks." if deaf else "It executes blocks later than they come.",
                evidence=[
                    f"it is at block {health.height} and has heard of {health.head_height}",
                    f"the ledger is at block {head}",
                ],
                remedy="See whether it reaches the ledger." if deaf else "Wait; if it does not catch up, see its CPU.",
            )
        )
    elif health.epoch < known.epoch:
        found.append(
            Diagnosis(
                code="IN_OLD_EPOCH",
                severity=Severity.WARNING,
                summary="It is still in an earlier epoch.",
                evidence=[f"it is in epoch {health.epoch}, the ledger in {known.epoch}"],
                remedy="Wait for it to execute the change; if it does not, read its log.",
            )
        )
    if health.corrupt_slivers:
        found.append(
            Diagnosis(
                code="CORRUPT_SLIVERS",
                severity=Severity.WARNING,
                summary="Its disk has handed back other bytes than were written.",
                evidence=[f"{health.corrupt_slivers} corrupt slivers since its process started"],
                remedy="It rebuilds them by itself. If the number grows, replace the disk.",
            )
        )
    if health.incomplete_blobs:
        evidence = [f"{health.incomplete_blobs} certified blobs of which it lacks something"]
        if report is not None and report.lacking:
            evidence.append(f"{sum(report.lacking.values())} slivers of {len(report.lacking)} blobs by its own list")
        if known.arriving:
            evidence.append(f"{known.arriving} shards are on their way to it")
        found.append(
            Diagnosis(
                code="LACKS_SLIVERS",
                severity=Severity.WARNING,
                summary="It lacks slivers of certified blobs and is fetching or rebuilding them.",
                evidence=evidence,
                remedy="Wait. If the number stands still, see whether the other nodes answer and its disk has room.",
            )
        )
    if known.leaving:
        found.append(
            Diagnosis(
                code="HANDING_OVER",
                severity=Severity.INFO,
                summary="It still holds shards that belong to others by now.",
                evidence=[f"{known.leaving} shards that it gave away have not arrived"],
                remedy="Keep it running until they have.",
            )
        )
    if health.height - health.attested_height > ATTESTED_BEHIND_BLOCKS:
        found.append(
            Diagnosis(
                code="NOT_ATTESTED",
                severity=Severity.WARNING,
                summary="It has not seen the committee sign what it executed for long.",
                evidence=[f"it is at block {health.height}; it knows attested ones up to {health.attested_height}"],
                remedy="See whether nodes with n - f shards are up: fewer cannot attest.",
            )
        )
    if not known.weight:
        found.append(
            Diagnosis(
                code="OWNS_NOTHING",
                severity=Severity.INFO,
                summary="It is not in the committee.",
                evidence=[f"its active stake is {known.stake_frost} FROST"],
                remedy="Stake with it; what follows from how much, `simulateAssignment` tells.",
            )
        )
    return sorted(found, key=lambda finding: -ORDER.index(finding.severity))


def conditions_of(checkup: Checkup, known: Known) -> list[Condition]:
    """What holds of a node, in a fixed order; what only it can say does not hold while it does not answer."""
    health = checkup.health
    silent = f"no answer from {known.address}"
    owns = Condition(
        type="InCommittee",
        status=known.weight > 0,
        reason="OwnsShards" if known.weight else "OwnsNothing",
        message=f"{known.weight} shards in epoch {known.epoch}",
    )
    leaving = Condition(
        type="Leaving",
        status=known.is_asked_to_leave,
        reason="LeaveRequested" if known.is_asked_to_leave else "Staying",
        message=f"{known.leaving} shards are still to be handed over" if known.leaving else "",
    )
    if health is None:
        own = [Condition(type=name, status=False, reason="Unreachable", message=silent) for name in OWN_CONDITIONS]
        return [*own, owns, leaving]
    behind = _head(health, known) - health.height
    is_behind, lacking = behind > BEHIND_BLOCKS, health.incomplete_blobs
    return [
        Condition(type="Reachable", status=True, reason="Answers", message=""),
        Condition(type="Serving", status=health.is_serving, reason=health.word, message=health.status),
        Condition(
            type="CaughtUp",
            status=not is_behind,
            reason="Behind" if is_behind else "AtHead",
            message=f"{max(0, behind)} blocks are not executed",
        ),
        Condition(
            type="Complete",
            status=not lacking,
            reason="LacksSlivers" if lacking else "HoldsEverything",
            message=f"{lacking} certified blobs lack something" if lacking else "",
        ),
        owns,
        leaving,
    ]


def _head(health: NodeHealth, known: Known) -> int:
    """The last block that it, or this process, has heard of."""
    return max(known.height, health.head_height)


OWN_CONDITIONS = ("Reachable", "Serving", "CaughtUp", "Complete")
ORDER = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)
