"""Who would own what after the next change: the one function behind voting end and everybody who wants to know before.

plan_next_committee(view)                                   what voting end will decide if nothing happens
plan_next_committee(view, leaving=[node_id])                may this node go?
plan_next_committee(view, stake_changes={node_id: +500})    what would my stake do?
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from haulout.ledger import queries
from haulout.ledger.committee import ActiveSet, Assignment, apportion, insert_active, next_assignment
from haulout.ledger.epoch_events import ShardMove
from haulout.ledger.refusals import CommitteeTooSmall, NoStake
from haulout.ledger.state import Committee, Phase, View


@dataclass(frozen=True, slots=True)
class CommitteePlan:
    """The committee of an epoch to come.

    Attributes:
        epoch: the first one whose committee is not chosen yet.
        before: shards of each member of the epoch before, whose committee is chosen.
        active_set: who may become a member, with stake in FROST, in slot order.
        assignment: shards of each member, by node id.
        moves: shards that change owner, ascending.
        moved_bytes: what travels with them at most, were all storage sold for the current epoch filled.
        kept_because: why the committee before stays, or None.
    """

    epoch: int
    before: Assignment
    active_set: ActiveSet
    assignment: Mapping[bytes, tuple[int, ...]]
    moves: tuple[ShardMove, ...]
    moved_bytes: int
    kept_because: CommitteeTooSmall | NoStake | None

    @property
    def is_possible(self) -> bool:
        """Whether the nodes with stake can hold all shards."""
        return self.kept_because is None


def plan_next_committee(
    view: View,
    *,
    joining: Mapping[bytes, int] | None = None,
    leaving: Collection[bytes] = (),
    stake_changes: Mapping[bytes, int] | None = None,
) -> CommitteePlan:
    """Plan the first committee that is not chosen yet.

    Args:
        view: the state to plan from.
        joining: nodes that would come, registered or not, with their stake in FROST; in this order behind those there.
        leaving: nodes that would go, besides those that have asked to.
        stake_changes: FROST that would be added to a node's stake, or taken away.
    """
    params, system, staking = queries.params(view), queries.system(view), queries.staking(view)
    current = queries.committee(view, system.epoch)
    voted = queries.next_committee(view) if staking.phase is Phase.VOTED else None
    before = voted or current
    active = staking.active_set
    stakes = dict(active)
    for node_id, change in (stake_changes or {}).items():
        active = insert_active(active, node_id, max(0, stakes.get(node_id, 0) + change))
    for node_id, stake_frost in (joining or {}).items():
        active = insert_active(active, node_id, stake_frost)
    for node_id in leaving:
        active = insert_active(active, node_id, 0)
    held = assignment_of(before)
    kept_because = None
    assignment: Assignment
    try:
        counts = apportion(
            [stake for _, stake in active],
            params.n_shards,
            allow_unsafe=params.allow_unsafe,
            held=[len(held.get(node_id, ())) for node_id, _ in active],
            hysteresis_bps=params.hysteresis_bps,
        )
        assignment = next_assignment(held, [(node_id, n) for (node_id, _), n in zip(active, counts, strict=True)])
    except (CommitteeTooSmall, NoStake) as refusal:
        kept_because, assignment = refusal, dict(held)
    moves = compute_moves(held, assignment)
    return CommitteePlan(
        epoch=before.epoch + 1,
        before=held,
        active_set=active,
        assignment=assignment,
        moves=moves,
        moved_bytes=queries.bucket(view, system.epoch).used_bytes * len(moves) // params.n_shards,
        kept_because=kept_because,
    )


def assignment_of(committee: Committee) -> Assignment:
    """Shards of each member."""
    return {member.node_id: member.shards for member in committee.members}


def compute_moves(
    before: Mapping[bytes, tuple[int, ...]], after: Mapping[bytes, tuple[int, ...]]
) -> tuple[ShardMove, ...]:
    """Shards that two assignments give to different nodes, ascending."""
    givers = {shard: node_id for node_id, shards in before.items() for shard in shards}
    takers = {shard: node_id for node_id, shards in after.items() for shard in shards}
    return tuple(
        ShardMove(shard, givers[shard], takers[shard]) for shard in sorted(takers) if givers[shard] != takers[shard]
    )
