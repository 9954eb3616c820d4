"""Bringing a blob's slivers to the nodes and collecting their confirmations.

Every member gets its own task: ask what it has, send metadata, send the slivers it lacks, ask for its confirmation,
check that. A small blob that was registered just now is nowhere yet, so all of that is one request at first. A task
that fails tries again, step by step, after a growing pause. The upload is done when confirmations of n - f shards are
in; the others get a little longer, since every sliver that arrives now need not be rebuilt later.

It fails when nothing has moved for `STALL_MS`. A sliver that is sent again and again, to a node with a full disk for
one, moves nothing: it counts the first time and in two more rounds. And one node that speaks of a later epoch proves
nothing either: the store begins again with a new committee when more than f of weight say so.

Memory: one sliver per node, besides the encoded blob itself; the transport takes the next one when there is room. Of
a small blob everything at once, `SMALL_BLOB_BYTES` at the most.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from haulout.client.confirmations import Confirmations, OnNode, UploadedCertificate
from haulout.client.network import MemberLink, Network
from haulout.client.plan import pairs_of_shards
from haulout.errors import HauloutError, Rejected, WrongEpoch
from haulout.ports import SliverUpload
from haulout.primitives import (
    Axis,
    ObjectId,
    SliverPairIndex,
    sliver_index_of_pair,
)

if TYPE_CHECKING:
    from haulout.codec import EncodedBlob

STALL_MS = 15_000  # so that the answer comes within 20 s of the last progress
LOOK_AGAIN_MS = 1_000
TAIL_BASE_MS = 500
FIRST_PAUSE_MS = 100
MAX_PAUSE_MS = 2_000
ROUNDS_COUNTED = 3
SMALL_BLOB_BYTES = 8 << 20  # of all slivers of a blob that travels in one request to each node …
AT_ONCE_BYTES = 1 << 20  # … and of each of these requests
AT_ONCE_WAIT_MS = 1_000  # for the registration to arrive at a node

Target = tuple[SliverPairIndex, Axis]


class Upload:
    """One blob on its way to one committee."""

    def __init__(
        self,
        network: Network,
        encoded: EncodedBlob,
        *,
        epoch: int,
        members: Sequence[MemberLink],
        object_id: ObjectId | None,
        is_new: bool = False,
        on_bytes: Callable[[int], None],
        on_node: OnNode = lambda _: None,
    ) -> None:
        """Make an upload.

        Args:
            object_id: of a deletable blob; None for a permanent one.
            is_new: it was registered just now, so no node can have anything of it for this registration.
            on_bytes: called with the size of each sliver that a node has.
            on_node: called with what each member has answered.
        """
        self._network = network
        self._encoded = encoded
        self._epoch = epoch
        self._members = members
        self._object_id = object_id
        self._on_bytes = on_bytes
        self._n_shards = encoded.metadata.n_shards
        self._metadata = encoded.metadata.to_bcs()
        self._pair_bytes = sum(encoded.metadata.sliver_size_bytes(axis) for axis in Axis)
        self._is_small_and_new = is_new and self._n_shards * self._pair_bytes <= SMALL_BLOB_BYTES
        self._said = Confirmations(
            network, encoded.blob_id, self._n_shards, epoch=epoch, members=members, object_id=object_id, on_node=on_node
        )
        self._rounds: Counter[tuple[int, Target | None]] = Counter()  # per member and sliver; None is the metadata
        self._moved_us = network.clock.monotonic_us()
        self._event = asyncio.Event()

    async def run(self) -> UploadedCertificate:
        """Upload until the blob can be certified.

        Raises:
            InsufficientConfirmations: nothing moved for too long; says what each missing node answered.
            WrongEpoch: the committee has changed; begin again with the new one.
        """
        clock = self._network.clock
        started_us = clock.monotonic_us()
        tasks = [asyncio.create_task(self._serve(index)) for index in range(len(self._members))]
        alarm = asyncio.create_task(self._alarm(LOOK_AGAIN_MS))
        try:
            while True:
                while not self._said.are_enough:
                    await self._said.raise_if_moved_on()
                    stalled_ms = (clock.monotonic_us() - self._moved_us) // 1000
                    if stalled_ms >= STALL_MS or all(task.done() for task in tasks):
                        raise self._said.insufficient()
                    await self._wait()
                elapsed_ms = (clock.monotonic_us() - started_us) // 1000
                await self._finish_tail(tasks, TAIL_BASE_MS + elapsed_ms // 2)
                certificate = await self._said.certify()
                if certificate is not None:
                    return certificate
        finally:
            for task in (*tasks, alarm):
                task.cancel()
            await asyncio.gather(*tasks, alarm, return_exceptions=True)

    async def _finish_tail(self, tasks: Sequence[asyncio.Task[None]], limit_ms: int) -> None:
        """Let nodes that are still receiving finish, for a while; those that failed are not waited for."""
        deadline_us = self._network.clock.monotonic_us() + limit_ms * 1000
        alarm = asyncio.create_task(self._alarm(limit_ms))
        try:
            while self._network.clock.monotonic_us() < deadline_us:
                if all(task.done() or index in self._said.problems for index, task in enumerate(tasks)):
                    return
                await self._wait()
        finally:
            alarm.cancel()
            await asyncio.gather(alarm, return_exceptions=True)

    async def _alarm(self, period_ms: int) -> None:
        """Make time pass count as something that happens."""
        while True:
            await self._network.clock.sleep_ms(period_ms)
            self._event.set()

    async def _wait(self) -> None:
        """Until something happens."""
        self._event.clear()
        await self._event.wait()

    async def _serve(self, index: int) -> None:
        """See one member through, again and again until it has confirmed or refuses for good."""
        member = self._members[index]
        record = self._network.record_of(member.node_id)
        pause_ms = FIRST_PAUSE_MS
        at_once = self._is_small_and_new and member.weight * self._pair_bytes + len(self._metadata) <= AT_ONCE_BYTES
        while True:
            started_us = self._network.clock.monotonic_us()
            try:
                if at_once:
                    at_once = False  # whatever comes of it, the next try asks first what has arrived
                    await self._send_at_once(index)
                else:
                    await self._send(index)
                    await self._said.ask(index)
            except HauloutError as e:
                is_final = self._said.failed(index, e)
                self._event.set()
                if is_final:
                    return
                await self._network.clock.sleep_ms(pause_ms + self._network.rng.below(pause_ms))
                pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)
                continue
            record.succeeded(self._network.clock.monotonic_us() - started_us)
            self._moved()
            return

    async def _send_at_once(self, index: int) -> None:
        """Bring a member everything and take its confirmation back."""
        targets = self._targets(index)
        signed = await self._members[index].api.store_and_confirm(
            epoch=self._epoch,
            blob_id=self._encoded.blob_id,
            object_id=self._object_id,
            metadata=self._metadata,
            slivers=[self._sliver(target) for target in targets],
            wait_ms=AT_ONCE_WAIT_MS,
        )
        for target in (None, *targets):
            self._count(index, target)
        await self._said.take(index, signed)

    async def _send(self, index: int) -> None:
        """Bring a member what it lacks."""
        member, blob_id = self._members[index], self._encoded.blob_id
        holdings = await member.api.holdings(epoch=self._epoch, blob_id=blob_id)
        targets = self._targets(index)
        lacking = set(holdings.missing)
        missing = [target for target in targets if target in lacking]
        if not (holdings.has_metadata or missing):
            missing = targets  # it has never heard of the blob
        for target in set(targets).difference(missing):
            self._count(index, target)
        if not holdings.has_metadata:
            await member.api.store_metadata(epoch=self._epoch, blob_id=blob_id, metadata=self._metadata)
            self._count(index, None)
        if missing:
            await member.api.store_slivers(epoch=self._epoch, blob_id=blob_id, slivers=self._slivers(index, missing))

    async def _slivers(self, index: int, wanted: Sequence[Target]) -> AsyncIterator[SliverUpload]:
        for target in wanted:
            yield self._sliver(target)
            self._count(index, target)

    def _targets(self, index: int) -> list[Target]:
        """Both slivers of every pair that a member stores."""
        pairs = pairs_of_shards(self._members[index].shards, self._encoded.blob_id, self._n_shards)
        return [(pair, axis) for pair in pairs for axis in Axis]

    def _sliver(self, target: Target) -> SliverUpload:
        pair, axis = target
        sliver = self._encoded.sliver(axis, sliver_index_of_pair(pair, axis, self._n_shards))
        return SliverUpload(pair, axis, b"".join(sliver.bcs_chunks()))

    def _count(self, index: int, target: Target | None) -> None:
        """A member has a sliver, or has been sent it: bytes count once, movement in a few rounds."""
        self._rounds[index, target] += 1
        if target is not None and self._rounds[index, target] == 1:
            self._on_bytes(self._encoded.metadata.sliver_size_bytes(target[1]))
        if self._rounds[index, target] <= ROUNDS_COUNTED:
            self._moved()

    def _moved(self) -> None:
        self._moved_us = self._network.clock.monotonic_us()
        self._event.set()


def is_worth_restarting(error: HauloutError) -> bool:
    """Whether a store begins again with the new committee."""
    return isinstance(error, WrongEpoch) or (isinstance(error, Rejected) and error.code == "INCORRECT_EPOCH")
