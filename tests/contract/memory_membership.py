"""Who belongs to a network on one machine, in memory: the ledger's part of `haulout.embedded.membership`, without one.

Its nodes are processes of the supervisor that sleep. A node that asked to leave owns its shards until an epoch passes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from haulout.client.view import NodeStanding
from haulout.embedded.child import Child
from haulout.embedded.membership import NodeAlive, NodeNeeded
from haulout.embedded.supervisor import Supervisor
from haulout.errors import InvalidField
from haulout.ledger.refusals import CommitteeTooSmall
from haulout.ledger.state import Phase
from haulout.primitives import ObjectId, max_faulty, smallest_committee

N_SHARDS = 100


class MemoryMembership:
    """What `SupervisorControl` and `Scaling` ask of a membership."""

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        self._supervisor = supervisor
        self._folder = folder
        self._members = set(self.node_names())
        self._leaving: set[str] = set()
        for name in supervisor.children:
            self._let_sleep(name)

    def node_names(self) -> list[str]:
        return self._supervisor.layout.node_names

    async def standing(self, name: str) -> NodeStanding | None:
        n_shards = N_SHARDS // len(self._members) if name in self._members else 0
        return NodeStanding(name, 3, Phase.DONE, name in self._leaving, n_shards, None, 0, 0)

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        layout = self._supervisor.layout
        name = f"node-{layout.n_nodes}"
        self._supervisor.extend_layout(dataclasses.replace(layout, n_nodes=layout.n_nodes + 1))
        self._let_sleep(name)
        await self._supervisor.add_child(name)
        return name, self._id_of(name)

    async def request_leave(self, name: str) -> ObjectId:
        self._require(name)
        if name not in self._leaving:
            left = len(self.node_names()) - len(self._leaving) - 1
            needed, cap = smallest_committee(N_SHARDS), max_faulty(N_SHARDS)
            if left < needed:
                raise CommitteeTooSmall(n_nodes=left, cap=cap, held=left * cap, n_shards=N_SHARDS, needed_nodes=needed)
            self._leaving.add(name)
        return self._id_of(name)

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        self._require(name)
        if is_dead and self._supervisor.children[name].pid is not None:
            raise NodeAlive(name=name, status="Active")
        node_id = await self.request_leave(name)
        if is_dead:
            await self._supervisor.stop_node(name)
        elif name in self._members:
            raise NodeNeeded(name=name, n_shards=20, n_giving=0, problem="epoch 3 is in Done")
        else:
            layout = self._supervisor.layout
            await self._supervisor.remove_child(name, dataclasses.replace(layout, removed=layout.removed | {name}))
        return node_id

    def pass_epoch(self) -> None:
        """The next committee is those who stay."""
        self._members = set(self.node_names()) - self._leaving

    def _let_sleep(self, name: str) -> None:
        self._supervisor.children[name] = Child(
            name=name, command=["sleep", "1000"], environment={}, log=self._folder / f"{name}.log", restart=False
        )

    def _id_of(self, name: str) -> ObjectId:
        return ObjectId(name.encode().ljust(32, b"\0"))

    def _require(self, name: str) -> None:
        if name not in self.node_names():
            raise InvalidField(field="name", problem=f"{name!r} is not one of {', '.join(self.node_names())}")
