"""The status of an EpochTransition: the ledger's phases, mirrored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haulout.primitives import min_correct
from haulout_operator.manifests.common import Manifest
from haulout_operator.observed import LedgerFacts, LedgerNode, Observed
from haulout_operator.planning.budget import is_up
from haulout_operator.quantities import parse_duration_ms, parse_time_ms
from haulout_operator.statuses.conditions import Fact, merge_conditions, time_text


def compute_transition_status(observed: Observed, body: Manifest) -> dict[str, Any] | None:
    """How far a change of epoch is; None when the ledger cannot be asked, so that what it said last stands."""
    ledger = observed.ledger
    if ledger is None:
        return None
    to_epoch = int(body["spec"]["toEpoch"])
    old: dict[str, Any] = body.get("status") or {}
    current = ledger.epoch + (ledger.phase == "Voted")
    is_current = to_epoch == current
    phase = ledger.phase if is_current else "Done" if to_epoch < current else "Waiting"
    status: dict[str, Any] = {
        "observedGeneration": int(body["metadata"].get("generation", 0)),
        "phase": phase,
        "startedAt": old.get("startedAt") or time_text(observed.now_ms),
    }
    if is_current and ledger.phase != "Voted":
        status |= {
            "forced": ledger.is_forced,
            "syncedWeight": ledger.synced_weight,
            "moves": count_moves(observed, ledger, old.get("moves") or {}),
        }
        has_moved = any(status[key] != old.get(key) for key in ("syncedWeight", "moves"))
        stood = None if has_moved else old.get("progressedAt")  # an earlier release did not write it
        status["progressedAt"] = stood or time_text(observed.now_ms)
    else:
        status |= {key: old[key] for key in ("forced", "syncedWeight", "moves", "progressedAt") if key in old}
        if phase == "Done" and not ledger.moving and "moves" in status:  # what a forced change left has arrived
            moves = status["moves"]
            status["moves"] = {**moves, "done": moves["total"], "bytesDone": moves.get("bytes", 0)}
    if phase == "Done":
        status["completedAt"] = old.get("completedAt") or time_text(observed.now_ms)
    moves = status.get("moves") or {"total": 0, "done": 0}
    complete = complete_fact(observed, ledger, phase, is_forced=bool(status.get("forced")))
    facts = [
        Fact("Ready", complete.holds, complete.reason, complete.message),
        complete,
        handed_over_fact(moves, phase),
        stalled_fact(observed, ledger, phase, status.get("progressedAt", "")),
    ]
    generation = status["observedGeneration"]
    status["conditions"] = merge_conditions(old, facts, now_ms=observed.now_ms, generation=generation)
    return status


def count_moves(observed: Observed, ledger: LedgerFacts, old: Mapping[str, int]) -> dict[str, int]:
    """Shards as the ledger counts them, bytes as their new owners do: who has everything counts nothing any more."""
    known = max(old.get("bytes", 0), sum(one.moving_bytes for one in observed.reports.values()))
    lacking = sum(one.moving_bytes - one.moved_bytes for one in observed.reports.values())
    if ledger.moves_done == ledger.moves_total:
        lacking = 0
    return {"total": ledger.moves_total, "done": ledger.moves_done, "bytes": known, "bytesDone": known - lacking}


def complete_fact(observed: Observed, ledger: LedgerFacts, phase: str, *, is_forced: bool) -> Fact:
    """Whether the ledger's phase is Done."""
    if phase == "Done":
        return Fact("Complete", True, "Done", "forced at its deadline" if is_forced else "")
    if phase == "Voted":
        return Fact("Complete", False, phase, "the next committee is chosen")
    if phase == "Waiting":
        return Fact("Complete", False, phase, f"somebody has made it: the ledger is in epoch {ledger.epoch} still")
    weight = f"{ledger.synced_weight} of {ledger.n_shards} shards are synced"
    fetching = [
        f"{name} ({node.incoming} shards{'' if is_up(observed, name) else ', its Pod is not ready'})"
        for name, node in sorted(ledger.nodes.items())
        if node.incoming
    ]
    told = f"; on their way to {', '.join(fetching)}. Next: kubectl describe sn of these" if fetching else ""
    return Fact("Complete", False, phase, weight + told)


def handed_over_fact(moves: dict[str, int], phase: str) -> Fact:
    """Whether every shard that moves has arrived; may follow epochs after Complete."""
    done = phase not in ("Voted", "Waiting") and moves["done"] == moves["total"]
    return Fact("HandedOver", done, "AllMoved" if done else "Moving", f"{moves['done']} of {moves['total']} shards")


def stalled_fact(observed: Observed, ledger: LedgerFacts, phase: str, progressed_at: str) -> Fact:
    """Whether nothing has arrived for too long while members fetch what they gained: who has not reported, and until
    when the ledger waits for them."""
    if phase != "Sync":
        return Fact("Stalled", False, phase)
    timeout = observed.network.spec.epoch.transition_timeout
    if observed.now_ms - parse_time_ms(progressed_at) < parse_duration_ms(timeout):
        return Fact("Stalled", False, "Progressing")
    late = [
        f"{name} ({_why_late(observed, name, node)})"
        for name, node in sorted(ledger.nodes.items())
        if node.shards and not node.has_reported
    ]
    if ledger.due_ms is None:
        until = "Epochs are manual here, so nobody forces it"
    else:
        until = f"At {time_text(ledger.due_ms)} the ledger may force the epoch on without them"
    return Fact(
        "Stalled",
        True,
        "TransitionStalled",
        f"nothing has arrived since {progressed_at}: {ledger.synced_weight} of {ledger.n_shards} shards are synced, "
        f"{min_correct(ledger.n_shards)} end the change; not yet {', '.join(late)}. {until}; reads and writes go on. "
        "Next: kubectl describe sn of these, bring back Pods that are not ready, and look at the logs of the others.",
    )


def _why_late(observed: Observed, name: str, node: LedgerNode) -> str:
    ready = "" if is_up(observed, name) else ", its Pod is not ready"
    return f"{node.incoming} shards on their way{ready}"
