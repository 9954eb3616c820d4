"""Reading a blob, in order: existence, metadata, slivers, decode and check.

Existence is the ledger's to tell. One honest node suffices for the metadata, since the blob id commits to it; any
k1 verified primary slivers decode. A sliver that does not verify is thrown away, its node is counted and not asked
again; nodes that are slow are hedged: after the patience that `plan.Patience` has learned, others are asked for more.
When the committee changes underneath, the read begins again. Source: `spec/client-api.md` 11 and 12.2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from haulout import codec
from haulout.client.errors import BlobNotFound, BlobUnavailable, RangeOutOfBlob
from haulout.client.fetch import SliverFetch, fetch_metadata
from haulout.client.network import READ_SPILL_THRESHOLD_BYTES, MemberLink, Network, open_buffer
from haulout.codec import ConsistencyCheck, Sliver
from haulout.codec.errors import InconsistentBlob
from haulout.codec.metadata import BlobMetadata
from haulout.errors import WrongEpoch
from haulout.ledger.queries import BlobExistence
from haulout.primitives import Axis, BlobId, SliverPairIndex, blob_id_text, min_decodable

MAX_ROUNDS = 5
ROUND_PAUSE_MS = 200

T = TypeVar("T")


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
        InconsistentBlob: its writer encoded it wrongly.
    """
    await require_existence(network, blob_id)

    known = metadata or await read_metadata(network, blob_id)

    async def fetch(epoch: int, members: Sequence[MemberLink]) -> list[Sliver]:
        return await SliverFetch(network, blob_id, known, epoch, members).enough()

    size_bytes = codec.padded_size_bytes(known)
    async with network.reads.take(size_bytes):
        slivers = await _with_holders(network, blob_id, fetch)
        with contextlib.ExitStack() as stack:
            out = open_buffer(network.spill, size_bytes, stack, threshold_bytes=READ_SPILL_THRESHOLD_BYTES)
            data = await network.workers.run(
                codec.decode_blob, known, slivers, Axis.PRIMARY, check=check, verified=True, out=out
            )
            return BlobData(data, known, stack.pop_all())


async def read_range(
    network: Network, blob_id: BlobId, start: int, length: int, *, metadata: BlobMetadata | None = None
) -> BlobData:
    """`length` bytes from `start` on. Only the slivers that hold them are fetched and verified; where one cannot be
    had, the whole blob is read.

    Raises:
        RangeOutOfBlob: not within the blob, or empty.
        BlobNotFound, BlobUnavailable, InconsistentBlob: as `read_blob`.
    """
    metadata = metadata or await read_metadata(network, blob_id)
    end = start + length
    if start < 0 or length < 1 or end > metadata.unencoded_length:
        raise RangeOutOfBlob(start=start, end=end - 1, size_bytes=metadata.unencoded_length)
    existence = await require_existence(network, blob_id)
    epoch, members, _ = await network.holder_links(existence.certified_epoch)
    row_bytes = metadata.sliver_size_bytes(Axis.PRIMARY)
    rows = range(start // row_bytes, (end - 1) // row_bytes + 1)
    fetch = SliverFetch(network, blob_id, metadata, epoch, members)
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

    async def fetch(epoch: int, members: Sequence[MemberLink]) -> BlobMetadata:
        return await fetch_metadata(network, blob_id, epoch, members)

    return await _with_holders(network, blob_id, fetch)


async def _with_holders(
    network: Network, blob_id: BlobId, work: Callable[[int, Sequence[MemberLink]], Awaitable[T]]
) -> T:
    """Do work with those who have the blob: the committee, and for shards on their way whoever hands them over. When
    that fails because shards have moved meanwhile, it is done again with those who have it then."""
    for round_number in range(MAX_ROUNDS):
        existence = await require_existence(network, blob_id)
        epoch, members, is_moving = await network.holder_links(existence.certified_epoch)
        try:
            return await work(epoch, members)
        except WrongEpoch:
            pass
        except BlobUnavailable:
            if not is_moving and (await network.view.system()).epoch == epoch:
                raise
            epoch, members = await network.current_links()
            if round_number == MAX_ROUNDS - 1:
                return await work(epoch, members)
            with contextlib.suppress(BlobUnavailable, WrongEpoch):
                return await work(epoch, members)  # the new owners may have it by now
        await network.clock.sleep_ms(ROUND_PAUSE_MS << round_number)
    n_shards = sum(member.weight for member in members)
    raise BlobUnavailable(
        blob_id=blob_id_text(blob_id),
        got=0,
        needed=min_decodable(n_shards),
        reasons=f"the nodes are beyond epoch {epoch}, and the ledger that is followed here is not",
    )


async def require_existence(network: Network, blob_id: BlobId) -> BlobExistence:
    """What the ledger says of a blob; refuses ids that it does not know as certified and live.

    Raises:
        InconsistentBlob: proven to be encoded wrongly.
        BlobNotFound: otherwise.
    """
    existence = await network.view.blob_existence(blob_id)
    if existence is None:
        if await network.view.is_invalid(blob_id):
            raise InconsistentBlob(blob_id=blob_id_text(blob_id), check="committee's")
        raise BlobNotFound(blob_id=blob_id_text(blob_id))
    return existence
