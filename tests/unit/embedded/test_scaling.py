"""Scaling on one machine: the number of nodes goes to what was asked for last, one change at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from haulout.client.view import NodeStanding
from haulout.embedded.scaling import Scaling
from haulout.errors import InvalidField, TooFewNodes, Unreachable
from haulout.ledger.state import Phase
from haulout.primitives import ObjectId
from tests.hand_clock import HandClock


@dataclass
class Nodes:
    """Nodes that leave for good once an epoch has passed."""

    shards: dict[str, int]
    leaving: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    problem: Exception | None = None

    def node_names(self) -> list[str]:
        return list(self.shards)

    async def standing(self, name: str) -> NodeStanding | None:
        return NodeStanding(name, 3, Phase.DONE, name in self.leaving, self.shards[name], None, 0, 0)

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        if self.problem is not None:
            raise self.problem
        name = f"node-{len(self.shards)}"
        self.shards[name] = 0
        self.told.append(f"add {name}")
        return name, ObjectId(bytes(32))

    async def request_leave(self, name: str) -> ObjectId:
        self.leaving.add(name)
        self.told.append(f"leave {name}")
        return ObjectId(bytes(32))

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        assert not self.shards[name], "it is still needed"
        del self.shards[name]
        self.told.append(f"remove {name}")
        return ObjectId(bytes(32))


def of(scaling: Scaling, condition: str) -> bool:
    return next(one.holds for one in scaling.conditions() if one.type == condition)


async def settle(scaling: Scaling) -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_grows_one_by_one() -> None:
    nodes = Nodes({f"node-{i}": 25 for i in range(4)})
    scaling = Scaling(nodes, n_shards=100, clock=HandClock())
    scaling.ask(6)
    assert of(scaling, "Progressing")
    await settle(scaling)
    assert nodes.told == ["add node-4", "add node-5"]
    assert not of(scaling, "Progressing")


async def test_shrinks_by_the_newest_and_ends_them_when_nothing_needs_them() -> None:
    nodes = Nodes({f"node-{i}": 16 for i in range(6)})
    scaling = Scaling(nodes, n_shards=100, clock=HandClock())
    scaling.ask(4)
    await settle(scaling)
    assert nodes.told == ["leave node-4", "leave node-5"]
    assert of(scaling, "Progressing")
    nodes.shards["node-5"] = 0
    await settle(scaling)
    assert nodes.told[2:] == ["remove node-5"]
    nodes.shards["node-4"] = 0
    await settle(scaling)
    assert sorted(nodes.shards) == ["node-0", "node-1", "node-2", "node-3"]
    assert not of(scaling, "Progressing")


async def test_a_raised_number_in_the_middle_makes_new_nodes() -> None:
    nodes = Nodes({f"node-{i}": 20 for i in range(5)})
    scaling = Scaling(nodes, n_shards=100, clock=HandClock())
    scaling.ask(4)
    await settle(scaling)
    scaling.ask(5)
    await settle(scaling)
    assert nodes.told == ["leave node-4", "add node-5"]
    await scaling.close()


async def test_too_few_and_too_many_are_refused_with_the_number_that_would_do() -> None:
    scaling = Scaling(Nodes({}), n_shards=100, clock=HandClock())
    with pytest.raises(TooFewNodes, match=r"at most 33 shards < 100\. Smallest safe size is 4"):
        scaling.ask(3)
    with pytest.raises(InvalidField):
        scaling.ask(500)
    assert not of(scaling, "Progressing")


async def test_what_goes_wrong_is_told_and_asking_again_goes_on() -> None:
    nodes = Nodes({f"node-{i}": 25 for i in range(4)}, problem=Unreachable(peer="ledger", problem="down"))
    scaling = Scaling(nodes, n_shards=100, clock=HandClock())
    scaling.ask(5)
    await settle(scaling)
    blocked = next(one for one in scaling.conditions() if one.type == "ScalingBlocked")
    assert (blocked.holds, blocked.reason) == (True, "UNREACHABLE")
    nodes.problem = None
    scaling.ask(5)
    await settle(scaling)
    assert nodes.told == ["add node-4"]
    assert not of(scaling, "ScalingBlocked")
