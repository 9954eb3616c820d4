"""Recovery symbols for other nodes: where a sliver of ours crosses the sliver that they rebuild.

A node that repairs a blob asks for one target after the other, and every answer needs all n symbols of all our slivers
of the other axis. So the words last computed are kept up to a bound, from slivers that were checked once; a repair asks
axis by axis, which keeps what it needs together.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from haulout.codec.errors import SliverIndexOutOfRange
from haulout.codec.metadata import BlobMetadata
from haulout.node import rules
from haulout.node.errors import MetadataNotFound, SymbolNotPresent, TooManyRequests
from haulout.node.identity import NodeSettings
from haulout.node.rebuild import expand_slivers, make_symbols
from haulout.node.records import names_in
from haulout.node.vault import Vault
from haulout.ports import Workers
from haulout.primitives import Axis, BlobId, ShardIndex, SliverIndex, blob_id_text, pair_of_shard, sliver_index_of_pair

SourceName = tuple[BlobId, int, Axis]


class SymbolMaker:
    """Makes symbols from the slivers in a vault, a bounded number of requests at a time."""

    def __init__(self, vault: Vault, workers: Workers, settings: NodeSettings) -> None:
        self._vault = vault
        self._workers = workers
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.symbol_requests_at_once)
        self._waiting = 0
        self._words: OrderedDict[SourceName, bytes] = OrderedDict()
        self._words_bytes = 0

    async def make(
        self, blob_id: BlobId, *, target: SliverIndex, target_axis: Axis, duty: rules.Duty, with_proofs: bool
    ) -> list[bytes]:
        """One symbol of the target per sliver of the other axis that is here: general recovery symbols (BCS) with
        proofs, decoding symbols (BCS, either axis) without.

        Raises:
            SliverIndexOutOfRange: no such target.
            MetadataNotFound: the blob is not known here.
            SymbolNotPresent: no sliver of the other axis is here.
            TooManyRequests: as many wait as may.
        """
        if not 0 <= target < duty.n_shards:
            raise SliverIndexOutOfRange(what="sliver", index=target, limit=duty.n_shards)
        metadata = await self._vault.metadata(blob_id)
        if metadata is None:
            raise MetadataNotFound(blob_id=blob_id_text(blob_id))
        if self._waiting >= self._settings.symbol_requests_waiting_max:
            limit = self._settings.symbol_requests_waiting_max
            raise TooManyRequests(what="requests for recovery symbols", limit=limit)
        self._waiting += 1
        try:
            async with self._slots:
                words = await self._own_words(blob_id, metadata, target_axis.other, duty)
                if not words:
                    axis = target_axis.name.lower()
                    raise SymbolNotPresent(blob_id=blob_id_text(blob_id), axis=axis, target_index=target)
                return await self._workers.run(
                    make_symbols, metadata, words, target, target_axis, with_proofs=with_proofs
                )
        finally:
            self._waiting -= 1

    async def _own_words(
        self, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, duty: rules.Duty
    ) -> list[tuple[int, bytes]]:
        """The words of own slivers of an axis, with the slivers' indices."""
        held = self._vault.held(blob_id)
        words: list[tuple[int, bytes]] = []
        new: list[tuple[SourceName, int, bytes]] = []
        for shard_index in sorted({shard for shard, held_axis in names_in(held) if held_axis is axis}):
            name = (blob_id, shard_index, axis)
            pair_index = pair_of_shard(ShardIndex(shard_index), blob_id, duty.n_shards)
            index = sliver_index_of_pair(pair_index, axis, duty.n_shards)
            if name in self._words:
                self._words.move_to_end(name)
                words.append((index, self._words[name]))
                continue
            sliver = await self._vault.sliver(blob_id, shard_index, axis)
            if sliver is not None:
                new.append((name, index, sliver))
        expanded = await self._workers.run(expand_slivers, metadata, axis, [sliver for _, _, sliver in new])
        for (name, source, _), word in zip(new, expanded, strict=True):
            self._keep(name, word)
            words.append((source, word))
        return sorted(words)

    def _keep(self, name: SourceName, word: bytes) -> None:
        if name not in self._words:
            self._words[name] = word
            self._words_bytes += len(word)
        while self._words_bytes > self._settings.symbol_cache_bytes:
            _, oldest = self._words.popitem(last=False)
            self._words_bytes -= len(oldest)
