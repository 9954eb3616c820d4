"""Votes, against the source's own vectors (`staking_inner.move`)."""

from __future__ import annotations

import pytest

from haulout.ledger.economy import Vote, choose_capacity, choose_price, network_capacity


def votes(weights: list[int]) -> list[Vote]:
    return [Vote(value, weight) for value, weight in enumerate(weights, start=1)]


@pytest.mark.parametrize(
    ("weights", "price"), [([5, 5, 4, 6, 3, 7, 4, 6, 1, 9], 7), ([5, 5, 4, 6, 3, 7, 1, 1, 1, 17], 10), ([50], 1)]
)
def test_price_is_the_lowest_that_a_quorum_accepts(weights: list[int], price: int) -> None:
    assert choose_price(votes(weights), 50) == price
    assert choose_price(reversed(votes(weights)), 50) == price


@pytest.mark.parametrize(
    ("weights", "capacity"), [([5, 5, 4, 6, 3, 7, 2, 8, 1, 9], 4), ([17, 1, 1, 1, 3, 7, 2, 8, 1, 9], 1)]
)
def test_capacity_is_the_highest_that_a_quorum_can_serve(weights: list[int], capacity: int) -> None:
    assert choose_capacity(votes(weights), 50) == capacity


def test_without_votes_nothing_can_be_bought() -> None:
    assert choose_price([], 50) == 2**64 - 1
    assert choose_capacity([], 50) == 0


def test_a_node_with_a_tenth_of_the_shards_speaks_for_ten_times_its_disk() -> None:
    assert network_capacity(7, 10, 100) == 70
    assert network_capacity(2**63, 1, 100) == 2**64 - 1
