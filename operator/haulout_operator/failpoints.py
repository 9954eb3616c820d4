"""Named points of an epoch change at which the operator can be made to end, to prove that the next one finishes.

Off unless `HAULOUT_FAILPOINT` says `POINT[,POINT…]@CHAIN_ID`, and then for the network with that chain id alone: a
setting that was copied from another installation does nothing, and no value of the chart sets it. An armed process ends
each time it comes to one of its points; what was begun is finished once the variable is gone. `docs/operations.md`
lists the points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from haulout.errors import InvalidField
from haulout.ledger.commands import ChangeEpoch, Command, EndVoting
from haulout.observability.logs import get_logger
from haulout.primitives import hex_id_text
from haulout_operator.actions import (
    Action,
    AdvanceEpoch,
    Create,
    Delete,
    DropFinalizer,
    RequestLeave,
    StakeNode,
    WithdrawStake,
)

EXIT_CODE = 77  # no signal and no error of ours: whoever sees it knows where it came from

log = get_logger("operator")


class Failpoint(StrEnum):
    """In the order in which an epoch change that replaces a node comes to them."""

    SUBSTITUTE_STAKED = "substitute-staked"
    LEAVE_DUE = "leave-due"
    LEAVE_REQUESTED = "leave-requested"
    VOTING_DUE = "voting-due"
    VOTING_ENDED = "voting-ended"
    TRANSITION_DUE = "transition-due"
    TRANSITION_MADE = "transition-made"
    CHANGE_DUE = "change-due"
    EPOCH_CHANGED = "epoch-changed"
    STAKE_RETURNED = "stake-returned"
    VOLUME_DELETED = "volume-deleted"
    LET_GO = "let-go"


@dataclass(frozen=True, slots=True)
class Armed:
    """Where to end, in which network."""

    points: frozenset[Failpoint]
    chain_id: str


@dataclass(frozen=True, slots=True)
class Around:
    """The points before and after an effect."""

    before: Failpoint | None = None
    after: Failpoint | None = None


NOWHERE = Around()


class Failpoints:
    """Ends the process where it is armed, and does nothing anywhere else."""

    def __init__(self, armed: Armed | None = None, end: Callable[[Failpoint], None] = lambda point: None) -> None:
        self._armed = armed
        self._end = end

    def reach(self, point: Failpoint | None, chain_id: bytes) -> None:
        """Come to a point in the network with this chain id; returns unless the process ends here."""
        armed = self._armed
        if point is None or armed is None or point not in armed.points or armed.chain_id != hex_id_text(chain_id):
            return
        log.warning("failpoint", point=point.value, chain_id=armed.chain_id)
        self._end(point)


def parse_armed(text: str) -> Armed | None:
    """What `HAULOUT_FAILPOINT` says; None when it is empty.

    Raises:
        InvalidField: neither empty nor POINT[,POINT…]@CHAIN_ID.
    """
    if not text:
        return None
    points, _, chain_id = text.partition("@")
    for point in points.split(","):
        if point not in list(Failpoint):
            raise InvalidField(field="HAULOUT_FAILPOINT", problem=f"{point!r} is none of {', '.join(Failpoint)}")
    if not chain_id.startswith("0x"):
        raise InvalidField(field="HAULOUT_FAILPOINT", problem="names no network; write POINT@CHAIN_ID, from its status")
    return Armed(frozenset(map(Failpoint, points.split(","))), chain_id)


def around_action(action: Action) -> Around:
    """The points before and after what the planner asks for."""
    match action:
        case StakeNode():
            return Around(after=Failpoint.SUBSTITUTE_STAKED)
        case RequestLeave():
            return Around(Failpoint.LEAVE_DUE, Failpoint.LEAVE_REQUESTED)
        case AdvanceEpoch():
            return Around(Failpoint.CHANGE_DUE, Failpoint.EPOCH_CHANGED)
        case WithdrawStake():
            return Around(after=Failpoint.STAKE_RETURNED)
        case Create(manifest={"kind": "EpochTransition"}):
            return Around(Failpoint.TRANSITION_DUE, Failpoint.TRANSITION_MADE)
        case Delete(kind="PersistentVolumeClaim"):
            return Around(after=Failpoint.VOLUME_DELETED)
        case DropFinalizer(subject=subject) if subject.kind == "StorageNode":
            return Around(after=Failpoint.LET_GO)
        case _:
            return NOWHERE


def around_step(command: Command) -> Around:
    """The points before and after a step of the epoch controller."""
    match command:
        case EndVoting():
            return Around(Failpoint.VOTING_DUE, Failpoint.VOTING_ENDED)
        case ChangeEpoch():
            return Around(Failpoint.CHANGE_DUE, Failpoint.EPOCH_CHANGED)
        case _:
            return NOWHERE
