"""Getting metadata and primary slivers, or some stripes of them, from whichever nodes have them.

What comes is verified before it counts. A node that hands out something wrong, or fails, is not asked again for this
blob; one that is silent is asked last for a while, and others are asked in addition.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from haulout import bcs, codec
from haulout.client.errors import BlobUnavailable, SliversMissing, WrongBytes
from haulout.client.network import MemberLink, Network, unreachable_text
from haulout.client.plan import NodeRank, assign_pairs, choose_pairs, n_hedges
from haulout.codec import Sliver, SliverStripes
from haulout.codec.metadata import BlobMetadata, BlobMetadataWithId
from haulout.errors import Corrupt, HauloutError, InvalidInput, WrongEpoch
from haulout.ports import SliverUpload
from haulout.primitives import Axis, BlobId, ObjectId, SliverPairIndex, blob_id_text, min_decodable, min_one_correct

if TYPE_CHECKING:
    from haulout.crypto.batch import Digests

METADATA_AT_ONCE = 3
VERIFY_BYTES = 1 << 20  # small slivers are verified together, which takes a third of the time


async def fetch_metadata(network: Network, blob_id: BlobId, epoch: int, members: Sequence[MemberLink]) -> BlobMetadata:
    """Metadata from whichever node has it; a few are asked at once, those that did well lately first, and one more
    whenever nobody answers for a while.

    Raises:
        BlobUnavailable: no node handed out metadata that the id commits to.
        WrongEpoch: the committee has changed.
    """
    n_shards = sum(member.weight for member in members)
    now_us = network.clock.monotonic_us()
    shuffled = network.rng.shuffled(members)
    queue = sorted(shuffled, key=lambda m: network.record_of(m.node_id).failed_until_us > now_us)
    problems: dict[ObjectId, HauloutError] = {}

    async def ask(member: MemberLink) -> BlobMetadata | None:
        try:
            raw = await member.api.read_metadata(epoch=epoch, blob_id=blob_id)
            return await network.workers.run(_verified_metadata, raw, blob_id, n_shards, member.name)
        except HauloutError as e:
            _count_failure(network, member, e)
            problems[member.node_id] = e
            return None

    pending: set[asyncio.Task[BlobMetadata | None]] = set()
    at_once = METADATA_AT_ONCE
    timer: asyncio.Task[None] | None = None
    try:
        while queue or pending:
            while queue and len(pending) < at_once:
                pending.add(asyncio.create_task(ask(queue.pop(0))))
            timer = timer or asyncio.create_task(network.clock.sleep_ms(network.patience.limit_ms))
            await asyncio.wait({*pending, timer}, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in pending if task.done()]:
                pending.discard(task)
                if (metadata := task.result()) is not None:
                    return metadata
            if timer.done():
                timer, at_once = None, at_once + 1
    finally:
        await _end({*pending, *([timer] if timer else [])})
    _raise_if_moved_on(members, problems, epoch)
    raise BlobUnavailable(
        blob_id=blob_id_text(blob_id), got=0, needed=min_decodable(n_shards), reasons=_reasons(members, problems)
    )


def _raise_if_moved_on(members: Sequence[MemberLink], problems: Mapping[ObjectId, HauloutError], epoch: int) -> None:
    """More than f of weight speak of a later epoch: at least one of them is honest."""
    later = {node: e for node, e in problems.items() if isinstance(e, WrongEpoch) and e.server_epoch > epoch}
    n_shards = sum(member.weight for member in members)
    if sum(member.weight for member in members if member.node_id in later) >= min_one_correct(n_shards):
        raise next(iter(later.values()))


def _reasons(members: Sequence[MemberLink], problems: Mapping[ObjectId, HauloutError]) -> str:
    """What each node answered, by name."""
    texts = [f"{m.name}: {unreachable_text(problems[m.node_id])}" for m in members if m.node_id in problems]
    return ", ".join(sorted(texts)) or "no node answered"


def _verified_metadata(raw: bytes, blob_id: BlobId, n_shards: int, node: str) -> BlobMetadata:
    """The metadata of a node's answer; anything wrong with it is the node's doing."""
    try:
        found: BlobMetadataWithId = bcs.decode(BlobMetadataWithId, raw)
        codec.verify_metadata(found.metadata, blob_id, n_shards)
    except (InvalidInput, Corrupt) as e:
        raise WrongBytes(node=node, problem=str(e)) from e
    return found.metadata


@dataclass(frozen=True, slots=True)
class VerifiedStripes:
    """Stripes of a sliver that verified, and their roots (count, 32)."""

    piece: SliverStripes
    roots: Digests

    @property
    def index(self) -> int:
        return self.piece.index


class _Indexed(Protocol):
    @property
    def index(self) -> int:
        """Of the sliver."""


T = TypeVar("T", bound=_Indexed)
# Reads and verifies uploads, of which those with the owed indices were asked for; raises when one is wrong.
ReadUploads = Callable[[BlobMetadata, Sequence[SliverUpload], frozenset[int]], list[T]]


@dataclass(frozen=True, slots=True)
class _Verified(Generic[T]):
    """What is left of a node's answer, and what was wrong with the rest if anything."""

    slivers: list[T]
    problem: str | None


def _verify_uploads(
    read: ReadUploads[T], metadata: BlobMetadata, uploads: Sequence[SliverUpload], owed: frozenset[int]
) -> _Verified[T]:
    """The slivers among `uploads` that were asked for and are what the metadata commits to."""
    try:
        return _Verified(read(metadata, uploads, owed), None)
    except (InvalidInput, Corrupt) as e:
        if len(uploads) == 1:
            return _Verified([], str(e))
    # Something is wrong: what is right counts nevertheless.
    good: list[T] = []
    problem = "a sliver came twice"
    for upload in uploads:
        found = _verify_uploads(read, metadata, [upload], owed.difference(sliver.index for sliver in good))
        good += found.slivers
        problem = found.problem or problem
    return _Verified(good, problem)


def read_whole(metadata: BlobMetadata, uploads: Sequence[SliverUpload], owed: frozenset[int]) -> list[Sliver]:
    """Whole primary slivers."""
    slivers = [Sliver.view(upload.bcs) for upload in uploads]
    _check_asked(uploads, [sliver.index for sliver in slivers], owed)
    codec.verify_slivers(metadata, Axis.PRIMARY, slivers)
    return slivers


def read_stripes(
    stripes: range, metadata: BlobMetadata, uploads: Sequence[SliverUpload], owed: frozenset[int]
) -> list[VerifiedStripes]:
    """Exactly these stripes of primary slivers."""
    striping = codec.rs8.striping_of_blob(metadata)
    pieces: list[SliverStripes] = [bcs.decode(SliverStripes, upload.bcs) for upload in uploads]
    _check_asked(uploads, [piece.index for piece in pieces], owed)
    if any(codec.stripes.stripes_of(striping, Axis.PRIMARY, piece) != stripes for piece in pieces):
        raise Corrupt("stripes came that were not asked for")
    return [VerifiedStripes(piece, codec.stripes.verify_stripes(metadata, Axis.PRIMARY, piece)) for piece in pieces]


def _check_asked(uploads: Sequence[SliverUpload], indices: Sequence[int], owed: frozenset[int]) -> None:
    named = [(upload.axis, upload.pair_index) for upload in uploads]
    is_asked = owed.issuperset(indices) and len(set(indices)) == len(indices)
    if not is_asked or named != [(Axis.PRIMARY, index) for index in indices]:
        raise Corrupt("slivers came that were not asked for")


def _count_failure(network: Network, member: MemberLink, error: HauloutError) -> None:
    network.record_of(member.node_id).failed(network.clock.monotonic_us())
    network.metrics.node_failures.labels(member.name).inc()
    if isinstance(error, WrongBytes):
        network.metrics.bad_slivers.labels(member.name).inc()


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class SliverFetch(Generic[T]):
    """Primary slivers of one blob, or some stripes of them, on their way from the nodes."""

    def __init__(
        self,
        network: Network,
        blob_id: BlobId,
        metadata: BlobMetadata,
        epoch: int,
        members: Sequence[MemberLink],
        *,
        read: ReadUploads[T],
        stripes: range | None = None,
        liars: set[ObjectId] | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            read: `read_whole`, or `read_stripes` of the very same stripes.
            stripes: to ask for; None for whole slivers.
            liars: members not to ask; those that are found out are added.
        """
        self._read = read
        self._stripes = stripes
        self._network = network
        self._blob_id = blob_id
        self._metadata = metadata
        self._epoch = epoch
        self._members = {member.node_id: member for member in members}
        self._assignment = assign_pairs(blob_id, {member.node_id: member.shards for member in members})
        self._have: dict[int, T] = {}
        self._asked: set[int] = set()  # at any time, with or without success
        self._on_their_way: Counter[ObjectId] = Counter()
        self._liars = set() if liars is None else liars
        self._excluded: set[ObjectId] = set(self._liars)
        self._problems: dict[ObjectId, HauloutError] = {}
        self._event = asyncio.Event()

    async def enough(self) -> list[T]:
        """Any k1 verified slivers.

        Raises:
            BlobUnavailable: there are not that many to be had.
            WrongEpoch: the committee has changed.
        """
        n_shards = self._assignment.n_shards
        needed = min_decodable(n_shards)
        tasks: set[asyncio.Task[None]] = set()
        n_rounds = 0
        try:
            while len(self._have) < needed:
                tasks = {task for task in tasks if not task.done()}
                short = needed - len(self._have) - self._on_their_way.total()
                if short > 0 and not self._ask(tasks, short) and not tasks:
                    raise self._unavailable(needed)
                if not await self._wait(tasks):
                    self._distrust_silent()
                    if self._ask(tasks, n_hedges(n_shards, n_rounds)):
                        self._network.metrics.hedges.inc()
                    n_rounds += 1
        finally:
            await _end(tasks)
        return [self._have[index] for index in sorted(self._have)][:needed]

    async def exactly(self, pairs: Sequence[SliverPairIndex]) -> dict[int, T] | None:
        """These slivers, or None when one of them cannot be had soon."""
        wanted: dict[ObjectId, list[SliverPairIndex]] = {}
        for pair in pairs:
            wanted.setdefault(self._assignment.node_of_pair[pair], []).append(pair)
        tasks = {asyncio.create_task(self._serve(node_id, targets)) for node_id, targets in wanted.items()}
        try:
            while running := {task for task in tasks if not task.done()}:
                if not await self._wait(running):
                    self._distrust_silent()
                    return None
        finally:
            await _end(tasks)
        return self._have if all(pair in self._have for pair in pairs) else None

    def _ask(self, tasks: set[asyncio.Task[None]], count: int) -> bool:
        """Ask for slivers that were not asked for yet; False when there are none."""
        now_us = self._network.clock.monotonic_us()
        records = {node_id: self._network.record_of(node_id) for node_id in self._members}
        ranks = [
            NodeRank(node_id, record.failed_until_us > now_us, record.latency_us)
            for node_id, record in records.items()
            if node_id not in self._excluded
        ]
        chosen = choose_pairs(self._assignment, ranks, taken=self._asked, n_wanted=count)
        for node_id, pairs in chosen.items():
            self._asked.update(pairs)
            self._on_their_way[node_id] += len(pairs)
            tasks.add(asyncio.create_task(self._serve(node_id, pairs)))
        return bool(chosen)

    def _distrust_silent(self) -> None:
        """Nodes that owe something are asked last for a while."""
        now_us = self._network.clock.monotonic_us()
        for node_id in +self._on_their_way:
            self._network.record_of(node_id).failed(now_us)

    async def _wait(self, tasks: set[asyncio.Task[None]]) -> bool:
        """Until a sliver arrives or a node is finished; False when it takes longer than usual."""
        self._event.clear()
        arrival = asyncio.ensure_future(self._event.wait())
        timer = asyncio.ensure_future(self._network.clock.sleep_ms(self._network.patience.limit_ms))
        try:
            done, _ = await asyncio.wait({arrival, timer, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            return done != {timer}
        finally:
            await _end((arrival, timer))

    async def _serve(self, node_id: ObjectId, pairs: Sequence[SliverPairIndex]) -> None:
        """Take slivers from one node as they come; one that lies or fails is not asked again for this blob."""
        member = self._members[node_id]
        network, clock = self._network, self._network.clock
        started_us = last_us = clock.monotonic_us()
        owed: frozenset[int] = frozenset(pairs)
        stream = member.api.read_slivers(
            epoch=self._epoch,
            blob_id=self._blob_id,
            targets=[(pair, Axis.PRIMARY) for pair in pairs],
            stripes=self._stripes,
        )

        async def take(uploads: Sequence[SliverUpload]) -> None:
            nonlocal owed
            found = await network.workers.run(_verify_uploads, self._read, self._metadata, uploads, owed)
            self._have.update((sliver.index, sliver) for sliver in found.slivers)
            self._on_their_way[node_id] -= len(found.slivers)
            owed = owed.difference(sliver.index for sliver in found.slivers)
            self._event.set()
            if found.problem is not None:
                raise WrongBytes(node=member.name, problem=found.problem)

        try:
            waiting: list[SliverUpload] = []
            async with contextlib.aclosing(stream) as uploads:  # type: ignore[type-var]
                async for upload in uploads:
                    network.patience.observe((clock.monotonic_us() - last_us) // 1000)
                    self._event.set()
                    waiting.append(upload)
                    if len(waiting) * len(upload.bcs) >= VERIFY_BYTES or len(waiting) > len(owed):
                        await take(waiting)
                        waiting = []
                    last_us = clock.monotonic_us()
            if waiting:
                await take(waiting)
            if owed:
                raise SliversMissing(node=member.name, missing=len(owed))
            network.record_of(node_id).succeeded(clock.monotonic_us() - started_us)
        except SliversMissing as e:
            self._problems[node_id] = e
        except HauloutError as e:
            self._excluded.add(node_id)
            if isinstance(e, WrongBytes):
                self._liars.add(node_id)
            self._problems[node_id] = e
            _count_failure(network, member, e)
        finally:
            self._on_their_way[node_id] -= len(owed)
            self._event.set()

    def _unavailable(self, needed: int) -> BlobUnavailable:
        members = list(self._members.values())
        _raise_if_moved_on(members, self._problems, self._epoch)
        return BlobUnavailable(
            blob_id=blob_id_text(self._blob_id),
            got=len(self._have),
            needed=needed,
            reasons=_reasons(members, self._problems),
        )
