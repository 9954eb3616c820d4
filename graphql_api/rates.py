"""How much each client may ask for: a bucket of points per token or address, filled at a steady rate.

A request takes the cost that was computed of its document before it ran, so a page of a hundred rows with all they hold
is dearer than a number. Who has nothing left is told when to come again. A client's first request finds a full bucket,
which is also what is remembered of one that was forgotten.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from haulout.errors import Unavailable
from haulout.ports import Clock

POINTS_PER_HOUR = 5_000_000
BURST_SHARE = 10  # a full bucket holds a tenth of an hour
CLIENTS_MAX = 10_000
BAD_TOKEN_POINTS = 500
SUBSCRIBE_POINTS = 10  # beside the cost of a document that nobody else listens to
MS_PER_HOUR = 3_600_000
IPV6_PREFIX = 64  # what one household or machine is given


@dataclass(eq=False)
class RateLimited(Unavailable):
    """The client has used up what it may ask for."""

    code = "RATE_LIMITED"
    template = "{client} has used up its {limit} points an hour; there are some again in {retry_after_s} s"
    hint = "wait as long as Retry-After says, ask for smaller pages, or subscribe instead of asking again and again"
    client: str
    limit: int
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may still ask for.

    Attributes:
        limit: points that a full bucket holds.
        remaining: points that are in it.
        full_after_ms: until it is full again.
    """

    limit: int
    remaining: int
    full_after_ms: int


class Rates:
    """The buckets of all clients; those that asked least recently are forgotten first."""

    def __init__(self, clock: Clock, registry: CollectorRegistry, *, points_per_hour: int = POINTS_PER_HOUR) -> None:
        """`points_per_hour` 0: everybody may ask for everything."""
        self.points_per_hour = points_per_hour
        self.limit = points_per_hour // BURST_SHARE
        self._clock = clock
        self._used: OrderedDict[str, tuple[int, int]] = OrderedDict()  # points taken, as of a time in ms
        text = "Requests refused because their client had used up its points."
        self._n_refused = Counter("haulout_graphql_rate_limited_total", text, registry=registry)
        gauge = Gauge("haulout_graphql_rated_clients", "Clients whose use of points is remembered.", registry=registry)
        gauge.set_function(lambda: len(self._used))

    def check(self, client: str) -> None:
        """Let a client ask.

        Raises:
            RateLimited: its bucket is empty.
        """
        if not self.points_per_hour:
            return
        used = self._used_by(client)
        if used >= self.limit:
            self._n_refused.inc()
            seconds = -(-(used - self.limit + 1) * MS_PER_HOUR // self.points_per_hour // 1000)
            raise RateLimited(client=client, limit=self.points_per_hour, retry_after_s=max(1, seconds))

    def charge(self, client: str, points: int) -> None:
        """Take points from a client's bucket; it may owe some afterwards, as many as one request may cost."""
        if not self.points_per_hour or not client:
            return
        self._used[client] = (self._used_by(client) + max(1, points), self._clock.now_ms())
        self._used.move_to_end(client)
        while len(self._used) > CLIENTS_MAX:
            self._used.popitem(last=False)

    def allowance(self, client: str) -> Allowance:
        """What a client may still ask for."""
        if not self.points_per_hour:
            return Allowance(0, 0, 0)
        used = self._used_by(client)
        return Allowance(self.limit, max(0, self.limit - used), used * MS_PER_HOUR // self.points_per_hour)

    def _used_by(self, client: str) -> int:
        points, at_ms = self._used.get(client, (0, 0))
        filled = (self._clock.now_ms() - at_ms) * self.points_per_hour // MS_PER_HOUR
        return max(0, points - max(0, filled))


def headers_of(allowance: Allowance) -> dict[str, str]:
    """How a client is told; none without a limit."""
    if not allowance.limit:
        return {}
    return {
        "ratelimit-limit": str(allowance.limit),
        "ratelimit-remaining": str(allowance.remaining),
        "ratelimit-reset": str(-(-allowance.full_after_ms // 1000)),
    }


def client_at(host: str | None) -> str:
    """The name of a client without a token: its address, or the network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return f"address {host or 'unknown'}"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return (
            f"address {mapped}" if mapped else f"network {ipaddress.ip_network((address, IPV6_PREFIX), strict=False)}"
        )
    return f"address {address}"
