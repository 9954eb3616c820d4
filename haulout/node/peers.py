"""The other nodes, as this one asks them: found in its own ledger view, left alone after failures.

A peer that does not answer is asked again after a growing pause. One that answers with bytes that do not verify is
counted by name and left alone for as long as a failure chain would take at most; what it said is never used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
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
    """Another node, by its first address, and the shards that it speaks for."""

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

    def available(self, view: View, holders: Mapping[ObjectId, tuple[int, ...]]) -> list[Peer]:
        """Those among the holders of shards that may be asked now, in random order; never this node itself."""
        found = []
        for node_id, shards in holders.items():
            peer = self.find(view, node_id, shards)
            if peer is not None and self.may_ask(peer):
                found.append(peer)
        return self._rng.shuffled(found)

    def find(self, view: View, node_id: ObjectId, shards: tuple[int, ...]) -> Peer | None:
        """Another node, with the shards it is asked for; None for this one and for nodes without an address."""
        node = None if node_id == self._own_id else queries.node(view, node_id)
        if node is None or not node.addresses:
            return None
        self._metrics.know_peer(node.name)
        return Peer(node_id, node.name, node.addresses[0], shards)

    def may_ask(self, peer: Peer) -> bool:
        """Its last failure is long enough ago."""
        return self._standing.get(peer.node_id, _Standing()).not_before_us <= self._clock.monotonic_us()

    def connect(self, peer: Peer) -> StorageNodeApi:
        """The way to a peer."""
        return self._transport.connect(peer.address)

    async def ask(self, peer: Peer, answer: Awaitable[T], *, sent_bytes: int = 0) -> T:
        """Await a peer's answer within the time that one may take, and keep its standing.

        Args:
            sent_bytes: what the question carries, if that takes time of its own.

        Raises:
            Unavailable: it did not answer; it is left alone for a while.
            HauloutError: what it answered.
        """
        timeout_ms = self._settings.peer_timeout_ms + 1000 * sent_bytes // self._settings.peer_bytes_per_s_min
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
