"""Reading a blob, in order: existence, metadata, slivers, decode and check.

Existence is the ledger's to tell. One honest node suffices for the metadata, since the blob id commits to it; any
k1 verified primary slivers decode. A sliver that does not verify is thrown away, its node is counted and not asked
again; nodes that are slow are hedged: after the patience that `plan.Patience` has learned, others are asked for more.
When the committee changes underneath, the read begins again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from haulout import codec
from haulout.client.errors import RangeOutOfBlob
from haulout.client.fetch import SliverFetch, fetch_metadata, read_whole
from haulout.client.holders import require_existence, with_holders
from haulout.client.network import READ_SPILL_THRESHOLD_BYTES, MemberLink, Network, open_buffer
from haulout.client.spool import CHUNK_BYTES
from haulout.client.striped_read import stream_striped
from haulout.codec import ConsistencyCheck, Sliver
from haulout.codec.metadata import BlobMetadata
from haulout.primitives import Axis, BlobId, EncodingType, SliverPairIndex


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
        return await SliverFetch(network, blob_id, known, epoch, members, read=read_whole).enough()

    if known.encoding_type is EncodingType.RS8:
        return await _collect(network, known, stream_striped(network, blob_id, known, check=check))
    size_bytes = codec.padded_size_bytes(known)
    async with network.reads.take(size_bytes):
        slivers = await with_holders(network, blob_id, fetch)
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
    if metadata.encoding_type is EncodingType.RS8:
        stream = stream_striped(network, blob_id, metadata, start=start, length=length)
        return await _collect(network, metadata, stream, length)
    row_bytes = metadata.sliver_size_bytes(Axis.PRIMARY)
    rows = range(start // row_bytes, (end - 1) // row_bytes + 1)
    epoch, members, _ = await network.holder_links(existence.certified_epoch)
    fetch = SliverFetch(network, blob_id, metadata, epoch, members, read=read_whole)
    slivers = await fetch.exactly([SliverPairIndex(row) for row in rows])
    if slivers is None:
        whole = await read_blob(network, blob_id, metadata=metadata)
        return BlobData(whole.data[start:end], metadata, _closing(whole))
    joined = bytearray().join(slivers[row].data for row in rows)
    first = start - rows.start * row_bytes
    return BlobData(memoryview(joined)[first : first + length], metadata)


async def stream_blob(
    network: Network,
    blob_id: BlobId,
    metadata: BlobMetadata,
    *,
    start: int = 0,
    length: int | None = None,
    check: ConsistencyCheck = ConsistencyCheck.DEFAULT,
) -> AsyncGenerator[bytes]:
    """The bytes of a blob that exists, or `length` of them from `start` on, in chunks of at most a MiB.

    One in stripes is of any size and takes the memory of two segments; of another one all is read before the first
    chunk comes.

    Raises:
        RangeOutOfBlob: not within the blob.
        BlobNotFound, BlobUnavailable, InconsistentBlob: as `read_blob`; in stripes perhaps only after some chunks.
    """
    await require_existence(network, blob_id)
    if metadata.encoding_type is EncodingType.RS8:
        stream = stream_striped(network, blob_id, metadata, start=start, length=length, check=check)
        async with contextlib.aclosing(stream) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    if length is None:
        blob = await read_blob(network, blob_id, check=check, metadata=metadata)
    else:
        blob = await read_range(network, blob_id, start, length, metadata=metadata)
    with blob:
        for at in range(start if length is None else 0, blob.size_bytes, CHUNK_BYTES):
            yield bytes(blob.data[at : at + CHUNK_BYTES])


async def _collect(
    network: Network, metadata: BlobMetadata, stream: AsyncIterator[bytes], length: int | None = None
) -> BlobData:
    """All of a stream in one buffer."""
    with contextlib.ExitStack() as stack:
        size_bytes = metadata.unencoded_length if length is None else length
        out = open_buffer(network.spill, size_bytes, stack, threshold_bytes=READ_SPILL_THRESHOLD_BYTES)
        at = 0
        async for chunk in stream:
            out[at : at + len(chunk)] = chunk
            at += len(chunk)
        return BlobData(out, metadata, stack.pop_all())


def _closing(data: BlobData) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.callback(data.close)
    return stack


async def read_metadata(network: Network, blob_id: BlobId) -> BlobMetadata:
    """The metadata of a blob that exists, verified against its id."""
    await require_existence(network, blob_id)

    async def fetch(epoch: int, members: Sequence[MemberLink]) -> BlobMetadata:
        return await fetch_metadata(network, blob_id, epoch, members)

    return await with_holders(network, blob_id, fetch)
