"""Apportionment, assignment and the active set, against the source's own vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulout.ledger.committee import apportion, first_assignment, insert_active, next_assignment, shard_cap
from haulout.ledger.refusals import CommitteeTooSmall, NoStake
from haulout.primitives import max_faulty


@pytest.mark.parametrize(
    ("n_shards", "stakes", "expected"),
    [
        (4, [50000, 30000, 15000, 5000], [2, 2, 0, 0]),
        (777, [50000, 30000, 15000, 5000], [389, 234, 116, 38]),
        (778, [25000] * 4, [195, 195, 194, 194]),
        (777, [50000, 50000, 30000, 15000, 15000, 5000], [236, 236, 142, 70, 70, 23]),
        (7, [25000] * 4, [2, 2, 2, 1]),
        (9, [200, 200, 200, 100, 100, 100], [2, 2, 2, 1, 1, 1]),
        (18, [780000, 650000, 520000, 390000, 260000], [6, 5, 4, 2, 1]),
        (5, [1, 0, 0], [4, 1, 0]),
        (500, [10**12, 9 * 10**11, 10**11], [250, 225, 25]),
        (1000, [600, 100, 200, 100], [500, 125, 250, 125]),
        (1000, [200] + [20] * 20, [100] + [45] * 20),
    ],
)
def test_vectors_of_the_source(n_shards: int, stakes: list[int], expected: list[int]) -> None:
    assert apportion(stakes, n_shards, allow_unsafe=True) == expected


@pytest.mark.parametrize(("n_nodes", "cap"), [(1, 2000), (10, 200), (19, 106), (20, 100)])
def test_caps_of_the_source(n_nodes: int, cap: int) -> None:
    assert shard_cap(n_nodes, 1000, allow_unsafe=True) == cap


def test_no_node_holds_more_than_may_be_faulty() -> None:
    assert shard_cap(4, 100, allow_unsafe=False) == 33
    assert apportion([97, 1, 1, 1], 100, allow_unsafe=False) == [33, 23, 22, 22]
    assert apportion([500, 10, 10, 10], 1000, allow_unsafe=False) == [333, 223, 222, 222]


def test_three_nodes_are_too_few_and_four_are_not() -> None:
    with pytest.raises(CommitteeTooSmall) as caught:
        apportion([5, 5, 5], 100, allow_unsafe=False)
    assert (caught.value.held, caught.value.needed_nodes) == (99, 4)
    assert apportion([5, 5, 5, 5], 100, allow_unsafe=False) == [25, 25, 25, 25]


def test_nodes_without_stake_do_not_help() -> None:
    with pytest.raises(CommitteeTooSmall):
        apportion([5, 5, 5, 0], 100, allow_unsafe=False)


def test_no_stake_no_committee() -> None:
    with pytest.raises(NoStake):
        apportion([0, 0], 100, allow_unsafe=True)


def test_a_small_network_with_many_nodes_has_no_committee() -> None:
    with pytest.raises(CommitteeTooSmall):
        apportion([1] * 20, 9, allow_unsafe=True)


@given(st.lists(st.integers(1, 10**18), min_size=4, max_size=40), st.integers(10, 200))
def test_all_shards_are_given_away_within_caps_and_in_order_of_stake(stakes: list[int], n_shards: int) -> None:
    cap = shard_cap(len(stakes), n_shards, allow_unsafe=False)
    if cap * len(stakes) < n_shards:
        return
    shards = apportion(stakes, n_shards, allow_unsafe=False)
    assert sum(shards) == n_shards
    assert max(shards) <= cap <= max_faulty(n_shards)
    for i, a in enumerate(stakes):
        for j, b in enumerate(stakes):
            if a > b:
                assert shards[i] >= shards[j]


def test_first_committee_gets_consecutive_ranges_in_order_of_ids() -> None:
    assert first_assignment({b"c": 2, b"a": 3, b"b": 0, b"d": 1}) == {b"a": (0, 1, 2), b"c": (3, 4), b"d": (5,)}


def ids(assignment: dict[int, list[int]]) -> dict[bytes, tuple[int, ...]]:
    return {bytes([node]): tuple(shards) for node, shards in assignment.items()}


def wants(*counts: tuple[int, int]) -> list[tuple[bytes, int]]:
    return [(bytes([node]), count) for node, count in counts]


def test_transition_vectors_of_the_source() -> None:
    old = ids({0: [0, 1], 1: [2, 3], 2: [4, 5], 3: [6, 7]})
    assert next_assignment(old, wants((3, 4), (2, 4))) == ids({2: [4, 5, 3, 2], 3: [6, 7, 1, 0]})

    old = ids({1: [0, 1], 2: [2, 3], 3: [4, 5], 4: [6, 7], 5: [8, 9]})
    middle = next_assignment(old, wants((1, 4), (2, 3), (3, 3)))
    assert middle == ids({1: [0, 1, 9, 8], 2: [2, 3, 7], 3: [4, 5, 6]})
    last = next_assignment(middle, wants((2, 3), (3, 3), (4, 2), (5, 2)))
    assert last == ids({2: [2, 3, 7], 3: [4, 5, 6], 4: [8, 9], 5: [1, 0]})


@given(st.lists(st.integers(0, 6), min_size=5, max_size=5), st.permutations(range(5)))
def test_transition_moves_no_more_shards_than_the_counts_demand(counts: list[int], order: list[int]) -> None:
    old = {bytes([i]): tuple(range(3 * i, 3 * i + 3)) for i in range(5)}
    counts[0] += 15 - sum(counts)
    if counts[0] < 0:
        return
    new = next_assignment(old, [(bytes([i]), counts[i]) for i in order])
    assert sorted(shard for shards in new.values() for shard in shards) == list(range(15))
    assert {node: len(shards) for node, shards in new.items()} == {bytes([i]): c for i, c in enumerate(counts) if c}
    moved = sum(len(set(shards) - set(old[node])) for node, shards in new.items())
    assert moved == sum(max(0, 3 - count) for count in counts)
    assert list(new) == sorted(new)


def test_transition_refuses_counts_that_do_not_add_up() -> None:
    with pytest.raises(AssertionError):
        next_assignment(ids({0: [0, 1]}), wants((0, 3)))


def test_active_set_takes_updates_and_drops() -> None:
    active = insert_active((), b"a", 5)
    active = insert_active(active, b"b", 7)
    active = insert_active(active, b"c", 9)
    assert insert_active(active, b"b", 1) == ((b"a", 5), (b"b", 1), (b"c", 9))
    assert insert_active(active, b"a", 0) == ((b"c", 9), (b"b", 7))
    assert insert_active(active, b"x", 0) == active


def test_a_full_active_set_gives_up_its_first_smallest_only_for_more() -> None:
    active = ((b"a", 5), (b"b", 3), (b"c", 3))
    assert insert_active(active, b"d", 3, limit=3) == active
    assert insert_active(active, b"d", 4, limit=3) == ((b"a", 5), (b"d", 4), (b"c", 3))


# --- hysteresis (12.5) --------------------------------------------------------------------------------------

STAKES = st.lists(st.integers(0, 10**12), min_size=4, max_size=12).filter(
    lambda stakes: sum(s > 0 for s in stakes) >= 4
)


@given(STAKES, st.integers(4, 60))
def test_without_a_bonus_it_matters_to_nobody_who_holds_what(stakes: list[int], n_shards: int) -> None:
    held = apportion(stakes[::-1], n_shards, allow_unsafe=True)
    plain = apportion(stakes, n_shards, allow_unsafe=True)
    assert apportion(stakes, n_shards, allow_unsafe=True, held=held, hysteresis_bps=0) == plain


@given(STAKES, st.integers(4, 60), st.integers(0, 60), st.data())
def test_a_bonus_gives_all_shards_away_within_the_cap(
    stakes: list[int], n_shards: int, bps: int, data: st.DataObject
) -> None:
    held = apportion(data.draw(st.permutations(stakes)), n_shards, allow_unsafe=True)
    shards = apportion(stakes, n_shards, allow_unsafe=True, held=held, hysteresis_bps=bps)
    assert sum(shards) == n_shards
    assert max(shards) <= shard_cap(len(stakes), n_shards, allow_unsafe=True)


def test_a_shard_changes_hands_only_for_half_a_percent_more() -> None:
    """Two nodes of 1,000 hold five shards each; the sixth is worth s / 6 against 1000 * 1.005 / 5 = 201.

    Ties go to the first.
    """

    def moved(stake: int, bps: int) -> bool:
        return apportion([stake, 1000], 10, allow_unsafe=True, held=[5, 5], hysteresis_bps=bps) == [6, 4]

    assert moved(1200, 0) and not moved(1199, 0)
    assert moved(1206, 50) and not moved(1205, 50)


def test_what_was_apportioned_stays_when_stakes_hardly_change() -> None:
    held = apportion([600_000, 100_000, 200_000, 100_000], 1000, allow_unsafe=True)
    nudged = [600_300, 99_900, 200_400, 99_800]
    assert apportion(nudged, 1000, allow_unsafe=True, held=held, hysteresis_bps=50) == held
    assert apportion(nudged, 1000, allow_unsafe=True) != held
