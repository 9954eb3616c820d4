"""Enough is had from whoever has it, and nobody is asked in vain for ever."""

from __future__ import annotations

from collections.abc import Sequence

from haulout.node.peers import Peer
from haulout.node.waves import ask_in_waves
from haulout.primitives import ObjectId, SliverPairIndex


class Town:
    """Peers, and what they have of what they should have."""

    def __init__(self, has: dict[str, set[int]]) -> None:
        self.has = has
        self.had: set[int] = set()
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    async def ask(self, peer: Peer, pairs: Sequence[SliverPairIndex]) -> int:
        self.asked.append((peer.name, tuple(pairs)))
        given = self.has[peer.name] & set(pairs)
        self.had |= given
        return len(given)

    async def collect(self, needed: int, shoulds: dict[str, range]) -> None:
        sources = [
            (Peer(node_id=ObjectId(bytes(32)), name=name, address="", shards=()), [SliverPairIndex(i) for i in should])
            for name, should in shoulds.items()
        ]
        await ask_in_waves(sources, lambda: needed - len(self.had), self.ask)


async def test_no_more_is_asked_for_than_is_lacking() -> None:
    town = Town({"a": set(range(10)), "b": set(range(10, 20))})
    await town.collect(14, {"a": range(10), "b": range(10, 20)})
    assert len(town.had) == 14
    assert sorted(town.asked) == [("a", (0, 1, 2, 3)), ("b", tuple(range(10, 20)))]


async def test_who_lacks_some_is_asked_for_others() -> None:
    town = Town({"a": set(range(1, 10)), "b": set(range(12, 20))})
    await town.collect(16, {"a": range(10), "b": range(10, 20)})
    assert len(town.had) == 16


async def test_who_gives_nothing_is_asked_once() -> None:
    town = Town({"a": set(), "b": set(range(10, 15))})
    await town.collect(8, {"a": range(10), "b": range(10, 20)})
    assert town.had == set(range(10, 15))
    assert [name for name, _ in town.asked].count("a") == 1
