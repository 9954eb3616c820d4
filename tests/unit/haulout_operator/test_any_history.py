"""Whatever happens to a network, rounds come to rest, say nothing twice, and lose nothing that is needed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

NAMESPACE = "demo"
CHILDREN = ("StatefulSet", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy", "Pod")

events = st.one_of(
    st.tuples(st.just("scale"), st.integers(2, 7)),
    st.tuples(st.just("remove"), st.sampled_from(CHILDREN), st.integers(0, 9)),
    st.tuples(st.just("delete node"), st.integers(0, 9)),
    st.tuples(st.just("epoch")),
    st.tuples(st.just("restart operator"), st.integers(2, 99)),
    st.tuples(st.just("ledger away")),
)


@pytest.mark.timeout(600)  # an example is dozens of rounds
@settings(max_examples=settings.default.max_examples // 12)
@given(history=st.lists(events, max_size=5))
@example(history=[("delete node", 2), ("remove", "StatefulSet", 4)])  # who is on its way out serves until it is gone
@example(history=[("scale", 2), ("delete node", 0)])  # a size that is refused replaces whoever goes all the same
@example(history=[("scale", 6), ("remove", "Pod", 0)])
def test_every_history_comes_to_rest(new_town, history: list[tuple]) -> None:
    asyncio.run(play_history(new_town(), history))


async def play_history(town, history: list[tuple]) -> None:
    town.found()
    await town.play()
    for event in history:
        await happen(town, event)
        town.ledger_is_up = True
        await town.play(limit=30)
        await town.round()  # tells of what Kubernetes did after the last one
        check_nothing_needed_is_lost(town)
        town.kube.writes.clear()
        assert not await town.round()
        assert town.kube.writes == []
    await town.close()


async def happen(town, event: tuple) -> None:
    match event:
        case ("scale", size):
            town.scale(size)
        case ("remove", kind, which):
            names = town.kube.names(kind)
            if names:
                await town.kube.delete("", kind, NAMESPACE, names[which % len(names)])
        case ("delete node", which):
            nodes = town.nodes()
            await town.kube.delete("", "StorageNode", NAMESPACE, nodes[which % len(nodes)])
        case ("epoch",):
            await town.advance()
            await town.sync()
        case ("restart operator", seed):
            town.operator = town.new_operator(seed)
        case ("ledger away",):
            town.ledger_is_up = False
            await town.round()


def check_nothing_needed_is_lost(town) -> None:
    """Every member of the committee has its StorageNode, volume, keys and workload; the size is what was asked for."""
    status = town.kube.objects["StorageNetwork", "main"]["status"]
    held = 0
    for name in town.nodes():
        held += town.kube.objects["StorageNode", name]["status"].get("committee", {}).get("shardCount", 0)
        assert ("Secret", f"{name}-keys") in town.kube.objects
        assert ("PersistentVolumeClaim", f"{name}-data") in town.kube.objects
        assert ("StatefulSet", name) in town.kube.objects
    assert held == status["shards"]["total"]
    wanted = max(4, town.kube.objects["StorageNodePool", "main"]["spec"]["replicas"])
    assert len(town.nodes()) - len(town.leaving()) >= wanted
