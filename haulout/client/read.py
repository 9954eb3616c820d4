"""Reading a blob, in order: existence, metadata, slivers, decode and check.

Existence is the ledger's to tell. One honest node suffices for the metadata, since the blob id commits to it; any
k1 verified primary slivers decode. A sliver that does not verify is thrown away, its node is counted and not asked
again; nodes that are slow are hedged. Source: `spec/client-api.md` 11 and 12.2.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from haulout import bcs, codec
from haulout.client.errors import BlobInconsistent, BlobNotFound, BlobUnavailable, RangeOutOfBlob
from haulout.client.network import MemberLink, Network, open_buffer, unreachable_text
from haulout.client.plan import NodeRank, assign_pairs, choose_pairs, n_hedges
from haulout.codec import ConsistencyCheck, Sliver
from haulout.codec.errors import InconsistentBlob
from haulout.codec.metadata import BlobMetadata, BlobMetadataWithId
from haulout.errors import Corrupt, HauloutError
from haulout.ports import SliverUpload
from haulout.primitives import (
    Axis,
    BlobId,
    ObjectId,
    SliverPairIndex,
    blob_id_text,
    min_decodable,
)

HEDGE_FIRST_MS = 1_000
HEDGE_LATENCY_FACTOR = 3
METADATA_AT_ONCE = 3


@dataclass
class BlobData:
    """A blob, or a part of it, that has been read; close it when its bytes have been used."""

    data: memoryview
    metadata: BlobMetadata
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def close(self) -> None:
        """Let go of the buffer."""
        self.data.release()
        self._stack.close()

    def __enter__(self) -> BlobData:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def read_blob(
    network: Network,
    blob_id: BlobId,
    *,
    check: ConsistencyCheck = ConsistencyCheck.DEFAULT,
    metadata: BlobMetadata | None = None,
) -> BlobData:
    """The whole blob, verified.

    Args:
        check: what is verified beyond each sliver.
        metadata: when it is known already, as from `read_metadata`.

    Raises:
        BlobNotFound: the ledger knows of no such blob; no node is asked.
        BlobUnavailable: too few nodes answer.
        BlobInconsistent: its writer encoded it wrongly.
    """
    await require_existence(network, blob_id)
    epoch, members = await network.current_links()
    metadata = metadata or await fetch_metadata(network, blob_id, epoch, members)
    fetch = _Fetch(network, blob_id, metadata, epoch, members)
    slivers = await fetch.enough()
    with contextlib.ExitStack() as stack:
        out = open_buffer(network.spill, codec.padded_size_bytes(metadata), stack)
        try:
            data = await network.workers.run(
                codec.decode_blob, metadata, slivers, Axis.PRIMARY, check=check, verified=True, out=out
            )
        except InconsistentBlob as e:
            raise BlobInconsistent(blob_id=blob_id_text(blob_id)) from e
        return BlobData(data, metadata, stack.pop_all())


async def read_range(
    network: Network, blob_id: BlobId, start: int, length: int, *, metadata: BlobMetadata | None = None
) -> BlobData:
    """`length` bytes from `start` on. Only the slivers that hold them are fetched and verified; where one cannot be
    had, the whole blob is read.

    Raises:
        RangeOutOfBlob: not within the blob, or empty.
        BlobNotFound, BlobUnavailable, BlobInconsistent: as `read_blob`.
    """
    await require_existence(network, blob_id)
    epoch, members = await network.current_links()
    metadata = metadata or await fetch_metadata(network, blob_id, epoch, members)
    end = start + length
    if start < 0 or length < 1 or end > metadata.unencoded_length:
        raise RangeOutOfBlob(start=start, end=end - 1, size_bytes=metadata.unencoded_length)
    row_bytes = metadata.sliver_size_bytes(Axis.PRIMARY)
    rows = range(start // row_bytes, (end - 1) // row_bytes + 1)
    fetch = _Fetch(network, blob_id, metadata, epoch, members)
    slivers = await fetch.exactly([SliverPairIndex(row) for row in rows])
    if slivers is None:
        whole = await read_blob(network, blob_id, metadata=metadata)
        return BlobData(whole.data[start:end], metadata, _closing(whole))
    joined = bytearray().join(slivers[row].data for row in rows)
    first = start - rows.start * row_bytes
    return BlobData(memoryview(joined)[first : first + length], metadata)


def _closing(data: BlobData) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.callback(data.close)
    return stack


async def read_metadata(network: Network, blob_id: BlobId) -> BlobMetadata:
    """The metadata of a blob that exists, verified against its id."""
    await require_existence(network, blob_id)
    epoch, members = await network.current_links()
    return await fetch_metadata(network, blob_id, epoch, members)


async def require_existence(network: Network, blob_id: BlobId) -> None:
    """Refuse ids that the ledger does not know as certified and live.

    Raises:
        BlobInconsistent: proven to be encoded wrongly.
        BlobNotFound: otherwise.
    """
    if await network.view.blob_existence(blob_id) is None:
        if await network.view.is_invalid(blob_id):
            raise BlobInconsistent(blob_id=blob_id_text(blob_id))
        raise BlobNotFound(blob_id=blob_id_text(blob_id))


async def fetch_metadata(network: Network, blob_id: BlobId, epoch: int, members: Sequence[MemberLink]) -> BlobMetadata:
    """Metadata from whichever node has it; a few are asked at once, those that did well lately first.

    Raises:
        BlobUnavailable: no node handed out metadata that the id commits to.
    """
    n_shards = sum(member.weight for member in members)
    now_us = network.clock.monotonic_us()
    shuffled = network.rng.shuffled(members)
    queue = sorted(shuffled, key=lambda m: network.record_of(m.node_id).failed_until_us > now_us)
    reasons: list[str] = []

    async def ask(member: MemberLink) -> BlobMetadata | None:
        try:
            raw = await member.api.read_metadata(epoch=epoch, blob_id=blob_id)
            return await network.workers.run(_verified_metadata, raw, blob_id, n_shards)
        except HauloutError as e:
            _count_failure(network, member, e)
            reasons.append(f"{member.name}: {unreachable_text(e)}")
            return None

    pending: set[asyncio.Task[BlobMetadata | None]] = set()
    try:
        while queue or pending:
            while queue and len(pending) < METADATA_AT_ONCE:
                pending.add(asyncio.create_task(ask(queue.pop(0))))
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (metadata := task.result()) is not None:
                    return metadata
    finally:
        await _end(pending)
    raise BlobUnavailable(
        blob_id=blob_id_text(blob_id), got=0, needed=min_decodable(n_shards), reasons=", ".join(reasons)
    )


def _verified_metadata(raw: bytes, blob_id: BlobId, n_shards: int) -> BlobMetadata:
    found: BlobMetadataWithId = bcs.decode(BlobMetadataWithId, raw)
    codec.verify_metadata(found.metadata, blob_id, n_shards)
    return found.metadata


def _count_failure(network: Network, member: MemberLink, error: HauloutError) -> None:
    network.record_of(member.node_id).failed(network.clock.monotonic_us())
    network.metrics.node_failures.labels(member.name).inc()
    if not isinstance(error, HauloutError) or error.kind in ("DATA_LOSS", "INVALID_ARGUMENT"):
        network.metrics.bad_slivers.labels(member.name).inc()


async def _end(tasks: set[asyncio.Task[BlobMetadata | None]] | set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Fetch:
    """Primary slivers of one blob on their way from the nodes."""

    def __init__(
        self, network: Network, blob_id: BlobId, metadata: BlobMetadata, epoch: int, members: Sequence[MemberLink]
    ) -> None:
        self._network = network
        self._blob_id = blob_id
        self._metadata = metadata
        self._epoch = epoch
        self._members = {member.node_id: member for member in members}
        self._assignment = assign_pairs(blob_id, {member.node_id: member.shards for member in members})
        self._have: dict[int, Sliver] = {}
        self._asked: set[int] = set()
        self._excluded: set[ObjectId] = set()
        self._reasons: dict[ObjectId, str] = {}
        self._event = asyncio.Event()

    async def enough(self) -> list[Sliver]:
        """Any k1 verified slivers.

        Raises:
            BlobUnavailable: there are not that many to be had.
        """
        needed = min_decodable(self._assignment.n_shards)
        tasks: set[asyncio.Task[None]] = set()
        try:
            self._ask(tasks, needed)
            while len(self._have) < needed:
                tasks = {task for task in tasks if not task.done()}
                in_flight = len(self._asked - self._have.keys())
                short = needed - len(self._have) - in_flight
                if short > 0 and not self._ask(tasks, short) and not tasks:
                    raise self._unavailable(needed)
                if tasks and not await self._wait(tasks) and self._ask(tasks, n_hedges(self._assignment.n_shards)):
                    self._network.metrics.hedges.inc()
        finally:
            await _end(tasks)
        return [self._have[index] for index in sorted(self._have)][:needed]

    async def exactly(self, pairs: Sequence[SliverPairIndex]) -> dict[int, Sliver] | None:
        """These slivers, or None when one of them cannot be had soon."""
        wanted: dict[ObjectId, list[SliverPairIndex]] = {}
        for pair in pairs:
            wanted.setdefault(self._assignment.node_of_pair[pair], []).append(pair)
        tasks = {asyncio.create_task(self._serve(node_id, targets)) for node_id, targets in wanted.items()}
        try:
            while any(not task.done() for task in tasks):
                if not await self._wait({task for task in tasks if not task.done()}):
                    return None
        finally:
            await _end(tasks)
        return self._have if all(pair in self._have for pair in pairs) else None

    def _ask(self, tasks: set[asyncio.Task[None]], count: int) -> bool:
        """Ask for more slivers than are on their way; False when no node is left to ask."""
        now_us = self._network.clock.monotonic_us()
        records = {node_id: self._network.record_of(node_id) for node_id in self._members}
        ranks = [
            NodeRank(node_id, record.failed_until_us > now_us, record.latency_us)
            for node_id, record in records.items()
            if node_id not in self._excluded
        ]
        chosen = choose_pairs(self._assignment, ranks, have=self._have, asked=self._asked, n_wanted=count)
        for node_id, pairs in chosen.items():
            self._asked.update(pairs)
            tasks.add(asyncio.create_task(self._serve(node_id, pairs)))
        return bool(chosen)

    async def _wait(self, tasks: set[asyncio.Task[None]]) -> bool:
        """Until a sliver arrives or a node is finished; False when it takes longer than usual."""
        latencies = [self._network.record_of(node_id).latency_us for node_id in self._members]
        patience_ms = max(HEDGE_FIRST_MS, HEDGE_LATENCY_FACTOR * max(latencies) // 1000)
        self._event.clear()
        arrival = asyncio.ensure_future(self._event.wait())
        timer = asyncio.ensure_future(self._network.clock.sleep_ms(patience_ms))
        try:
            await asyncio.wait({arrival, timer, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            return arrival.done() or not timer.done()
        finally:
            arrival.cancel()
            timer.cancel()
            await asyncio.gather(arrival, timer, return_exceptions=True)

    async def _serve(self, node_id: ObjectId, pairs: Sequence[SliverPairIndex]) -> None:
        """Take slivers from one node as they come; one that lies is not asked again for this blob."""
        member = self._members[node_id]
        record = self._network.record_of(node_id)
        started_us = self._network.clock.monotonic_us()
        targets = [(pair, Axis.PRIMARY) for pair in pairs]
        stream = member.api.read_slivers(epoch=self._epoch, blob_id=self._blob_id, targets=targets)
        try:
            async with contextlib.aclosing(stream) as slivers:  # type: ignore[type-var]
                async for upload in slivers:
                    self._have[upload.pair_index] = await self._network.workers.run(
                        _verified_sliver, self._metadata, upload, frozenset(pairs)
                    )
                    self._event.set()
            record.succeeded(self._network.clock.monotonic_us() - started_us)
            missing = sum(pair not in self._have for pair in pairs)
            if missing:
                self._reasons[node_id] = f"{member.name}: lacks {missing}"
        except HauloutError as e:
            self._excluded.add(node_id)
            self._reasons[node_id] = f"{member.name}: {unreachable_text(e)}"
            _count_failure(self._network, member, e)
        finally:
            # What did not come is not on its way any more; a node that merely lacks it is not asked for it again.
            if node_id in self._excluded:
                self._asked.difference_update(pair for pair in pairs if pair not in self._have)
            else:
                self._excluded_pairs(pairs)
            self._event.set()

    def _excluded_pairs(self, pairs: Sequence[SliverPairIndex]) -> None:
        lacking = [pair for pair in pairs if pair not in self._have]
        if lacking:
            owners = list(self._assignment.node_of_pair)
            for pair in lacking:
                owners[pair] = _NOBODY
            self._assignment = type(self._assignment)(self._assignment.n_shards, tuple(owners))
            self._asked.difference_update(lacking)

    def _unavailable(self, needed: int) -> BlobUnavailable:
        reasons = ", ".join(self._reasons.values()) or "no node answered"
        return BlobUnavailable(blob_id=blob_id_text(self._blob_id), got=len(self._have), needed=needed, reasons=reasons)


_NOBODY = ObjectId(b"")


def _verified_sliver(metadata: BlobMetadata, upload: SliverUpload, expected: frozenset[int]) -> Sliver:
    """The sliver that was asked for, verified against its hash."""
    sliver: Sliver = bcs.decode(Sliver, upload.bcs)
    codec.verify_sliver(metadata, Axis.PRIMARY, sliver)
    if upload.axis is not Axis.PRIMARY or upload.pair_index not in expected or sliver.index != upload.pair_index:
        raise Corrupt(f"sliver {sliver.index} came where others were asked for")
    return sliver
