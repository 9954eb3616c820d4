"""A blob in stripes, ready to be stored: its metadata, and its pieces on demand.

The blob is gone through twice. First every stripe is expanded and hashed, which gives the id; then, once the blob is
registered, its segments are encoded one by one as they are sent. So nothing but the roots of all stripes is kept, 64
bytes per shard and stripe, however large the blob is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from haulout import bcs, codec
from haulout.client.blob_file import BlobFile
from haulout.client.network import Network
from haulout.codec.metadata import BlobMetadata, SliverStripes
from haulout.codec.streams import BlobSource, BytesSource
from haulout.ports import SliverUpload
from haulout.primitives import Axis, BlobId, Buffer, SliverPairIndex, sliver_index_of_pair

if TYPE_CHECKING:
    from haulout.codec.rs8 import EncodedSegment, SegmentEncoder, StripeHasher, Striping
    from haulout.crypto.batch import Digests

HASHED_AT_ONCE = 2  # stripes, each by a worker


class StripedBlob:
    """Made by `prepare_striped`."""

    def __init__(self, source: BlobSource, striping: Striping, roots: Digests) -> None:
        self.metadata: BlobMetadata = codec.rs8.metadata_of(striping, roots)
        self.blob_id: BlobId = self.metadata.blob_id()
        self.striping = striping
        self._source = source
        self._trees = codec.stripes.SliverTrees(roots)

    def encoder(self) -> SegmentEncoder:
        """An encoder with buffers of its own."""
        return codec.rs8.SegmentEncoder(self._source, self.striping)

    @property
    def encoder_bytes(self) -> int:
        """Memory of an encoder."""
        return codec.rs8.SegmentEncoder.memory_bytes(self.striping)

    def upload(self, segment: EncodedSegment, pair: SliverPairIndex, axis: Axis) -> SliverUpload:
        """One segment of a sliver as it travels."""
        index = sliver_index_of_pair(pair, axis, self.striping.n_shards)
        piece = SliverStripes(
            segment.part(axis, index).reshape(-1).data,
            self.striping.symbol_size_bytes,
            index,
            segment.stripes.start,
            self._trees.proof(axis, index, segment.stripes),
        )
        return SliverUpload(pair, axis, bcs.encode(piece), segment.stripes.start)


async def prepare_striped(
    network: Network, data: Buffer | BlobFile, n_shards: int, on_bytes: Callable[[int], None]
) -> StripedBlob:
    """Hash all stripes of a blob; `on_bytes` is told how many bytes are done."""
    import numpy as np

    from haulout.crypto.batch import DIGEST_BYTES

    source: BlobSource = data if isinstance(data, BlobFile) else BytesSource(data)
    striping = codec.rs8.striping_of(len(data), n_shards)
    roots = np.empty((2, n_shards, striping.n_stripes, DIGEST_BYTES), np.uint8)
    hashers = [codec.rs8.StripeHasher(source, striping) for _ in range(min(HASHED_AT_ONCE, striping.n_stripes))]
    waiting = iter([striping.segment(index) for index in range(striping.n_segments)])
    done = 0

    async def work(hasher: StripeHasher) -> None:
        nonlocal done
        for stripes in waiting:
            roots[:, :, stripes.start : stripes.stop] = await network.workers.run(hasher.roots, stripes)
            done += len(striping.bytes_of(stripes))
            on_bytes(done)

    async with asyncio.TaskGroup() as group:
        for hasher in hashers:
            group.create_task(work(hasher))
    return await network.workers.run(StripedBlob, source, striping, roots)
