"""Pure decisions of storing and reading: which pair belongs to which node, whom to ask next, when it is enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from haulout.primitives import (
    BlobId,
    ObjectId,
    SliverPairIndex,
    min_correct,
    min_decodable,
    pair_of_shard,
    shard_of_pair,
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where the sliver pairs of one blob live."""

    n_shards: int
    node_of_pair: tuple[ObjectId, ...]  # by pair index

    def pairs_of(self, node_id: ObjectId) -> list[SliverPairIndex]:
        """Pairs that a node stores, ascending."""
        return [SliverPairIndex(pair) for pair, owner in enumerate(self.node_of_pair) if owner == node_id]


def assign_pairs(blob_id: BlobId, shards_of: Mapping[ObjectId, Sequence[int]]) -> Assignment:
    """Map every pair of a blob to the node that owns its shard."""
    n_shards = sum(len(shards) for shards in shards_of.values())
    owner_of = {shard: node_id for node_id, shards in shards_of.items() for shard in shards}
    owners = tuple(owner_of[shard_of_pair(pair, blob_id, n_shards)] for pair in range(n_shards))
    return Assignment(n_shards, owners)


def pairs_of_shards(shards: Sequence[int], blob_id: BlobId, n_shards: int) -> list[SliverPairIndex]:
    """The pairs that these shards store, ascending."""
    return sorted(pair_of_shard(shard, blob_id, n_shards) for shard in shards)


def is_certifiable(weight: int, n_shards: int) -> bool:
    """Whether confirmations of this weight make a certificate."""
    return weight >= min_correct(n_shards)


@dataclass(frozen=True, slots=True)
class NodeRank:
    """What decides how early a node is asked: those that failed lately come last, then the slow ones."""

    node_id: ObjectId
    failed_lately: bool
    latency_us: int


def choose_pairs(
    assignment: Assignment, ranks: Collection[NodeRank], *, taken: Collection[int], n_wanted: int
) -> dict[ObjectId, list[SliverPairIndex]]:
    """Pairs whose primary slivers to ask for next, by node; fewer than `n_wanted` when there are no more.

    Pairs that are `taken`, and those of nodes without a rank, are left out.

    Systematic slivers come first, since with all of them nothing has to be decoded; but not from nodes that failed
    lately while others can serve. Within that, quick nodes first.
    """
    n_systematic = min_decodable(assignment.n_shards)
    rank_of = {rank.node_id: rank for rank in ranks}
    candidates = [
        (rank.failed_lately, pair >= n_systematic, rank.latency_us, pair)
        for pair, owner in enumerate(assignment.node_of_pair)
        if pair not in taken and (rank := rank_of.get(owner)) is not None
    ]
    chosen: dict[ObjectId, list[SliverPairIndex]] = {}
    for *_, pair in sorted(candidates)[:n_wanted]:
        chosen.setdefault(assignment.node_of_pair[pair], []).append(SliverPairIndex(pair))
    return chosen


def n_hedges(n_shards: int, round_number: int = 0) -> int:
    """Requests made in addition when answers are slow: a tenth of what decodes, twice as many every further time."""
    return -(-min_decodable(n_shards) // 10) << min(round_number, MAX_DOUBLINGS)


MAX_DOUBLINGS = 8
PATIENCE_FIRST_MS = 1_000
PATIENCE_MIN_MS = 200
PATIENCE_MAX_MS = 5_000
PATIENCE_SAMPLES = 200
PATIENCE_SAMPLES_MIN = 20


class Patience:
    """How long a reader waits for the next sliver before it asks somebody else too: p95 of how long they took.

    A busy machine makes all gaps longer and so its readers more patient, instead of making them ask for more.
    """

    def __init__(self) -> None:
        self._gaps_ms: deque[int] = deque(maxlen=PATIENCE_SAMPLES)

    def observe(self, gap_ms: int) -> None:
        """A sliver came `gap_ms` after the one before it, or after it was asked for."""
        self._gaps_ms.append(gap_ms)

    @property
    def limit_ms(self) -> int:
        """The patience to have now."""
        if len(self._gaps_ms) < PATIENCE_SAMPLES_MIN:
            return PATIENCE_FIRST_MS
        p95 = sorted(self._gaps_ms)[len(self._gaps_ms) * 95 // 100]
        return max(PATIENCE_MIN_MS, min(2 * p95, PATIENCE_MAX_MS))
