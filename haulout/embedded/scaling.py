"""As many storage nodes as somebody asked for: nodes join one by one, and those too many leave and are then ended.

What is wanted is kept in memory. If the supervisor ends half-way, the nodes that joined are members, those that asked
to leave leave with the next epoch, and asking again goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from haulout.client.view import NodeStanding
from haulout.embedded.founding import STAKE_PER_NODE_FROST
from haulout.embedded.layout import MAX_NODES
from haulout.errors import HauloutError, InvalidField, TooFewNodes
from haulout.ports import Clock, Condition
from haulout.primitives import ObjectId, max_faulty, smallest_committee

LOOK_AGAIN_MS = 1_000


class Joining(Protocol):
    """What scaling asks of `membership.Membership`."""

    def node_names(self) -> Sequence[str]:
        """Nodes by number, those on their way out included."""

    async def standing(self, name: str) -> NodeStanding | None:
        """What depends on a node."""

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """One node more."""

    async def request_leave(self, name: str) -> ObjectId:
        """Have a node leave with the next epoch."""

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """End a node for good."""


class Scaling:
    """Brings the number of nodes to the one that was asked for last."""

    def __init__(self, membership: Joining, *, n_shards: int, clock: Clock) -> None:
        self._membership = membership
        self._n_shards = n_shards
        self._clock = clock
        self._wanted: int | None = None
        self._problem: HauloutError | None = None
        self._work: asyncio.Task[None] | None = None

    def ask(self, n_nodes: int) -> None:
        """Go to this number from now on, whatever was asked for before.

        Raises:
            InvalidField: more than this machine has ports for.
            TooFewNodes: they could not hold all shards.
        """
        if n_nodes > MAX_NODES:
            raise InvalidField(field="n_nodes", problem=f"this machine's ports are for {MAX_NODES} nodes")
        smallest = smallest_committee(self._n_shards)
        if n_nodes < smallest:
            raise TooFewNodes(
                n_nodes=n_nodes, cap=max_faulty(self._n_shards), n_shards=self._n_shards, smallest=smallest
            )
        self._wanted, self._problem = n_nodes, None
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run(), name="scaling")

    def conditions(self) -> tuple[Condition, ...]:
        """How far it is."""
        is_moving = self._wanted is not None and self._problem is None
        wanted = "" if self._wanted is None else f"to {self._wanted} nodes"
        code, message = ("Free", "") if self._problem is None else (self._problem.code, str(self._problem))
        return (
            Condition("Progressing", is_moving, "NodesChanging" if is_moving else "Settled", wanted),
            Condition("ScalingBlocked", self._problem is not None, code, message),
        )

    async def close(self) -> None:
        """Go no further."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _run(self) -> None:
        while self._wanted is not None:
            try:
                is_done = await self._step(self._wanted)
            except HauloutError as e:
                self._problem = e
                return
            if is_done:
                self._wanted = None
            else:
                await self._clock.sleep_ms(LOOK_AGAIN_MS)

    async def _step(self, wanted: int) -> bool:
        """One change towards the number; whether nothing is left to do."""
        standings = {name: await self._membership.standing(name) for name in self._membership.node_names()}
        staying = [name for name, one in standings.items() if one is not None and not one.is_leaving]
        if len(staying) < wanted:
            await self._membership.add_node(STAKE_PER_NODE_FROST)
            return False
        if len(staying) > wanted:
            for name in staying[wanted:]:
                await self._membership.request_leave(name)
            return False
        leaving = {name: one for name, one in standings.items() if one is not None and one.is_leaving}
        for name, one in leaving.items():
            if not one.is_needed:
                await self._membership.remove_node(name, is_dead=False)
                return False
        return not leaving
