"""The operator's process ends after any of its effects, in the middle of everything; the next one finishes the work."""

from __future__ import annotations

import pytest

from haulout_operator.ledger import read_facts

FOUNDING = (1, 4, 9, 13, 18, 30, 47)
GROWING = (1, 2, 4, 6, 9, 14, 20)
LEAVING = (1, 2, 3, 5, 8, 12, 17)


async def check_whole(town, size: int) -> None:
    """As if nobody had been killed: the size that was asked for, all of it members, and nothing left to do or say."""
    facts = await read_facts(town, None)
    assert len(town.nodes()) == size
    assert town.leaving() == []
    assert sum(len(node.shards) for node in facts.nodes.values()) == 100
    assert {name for name, node in facts.nodes.items() if node.shards} == set(town.nodes())
    assert len(town.kube.names("PersistentVolumeClaim")) == size + 1
    town.kube.writes.clear()
    assert not await town.round()
    assert town.kube.writes == []


@pytest.mark.parametrize("effects", FOUNDING)
async def test_a_network_is_founded_once_whenever_its_operator_ends(town, effects: int) -> None:
    town.found()
    town.kube.kill_after = effects
    assert await town.survive()
    await check_whole(town, 4)
    assert len(town.kube.names("Secret")) == 4 + 4


@pytest.mark.parametrize("effects", GROWING)
async def test_nodes_join_once_whenever_their_operator_ends(town, effects: int) -> None:
    town.found()
    await town.play()
    town.scale(5)
    town.kube.kill_after = effects
    await town.survive()
    facts = await read_facts(town, None)
    assert [node.stake_frost for node in facts.nodes.values()] == [2_000 * 10**9] * 5
    await town.advance()
    await town.sync()
    await town.play()
    await check_whole(town, 5)


@pytest.mark.parametrize("effects", LEAVING)
async def test_a_node_leaves_once_whenever_its_operator_ends(town, effects: int) -> None:
    town.found(5)
    await town.play()
    town.scale(4)
    await town.play()
    await town.advance()
    await town.sync()
    town.kube.kill_after = effects
    await town.survive()
    await check_whole(town, 4)
