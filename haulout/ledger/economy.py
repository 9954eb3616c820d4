"""Prices and capacity as votes weighted by shards.

The price is the lowest that voters with a quorum of shards accept, the capacity the highest that a quorum can serve.
Source: Walrus's contracts, `staking_inner.move`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from haulout.primitives import U64_MAX, is_quorum


@dataclass(frozen=True, slots=True)
class Vote:
    """What one member asks for, and its shards."""

    value: int
    weight: int


def choose_price(votes: Iterable[Vote], n_shards: int) -> int:
    """The price at the 66.67th percentile by weight; 2^64 - 1 without votes."""
    remaining = n_shards
    for vote in _descending(votes):
        remaining -= vote.weight
        if not is_quorum(remaining, n_shards):
            return vote.value
    return U64_MAX


def choose_capacity(votes: Iterable[Vote], n_shards: int) -> int:
    """The capacity that members with a quorum of shards can serve; 0 without a quorum of votes."""
    reached = 0
    for vote in _descending(votes):
        reached += vote.weight
        if is_quorum(reached, n_shards):
            return vote.value
    return 0


def network_capacity(node_capacity_bytes: int, weight: int, n_shards: int) -> int:
    """The network's capacity in the eyes of a node that holds `weight` > 0 of its shards."""
    return min(node_capacity_bytes * n_shards // weight, U64_MAX)


def _descending(votes: Iterable[Vote]) -> list[Vote]:
    return sorted(votes, key=lambda vote: vote.value, reverse=True)
