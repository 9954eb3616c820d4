"""Bringing a blob in stripes to the nodes, segment by segment.

An upload goes in rounds. A round asks every member that has not confirmed what it lacks, goes once through the segments
that somebody lacks, sending each to all who lack it before the next but one is encoded, and asks those that have
everything for their confirmation. A member that fails is out for the rest of the round; one that is much slower than a
quorum of the others is, too: it completes itself later. So two encoded segments are in memory, whatever the nodes do,
and a round that was cut off is followed by one that sends only what is lacking by then.

It fails when nothing has moved for `STALL_MS`, as an upload of whole slivers does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, TypeVar

from haulout.client.confirmations import Confirmations, OnNode, UploadedCertificate
from haulout.client.network import MemberLink, Network
from haulout.client.plan import is_certifiable, pairs_of_shards
from haulout.client.striped_blob import StripedBlob
from haulout.client.upload import FIRST_PAUSE_MS, MAX_PAUSE_MS, STALL_MS, Target
from haulout.errors import DeadlineExceeded, HauloutError
from haulout.ports import BlobHoldings, SliverUpload
from haulout.primitives import Axis, ObjectId

if TYPE_CHECKING:
    from haulout.codec.rs8 import EncodedSegment

STRAGGLER_BASE_MS = 2_000
ENCODERS = 2  # one segment is encoded while another is sent, unless they are very large
LARGE_ENCODER_BYTES = 256 << 20

T = TypeVar("T")
Lacking = dict[int, list[Target]]  # by segment


class StripedUpload:
    """One blob in stripes on its way to one committee."""

    def __init__(
        self,
        network: Network,
        blob: StripedBlob,
        *,
        epoch: int,
        members: Sequence[MemberLink],
        object_id: ObjectId | None,
        on_bytes: Callable[[int], None],
        on_node: OnNode = lambda _: None,
    ) -> None:
        self._network = network
        self._blob = blob
        self._epoch = epoch
        self._members = members
        self._on_bytes = on_bytes
        self._n_shards = blob.metadata.n_shards
        self._said = Confirmations(
            network, blob.blob_id, self._n_shards, epoch=epoch, members=members, object_id=object_id, on_node=on_node
        )
        self._n_encoders = ENCODERS if blob.encoder_bytes < LARGE_ENCODER_BYTES else 1
        self._given_up: set[int] = set()  # members that trying again is of no use with
        self._counted: set[tuple[int, Target, int]] = set()  # whose bytes were counted: member, sliver, segment
        self._moved_us = network.clock.monotonic_us()

    async def run(self) -> UploadedCertificate:
        """Upload until the blob can be certified.

        Raises:
            InsufficientConfirmations: nothing moved for too long; says what each missing node answered.
            WrongEpoch: the committee has changed; begin again with the new one.
        """
        clock, pause_ms = self._network.clock, FIRST_PAUSE_MS
        async with self._network.encoded.take(self._n_encoders * self._blob.encoder_bytes):
            while True:
                await self._round()
                certificate = await self._said.certify()
                if certificate is not None:
                    return certificate
                self._given_up |= self._said.forgers
                await self._said.raise_if_moved_on()
                stalled_ms = (clock.monotonic_us() - self._moved_us) // 1000
                if stalled_ms >= STALL_MS or len(self._given_up) + len(self._said.signatures) == len(self._members):
                    raise self._said.insufficient()
                await clock.sleep_ms(pause_ms + self._network.rng.below(pause_ms))
                pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)

    async def _round(self) -> None:
        """Serve every member that has not confirmed, once."""
        open_members = [
            index
            for index in range(len(self._members))
            if index not in self._said.signatures and index not in self._given_up
        ]
        asked = await self._together(open_members, self._prepare)
        alive = await self._send_segments(asked)
        await self._together(sorted(alive), self._confirm)

    # --- one member -----------------------------------------------------------------------------------------

    async def _prepare(self, index: int) -> Lacking:
        """Ask a member what it lacks and give it the metadata."""
        api, blob_id = self._members[index].api, self._blob.blob_id
        holdings = await api.holdings(epoch=self._epoch, blob_id=blob_id)
        if not holdings.has_metadata:
            metadata = self._blob.metadata.to_bcs()
            await api.store_metadata(epoch=self._epoch, blob_id=blob_id, metadata=metadata)
            self._moved()
        lacking = self._lacking(index, holdings)
        for segment in range(self._blob.striping.n_segments):
            for target in set(self._targets(index)).difference(lacking.get(segment, ())):
                self._count(index, target, segment)
        return lacking

    def _targets(self, index: int) -> list[Target]:
        pairs = pairs_of_shards(self._members[index].shards, self._blob.blob_id, self._n_shards)
        return [(pair, axis) for pair in pairs for axis in Axis]

    def _lacking(self, index: int, holdings: BlobHoldings) -> Lacking:
        """Which segments of which slivers a member lacks."""
        striping = self._blob.striping
        is_unknown = not (holdings.has_metadata or holdings.missing)  # it has never heard of the blob
        missing = set(self._targets(index)) if is_unknown else set(holdings.missing)
        parts = {(part.pair_index, part.axis): part.missing for part in holdings.partial}
        lacking: Lacking = {}
        for segment in range(striping.n_segments):
            first = striping.segment(segment).start
            targets = [
                target
                for target in self._targets(index)
                if target in missing and (target not in parts or any(first in stripes for stripes in parts[target]))
            ]
            if targets:
                lacking[segment] = targets
        return lacking

    async def _confirm(self, index: int) -> None:
        started_us = self._network.clock.monotonic_us()
        await self._said.ask(index)
        record = self._network.record_of(self._members[index].node_id)
        record.succeeded(self._network.clock.monotonic_us() - started_us)
        self._moved()

    async def _send(self, index: int, segment: EncodedSegment, number: int, targets: Sequence[Target]) -> None:
        async def uploads() -> AsyncIterator[SliverUpload]:
            for pair, axis in targets:
                yield await self._network.workers.run(self._blob.upload, segment, pair, axis)

        await self._members[index].api.store_slivers(epoch=self._epoch, blob_id=self._blob.blob_id, slivers=uploads())
        for target in targets:
            self._count(index, target, number)
        self._moved()

    # --- all members ----------------------------------------------------------------------------------------

    async def _send_segments(self, lacking: dict[int, Lacking]) -> set[int]:
        """Go through the segments once; the members that have everything at the end."""
        alive = set(lacking)
        encoders = [self._blob.encoder() for _ in range(self._n_encoders)]
        numbers = [
            number
            for number in range(self._blob.striping.n_segments)
            if any(number in lacks for lacks in lacking.values())
        ]
        run = self._network.workers.run
        ahead: asyncio.Future[EncodedSegment] | None = None
        try:
            for i, number in enumerate(numbers):
                segment = await ahead if ahead is not None else await run(encoders[0].encode, number)
                ahead = None
                if i + 1 < len(numbers) and len(encoders) > 1:
                    encode = encoders[(i + 1) % len(encoders)].encode
                    ahead = asyncio.ensure_future(run(encode, numbers[i + 1]))
                wanting = [index for index in sorted(alive) if number in lacking[index]]

                async def send(index: int, segment: EncodedSegment = segment, number: int = number) -> None:
                    await self._send(index, segment, number, lacking[index][number])

                sent = await self._together(wanting, send)
                alive.difference_update(index for index in wanting if index not in sent)
                if not alive:
                    break
        finally:
            if ahead is not None:
                await asyncio.gather(ahead, return_exceptions=True)  # its buffers are in use until then
        return alive

    async def _together(
        self, indices: Sequence[int], serve: Callable[[int], Coroutine[object, object, T]]
    ) -> dict[int, T]:
        """Serve members at the same time; the results of those that were served well and not much too slowly."""
        clock = self._network.clock
        started_us = clock.monotonic_us()
        tasks = {index: asyncio.create_task(serve(index)) for index in indices}
        limit_ms: int | None = None  # once enough are done, the others get a while
        try:
            while pending := {task for task in tasks.values() if not task.done()}:
                elapsed_ms = (clock.monotonic_us() - started_us) // 1000
                if limit_ms is None and self._is_quorum(tasks):
                    limit_ms = STRAGGLER_BASE_MS + 3 * elapsed_ms
                left_ms = (STALL_MS if limit_ms is None else limit_ms) - elapsed_ms
                if left_ms <= 0:
                    break
                timer = asyncio.ensure_future(clock.sleep_ms(left_ms))
                try:
                    await asyncio.wait({*pending, timer}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    timer.cancel()
                    await asyncio.gather(timer, return_exceptions=True)
        finally:
            late = [index for index, task in tasks.items() if not task.done()]
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        results: dict[int, T] = {}
        for index, task in tasks.items():
            try:
                if index in late:
                    elapsed_ms = (clock.monotonic_us() - started_us) // 1000
                    raise DeadlineExceeded(operation="an upload", timeout_ms=elapsed_ms)
                results[index] = task.result()
            except HauloutError as e:
                if self._said.failed(index, e):
                    self._given_up.add(index)
        return results

    def _is_quorum(self, tasks: dict[int, asyncio.Task[T]]) -> bool:
        """Whether those served well, and those that have confirmed already, could certify the blob."""
        done = {index for index, task in tasks.items() if task.done() and task.exception() is None}
        weight = sum(self._members[index].weight for index in done | set(self._said.signatures))
        return is_certifiable(weight, self._n_shards)

    def _count(self, index: int, target: Target, segment: int) -> None:
        """Bytes that a member has count once."""
        key = (index, target, segment)
        if key not in self._counted:
            self._counted.add(key)
            striping = self._blob.striping
            self._on_bytes(len(striping.segment(segment)) * striping.part_bytes(target[1]))

    def _moved(self) -> None:
        self._moved_us = self._network.clock.monotonic_us()
