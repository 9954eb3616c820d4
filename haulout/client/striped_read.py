"""Reading a blob in stripes, or a part of it, as a stream: segment by segment, the next one ahead.

Each segment is fetched from any k1 nodes' primary slivers, verified piece by piece, decoded and handed out, so memory
holds two segments, and a range moves only the stripes that it touches. Of a range within one stripe only the rows that
hold it are fetched.

Every piece is verified before its bytes are handed out. When rows had to be rebuilt, or `STRICT` was asked for, whether
the *writer* encoded the blob as its id says shows only after the last stripe: then the last segment is held back until
that is known, and no reader of the whole ever gets a wrong blob to its end. A range that needs rebuilt rows is decoded
from verified slivers without that check (`docs/decisions/rs8.md`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from haulout import codec
from haulout.client.errors import RangeOutOfBlob
from haulout.client.fetch import SliverFetch, VerifiedStripes, read_stripes
from haulout.client.holders import with_holders
from haulout.client.network import MemberLink, Network
from haulout.client.spool import Spool
from haulout.codec import ConsistencyCheck
from haulout.codec.metadata import BlobMetadata
from haulout.primitives import Axis, BlobId, ObjectId, SliverPairIndex

if TYPE_CHECKING:
    from haulout.codec.stripes import IdCheck, RowCheck

    Check = RowCheck | IdCheck | None


async def stream_striped(
    network: Network,
    blob_id: BlobId,
    metadata: BlobMetadata,
    *,
    start: int = 0,
    length: int | None = None,
    check: ConsistencyCheck = ConsistencyCheck.DEFAULT,
) -> AsyncGenerator[bytes]:
    """`length` bytes of a blob from `start` on, to its end if None, in chunks of at most a MiB.

    Args:
        metadata: verified; its blob exists.
        check: for the whole blob; a range is never checked beyond its pieces.

    Raises:
        RangeOutOfBlob: not within the blob.
        BlobUnavailable: too few nodes answer.
        InconsistentBlob: its writer encoded it wrongly; the last bytes were not handed out.
    """
    striping = codec.rs8.striping_of_blob(metadata)
    size_bytes = metadata.unencoded_length
    end = size_bytes if length is None else start + length
    if not 0 <= start <= end <= size_bytes:
        raise RangeOutOfBlob(start=start, end=end - 1, size_bytes=size_bytes)
    is_whole = start == 0 and end == size_bytes
    stripes = range(striping.n_stripes) if is_whole else codec.rs8.stripes_of_bytes(striping, start, end - start)
    parts = [part for _, part in codec.rs8.segments_of(striping, stripes)] if end > start or is_whole else []
    reader = _Reader(network, blob_id, metadata, range(start, end), _checker(metadata, check) if is_whole else None)
    slot_bytes = striping.segment_stripes * striping.stripe_bytes
    with contextlib.ExitStack() as stack:
        spool = Spool(network.spill, slot_bytes, stack)
        ahead: asyncio.Task[int] | None = None
        try:
            for number, part in enumerate(parts):
                is_last = number + 1 == len(parts)
                count = await (ahead or reader.fetch(spool, number, part, is_last=is_last))
                ahead = None
                if not is_last:
                    following = reader.fetch(spool, number + 1, parts[number + 1], is_last=number + 2 == len(parts))
                    ahead = asyncio.create_task(following)
                for chunk in spool.chunks(number, count):
                    yield chunk
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)


class _Reader:
    """Gets stripes of one blob and leaves the wanted bytes of them in a spool."""

    def __init__(self, network: Network, blob_id: BlobId, metadata: BlobMetadata, wanted: range, check: Check) -> None:
        self._network = network
        self._blob_id = blob_id
        self._metadata = metadata
        self._striping = codec.rs8.striping_of_blob(metadata)
        self._wanted = wanted
        self._check = check
        self._liars: set[ObjectId] = set()  # members that are not asked again for this blob

    async def fetch(self, spool: Spool, number: int, stripes: range, *, is_last: bool) -> int:
        """Read some stripes of one segment; how many bytes of them are in the spool."""
        striping = self._striping
        memory_bytes = 2 * len(stripes) * striping.stripe_bytes
        async with self._network.reads.take(memory_bytes):
            rows = self._rows(stripes)
            found = await with_holders(
                self._network,
                self._blob_id,
                lambda epoch, members: self._fetch_pieces(stripes, rows, epoch, members),
            )
            return await self._network.workers.run(self._decode, spool, number, stripes, found, is_last=is_last)

    def _rows(self, stripes: range) -> range:
        """The rows that hold what is wanted of these stripes."""
        striping = self._striping
        if len(stripes) > 1 or self._check is not None:
            return range(striping.n_rows)
        base, row_bytes = stripes.start * striping.stripe_bytes, striping.part_bytes(Axis.PRIMARY)
        start, end = max(self._wanted.start - base, 0), min(self._wanted.stop - base, striping.stripe_bytes)
        return range(start // row_bytes, -(-end // row_bytes))

    async def _fetch_pieces(
        self, stripes: range, rows: range, epoch: int, members: Sequence[MemberLink]
    ) -> dict[int, VerifiedStripes]:
        """The pieces of these rows, or of enough others to rebuild them."""

        def fetch() -> SliverFetch[VerifiedStripes]:
            return SliverFetch(
                self._network,
                self._blob_id,
                self._metadata,
                epoch,
                members,
                read=functools.partial(read_stripes, stripes),
                stripes=stripes,
                liars=self._liars,
            )

        if len(rows) < self._striping.n_rows:
            found = await fetch().exactly([SliverPairIndex(row) for row in rows])
            if found is not None:
                return {row: found[row] for row in rows}
        return {piece.index: piece for piece in await fetch().enough()}

    def _decode(
        self, spool: Spool, number: int, stripes: range, found: dict[int, VerifiedStripes], *, is_last: bool
    ) -> int:
        """Decode, check, and leave the wanted bytes in the spool."""
        striping, rows = self._striping, self._rows(stripes)
        here = range(
            max(self._wanted.start, stripes.start * striping.stripe_bytes),
            min(self._wanted.stop, stripes.stop * striping.stripe_bytes),
        )
        if len(found) < striping.n_rows:
            joined = bytearray().join(found[row].piece.data for row in rows)
            base = stripes.start * striping.stripe_bytes + rows.start * striping.part_bytes(Axis.PRIMARY)
            data = memoryview(joined)
        else:
            pieces = [verified.piece for verified in found.values()]
            matrices = codec.stripes.decode_stripes(self._metadata, pieces, Axis.PRIMARY, stripes)
            if self._check is not None:
                self._check.add(stripes, matrices, {index: verified.roots for index, verified in found.items()})
                if is_last:
                    self._check.finish()
            base, data = stripes.start * striping.stripe_bytes, matrices.reshape(-1).data
        spool.write(number, data[here.start - base : here.stop - base])
        return len(here)


def _checker(metadata: BlobMetadata, check: ConsistencyCheck) -> Check:
    if check is ConsistencyCheck.SKIP:
        return None
    return codec.stripes.RowCheck(metadata) if check is ConsistencyCheck.DEFAULT else codec.stripes.IdCheck(metadata)
