"""A storage node that does not do as it says, in one or more of seven ways (`plan.LIES`), or about its shards.

A `Liar` stands before an honest node and changes what that answers; `claim_shards` has a node tell the ledger that it
has shards of which it fetches nothing. None of this may ever do more than slow others down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from haulout.account.wallet import Wallet
from haulout.crypto import messages
from haulout.crypto.schemes import SIGNATURE_BYTES, SignatureScheme
from haulout.errors import HauloutError
from haulout.ledger import queries
from haulout.ledger.commands import ReportSyncDone
from haulout.node.rules import Duty, mask_of
from haulout.node.storage_node import StorageNode
from haulout.ports import BlobHoldings, IncompletePage, NodeHealth, Outcome, SignedMessage, SliverUpload, SyncedSliver
from haulout.primitives import U32_MAX, Axis, BlobId, ObjectId, SliverIndex, SliverPairIndex
from haulout.sim.clock import VirtualClock
from haulout.sim.plan import LIE_KINDS
from haulout.sim.rng import SeededRng

SILENCE_MS = 3_600_000  # longer than anybody waits
LOOK_MS = 50


class Liar:
    """Implements `ports.StorageNodeApi`.

    - slivers: hands out slivers in which a byte is wrong, or another sliver than was asked for;
    - symbols: hands out recovery symbols in which a byte is wrong;
    - metadata: hands out metadata in which a byte is wrong;
    - confirmations: takes slivers, keeps none of them, and confirms that it has them;
    - forgeries: confirms with a signature that is none;
    - poverty: says that it has nothing;
    - silence: does not answer at all, now and then.
    """

    def __init__(
        self,
        node: StorageNode,
        lies: frozenset[str],
        *,
        scheme: SignatureScheme,
        rng: SeededRng,
        told: Counter[str],
    ) -> None:
        self._node = node
        self._lies = lies
        self._scheme = scheme
        self._rng = rng
        self._told = told

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        await self._perhaps_silent()
        if self._tells("confirmations"):
            return Outcome.STORED
        return await self._node.store_metadata(epoch=epoch, blob_id=blob_id, metadata=metadata)

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        await self._perhaps_silent()
        if self._tells("confirmations"):
            return [Outcome.STORED async for _ in slivers]
        return await self._node.store_slivers(epoch=epoch, blob_id=blob_id, slivers=slivers)

    async def holdings(self, *, epoch: int, blob_id: BlobId) -> BlobHoldings:
        await self._perhaps_silent()
        return await self._node.holdings(epoch=epoch, blob_id=blob_id)

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        await self._perhaps_silent()
        return self._false_confirmation(epoch, blob_id, object_id) or await self._node.confirm_blob(
            epoch=epoch, blob_id=blob_id, object_id=object_id, wait_ms=wait_ms
        )

    async def store_and_confirm(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        object_id: ObjectId | None,
        metadata: bytes,
        slivers: Sequence[SliverUpload],
        wait_ms: int,
    ) -> SignedMessage:
        await self._perhaps_silent()
        return self._false_confirmation(epoch, blob_id, object_id) or await self._node.store_and_confirm(
            epoch=epoch, blob_id=blob_id, object_id=object_id, metadata=metadata, slivers=slivers, wait_ms=wait_ms
        )

    def _false_confirmation(self, epoch: int, blob_id: BlobId, object_id: ObjectId | None) -> SignedMessage | None:
        message = messages.storage_confirmation(epoch, blob_id, object_id)
        if self._tells("forgeries"):
            return SignedMessage(message, self._rng.random_bytes(SIGNATURE_BYTES))
        if self._tells("confirmations"):
            return SignedMessage(message, self._scheme.sign(self._node.identity.bls_secret, message))
        return None

    async def read_metadata(self, *, epoch: int, blob_id: BlobId) -> bytes:
        await self._perhaps_silent()
        metadata = await self._node.read_metadata(epoch=epoch, blob_id=blob_id)
        return self._spoilt(metadata) if self._tells("metadata") else metadata

    async def read_slivers(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        stripes: range | None = None,
    ) -> AsyncIterator[SliverUpload]:
        await self._perhaps_silent()
        if self._tells("poverty"):
            return
        async for sliver in self._node.read_slivers(epoch=epoch, blob_id=blob_id, targets=targets, stripes=stripes):
            yield self._wrong(sliver) if self._tells("slivers") else sliver

    async def sync_shards(self, *, public_key: bytes, requests: Sequence[SignedMessage]) -> AsyncIterator[SyncedSliver]:
        await self._perhaps_silent()
        if self._tells("poverty"):
            return
        async for synced in self._node.sync_shards(public_key=public_key, requests=requests):
            yield replace(synced, upload=self._wrong(synced.upload)) if self._tells("slivers") else synced

    async def read_recovery_symbols(
        self, *, epoch: int, blob_id: BlobId, target: SliverIndex, target_axis: Axis, with_proofs: bool
    ) -> Sequence[bytes]:
        await self._perhaps_silent()
        if self._tells("poverty"):
            return []
        symbols = await self._node.read_recovery_symbols(
            epoch=epoch, blob_id=blob_id, target=target, target_axis=target_axis, with_proofs=with_proofs
        )
        return [self._spoilt(symbol) for symbol in symbols] if symbols and self._tells("symbols") else symbols

    async def blob_status(self, *, blob_id: BlobId) -> bytes | None:
        await self._perhaps_silent()
        return None if self._tells("poverty") else await self._node.blob_status(blob_id=blob_id)

    async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
        return await self._node.list_incomplete(after=after, limit=limit)

    async def health(self) -> NodeHealth:
        return await self._node.health()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)  # what it is asked and does not lie about

    def _tells(self, lie: str) -> bool:
        if lie not in self._lies:
            return False
        self._count(lie)
        return True

    async def _perhaps_silent(self) -> None:
        if "silence" in self._lies and self._rng.below(2):
            self._count("silence")
            await VirtualClock().sleep_ms(SILENCE_MS)

    def _count(self, lie: str) -> None:
        self._told["liar"] += 1
        if lie in LIE_KINDS:
            self._told[LIE_KINDS[lie]] += 1

    def _wrong(self, sliver: SliverUpload) -> SliverUpload:
        """Another byte, or another sliver's name."""
        if self._rng.below(2):
            return replace(sliver, bcs=self._spoilt(bytes(sliver.bcs)))
        return replace(sliver, pair_index=SliverPairIndex(self._rng.below(sliver.pair_index + 2)))

    def _spoilt(self, data: bytes) -> bytes:
        place = self._rng.below(max(1, len(data)))
        return data[:place] + bytes([data[place] ^ (1 + self._rng.below(255))]) + data[place + 1 :] if data else b"?"


def claim_shards(node: StorageNode, wallet: Wallet, told: Counter[str]) -> None:
    """From now on the node reports every shard as soon as it is to gain it, and never fetches one.

    Args:
        wallet: the node's own.
        told: counts the reports that were not true.
    """

    async def report() -> None:
        clock = VirtualClock()
        while True:
            duty = node.vault.duty()
            if duty.gaining:
                is_false = _lacks_something(node, duty)
                node.vault.last_report = (duty.epoch, duty.gaining)  # or it would look after what it has not got
                try:
                    await wallet.execute([ReportSyncDone(node.identity.node_id, duty.epoch, duty.gaining)])
                    told["false sync-done"] += is_false
                except HauloutError:
                    pass  # the ledger is away, or the epoch has moved on: the next look tells
            await clock.sleep_ms(LOOK_MS)

    node.shard_sync.run = report  # type: ignore[method-assign]


def _lacks_something(node: StorageNode, duty: Duty) -> bool:
    mask = mask_of(duty.gaining)
    blob_ids = queries.blob_ids_by_end(node.vault.view, duty.epoch + 1, U32_MAX)
    return any(mask & ~node.vault.slivers.held_mask(blob_id, durable_only=True) for blob_id in blob_ids)
