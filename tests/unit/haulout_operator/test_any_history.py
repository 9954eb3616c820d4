"""Whatever happens to a network, rounds come to rest, say nothing twice, and lose nothing that is needed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from haulout.ledger.apply import PROTOCOL_VERSION
from haulout_operator.ledger import read_facts

NAMESPACE = "demo"
CHILDREN = ("StatefulSet", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy", "Pod")

events = st.one_of(
    st.tuples(st.just("scale"), st.integers(2, 7)),
    st.tuples(st.just("remove"), st.sampled_from(CHILDREN), st.integers(0, 9)),
    st.tuples(st.just("delete node"), st.integers(0, 9)),
    st.tuples(st.just("image"), st.sampled_from(["haulout:2", "haulout:3"])),
    st.tuples(st.just("epoch")),
    st.tuples(st.just("restart operator"), st.integers(2, 99)),
    st.tuples(st.just("ledger away")),
)


@pytest.mark.timeout(600)  # an example is dozens of rounds
# The same histories everywhere: a bound that is too tight is found by whoever sets it.
@settings(max_examples=settings.default.max_examples // 25, derandomize=True)
@given(history=st.lists(st.tuples(events, st.booleans()), max_size=5))
@example(
    history=[(("delete node", 2), True), (("remove", "StatefulSet", 4), True)]
)  # who leaves serves until it is gone
@example(history=[(("scale", 2), True), (("delete node", 0), True)])  # a refused size replaces whoever goes
@example(history=[(("scale", 6), False), (("remove", "Pod", 0), True)])
@example(history=[(("scale", 7), True), (("epoch",), False), (("scale", 4), False), (("epoch",), True)])
@example(history=[(("ledger away",), False), (("epoch",), False), (("scale", 5), True)])
@example(history=[(("scale", 5), True), (("delete node", 1), False)])  # one that has stake and was never a member
@example(history=[(("scale", 7), True), (("scale", 4), True)])
@example(history=[(("image", "haulout:2"), False), (("delete node", 1), True), (("epoch",), True)])
@example(history=[(("image", "haulout:2"), False), (("release",), False), (("scale", 5), True), (("release",), True)])
def test_every_history_comes_to_rest_within_few_rounds(new_town, history: list[tuple]) -> None:
    """From every state, at most three rounds do something, and the next finds nothing left to do.

    A round is one look, plan and execution. The API server and the ledger answer within it, so the next one sees what
    it did. Rounds are counted for as long as nothing else happens: what Kubernetes does in its own time (a Pod starts,
    is ready or goes, a volume is there), what nodes and epochs do, and what people ask for are events from outside,
    and each begins the count anew. A substitute is on its way through several of them: made, registered and given its
    children (three rounds); its Pod starts; staked, and the other asked to leave (two); the epoch changes; and so on.

    One chain is longer, since no event from outside divides it: a node that has stake and was never a member goes
    without an epoch in between. Its substitute's stake (or the mark of a smaller pool), its leave, its stake back, its
    volume and the eviction budget follow from one another, each from what the ledger said to the one before: five.

    The states are those between any events: a history goes on to the next one in the middle of the rounds that the
    last one caused, or when Kubernetes too has come to rest.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("haulout_operator.genesis.PROTOCOL_VERSION", PROTOCOL_VERSION - 1)
        asyncio.run(play_history(new_town(), history))


async def play_history(town, history: list[tuple]) -> None:
    town.found()
    await come_to_rest(town)
    for event, rests in history:
        await happen(town, event)
        if not rests:
            await town.round()
            continue
        await come_to_rest(town)
        check_nothing_needed_is_lost(town)
    await come_to_rest(town)
    check_nothing_needed_is_lost(town)
    await town.close()


async def come_to_rest(town) -> None:
    """Rounds and what Kubernetes does of them in turns, until neither has anything to do or to say."""
    for _ in range(30):
        await town.rounds_alone(limit=await most_rounds(town))
        if not town.kube.settle():
            break
    await town.round()  # tells of what Kubernetes did last
    town.kube.writes.clear()
    assert not await town.round()
    assert town.kube.writes == []


async def most_rounds(town) -> int:
    """Three; five while some node has stake and is no member, so that it may go without an epoch in between."""
    if ("ConfigMap", "main-genesis") not in town.kube.objects or ("Pod", "main-ledger-0") not in town.kube.objects:
        return 3
    facts = await read_facts(town, None)
    waiting = [node for node in facts.nodes.values() if node.stake_frost and not node.shards and not node.is_leaving]
    return 5 if waiting else 3


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
        case ("image", image):
            town.kube.objects["StorageNetwork", "main"]["spec"]["image"] = image
        case ("release",):  # what runs now knows newer rules
            town.knows |= dict.fromkeys(town.nodes(), PROTOCOL_VERSION)
        case ("epoch",):
            await town.advance()
            await town.sync()
        case ("restart operator", seed):
            town.operator = town.new_operator(seed)
        case ("ledger away",):
            town.ledger_is_up = False
            await town.round()
            town.ledger_is_up = True  # whatever happens next needs it


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
