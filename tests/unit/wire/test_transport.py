"""The client of a storage node: what the contract suite cannot see, because every node of it is of this release."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import Any

import grpc
import pytest

from haulout.errors import InvalidField, Unavailable
from haulout.ports import Outcome, SignedMessage, SliverUpload
from haulout.primitives import Axis, BlobId, ObjectId, SliverPairIndex
from haulout.wire.errors import UnknownCall
from haulout.wire.transport import MAX_UPLOAD_BYTES, GrpcNodeTransport
from haulout.wire.v1 import storage_pb2 as pb
from haulout.wire.v1.storage_pb2_grpc import StorageNodeStub
from node_grpc.storage_servicer import StorageServicer

REQUEST = {"epoch": 3, "blob_id": BlobId(b"b" * 32), "object_id": ObjectId(b"o" * 32), "wait_ms": 70}
SLIVERS = [SliverUpload(SliverPairIndex(pair), axis, bytes([pair])) for pair in (1, 4) for axis in Axis]


class Node:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        self.asked.append(("metadata", epoch, blob_id, metadata))
        return Outcome.STORED

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        came = [sliver async for sliver in slivers]
        self.asked.append(("slivers", epoch, blob_id, came))
        return [Outcome.STORED] * len(came)

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        self.asked.append(("confirm", epoch, blob_id, object_id, wait_ms))
        return SignedMessage(b"m", b"s" * 96)


def of_an_earlier_release(servicer: StorageServicer) -> grpc.GenericRpcHandler:
    """The three calls of which there is one now."""
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_unary_rpc_method_handler
    kinds = {"StoreMetadata": unary, "StoreSlivers": stream, "ConfirmBlob": unary}
    handlers = {
        name: make(
            getattr(servicer, name),
            getattr(pb, f"{name}Request").FromString,
            getattr(pb, f"{name}Response").SerializeToString,
        )
        for name, make in kinds.items()
    }
    return grpc.method_handlers_generic_handler("haulout.wire.v1.StorageNode", handlers)


async def test_a_node_of_an_earlier_release_gets_the_three_requests_instead() -> None:
    node = Node()
    server = grpc.aio.server(handlers=[of_an_earlier_release(StorageServicer(node, n_shards=10))])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = GrpcNodeTransport()
    try:
        api = transport.connect(f"127.0.0.1:{port}")
        signed = await api.store_and_confirm(metadata=b"meta", slivers=SLIVERS, **REQUEST)
        assert signed == SignedMessage(b"m", b"s" * 96)
        with pytest.raises(UnknownCall) as refused:
            await api.health()
        assert isinstance(refused.value, Unavailable)
    finally:
        await transport.close()
        await server.stop(0)
    blob_id = REQUEST["blob_id"]
    assert node.asked == [
        ("metadata", 3, blob_id, b"meta"),
        ("slivers", 3, blob_id, SLIVERS),
        ("confirm", 3, blob_id, REQUEST["object_id"], 70),
    ]


async def test_what_no_message_can_carry_is_refused_before_it_is_sent() -> None:
    transport = GrpcNodeTransport()
    half = SliverUpload(SliverPairIndex(0), Axis.PRIMARY, bytes(MAX_UPLOAD_BYTES // 2))
    with pytest.raises(InvalidField):
        await transport.connect("127.0.0.1:1").store_and_confirm(metadata=b"m", slivers=[half, half], **REQUEST)
    await transport.close()


async def test_a_node_has_one_client_however_often_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def make(channel: Any) -> StorageNodeStub:
        made.append(channel)
        return StorageNodeStub(channel)

    monkeypatch.setattr("haulout.wire.transport.StorageNodeStub", make)
    transport = GrpcNodeTransport()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await transport.connect("127.0.0.1:1").health()
    await transport.close()
    assert len(made) == 1
