"""Who holds how many shards, and which: capped D'Hondt, then as few moves as the counts allow.

D'Hondt gives shards one by one, each to the node whose stake per shard would then be the highest, but no node more
than its cap. With stakes 50, 30, 15, 5 and four shards: 50/1, 30/1, 50/2 — and with 50/3 = 16.7 against 15/1 and
30/2 = 15 the fourth goes to the first node again, unless its cap forbids it. Source: Walrus's
contracts, `staking_inner.move`, `committee.move`.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from haulout.ledger.refusals import CommitteeTooSmall, NoStake
from haulout.primitives import BASIS_POINTS, max_faulty

ACTIVE_SET_LIMIT = 150

ActiveSet = tuple[tuple[bytes, int], ...]  # (node id, stake) in slot order
Assignment = dict[bytes, tuple[int, ...]]  # node id -> shards in their order


def shard_cap(n_nodes: int, n_shards: int, *, allow_unsafe: bool) -> int:
    """Shards that one node may hold: the source's rule, and never more than may be faulty unless that is allowed."""
    cap = n_shards // 10 if n_nodes >= 20 else -(-20 * n_shards // (10 * n_nodes))
    return cap if allow_unsafe else min(cap, max_faulty(n_shards))


def apportion(
    stakes: Sequence[int],
    n_shards: int,
    *,
    allow_unsafe: bool,
    held: Sequence[int] | None = None,
    hysteresis_bps: int = 0,
) -> list[int]:
    """Shards for each stake, in order.

    Args:
        stakes: in active-set order, which decides ties.
        n_shards: to give away.
        allow_unsafe: let one node hold more than f shards, as the source does.
        held: shards that each holds now; with `hysteresis_bps` its stake counts for that much more until it has as
            many again, so that a few FROST do not move shards back and forth.
        hysteresis_bps: the bonus in basis points; 0 is the source's rule.

    Raises:
        NoStake: nothing is staked.
        CommitteeTooSmall: the caps do not add up to `n_shards`.
    """
    total = sum(stakes)
    if total == 0:
        raise NoStake()
    cap = shard_cap(len(stakes), n_shards, allow_unsafe=allow_unsafe)
    holders = sum(stake > 0 for stake in stakes)
    # With allow_unsafe the source gives shards to nodes without stake when all others are full, so they count there.
    if cap * (len(stakes) if allow_unsafe else holders) < n_shards:
        raise CommitteeTooSmall(
            n_nodes=holders,
            cap=cap,
            held=cap * holders,
            n_shards=n_shards,
            needed_nodes=-(-n_shards // max(1, max_faulty(n_shards))),
        )
    bonus = held is not None and hysteresis_bps > 0
    floors = [0] * len(stakes) if held is None or not bonus else [min(cap, count) for count in held]

    def priority(i: int) -> int:
        stake = stakes[i]
        if not bonus:
            return -_quotient(stake, shards[i])
        rate = BASIS_POINTS + (hysteresis_bps if shards[i] < floors[i] else 0)
        return -(((stake * rate) << 64) // (BASIS_POINTS * (shards[i] + 1)))

    # What each node surely gets need not be given one by one; the bonus spoils that bound.
    divisor = total // (n_shards + 1) + 1
    shards = [0 if bonus else min(stake // divisor, cap) for stake in stakes]
    queue = [(priority(i), i) for i in range(len(stakes)) if shards[i] < cap]
    heapq.heapify(queue)
    for _ in range(n_shards - sum(shards)):
        _, i = heapq.heappop(queue)
        shards[i] += 1
        if shards[i] < cap:
            heapq.heappush(queue, (priority(i), i))
    return shards


def first_assignment(counts: Mapping[bytes, int]) -> Assignment:
    """Consecutive shards in order of node ids."""
    assignment: Assignment = {}
    at = 0
    for node_id in sorted(counts):
        if counts[node_id]:
            assignment[node_id] = tuple(range(at, at + counts[node_id]))
            at += counts[node_id]
    return assignment


def next_assignment(old: Mapping[bytes, Sequence[int]], counts: Sequence[tuple[bytes, int]]) -> Assignment:
    """Move as few shards as the counts allow.

    Args:
        old: shards of the current committee, in their order.
        counts: wanted shards in active-set order; they add up to all shards.
    """
    if sum(count for _, count in counts) != sum(len(shards) for shards in old.values()):
        raise AssertionError("counts do not add up to the shards there are")
    want = {node_id: count for node_id, count in counts if count}
    new: dict[bytes, list[int]] = {}
    moved: list[int] = []
    for node_id in sorted(old):
        have = list(old[node_id])
        count = want.pop(node_id, 0)
        if count == 0:
            moved += have
        elif count <= len(have):
            while len(have) > count:
                moved.append(have.pop())
            new[node_id] = have
        else:
            want[node_id] = count  # a growing node is served behind the new ones
    for node_id, count in want.items():
        shards = list(old.get(node_id, ()))
        while len(shards) < count:
            shards.append(moved.pop())
        new[node_id] = shards
    return {node_id: tuple(new[node_id]) for node_id in sorted(new)}


def insert_active(active: ActiveSet, node_id: bytes, stake_frost: int, *, limit: int = ACTIVE_SET_LIMIT) -> ActiveSet:
    """The active set after a node's stake changed. Source: Walrus's contracts, `active_set.move`."""
    nodes = list(active)
    at = next((i for i, (member, _) in enumerate(nodes) if member == node_id), None)
    if stake_frost == 0:
        if at is not None:
            nodes[at] = nodes[-1]
            nodes.pop()
        return tuple(nodes)
    if at is not None:
        nodes[at] = (node_id, stake_frost)
        return tuple(nodes)
    if len(nodes) < limit:
        return (*nodes, (node_id, stake_frost))
    smallest = min(range(len(nodes)), key=lambda i: nodes[i][1])
    if nodes[smallest][1] < stake_frost:
        nodes[smallest] = (node_id, stake_frost)
    return tuple(nodes)


def _quotient(stake: int, shards: int) -> int:
    return (stake << 64) // (shards + 1)
