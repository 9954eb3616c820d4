"""Primary slivers in stripes as others give them, segment by segment: what a blob in stripes is decoded from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from haulout import bcs, codec
from haulout.codec.metadata import BlobMetadata, SliverStripes
from haulout.errors import Corrupt, HauloutError
from haulout.node import rules
from haulout.node.errors import RepairFailed
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peer, Peers
from haulout.node.vault import Vault
from haulout.node.waves import ask_in_waves
from haulout.ports import SliverUpload, Workers
from haulout.primitives import (
    Axis,
    BlobId,
    ShardIndex,
    SliverPairIndex,
    blob_id_text,
    min_decodable,
    pair_of_shard,
    sliver_index_of_pair,
)

if TYPE_CHECKING:
    from haulout.codec.rs8 import Striping


class StripedRows:
    """Reads segments of enough primary slivers, own ones first, and verifies them; keeps nothing."""

    def __init__(self, *, vault: Vault, peers: Peers, workers: Workers, metrics: NodeMetrics) -> None:
        self._vault = vault
        self._peers = peers
        self._workers = workers
        self._metrics = metrics

    async def read(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        striping: Striping,
        segment: int,
        duty: rules.Duty,
        only: Collection[int] | None = None,
    ) -> list[SliverStripes]:
        """One segment of exactly k1 primary slivers in order of their indices.

        Args:
            only: the indices of those that may be used; all if None.

        Raises:
            RepairFailed: the others do not give enough.
        """
        needed = min_decodable(duty.n_shards)
        stripes = striping.segment(segment)
        found = await self._own(blob_id, striping, segment, duty, needed, only)
        sources = []
        for peer in self._peers.available(self._vault.view, self._vault.holders(blob_id)):
            pairs = [pair_of_shard(ShardIndex(shard), blob_id, duty.n_shards) for shard in peer.shards]
            sources.append((peer, [pair for pair in pairs if only is None or pair in only]))

        async def ask(peer: Peer, pairs: Sequence[SliverPairIndex]) -> int:
            answer = await self._ask(blob_id, metadata, stripes, peer, pairs, duty)
            found.update((piece.index, piece) for piece in answer)
            return len(answer)

        await ask_in_waves(sources, lambda: needed - len(found), ask)
        if len(found) < needed:
            problem = f"{len(found)} of {needed} primary slivers can be had in stripe {stripes.start}"
            raise RepairFailed(blob_id=blob_id_text(blob_id), problem=problem)
        return [found[index] for index in sorted(found)[:needed]]

    async def _own(
        self,
        blob_id: BlobId,
        striping: Striping,
        segment: int,
        duty: rules.Duty,
        needed: int,
        only: Collection[int] | None,
    ) -> dict[int, SliverStripes]:
        found: dict[int, SliverStripes] = {}
        for shard_index in sorted({*duty.wanted_shards, *duty.giving}):
            if len(found) == needed:
                break
            pair = pair_of_shard(shard_index, blob_id, duty.n_shards)
            index = int(sliver_index_of_pair(pair, Axis.PRIMARY, duty.n_shards))
            if only is not None and index not in only:
                continue
            stored = await self._vault.piece(blob_id, (int(shard_index), Axis.PRIMARY, segment))
            if stored is not None:
                first = striping.segment(segment).start
                found[index] = SliverStripes(stored.data, striping.symbol_size_bytes, index, first, stored.proof)
        return found

    async def _ask(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        stripes: range,
        peer: Peer,
        pairs: Sequence[SliverPairIndex],
        duty: rules.Duty,
    ) -> list[SliverStripes]:
        """Stripes of primary slivers of a peer that verify."""
        targets = [(pair_index, Axis.PRIMARY) for pair_index in pairs]

        async def read() -> list[SliverUpload]:
            api = self._peers.connect(peer)
            stream = api.read_slivers(epoch=duty.epoch, blob_id=blob_id, targets=targets, stripes=stripes)
            return [upload async for upload in stream]

        try:
            uploads = await self._peers.ask(peer, read())
        except HauloutError:
            return []
        self._metrics.repair_bytes.inc(sum(len(upload.bcs) for upload in uploads))
        good, all_good = await self._workers.run(check_pieces, metadata, uploads, frozenset(pairs), stripes)
        if not all_good:
            self._peers.report_lie(peer)
        return good


def check_pieces(
    metadata: BlobMetadata, uploads: Sequence[SliverUpload], pairs: frozenset[SliverPairIndex], stripes: range
) -> tuple[list[SliverStripes], bool]:
    """The pieces of primary slivers that are what was asked for, and whether all are."""
    good: dict[int, SliverStripes] = {}
    all_good = True
    striping = codec.rs8.striping_of_blob(metadata)
    for upload in uploads:
        try:
            piece: SliverStripes = bcs.decode(SliverStripes, upload.bcs)
            is_asked = upload.axis is Axis.PRIMARY and upload.pair_index in pairs and piece.index == upload.pair_index
            if not is_asked or codec.stripes.stripes_of(striping, Axis.PRIMARY, piece) != stripes:
                raise Corrupt("a piece came that was not asked for")
            codec.stripes.verify_stripes(metadata, Axis.PRIMARY, piece)
        except HauloutError:
            all_good = False
            continue
        good[piece.index] = piece
    return list(good.values()), all_good
