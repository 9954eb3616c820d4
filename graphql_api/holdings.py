"""What the nodes lack: each is asked every two seconds, and only exceptions are kept.

A certified blob is whole everywhere unless a node says otherwise or does not answer. So what is kept are the blobs that
nodes list as incomplete (`ListIncomplete`) and which nodes are silent; what a blob can still lose follows from these,
from who holds which shards, and from nothing that would have to be stored per blob.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Gauge

from haulout.client.network import MemberLink, Network
from haulout.errors import HauloutError, Unavailable
from haulout.ledger import queries
from haulout.ledger.queries import ShardHandOver
from haulout.ledger.state import Committee
from haulout.observability.logs import get_logger
from haulout.ports import IncompleteBlob
from haulout.primitives import BlobId, ObjectId, min_decodable

PERIOD_MS = 2_000
TIMEOUT_MS = 2_000
BUSY_MS = 5_000  # for so long a node that is silent, not gone, is believed what it said last
PAGE = 1_000
LISTED_MAX = 20_000  # exceptions that are kept of one node
SUSPECTS_MAX = 500  # blobs that lack most, looked at for the worst
LOW_MAX = 10_000  # blobs that are named as low, those that lack most
ALL = 1 << 16  # more slivers than a node can have of a blob

log = get_logger("holdings")


@dataclass(eq=False)
class DurabilityUnknown(Unavailable):
    """The nodes have not been asked yet."""

    code = "DURABILITY_UNKNOWN"
    template = "the nodes have not been asked yet what they hold"
    hint = "ask again in a few seconds"


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node said it lacks.

    Attributes:
        is_reachable: whether it answered; a node that did not is taken for lost, one that is just slow not at once.
        lacking: slivers that it lacks, by blob; blobs that are whole are not in it.
        listed_to: the last blob id looked at when the list was cut off, None when it is complete.
        checked_at_ms: when it said so, or was silent.
    """

    is_reachable: bool
    lacking: Mapping[BlobId, int]
    listed_to: BlobId | None
    checked_at_ms: int

    def lost_shards(self, blob_id: BlobId, weight: int) -> int:
        """Shards of a node, out of `weight`, whose slivers of a blob cannot be counted on."""
        if not self.is_reachable:
            return weight
        if self.listed_to is not None and blob_id > self.listed_to:
            return weight  # nobody knows
        return min(weight, self.lacking.get(blob_id, 0))


@dataclass(frozen=True, slots=True)
class Margin:
    """How far a blob is from being lost, in shards and in nodes.

    Attributes:
        live_shards: shards whose slivers are there and can be fetched.
        required_shards: so many are enough to read the blob: n - 2f.
        tolerated_node_losses: so many more of the heaviest nodes may vanish, and it can still be read.
        checked_at_ms: when the node that was asked longest ago answered.
    """

    live_shards: int
    required_shards: int
    tolerated_node_losses: int
    checked_at_ms: int

    @property
    def margin_shards(self) -> int:
        """Shards that may still go; negative when the blob cannot be read."""
        return self.live_shards - self.required_shards


def compute_margin(
    blob_id: BlobId, holders: Mapping[ObjectId, int], reports: Mapping[ObjectId, NodeReport], n_shards: int
) -> Margin:
    """The margin of a blob.

    Args:
        holders: shards of each node that holds some of the blob.
        reports: what these nodes said; one without a report is taken for lost.
    """
    left = []
    for node_id, weight in holders.items():
        report = reports.get(node_id)
        left.append(0 if report is None else weight - report.lost_shards(blob_id, weight))
    live, required = sum(left), min_decodable(n_shards)
    losses = tolerated_losses(left, required)
    checked = min((report.checked_at_ms for node_id in holders if (report := reports.get(node_id))), default=0)
    return Margin(live, required, losses, checked)


def tolerated_losses(left: Iterable[int], required: int) -> int:
    """How many of the heaviest may vanish, of nodes with so many shards each, and what is required is still there."""
    weights = sorted((shards for shards in left if shards), reverse=True)
    remaining = itertools.accumulate(weights, operator.sub, initial=sum(weights))
    return max(0, sum(shards >= required for shards in remaining) - 1)


@dataclass(frozen=True, slots=True)
class LowRegion:
    """Certified blobs of some ids and epochs whose margin is low: all of them, or those that are named.

    Attributes:
        after, through: ids behind the one and up to the other; None where there is no bound.
        from_epoch, to_epoch: of the first certification, the last one not included; None where there is no bound.
        blob_ids: None when all of them are low.
    """

    after: BlobId | None
    through: BlobId | None
    from_epoch: int
    to_epoch: int | None
    blob_ids: tuple[BlobId, ...] | None


@dataclass(slots=True)
class _Round:
    """Who held what when the nodes were asked last."""

    committee: Committee
    moving: list[ShardHandOver]
    holders: dict[int, dict[ObjectId, int]] = field(default_factory=dict)

    def holders_of(self, certified_epoch: int) -> dict[ObjectId, int]:
        if certified_epoch not in self.holders:
            found = queries.shard_holders(self.committee, self.moving, certified_epoch)
            self.holders[certified_epoch] = {node_id: len(shards) for node_id, shards in found.items()}
        return self.holders[certified_epoch]


class HoldingsBoard:
    """The nodes' last words on what they lack. Keep `run()` going as a task."""

    def __init__(self, network: Network, n_shards: int, registry: CollectorRegistry) -> None:
        self._network = network
        self._n_shards = n_shards
        self._round: _Round | None = None
        self._reports: dict[ObjectId, NodeReport] = {}
        text = "Blobs of which a node lacks something; at most 20,000 a node are known."
        Gauge("haulout_graphql_incomplete_blobs", text, registry=registry).set_function(lambda: len(self.exceptions()))

    async def run(self) -> None:
        """Ask everyone again and again, until cancelled."""
        while True:
            try:
                await self.refresh()
            except HauloutError as e:
                log.warning("who holds what cannot be told", code=e.code, problem=str(e))
            await self._network.clock.sleep_ms(PERIOD_MS)

    async def refresh(self) -> None:
        """Ask every node that holds something, once; all at a time."""
        view = self._network.view
        committee, moving = await view.committee(), await view.open_hand_overs()
        node_ids = [ObjectId(member.node_id) for member in committee.members]
        node_ids += [ObjectId(record.from_node) for record in moving]
        links = await self._network.links_of(dict.fromkeys(node_ids))
        reports = await asyncio.gather(*(self._ask(link) for link in links))
        self._reports = {link.node_id: report for link, report in zip(links, reports, strict=True)}
        self._round = _Round(committee, moving)

    def margin_of(self, blob_id: BlobId, certified_epoch: int) -> Margin | None:
        """The margin of a certified blob; None until the nodes have been asked once.

        Args:
            certified_epoch: of its first certification.
        """
        if self._round is None:
            return None
        return compute_margin(blob_id, self._round.holders_of(certified_epoch), self._reports, self._n_shards)

    def report_of(self, node_id: bytes) -> NodeReport | None:
        """What a node said last; None when it holds nothing or has not been asked yet."""
        return self._reports.get(ObjectId(node_id))

    def exceptions(self) -> Counter[BlobId]:
        """Blobs of which some node that answers lacks something, with how many slivers are lacking."""
        found: Counter[BlobId] = Counter()
        for report in self._reports.values():
            found.update(report.lacking)
        return found

    def suspects(self) -> list[BlobId]:
        """The exceptions that lack most."""
        return [blob_id for blob_id, _ in self.exceptions().most_common(SUSPECTS_MAX)]

    def worst_margin(self, epoch: int, certified: Iterable[tuple[BlobId, int]]) -> Margin | None:
        """The smallest margin of suspects and of blobs that are whole but for dead nodes; None before any is known.

        Args:
            epoch: the current one.
            certified: those suspects that are certified, with the epoch of their first certification.
        """
        whole = BlobId(bytes(32))  # an id that no node lists stands for all that are whole
        margins = [self.margin_of(*blob) for blob in ((whole, 0), (whole, epoch), *certified)]
        known = [margin for margin in margins if margin is not None]
        return min(known, key=lambda margin: margin.margin_shards, default=None)

    def low_regions(self, margin_below: int) -> list[LowRegion]:
        """Where the certified blobs are that can lose fewer shards than `margin_below`; none when none can.

        What is whole differs only by who holds it, so by the epochs at which shards changed hands, and by the ids up to
        which nodes have listed what they lack. Of blobs that lack something, at most `LOW_MAX` are named.

        Raises:
            DurabilityUnknown: no node has been asked yet.
        """
        if self._round is None:
            raise DurabilityUnknown()
        found = []
        epochs = [0, *sorted({record.epoch for record in self._round.moving}), None]
        cuts = sorted({report.listed_to for report in self._reports.values() if report.listed_to is not None})
        for from_epoch, to_epoch in itertools.pairwise(epochs):
            for after, through in itertools.pairwise([None, *cuts, None]):
                first = BlobId(((0 if after is None else int.from_bytes(after)) + 1).to_bytes(33)[-32:])
                whole = self.margin_of(first, from_epoch or 0)
                assert whole is not None, "the nodes have been asked"
                spare = whole.margin_shards - margin_below
                if spare < 0:
                    found.append(LowRegion(after, through, from_epoch or 0, to_epoch, None))
                elif low := self._lacking_more_than(spare, from_epoch or 0, after, through):
                    found.append(LowRegion(after, through, from_epoch or 0, to_epoch, low))
        return found

    def _lacking_more_than(
        self, spare: int, certified_epoch: int, after: BlobId | None, through: BlobId | None
    ) -> tuple[BlobId, ...]:
        """Blobs in a span of ids of which nodes that answer lack more shards than can be spared; most first."""
        lost: Counter[BlobId] = Counter()
        holders = {} if self._round is None else self._round.holders_of(certified_epoch)
        for node_id, report in self._reports.items():
            weight = holders.get(node_id, 0)
            if report.listed_to is not None and after is not None and report.listed_to <= after:
                continue  # the whole span counts as lost with this node
            for blob_id, n_lacking in report.lacking.items():
                if (after is None or blob_id > after) and (through is None or blob_id <= through):
                    lost[blob_id] += min(weight, n_lacking)
        return tuple(blob_id for blob_id, n in lost.most_common(LOW_MAX) if n > spare)

    async def _ask(self, link: MemberLink) -> NodeReport:
        clock = self._network.clock
        lacking: dict[BlobId, int] = {}
        after: BlobId | None = None
        try:
            async with asyncio.timeout(TIMEOUT_MS / 1000):
                while True:
                    page = await link.api.list_incomplete(after=after, limit=PAGE)
                    lacking.update({blob.blob_id: n_lacking(blob) for blob in page.blobs})
                    after = page.next_after
                    if after is None or len(lacking) >= LISTED_MAX:
                        return NodeReport(True, lacking, after, clock.now_ms())
        except (HauloutError, TimeoutError) as e:
            now_ms, last = clock.now_ms(), self._reports.get(link.node_id)
            is_busy = isinstance(e, TimeoutError) and last is not None and last.is_reachable
            if is_busy and last is not None and now_ms - last.checked_at_ms < BUSY_MS:
                return last
            return NodeReport(False, {}, None, now_ms)


def n_lacking(blob: IncompleteBlob) -> int:
    """Slivers that a node lacks of a blob; without its metadata it serves none, however many it has."""
    return blob.missing_slivers if not blob.lacks_metadata else ALL
