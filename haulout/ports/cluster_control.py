"""Whoever runs the processes of a network, and how these are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from haulout.primitives import ObjectId


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process of a network; see `control.proto`."""

    name: str
    role: str
    pid: int | None
    state: str
    reasons: tuple[str, ...]
    n_restarts: int
    urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact about a network that holds or does not, with a stable word for why."""

    type: str
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """Every process, in the order of their start, and the conditions of the whole."""

    place: str
    is_ready: bool
    processes: tuple[ProcessInfo, ...]
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class ReviewedToken:
    """Whose a token of a cluster is, as the cluster knows them, and the scopes that its rules give them."""

    username: str
    scopes: tuple[str, ...]


class ClusterControl(Protocol):
    """Whoever runs the processes of one network: the supervisor of `haulout up`, or the operator in a cluster."""

    async def list_processes(self) -> ClusterReport:
        """Every process and how it is."""

    async def stop_node(self, name: str) -> None:
        """Stop a process and leave it stopped.

        Raises:
            InvalidInput: no such process.
        """

    async def start_node(self, name: str) -> None:
        """Start a stopped process.

        Raises:
            InvalidInput: no such process.
        """

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """Start one storage node more, register it and stake on it; its name and id.

        Raises:
            Rejected: the ledger refuses, under its code.
        """

    async def drain_node(self, name: str) -> ObjectId:
        """Have a node leave the committee with the next epoch; its id.

        Raises:
            InvalidInput: no such node.
            Rejected: it may not go, as with too few nodes left.
        """

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """Stop a node for good; its id.

        Raises:
            InvalidInput: no such node.
            Rejected: others still need what it has.
        """

    async def scale_nodes(self, n_nodes: int) -> None:
        """Have this many storage nodes from now on; returns when that is accepted. How far it is, and what is in its
        way, is told by the conditions `Progressing` and `ScalingBlocked`.

        Raises:
            InvalidInput: more than there may be.
            Rejected: too few to hold all shards.
        """

    async def review_token(self, token: str) -> ReviewedToken:
        """Whose a token of one of the cluster's service accounts is, and what they may do with this network.

        Raises:
            Forbidden: it is none, it is meant for something else, or its owner may do nothing here.
            Rejected: there is no cluster.
            Unavailable: the cluster cannot be asked.
        """

    async def shutdown(self) -> None:
        """Begin to end everything; returns at once.

        Raises:
            Rejected: it is not ended this way.
        """
