"""Storage nodes as their clients and peers see them over simulated wires."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from haulout.ports import (
    BlobHoldings,
    IncompletePage,
    NodeHealth,
    Outcome,
    ProofUpload,
    SignedMessage,
    SliverUpload,
    StorageNodeApi,
    SyncedSliver,
)
from haulout.primitives import Axis, BlobId, ObjectId, SliverIndex, SliverPairIndex
from haulout.sim.fabric import Fabric, Port


class SimNodeTransport:
    """Implements `ports.NodeTransport`: one machine's way to all nodes."""

    def __init__(self, fabric: Fabric, origin: str) -> None:
        self._port = Port(fabric, origin)

    def connect(self, address: str) -> StorageNodeApi:
        """The node at an address, whether or not it is there."""
        return SimNodeApi(self._port, address)

    async def close(self) -> None:
        """End all calls; later ones are `Unreachable`."""
        self._port.close()


class SimNodeApi:
    """Implements `ports.StorageNodeApi` by calling the node at the other end. Slivers travel as copies."""

    def __init__(self, port: Port, address: str) -> None:
        self._port = port
        self._address = address

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        return await self._port.call(
            self._address,
            "store_metadata",
            lambda node: node.store_metadata(epoch=epoch, blob_id=blob_id, metadata=bytes(metadata)),
        )

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        return await self._port.upload(
            self._address,
            "store_slivers",
            slivers,
            _copied,
            lambda node, received: node.store_slivers(epoch=epoch, blob_id=blob_id, slivers=received),
        )

    async def holdings(self, *, epoch: int, blob_id: BlobId) -> BlobHoldings:
        return await self._port.call(
            self._address, "holdings", lambda node: node.holdings(epoch=epoch, blob_id=blob_id)
        )

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        return await self._port.call(
            self._address,
            "confirm_blob",
            lambda node: node.confirm_blob(epoch=epoch, blob_id=blob_id, object_id=object_id, wait_ms=wait_ms),
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
        sent = tuple(map(_copied, slivers))
        return await self._port.call(
            self._address,
            "store_and_confirm",
            lambda node: node.store_and_confirm(
                epoch=epoch,
                blob_id=blob_id,
                object_id=object_id,
                metadata=bytes(metadata),
                slivers=sent,
                wait_ms=wait_ms,
            ),
        )

    async def read_metadata(self, *, epoch: int, blob_id: BlobId) -> bytes:
        return await self._port.call(
            self._address, "read_metadata", lambda node: node.read_metadata(epoch=epoch, blob_id=blob_id)
        )

    def read_slivers(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        stripes: range | None = None,
    ) -> AsyncIterator[SliverUpload]:
        wanted = tuple(targets)
        return self._port.download(
            self._address,
            "read_slivers",
            _copied,
            lambda node: node.read_slivers(epoch=epoch, blob_id=blob_id, targets=wanted, stripes=stripes),
        )

    def sync_shards(self, *, public_key: bytes, requests: Sequence[SignedMessage]) -> AsyncIterator[SyncedSliver]:
        signed = tuple(requests)
        return self._port.download(
            self._address,
            "sync_shards",
            lambda synced: SyncedSliver(synced.blob_id, _copied(synced.upload)),
            lambda node: node.sync_shards(public_key=public_key, requests=signed),
        )

    async def read_recovery_symbols(
        self, *, epoch: int, blob_id: BlobId, target: SliverIndex, target_axis: Axis, with_proofs: bool
    ) -> Sequence[bytes]:
        return await self._port.call(
            self._address,
            "read_recovery_symbols",
            lambda node: node.read_recovery_symbols(
                epoch=epoch, blob_id=blob_id, target=target, target_axis=target_axis, with_proofs=with_proofs
            ),
        )

    async def attest_inconsistency(
        self, *, epoch: int, blob_id: BlobId, axis: Axis, proof: ProofUpload
    ) -> SignedMessage:
        size_bytes = proof.size_bytes
        return await self._port.upload(
            self._address,
            "attest_inconsistency",
            proof.chunks,
            bytes,
            lambda node, received: node.attest_inconsistency(
                epoch=epoch, blob_id=blob_id, axis=axis, proof=ProofUpload(size_bytes, received)
            ),
        )

    async def agree_to_protocol(self, *, consent: SignedMessage, public_key: bytes) -> None:
        await self._port.call(
            self._address,
            "agree_to_protocol",
            lambda node: node.agree_to_protocol(consent=consent, public_key=public_key),
        )

    async def sign_protocol_vote(self, *, epoch: int, version: int, start_epoch: int) -> SignedMessage:
        return await self._port.call(
            self._address,
            "sign_protocol_vote",
            lambda node: node.sign_protocol_vote(epoch=epoch, version=version, start_epoch=start_epoch),
        )

    async def blob_status(self, *, blob_id: BlobId) -> bytes | None:
        return await self._port.call(self._address, "blob_status", lambda node: node.blob_status(blob_id=blob_id))

    async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
        return await self._port.call(
            self._address, "list_incomplete", lambda node: node.list_incomplete(after=after, limit=limit)
        )

    async def health(self) -> NodeHealth:
        return await self._port.call(self._address, "health", lambda node: node.health())


def _copied(sliver: SliverUpload) -> SliverUpload:
    return SliverUpload(sliver.pair_index, sliver.axis, bytes(sliver.bcs), sliver.first_stripe)
