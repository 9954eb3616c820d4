"""Whom to ask for what, and how long to wait: pure decisions, worked out by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from haulout.client.plan import (
    NodeRank,
    Patience,
    assign_pairs,
    choose_pairs,
    is_certifiable,
    n_hedges,
    pairs_of_shards,
)
from haulout.primitives import BlobId, ObjectId

A, B, C = (ObjectId(bytes([letter]) * 32) for letter in b"abc")
SHARDS = {A: (0, 1, 2, 3), B: (4, 5, 6), C: (7, 8, 9)}
BLOB_ID = BlobId(bytes(31) + b"\x03")  # rotates by 3: pair p is on shard (p + 3) mod 10


def ranks(*, failed=(), latency=None):
    return [NodeRank(node, node in failed, (latency or {}).get(node, 0)) for node in SHARDS]


def test_pairs_are_rotated_by_the_blob_id() -> None:
    assignment = assign_pairs(BLOB_ID, SHARDS)
    assert assignment.node_of_pair == (A, B, B, B, C, C, C, A, A, A)
    assert assignment.pairs_of(A) == [0, 7, 8, 9]
    assert pairs_of_shards(SHARDS[A], BLOB_ID, 10) == [0, 7, 8, 9]


def test_systematic_pairs_come_first() -> None:
    """n = 10 has 4 of them."""
    chosen = choose_pairs(assign_pairs(BLOB_ID, SHARDS), ranks(), taken=(), n_wanted=4)
    assert chosen == {A: [0], B: [1, 2, 3]}


def test_a_node_that_failed_lately_is_asked_last() -> None:
    chosen = choose_pairs(assign_pairs(BLOB_ID, SHARDS), ranks(failed={B}), taken=(), n_wanted=4)
    assert chosen == {A: [0, 7, 8], C: [4]} or chosen == {A: [0], C: [4, 5, 6]}
    everything = choose_pairs(assign_pairs(BLOB_ID, SHARDS), ranks(failed={B}), taken=(), n_wanted=10)
    assert everything[B] == [1, 2, 3]


def test_quick_nodes_come_before_slow_ones() -> None:
    latency = {A: 9_000, B: 5_000, C: 1_000}
    chosen = choose_pairs(assign_pairs(BLOB_ID, SHARDS), ranks(latency=latency), taken=(0, 1, 2, 3), n_wanted=4)
    assert chosen == {C: [4, 5, 6], A: [7]}


def test_what_is_taken_or_has_no_rank_is_left_out() -> None:
    without_a = [rank for rank in ranks() if rank.node_id != A]
    chosen = choose_pairs(assign_pairs(BLOB_ID, SHARDS), without_a, taken=(1, 5), n_wanted=10)
    assert chosen == {B: [2, 3], C: [4, 6]}


@pytest.mark.parametrize(("weight", "enough"), [(66, False), (67, True), (100, True)])
def test_a_certificate_needs_n_minus_f(weight, enough) -> None:
    assert is_certifiable(weight, 100) is enough


@pytest.mark.parametrize(
    ("n_shards", "round_number", "expected"), [(10, 0, 1), (100, 0, 4), (1000, 0, 34), (100, 1, 8), (100, 2, 16)]
)
def test_hedges_are_a_tenth_of_what_decodes_and_double(n_shards, round_number, expected) -> None:
    assert n_hedges(n_shards, round_number) == expected


def test_patience_follows_how_long_slivers_take() -> None:
    patience = Patience()
    assert patience.limit_ms == 1_000
    for gap_ms in [10] * 90 + [800] * 10:
        patience.observe(gap_ms)
    assert patience.limit_ms == 1_600
    for _ in range(200):
        patience.observe(1)
    assert patience.limit_ms == 200, "the old gaps are forgotten"
    for _ in range(200):
        patience.observe(60_000)
    assert patience.limit_ms == 5_000


def test_every_pair_has_a_node_for_any_blob_id() -> None:
    for first in range(256):
        owners = assign_pairs(BlobId(bytes([first]) * 32), SHARDS).node_of_pair
        assert Counter(owners) == {A: 4, B: 3, C: 3}
