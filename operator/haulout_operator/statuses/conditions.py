"""Conditions: facts with a reason, a message, a next step, and the time at which they last turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MESSAGE_MAX = 4000


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition without its times."""

    type: str
    holds: bool | None  # None is Unknown
    reason: str
    message: str = ""


def time_text(time_ms: int) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merge_conditions(
    old: Mapping[str, Any], facts: Sequence[Fact], *, now_ms: int, generation: int
) -> list[dict[str, Any]]:
    """Conditions for a status; one that did not turn keeps its time, so that nothing new is nothing written."""
    before = {one["type"]: one for one in old.get("conditions") or ()}
    merged = []
    for fact in facts:
        status = "Unknown" if fact.holds is None else str(fact.holds)
        known = before.get(fact.type)
        turned = known is None or known["status"] != status
        merged.append(
            {
                "type": fact.type,
                "status": status,
                "reason": fact.reason,
                "message": fact.message[:MESSAGE_MAX],
                "lastTransitionTime": time_text(now_ms) if turned or known is None else known["lastTransitionTime"],
                "observedGeneration": generation,
            }
        )
    return merged
