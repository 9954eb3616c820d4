"""The operator's process ends after any of its effects, in the middle of everything; the next one finishes the work."""

from __future__ import annotations

import pytest

from haulout_operator.ledger import read_facts

FOUNDING = (1, 4, 9, 13, 18, 30, 47)
GROWING = (1, 2, 4, 6, 9, 14, 20)
LEAVING = (1, 2, 3, 5, 8, 12, 17)


@pytest.mark.parametrize("effects", FOUNDING)
async def test_a_network_is_founded_once_whenever_its_operator_ends(town, effects: int) -> None:
    town.found()
    town.kube.kill_after = effects
    assert await town.survive()
    await town.check_whole(4)
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
    await town.check_whole(5)


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
    await town.check_whole(4)
