"""Recovery symbols for other nodes: where a sliver of ours crosses the sliver that they rebuild.

A node that repairs a blob asks for one target after the other, and every answer needs all our slivers of the other
axis. So the last ones read are kept, checked once, up to a bound; a repair asks axis by axis, which keeps what it needs
together.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from haulout.node import rules
from haulout.node.errors import IndexOutOfRange, MetadataNotFound, SymbolNotPresent, TooManyRequests
from haulout.node.identity import NodeSettings
from haulout.node.rebuild import make_symbols
from haulout.node.records import bit_of
from haulout.node.vault import Vault
from haulout.ports import Workers
from haulout.primitives import Axis, BlobId, SliverIndex, blob_id_text

SourceName = tuple[BlobId, int, Axis]


class SymbolMaker:
    """Makes symbols from the slivers in a vault, a bounded number of requests at a time."""

    def __init__(self, vault: Vault, workers: Workers, settings: NodeSettings) -> None:
        self._vault = vault
        self._workers = workers
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.symbol_requests_at_once)
        self._waiting = 0
        self._kept: OrderedDict[SourceName, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def make(
        self, blob_id: BlobId, *, target: SliverIndex, target_axis: Axis, duty: rules.Duty, with_proofs: bool
    ) -> list[bytes]:
        """One symbol of the target per own sliver of the other axis: general recovery symbols (BCS) with proofs,
        decoding symbols (BCS, either axis) without.

        Raises:
            IndexOutOfRange: no such target.
            MetadataNotFound: the blob is not known here.
            SymbolNotPresent: no sliver of the other axis is here.
            TooManyRequests: as many wait as may.
        """
        if not 0 <= target < duty.n_shards:
            raise IndexOutOfRange(what="sliver", index=target, limit=duty.n_shards)
        metadata = await self._vault.metadata(blob_id)
        if metadata is None:
            raise MetadataNotFound(blob_id=blob_id_text(blob_id))
        if self._waiting >= self._settings.symbol_requests_waiting_max:
            limit = self._settings.symbol_requests_waiting_max
            raise TooManyRequests(what="requests for recovery symbols", limit=limit)
        self._waiting += 1
        try:
            async with self._slots:
                sources = await self._sources(blob_id, target_axis.other, duty)
                if not sources:
                    axis = target_axis.name.lower()
                    raise SymbolNotPresent(blob_id=blob_id_text(blob_id), axis=axis, target_index=target)
                return await self._workers.run(
                    make_symbols, metadata, sources, target, target_axis, with_proofs=with_proofs
                )
        finally:
            self._waiting -= 1

    async def _sources(self, blob_id: BlobId, axis: Axis, duty: rules.Duty) -> Sequence[bytes]:
        """Own slivers of an axis, as they are stored."""
        held = self._vault.held(blob_id)
        found = []
        for shard_index in duty.shards:
            if not held & bit_of(shard_index, axis):
                continue
            name = (blob_id, int(shard_index), axis)
            sliver = self._kept.get(name)
            if sliver is None:
                sliver = await self._vault.sliver(blob_id, shard_index, axis)
                if sliver is None:
                    continue
                self._keep(name, sliver)
            else:
                self._kept.move_to_end(name)
            found.append(sliver)
        return found

    def _keep(self, name: SourceName, sliver: bytes) -> None:
        if name not in self._kept:
            self._kept_bytes += len(sliver)
        self._kept[name] = sliver
        while self._kept_bytes > self._settings.symbol_cache_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest)
