"""One sliver from symbols of the others: without proofs first, with proofs where somebody lied.

Symbols without proofs are eight times fewer bytes for small blobs. A sliver that does not verify shows that someone
lied; only then proofs are asked for. They name the liar and let the rest suffice, or they show that nobody lied now
but the blob's writer did then.
"""

from __future__ import annotations

import asyncio

from haulout import bcs
from haulout.codec.metadata import BlobMetadata
from haulout.errors import HauloutError
from haulout.node import rules
from haulout.node.errors import RepairFailed, SymbolNotPresent
from haulout.node.inconsistency import InconsistencyProver, whole_proof
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peer, Peers
from haulout.node.rebuild import (
    GivenSymbol,
    build_proof,
    check_symbols,
    rebuild_sliver,
    sliver_indices,
    wrong_sources,
)
from haulout.node.repair_plan import symbols_needed
from haulout.node.symbols import SymbolMaker
from haulout.node.vault import Vault
from haulout.ports import Workers
from haulout.primitives import Axis, BlobId, SliverIndex, SliverPairIndex, blob_id_text, sliver_index_of_pair


class SliverRepair:
    """Rebuilds single slivers of blobs that are not in stripes; keeps nothing."""

    def __init__(
        self,
        *,
        vault: Vault,
        peers: Peers,
        symbols: SymbolMaker,
        prover: InconsistencyProver,
        workers: Workers,
        metrics: NodeMetrics,
    ) -> None:
        self._vault = vault
        self._peers = peers
        self._symbols = symbols
        self._prover = prover
        self._workers = workers
        self._metrics = metrics

    async def rebuild(
        self, blob_id: BlobId, metadata: BlobMetadata, pair_index: SliverPairIndex, axis: Axis, duty: rules.Duty
    ) -> bytes:
        """One sliver (BCS), verified; names those whose symbols were wrong.

        Raises:
            RepairFailed: the others do not give enough, or the blob is encoded wrongly, which is then proven to them.
        """
        target = sliver_index_of_pair(pair_index, axis, duty.n_shards)
        said = await self._gather_symbols(blob_id, metadata, target, axis, duty, with_proofs=False)
        sliver = await self._workers.run(rebuild_sliver, metadata, target, axis, _bytes_of(said))
        if sliver is not None:
            return sliver

        proven = await self._gather_symbols(blob_id, metadata, target, axis, duty, with_proofs=True)
        sliver = await self._workers.run(rebuild_sliver, metadata, target, axis, _bytes_of(proven))
        if sliver is None:
            symbols = [symbol for _, symbol in proven.values()]
            proof = await self._workers.run(build_proof, metadata, axis, target, symbols)
            if proof is not None:
                await self._prover.report(blob_id, metadata, axis, whole_proof(bcs.encode(proof)))
            raise RepairFailed(blob_id=blob_id_text(blob_id), problem="its symbols prove that it is encoded wrongly")
        # The right sliver crosses every sliver it was rebuilt from: it says which of the first symbols were wrong.
        wrong = await self._workers.run(wrong_sources, metadata, axis, sliver, _bytes_of(said))
        liars = {peer.node_id: peer for source in sorted(wrong) if (peer := said[source][0]) is not None}
        for liar in liars.values():
            self._peers.report_lie(liar)
        return sliver

    async def _gather_symbols(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        target: SliverIndex,
        axis: Axis,
        duty: rules.Duty,
        *,
        with_proofs: bool,
    ) -> dict[int, tuple[Peer | None, GivenSymbol]]:
        """Enough symbols of a target by the index of their source sliver, with who gave them (None: we did)."""
        needed = symbols_needed(axis, duty.n_shards)
        found: dict[int, tuple[Peer | None, GivenSymbol]] = {}
        own = await self._own_symbols(blob_id, metadata, target, axis, duty, with_proofs=with_proofs)
        found.update((source, (None, symbol)) for source, symbol in own.items())

        async def ask(peer: Peer) -> dict[int, GivenSymbol]:
            answer = self._peers.connect(peer).read_recovery_symbols(
                epoch=duty.epoch, blob_id=blob_id, target=target, target_axis=axis, with_proofs=with_proofs
            )
            try:
                raw = await self._peers.ask(peer, answer)
            except HauloutError:
                return {}
            self._metrics.repair_bytes.inc(sum(len(symbol) for symbol in raw))
            sources = sliver_indices(peer.shards, blob_id, axis.other, duty.n_shards)
            good, all_good = await self._workers.run(
                check_symbols, metadata, target, axis, raw, sources, with_proofs=with_proofs
            )
            if not all_good:
                self._peers.report_lie(peer)
            return good

        waiting = self._sources(blob_id)
        while len(found) < needed and waiting:
            wave: list[Peer] = []
            expected = len(found)
            while waiting and expected < needed:
                wave.append(waiting.pop())
                expected += len(wave[-1].shards)
            for peer, symbols in zip(wave, await asyncio.gather(*map(ask, wave)), strict=True):
                for source, symbol in symbols.items():
                    found.setdefault(source, (peer, symbol))
        if len(found) < needed:
            problem = f"{len(found)} of {needed} symbols of {axis.name.lower()} sliver {target} can be had"
            raise RepairFailed(blob_id=blob_id_text(blob_id), problem=problem)
        return dict(sorted(found.items())[:needed])

    def _sources(self, blob_id: BlobId) -> list[Peer]:
        """Who may have slivers of a blob, each with the shards that it speaks for: those that it has, and those on
        their way to it. Of these it may have rebuilt what their giver never had, and several takers who left each other
        out would wait for each other for ever."""
        shards_of = {node_id: set(shards) for node_id, shards in self._vault.holders(blob_id).items()}
        for node_id, shards in self._vault.takers().items():
            shards_of.setdefault(node_id, set()).update(shards)
        speakers = {node_id: tuple(sorted(shards)) for node_id, shards in shards_of.items()}
        return self._peers.available(self._vault.view, speakers)

    async def _own_symbols(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        target: SliverIndex,
        axis: Axis,
        duty: rules.Duty,
        *,
        with_proofs: bool,
    ) -> dict[int, GivenSymbol]:
        try:
            raw = await self._symbols.make(blob_id, target=target, target_axis=axis, duty=duty, with_proofs=with_proofs)
        except SymbolNotPresent:
            return {}
        good, _ = await self._workers.run(check_symbols, metadata, target, axis, raw, None, with_proofs=with_proofs)
        return good


def _bytes_of(symbols: dict[int, tuple[Peer | None, GivenSymbol]]) -> list[tuple[int, bytes]]:
    return [(source, bytes(symbol.data)) for source, (_, symbol) in symbols.items()]
