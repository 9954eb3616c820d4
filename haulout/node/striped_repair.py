"""Rebuilding slivers in stripes, segment by segment, so that a blob of any size is repaired in bounded memory.

For each segment enough primary pieces are read, own ones first, and verified; the segment is decoded, and the parts of
what is lacking are made from it. What proves those parts takes the roots of all stripes, so it is known only after the
last segment: until then they are kept as unproven pieces. Then the tree of each rebuilt sliver is compared with the
metadata, the proofs are cut out of it, and the pieces count.

If it stops half-way, unproven pieces are forgotten, and the blob is still on the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from haulout import codec
from haulout.codec.metadata import BlobMetadata, SliverStripes
from haulout.crypto.merkle import compute_root
from haulout.crypto.merkle_range import build_range_proof
from haulout.node import rules
from haulout.node.errors import RepairFailed
from haulout.node.inconsistency import InconsistencyProver
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peers
from haulout.node.pieces import DIGEST_BYTES
from haulout.node.striped_proof import StripedProver
from haulout.node.striped_rows import StripedRows
from haulout.node.vault import CheckedPiece, Vault
from haulout.ports import Workers
from haulout.primitives import Axis, BlobId, SliverPairIndex, blob_id_text, shard_of_pair, sliver_index_of_pair

if TYPE_CHECKING:
    from haulout.codec.rs8 import Striping

SliverPlace = tuple[Axis, int]  # axis, sliver index


class StripedRepair:
    """Completes blobs whose slivers are in stripes."""

    def __init__(
        self, *, vault: Vault, peers: Peers, prover: InconsistencyProver, workers: Workers, metrics: NodeMetrics
    ) -> None:
        self._vault = vault
        self._rows = StripedRows(vault=vault, peers=peers, workers=workers, metrics=metrics)
        self._prover = StripedProver(rows=self._rows, prover=prover, workers=workers)
        self._workers = workers
        self._metrics = metrics

    async def rebuild(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
        check: Callable[[], None],
    ) -> None:
        """Rebuild these slivers; they are durable with the blob's next sync.

        Args:
            check: raises when the blob is not wanted any more.

        Raises:
            RepairFailed: the others do not give enough, or the blob is encoded wrongly, which is then proven to them.
            DiskFull, StorageFailed.
        """
        try:
            await self._rebuild_segments(blob_id, metadata, missing, duty, check)
            is_right = await self._prove(blob_id, metadata, missing, duty)
        except BaseException:
            await self._vault.drop_unproven_pieces(blob_id)
            raise
        if not is_right:
            await self._vault.drop_unproven_pieces(blob_id)
            await self._prover.report(blob_id, metadata, duty)
            problem = "its own slivers prove that it is encoded wrongly"
            raise RepairFailed(blob_id=blob_id_text(blob_id), problem=problem)
        for _, axis in missing:
            self._metrics.rebuilt_slivers.labels(axis.name.lower()).inc()

    async def _rebuild_segments(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
        check: Callable[[], None],
    ) -> None:
        striping = codec.rs8.striping_of_blob(metadata)
        held = self._vault.slivers.pieces.segments_held(blob_id)
        named = [(int(shard_of_pair(pair, blob_id, duty.n_shards)), axis, pair) for pair, axis in missing]
        for segment in range(striping.n_segments):
            lacking = [name for name in named if not held.get(name[:2], 0) >> segment & 1]
            if not lacking:
                continue
            stripes = striping.segment(segment)
            pieces = await self._rows.read(blob_id, metadata, striping, segment, duty)
            places = [(axis, int(sliver_index_of_pair(pair, axis, duty.n_shards))) for _, axis, pair in lacking]
            parts = await self._workers.run(rebuild_segment, metadata, striping, pieces, stripes, places)
            new = [
                CheckedPiece((shard, axis, segment), data, leaves, None)
                for (shard, axis, _), (data, leaves) in zip(lacking, parts, strict=True)
            ]
            await self._vault.put_pieces(blob_id, new, striping.n_segments, check)

    async def _prove(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        missing: Sequence[tuple[SliverPairIndex, Axis]],
        duty: rules.Duty,
    ) -> bool:
        """Compare the rebuilt slivers with the metadata and give their pieces their proofs; says whether all are right,
        and else gives none."""
        striping = codec.rs8.striping_of_blob(metadata)
        proofs = {}
        for pair, axis in missing:
            shard = int(shard_of_pair(pair, blob_id, duty.n_shards))
            leaves: list[bytes] = []
            for segment in range(striping.n_segments):
                raw = self._vault.slivers.pieces.leaves(blob_id, (shard, axis, segment))
                if raw is None:
                    raise RepairFailed(blob_id=blob_id_text(blob_id), problem="it was let go of meanwhile")
                leaves += split_leaves(raw)
            sliver_hash = metadata.sliver_hash(axis, sliver_index_of_pair(pair, axis, duty.n_shards))
            of_sliver = await self._workers.run(prove_segments, striping, leaves, sliver_hash)
            if of_sliver is None:
                return False
            proofs.update({(shard, axis, segment): proof for segment, proof in enumerate(of_sliver)})
        await self._vault.prove_pieces(blob_id, proofs)
        return True


def rebuild_segment(
    metadata: BlobMetadata,
    striping: Striping,
    pieces: Sequence[SliverStripes],
    stripes: range,
    places: Sequence[SliverPlace],
) -> list[tuple[bytes, bytes]]:
    """The bytes and the leaf hashes of some slivers in consecutive stripes, from verified primary pieces."""
    import numpy as np

    matrices = codec.stripes.decode_stripes(metadata, pieces, Axis.PRIMARY, stripes, keep_padding=True)
    n, k1, k2, size = striping.n_shards, striping.n_rows, striping.n_columns, striping.symbol_size_bytes
    primary = np.empty((n - k1, k2, size), np.uint8)
    secondary = np.empty((n - k2, k1, size), np.uint8)
    found: dict[SliverPlace, list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]] = {place: [] for place in places}
    for rows in matrices:
        codec.rs8.encode_stripe(striping, rows, primary, secondary)
        for axis, index in places:
            if axis is Axis.PRIMARY:
                part = rows[index] if index < k1 else primary[index - k1]
            else:
                part = rows[:, index] if index < k2 else secondary[index - k2]
            found[axis, index].append(part.copy())
    results = []
    for axis, index in places:
        parts = np.stack(found.pop((axis, index)))
        leaves = b"".join(codec.stripes.leaves_of(codec.rs8.stripe_roots(striping, axis, parts)))
        results.append((parts.tobytes(), leaves))
    return results


def prove_segments(
    striping: Striping, leaves: Sequence[bytes], sliver_hash: bytes | None
) -> list[tuple[bytes, ...]] | None:
    """The proof of each segment of a sliver, or None when its leaves do not lead to its hash."""
    if compute_root(leaves) != sliver_hash:
        return None
    segments = [striping.segment(index) for index in range(striping.n_segments)]
    return [build_range_proof(leaves, stripes.start, stripes.stop) for stripes in segments]


def split_leaves(raw: bytes) -> list[bytes]:
    """Leaf hashes that stand one after the other."""
    return [raw[at : at + DIGEST_BYTES] for at in range(0, len(raw), DIGEST_BYTES)]
