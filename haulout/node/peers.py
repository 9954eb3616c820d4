"""The other members of the committee, as a node asks them: found in its own ledger view, left alone after failures.

A peer that does not answer is asked again after a growing pause. One that answers with bytes that do not verify is
counted by name and left alone for as long as a failure chain would take at most; what it said is never used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from haulout.errors import DeadlineExceeded, Unavailable
from haulout.ledger import queries
from haulout.ledger.state import View
from haulout.node.identity import NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.ports import Clock, NodeTransport, Rng, StorageNodeApi
from haulout.primitives import ObjectId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Peer:
    """Another committee member, by its first address."""

    node_id: ObjectId
    name: str
    address: str
    shards: tuple[int, ...]


@dataclass(slots=True)
class _Standing:
    failures: int = 0
    not_before_us: int = 0


class Peers:
    """The other members and how they have behaved."""

    def __init__(
        self,
        own_id: ObjectId,
        transport: NodeTransport,
        *,
        clock: Clock,
        rng: Rng,
        metrics: NodeMetrics,
        settings: NodeSettings,
    ) -> None:
        self._own_id = own_id
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._settings = settings
        self._standing: dict[ObjectId, _Standing] = {}

    def available(self, view: View, epoch: int) -> list[Peer]:
        """Members that may be asked now, in random order."""
        committee = queries.find_committee(view, epoch)
        now = self._clock.monotonic_us()
        found = []
        for member in () if committee is None else committee.members:
            node_id = ObjectId(member.node_id)
            if node_id == self._own_id or self._standing.get(node_id, _Standing()).not_before_us > now:
                continue
            node = queries.node(view, node_id)
            if node is not None and node.addresses:
                self._metrics.know_peer(node.name)
                found.append(Peer(node_id, node.name, node.addresses[0], member.shards))
        return self._rng.shuffled(found)

    def connect(self, peer: Peer) -> StorageNodeApi:
        """The way to a peer."""
        return self._transport.connect(peer.address)

    async def ask(self, peer: Peer, answer: Awaitable[T]) -> T:
        """Await a peer's answer within the time that one may take, and keep its standing.

        Raises:
            Unavailable: it did not answer; it is left alone for a while.
            HauloutError: what it answered.
        """
        timeout_ms = self._settings.peer_timeout_ms
        asking = asyncio.ensure_future(answer)
        timer = asyncio.ensure_future(self._clock.sleep_ms(timeout_ms))
        try:
            await asyncio.wait((asking, timer), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise DeadlineExceeded(operation=f"a request to {peer.name}", timeout_ms=timeout_ms)
            result = asking.result()
        except Unavailable:
            self._set_back(peer, 1)
            self._metrics.peer_failures.labels(peer.name).inc()
            raise
        finally:
            asking.cancel()
            timer.cancel()
            await asyncio.gather(asking, timer, return_exceptions=True)
        self._standing.pop(peer.node_id, None)
        return result

    def report_lie(self, peer: Peer) -> None:
        """The peer answered with bytes that do not verify."""
        self._metrics.lies.labels(peer.name).inc()
        self._set_back(peer, 8)

    def _set_back(self, peer: Peer, failures: int) -> None:
        standing = self._standing.setdefault(peer.node_id, _Standing())
        standing.failures = min(standing.failures + failures, 16)
        pause_ms = min(self._settings.peer_backoff_ms << (standing.failures - 1), self._settings.peer_backoff_ms_max)
        jitter_ms = self._rng.below(pause_ms // 2 + 1)
        standing.not_before_us = self._clock.monotonic_us() + (pause_ms + jitter_ms) * 1000
