"""What the API asks the storage nodes about one blob, and checks before it says so: metadata, slivers, holdings."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from haulout import bcs, codec
from haulout.client.holders import require_existence
from haulout.client.network import MemberLink, Network
from haulout.client.read import read_blob, read_metadata
from haulout.codec import ConsistencyCheck, Sliver, SliverStripes
from haulout.codec.metadata import BlobMetadata
from haulout.errors import Corrupt, HauloutError, NotFound
from haulout.ports import BlobHoldings, SliverUpload
from haulout.primitives import (
    Axis,
    BlobId,
    EncodingType,
    ObjectId,
    ShardIndex,
    SliverPairIndex,
    blob_id_text,
    pair_of_shard,
    shard_of_pair,
    sliver_index_of_pair,
)

METADATA_KEPT = 256
AT_ONCE = 16
TIMEOUT_MS = 2_000
STRICT_BYTES_MAX = 4 << 20  # of a blob that is read and encoded again

Part = TypeVar("Part", Sliver, SliverStripes)


@dataclass(eq=False)
class SliverUnavailable(NotFound):
    """The holder of a sliver did not hand it out, or not the right one."""

    code = "SLIVER_UNAVAILABLE"
    template = "sliver pair {pair} of blob {blob_id} cannot be had from its holder: {problem}"
    hint = "ask for another pair, or again when the node is back"
    blob_id: str
    pair: int
    problem: str


@dataclass(frozen=True, slots=True)
class PairHolding:
    """A sliver pair, who has to hold it, and which of its slivers are there; None where the node did not answer.

    `checked_ms` says since when the node has read what it holds again, by its clock; 0 when it has not.
    """

    pair: SliverPairIndex
    shard: ShardIndex
    node_id: ObjectId
    is_stored: dict[Axis, bool | None]
    checked_ms: int = 0


class Inspector:
    """Asks nodes about blobs, a bounded number at a time; metadata never changes and is remembered."""

    def __init__(self, network: Network, n_shards: int) -> None:
        self._network = network
        self._n_shards = n_shards
        self._places = asyncio.Semaphore(AT_ONCE)
        self._metadata: OrderedDict[BlobId, BlobMetadata] = OrderedDict()

    async def metadata(self, blob_id: BlobId) -> BlobMetadata:
        """The metadata of a certified blob, verified against its id.

        Raises:
            BlobNotFound: not certified, or gone.
            BlobUnavailable: no node has it.
        """
        known = self._metadata.get(blob_id)
        if known is None:
            async with self._places:
                known = await read_metadata(self._network, blob_id)
            self._metadata[blob_id] = known
            while len(self._metadata) > METADATA_KEPT:
                self._metadata.popitem(last=False)
        self._metadata.move_to_end(blob_id)
        return known

    async def holdings(self, blob_id: BlobId) -> list[PairHolding]:
        """Every sliver pair of a certified blob, by index, as its holders say now.

        Raises:
            BlobNotFound: not certified, or gone.
        """
        existence = await require_existence(self._network, blob_id)
        epoch, links, _ = await self._network.holder_links(existence.certified_epoch)
        async with self._places:
            answers = await asyncio.gather(*(self._ask(link, epoch, blob_id) for link in links))
        found = []
        for link, answer in zip(links, answers, strict=True):
            lacking = set() if answer is None else set(answer.missing)
            checked_ms = 0 if answer is None else answer.checked_ms
            for shard in link.shards:
                pair = pair_of_shard(shard, blob_id, self._n_shards)
                stored = {axis: None if answer is None else (pair, axis) not in lacking for axis in Axis}
                found.append(PairHolding(pair, ShardIndex(shard), link.node_id, stored, checked_ms))
        return sorted(found, key=lambda holding: holding.pair)

    async def sliver(self, blob_id: BlobId, pair: int, axis: Axis) -> Sliver:
        """A whole sliver from its holder, verified.

        Raises:
            SliverUnavailable: its holder does not hand out the right one.
            BlobNotFound, BlobUnavailable: as `metadata`.
        """
        metadata = await self.metadata(blob_id)
        if metadata.encoding_type is EncodingType.RS8:
            striping = codec.rs8.striping_of_blob(metadata)
            pieces = await self.stripes(blob_id, pair, axis, range(striping.n_stripes))
            return Sliver(b"".join(piece.data for piece in pieces), striping.symbol_size_bytes, pieces[0].index)

        def read(upload: SliverUpload) -> Sliver:
            sliver: Sliver = bcs.decode(Sliver, upload.bcs)
            codec.verify_sliver(metadata, axis, sliver)
            return sliver

        (sliver,) = await self._fetch(blob_id, pair, axis, None, read, bool)
        return sliver

    async def stripes(self, blob_id: BlobId, pair: int, axis: Axis, wanted: range) -> list[SliverStripes]:
        """Consecutive stripes of a sliver of an RS8 blob from its holder, in order, in pieces that are verified.

        Raises:
            SliverUnavailable: its holder does not hand out the right ones.
            BlobNotFound, BlobUnavailable: as `metadata`.
        """
        metadata = await self.metadata(blob_id)
        striping = codec.rs8.striping_of_blob(metadata)

        def read(upload: SliverUpload) -> SliverStripes:
            piece: SliverStripes = bcs.decode(SliverStripes, upload.bcs)
            codec.stripes.verify_stripes(metadata, axis, piece)
            return piece

        def is_complete(pieces: Sequence[SliverStripes]) -> bool:
            found = [stripe for piece in pieces for stripe in codec.stripes.stripes_of(striping, axis, piece)]
            if len(found) > len(wanted):
                raise Corrupt("more stripes came than were asked for")
            return sorted(found) == list(wanted)

        pieces = await self._fetch(blob_id, pair, axis, wanted, read, is_complete)
        return sorted(pieces, key=lambda piece: piece.first_stripe)

    async def _fetch(
        self,
        blob_id: BlobId,
        pair: int,
        axis: Axis,
        stripes: range | None,
        read: Callable[[SliverUpload], Part],
        is_complete: Callable[[Sequence[Part]], bool],
    ) -> list[Part]:
        """What the holder of a sliver hands out of it, until it is complete; `read` verifies each part."""
        existence = await require_existence(self._network, blob_id)
        epoch, links, _ = await self._network.holder_links(existence.certified_epoch)
        shard = shard_of_pair(pair, blob_id, self._n_shards)
        link = next(link for link in links if shard in link.shards)
        index = sliver_index_of_pair(pair, axis, self._n_shards)
        found: list[Part] = []
        try:
            async with self._places, asyncio.timeout(TIMEOUT_MS / 1000):
                targets = [(SliverPairIndex(pair), axis)]
                uploads = link.api.read_slivers(epoch=epoch, blob_id=blob_id, targets=targets, stripes=stripes)
                async for upload in uploads:
                    part = await self._network.workers.run(read, upload)
                    if (upload.pair_index, upload.axis, part.index) != (pair, axis, index):
                        raise Corrupt(f"{link.name} handed out another sliver than it was asked for")
                    found.append(part)
                    if is_complete(found):
                        return found
        except (HauloutError, TimeoutError) as e:
            problem = str(e) or "it did not answer in time"
            raise SliverUnavailable(blob_id=blob_id_text(blob_id), pair=pair, problem=problem) from e
        raise SliverUnavailable(blob_id=blob_id_text(blob_id), pair=pair, problem=f"{link.name} lacks it")

    async def read_strictly(self, blob_id: BlobId) -> int:
        """Read a blob, decode it and encode it again; returns its size in bytes.

        Raises:
            BlobNotFound, BlobUnavailable, InconsistentBlob: as `read_blob`.
        """
        metadata = await self.metadata(blob_id)
        async with self._places:
            check = ConsistencyCheck.STRICT
            with await read_blob(self._network, blob_id, check=check, metadata=metadata) as blob:
                return blob.size_bytes

    async def _ask(self, link: MemberLink, epoch: int, blob_id: BlobId) -> BlobHoldings | None:
        try:
            async with asyncio.timeout(TIMEOUT_MS / 1000):
                return await link.api.holdings(epoch=epoch, blob_id=blob_id)
        except (HauloutError, TimeoutError):
            return None
