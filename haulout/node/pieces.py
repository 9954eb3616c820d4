"""Slivers in stripes, as clients and peers send and read them: the part of a storage node for RS8.

They come segment by segment, each with its proof against the blob's metadata, and are handed out by any range of
stripes. So nothing here grows with the size of a blob: some segments are in memory at a time. What came is made durable
every `piece_sync_bytes`, so an upload that is cut off goes on from there even after the node was restarted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from haulout import bcs, codec
from haulout.codec.metadata import BlobMetadata, SliverStripes
from haulout.errors import HauloutError
from haulout.node import rules
from haulout.node.errors import InvalidSliver, InvalidStripes
from haulout.node.identity import NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.node.piece_store import PieceName, StoredPiece
from haulout.node.vault import CheckedPiece, Vault
from haulout.ports import Outcome, PartialSliver, SliverUpload, Workers
from haulout.primitives import (
    Axis,
    BlobId,
    EncodingType,
    ShardIndex,
    SliverPairIndex,
    blob_id_text,
    shard_of_pair,
    sliver_index_of_pair,
)

if TYPE_CHECKING:
    from haulout.codec.rs8 import Striping

DIGEST_BYTES = 32


def is_in_stripes(metadata: BlobMetadata | None) -> bool:
    """Whether the slivers of a blob come in pieces."""
    return metadata is not None and metadata.encoding_type is EncodingType.RS8


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """A piece that was decoded and verified."""

    segment: int
    piece: SliverStripes
    leaves: bytes


class PieceKeeper:
    """Stores and serves pieces of slivers."""

    def __init__(self, vault: Vault, workers: Workers, metrics: NodeMetrics, settings: NodeSettings) -> None:
        self._vault = vault
        self._workers = workers
        self._metrics = metrics
        self._settings = settings

    async def store(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        duty: rules.Duty,
        uploads: Sequence[SliverUpload],
        check: Callable[[], None],
    ) -> tuple[list[Outcome], HauloutError | None]:
        """Verify and keep pieces; their outcomes, and what is wrong with the first that is refused.

        Args:
            check: raises when the blob may not be stored (any more).

        Raises:
            DiskFull, StorageFailed: nothing of this batch is kept.
        """
        striping = codec.rs8.striping_of_blob(metadata)
        held = self._vault.slivers.pieces.segments_held(blob_id)
        outcomes: list[Outcome] = []
        new: list[CheckedPiece] = []
        refusal: HauloutError | None = None
        for upload in uploads:
            try:
                rules.check_pair_index(upload.pair_index, duty.n_shards)
                rules.check_sliver_size(len(upload.bcs), duty.n_shards, in_stripes=True)
                check()
                shard_index = rules.check_shard_owned(duty, blob_id, upload.pair_index)
                read = await self._workers.run(read_piece, metadata, striping, blob_id, upload)
            except HauloutError as e:
                refusal = e
                break
            name = (int(shard_index), upload.axis, read.segment)
            if held.get(name[:2], 0) >> read.segment & 1:
                outcomes.append(Outcome.ALREADY_STORED)
                continue
            held[name[:2]] = held.get(name[:2], 0) | 1 << read.segment
            new.append(CheckedPiece(name, read.piece.data, read.leaves, read.piece.proof))
            outcomes.append(Outcome.STORED)
        if new:
            await self._vault.put_pieces(blob_id, new, striping.n_segments, check)
            await self._sync_if_much(blob_id)
            for piece in new:
                if piece.name[2] == striping.n_segments - 1:
                    self._metrics.slivers_stored.labels(piece.name[1].name.lower()).inc()
        return outcomes, refusal

    async def _sync_if_much(self, blob_id: BlobId) -> None:
        if self._vault.slivers.pieces.pending_bytes(blob_id) >= self._settings.piece_sync_bytes:
            await self._vault.sync_blob(blob_id)

    def partial(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata | None,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> tuple[PartialSliver, ...]:
        """Of slivers that are not whole those of which something is here, with the stripes that are lacking."""
        held = self._vault.slivers.pieces.segments_held(blob_id) if is_in_stripes(metadata) else {}
        if not held or metadata is None:
            return ()
        striping = codec.rs8.striping_of_blob(metadata)
        found = []
        for pair_index, axis in missing:
            segments = held.get((shard_of_pair(pair_index, blob_id, duty.n_shards), axis), 0)
            if segments:
                found.append(PartialSliver(pair_index, axis, tuple(_lacking(striping, segments))))
        return tuple(found)

    async def read(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        owned: Sequence[tuple[SliverPairIndex, Axis, ShardIndex]],
        stripes: range | None,
    ) -> AsyncIterator[SliverUpload]:
        """The asked stripes of slivers in pieces, segment after segment; those that are not here are left out.

        Raises:
            InvalidStripes: the blob does not have them.
        """
        striping = codec.rs8.striping_of_blob(metadata)
        wanted = range(striping.n_stripes) if stripes is None else stripes
        if not wanted or wanted.stop > striping.n_stripes:
            problem = f"it has {striping.n_stripes} stripes, not {wanted.start} to {wanted.stop - 1}"
            raise InvalidStripes(blob_id=blob_id_text(blob_id), problem=problem)
        for segment, part in codec.rs8.segments_of(striping, wanted):
            for pair_index, axis, shard_index in owned:
                stored = await self._vault.piece(blob_id, (int(shard_index), axis, segment))
                if stored is None:
                    continue
                sliver_index = sliver_index_of_pair(pair_index, axis, striping.n_shards)
                raw = await self._workers.run(write_piece, striping, axis, sliver_index, segment, stored, part)
                self._metrics.slivers_read.labels(axis.name.lower()).inc()
                yield SliverUpload(pair_index, axis, raw, part.start)


def read_piece(metadata: BlobMetadata, striping: Striping, blob_id: BlobId, upload: SliverUpload) -> ReadPiece:
    """An uploaded piece, verified.

    Raises:
        InvalidSliver: with what is wrong.
    """
    axis = upload.axis
    try:
        piece: SliverStripes = bcs.decode(SliverStripes, upload.bcs)
        stripes = codec.stripes.stripes_of(striping, axis, piece)
        expected = sliver_index_of_pair(upload.pair_index, axis, striping.n_shards)
        if piece.index != expected or piece.first_stripe != upload.first_stripe:
            raise _invalid(upload, blob_id, f"it is of sliver {piece.index}, stripe {piece.first_stripe}")
        segment = stripes.start // striping.segment_stripes
        if stripes != striping.segment(segment):
            raise _invalid(upload, blob_id, f"stripes {stripes.start} to {stripes.stop - 1} are no segment")
        roots = codec.stripes.verify_stripes(metadata, axis, piece)
    except InvalidSliver:
        raise
    except HauloutError as e:
        raise _invalid(upload, blob_id, str(e)) from e
    return ReadPiece(segment, piece, b"".join(codec.stripes.leaves_of(roots)))


def write_piece(
    striping: Striping, axis: Axis, sliver_index: int, segment: int, stored: StoredPiece, wanted: range
) -> bytes:
    """Some stripes of a stored segment in canonical bytes (`SliverStripes`)."""
    first = striping.segment(segment).start
    whole = SliverStripes(stored.data, striping.symbol_size_bytes, sliver_index, first, stored.proof)
    leaves = [stored.leaves[at : at + DIGEST_BYTES] for at in range(0, len(stored.leaves), DIGEST_BYTES)]
    return bcs.encode(codec.stripes.cut_stripes(striping, axis, whole, leaves, wanted))


def piece_names(shard_index: int, axis: Axis, striping: Striping) -> list[PieceName]:
    """All pieces of a sliver."""
    return [(shard_index, axis, segment) for segment in range(striping.n_segments)]


def _lacking(striping: Striping, segments: int) -> list[range]:
    """Stripes of segments whose bit is not set, neighbours joined."""
    found: list[range] = []
    for index in range(striping.n_segments):
        if segments >> index & 1:
            continue
        stripes = striping.segment(index)
        if found and found[-1].stop == stripes.start:
            found[-1] = range(found[-1].start, stripes.stop)
        else:
            found.append(stripes)
    return found


def _invalid(upload: SliverUpload, blob_id: BlobId, problem: str) -> InvalidSliver:
    return InvalidSliver(
        blob_id=blob_id_text(blob_id), pair_index=upload.pair_index, axis=upload.axis.name.lower(), problem=problem
    )
