"""The way to storage nodes over gRPC: `NodeTransport` and the client of one node.

One HTTP/2 connection per address, opened with the first call and kept alive. Slivers are cut into messages as the
connection takes them, so an upload holds one message of a MiB besides the caller's own buffers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import Message

from haulout.errors import InvalidField, Unreachable
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
from haulout.primitives import U32_MAX, Axis, BlobId, ObjectId, SliverIndex, SliverPairIndex
from haulout.wire import convert
from haulout.wire.calls import CLIENT_OPTIONS, MAX_ANSWER_BYTES, CallEnding, Peer, Timeouts
from haulout.wire.errors import UnknownCall
from haulout.wire.security import open_channel
from haulout.wire.sliver_parts import read_parts, read_sync_parts
from haulout.wire.slivers import MESSAGE_BYTES, SliverAssembler, pack_slivers
from haulout.wire.streams import closing
from haulout.wire.v1 import storage_pb2 as pb
from haulout.wire.v1.storage_pb2_grpc import StorageNodeStub

if TYPE_CHECKING:  # stubs of the stubs: they exist for the type checker only
    from haulout.wire.v1.storage_pb2_grpc import StorageNodeAsyncStub

# Beyond the largest sliver there can be: n = 1000 with the largest symbols has 43.7 MB.
MAX_SLIVER_BYTES = 64 << 20
READ_SLIVERS = "/haulout.wire.v1.StorageNode/ReadSlivers"
SYNC_SHARDS = "/haulout.wire.v1.StorageNode/SyncShards"
MAX_SYMBOLS = 2_000  # two per shard of the largest committee
# Slivers and metadata of one request: what fits into a message with its framing, 24 bytes and less for each sliver.
MAX_UPLOAD_BYTES = MAX_ANSWER_BYTES


class GrpcNodeTransport:
    """Implements `ports.NodeTransport`."""

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        max_sliver_bytes: int = MAX_SLIVER_BYTES,
        allow_plaintext: bool = False,
    ) -> None:
        """Make a transport; nothing connects yet.

        Args:
            timeouts: for every call.
            max_sliver_bytes: a node that announces a larger sliver is not believed.
            allow_plaintext: also to addresses that are not on this machine.
        """
        self._timeouts = timeouts or Timeouts()
        self._max_sliver_bytes = max_sliver_bytes
        self._allow_plaintext = allow_plaintext
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._nodes: dict[str, GrpcStorageNode] = {}
        self._is_closed = False

    def connect(self, address: str) -> StorageNodeApi:
        """The node at `host:port`; costs nothing and never fails, its calls may."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = GrpcStorageNode(self, Peer(address, self._timeouts), self._max_sliver_bytes)
        return node

    def channel(self, address: str) -> grpc.aio.Channel:
        """The connection to an address, one for all who ask.

        Raises:
            PlaintextRefused, InvalidField: see `security.open_channel`.
            Unreachable: the transport is closed.
        """
        if self._is_closed:
            raise Unreachable(peer=address, problem="the connection was closed")
        channel = self._channels.get(address)
        if channel is None:
            channel = open_channel(address, CLIENT_OPTIONS, allow_plaintext=self._allow_plaintext)
            self._channels[address] = channel
        return channel

    async def close(self) -> None:
        """Close all connections; calls in flight end with `Unreachable`."""
        self._is_closed = True
        channels, self._channels = self._channels, {}
        await asyncio.gather(*(channel.close() for channel in channels.values()))


class GrpcStorageNode:
    """Implements `ports.StorageNodeApi` for one address.

    Beyond the errors that the node reports under their own classes, every call may raise `Unreachable`,
    `DeadlineExceeded`, `MalformedAnswer` and `PlaintextRefused`.
    """

    def __init__(self, transport: GrpcNodeTransport, peer: Peer, max_sliver_bytes: int) -> None:
        self._transport = transport
        self._peer = peer
        self._max_sliver_bytes = max_sliver_bytes
        self._made_stub: StorageNodeAsyncStub | None = None

    def _stub(self) -> StorageNodeAsyncStub:
        channel = self._transport.channel(self._peer.address)
        if self._made_stub is None:
            self._made_stub = StorageNodeStub(channel)
        return self._made_stub

    def _raw_stream(
        self, method: str, request: Message, headers: Sequence[tuple[str, str]] = ()
    ) -> grpc.aio.UnaryStreamCall[Message, bytes]:
        """A call whose messages are read by hand (`sliver_parts`)."""
        channel = self._transport.channel(self._peer.address)
        stream: grpc.aio.UnaryStreamMultiCallable[Message, bytes] = channel.unary_stream(
            method, request_serializer=lambda message: message.SerializeToString()
        )
        return stream(request, timeout=self._peer.timeouts.stream_ms / 1000, metadata=tuple(headers) or None)

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        """Keep the metadata of a registered blob."""
        request = pb.StoreMetadataRequest(epoch=epoch, blob_id=blob_id, metadata=metadata)
        answer = await self._peer.unary("StoreMetadata", self._stub().StoreMetadata, request)
        with self._peer.reading("StoreMetadata"):
            return convert.read_outcome(answer.outcome)

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        """Keep slivers of a registered blob; the next one is taken when there is room on the connection for it."""
        operation = "StoreSlivers"
        n_sent = 0

        async def counted() -> AsyncIterator[SliverUpload]:
            nonlocal n_sent
            async with closing(slivers) as source:
                async for sliver in source:
                    n_sent += 1
                    yield sliver

        stub = self._stub()
        with self._peer.span(operation) as span:
            call = stub.StoreSlivers(timeout=self._peer.timeouts.stream_ms / 1000, metadata=span.headers or None)
            ending = CallEnding(call)
            try:
                start: pb.StoreSliversStart | None = pb.StoreSliversStart(epoch=epoch, blob_id=blob_id)
                async with closing(pack_slivers(counted())) as messages:
                    async for parts in messages:
                        request = pb.StoreSliversRequest(start=start, parts=parts)
                        if not await self._peer.write(operation, call, request, ending):
                            break
                        start = None
                if start is not None:
                    await self._peer.write(operation, call, pb.StoreSliversRequest(start=start), ending)
                await self._peer.progress(operation, call.done_writing())
                answer = await self._peer.progress(operation, call)
            finally:
                call.cancel()
            span.note(n_slivers=n_sent)
        with self._peer.reading(operation):
            return convert.read_outcomes(answer, n_sent)

    async def holdings(self, *, epoch: int, blob_id: BlobId) -> BlobHoldings:
        """What the node has and lacks of a blob."""
        request = pb.HoldingsRequest(epoch=epoch, blob_id=blob_id)
        answer = await self._peer.unary("Holdings", self._stub().Holdings, request)
        with self._peer.reading("Holdings"):
            return convert.read_holdings(answer)

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        """The node's signature that everything of the blob is durable there; not verified here."""
        request = pb.ConfirmBlobRequest(
            epoch=epoch, blob_id=blob_id, object_id=object_id, wait_ms=min(wait_ms, U32_MAX)
        )
        answer = await self._peer.unary("ConfirmBlob", self._stub().ConfirmBlob, request, wait_ms=wait_ms)
        with self._peer.reading("ConfirmBlob"):
            return convert.read_signed(answer)

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
        """Metadata, slivers and the node's signature in one request; one that is too long is refused before it is sent.

        A node of an earlier release does not know this request: it gets the three that it is made of.
        """
        operation = "StoreAndConfirm"
        if len(metadata) + sum(len(sliver.bcs) for sliver in slivers) > MAX_UPLOAD_BYTES:
            raise InvalidField(field="slivers", problem=f"with the metadata more than {MAX_UPLOAD_BYTES} bytes")
        request = pb.StoreAndConfirmRequest(
            epoch=epoch,
            blob_id=blob_id,
            object_id=object_id,
            wait_ms=min(wait_ms, U32_MAX),
            metadata=metadata,
            slivers=map(convert.write_whole_sliver, slivers),
        )
        try:
            answer = await self._peer.unary(operation, self._stub().StoreAndConfirm, request, wait_ms=wait_ms)
        except UnknownCall:
            await self.store_metadata(epoch=epoch, blob_id=blob_id, metadata=metadata)
            await self.store_slivers(epoch=epoch, blob_id=blob_id, slivers=_one_by_one(slivers))
            return await self.confirm_blob(epoch=epoch, blob_id=blob_id, object_id=object_id, wait_ms=wait_ms)
        with self._peer.reading(operation):
            return convert.read_signed(answer)

    async def read_metadata(self, *, epoch: int, blob_id: BlobId) -> bytes:
        """Metadata with id (BCS), not verified here."""
        request = pb.ReadMetadataRequest(epoch=epoch, blob_id=blob_id)
        answer = await self._peer.unary("ReadMetadata", self._stub().ReadMetadata, request)
        with self._peer.reading("ReadMetadata"):
            if not answer.metadata_with_id:
                raise InvalidField(field="metadata_with_id", problem="missing")
        return answer.metadata_with_id

    async def read_slivers(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        stripes: range | None = None,
    ) -> AsyncIterator[SliverUpload]:
        """The asked slivers, or stripes of them, as they arrive, not verified here."""
        operation = "ReadSlivers"
        request = pb.ReadSliversRequest(
            epoch=epoch,
            blob_id=blob_id,
            targets=convert.write_targets(targets),
            stripes=None if stripes is None else convert.write_stripes(stripes),
        )
        asked = set(targets)
        seen: set[tuple[tuple[SliverPairIndex, Axis], int | None]] = set()

        def check_header(header: pb.SliverHeader) -> None:
            target = (SliverPairIndex(header.pair_index), convert.read_axis(header.axis))
            first = header.first_stripe if header.HasField("first_stripe") else None
            is_asked = target in asked and (stripes is None or first in stripes)
            if not is_asked or (target, first) in seen:
                raise InvalidField(field="header", problem=f"sliver {target} was not asked for, or came twice")
            seen.add((target, first))
            if header.size_bytes > self._max_sliver_bytes:
                raise InvalidField(field="size_bytes", problem=f"{header.size_bytes} is above {self._max_sliver_bytes}")

        assembler = SliverAssembler(check_header)
        with self._peer.span(operation) as span:
            span.note(n_slivers=len(targets))
            call = self._raw_stream(READ_SLIVERS, request, span.headers)
            async with closing(self._peer.messages(operation, call)) as messages:
                async for message in messages:
                    with self._peer.reading(operation):
                        slivers = [assembler.take(part.header, part.data) for part in read_parts(message)]
                    for sliver in slivers:
                        if sliver is not None:
                            yield sliver
            with self._peer.reading(operation):
                assembler.check_complete()

    async def sync_shards(self, *, public_key: bytes, requests: Sequence[SignedMessage]) -> AsyncIterator[SyncedSliver]:
        """Slivers of shards that are handed over, as they arrive, not verified here."""
        operation = "SyncShards"
        signed = [pb.SignedRequest(message=one.message, signature=one.signature) for one in requests]
        request = pb.SyncShardsRequest(public_key=public_key, requests=signed)
        blob_id: BlobId | None = None

        def check_header(header: pb.SliverHeader) -> None:
            if header.size_bytes > self._max_sliver_bytes:
                raise InvalidField(field="size_bytes", problem=f"{header.size_bytes} is above {self._max_sliver_bytes}")

        assembler = SliverAssembler(check_header)
        call = self._raw_stream(SYNC_SHARDS, request)
        async with closing(self._peer.messages(operation, call)) as messages:
            async for message in messages:
                whole: list[SyncedSliver] = []
                with self._peer.reading(operation):
                    for part in read_sync_parts(message):
                        if part.blob_id is not None:
                            assembler.check_complete()
                            blob_id = convert.read_blob_id(part.blob_id)
                        if blob_id is None:
                            raise InvalidField(field="blob_id", problem="missing in the first part")
                        sliver = assembler.take(part.header, part.data)
                        if sliver is not None:
                            whole.append(SyncedSliver(blob_id, sliver))
                for synced in whole:
                    yield synced
        with self._peer.reading(operation):
            assembler.check_complete()

    async def read_recovery_symbols(
        self, *, epoch: int, blob_id: BlobId, target: SliverIndex, target_axis: Axis, with_proofs: bool
    ) -> Sequence[bytes]:
        """All symbols of a sliver that the node can make, not verified here."""
        operation = "ReadRecoverySymbols"
        request = pb.ReadRecoverySymbolsRequest(
            epoch=epoch,
            blob_id=blob_id,
            target_index=target,
            target_axis=convert.write_axis(target_axis),
            with_proofs=with_proofs,
        )
        symbols: list[bytes] = []
        call = self._stub().ReadRecoverySymbols(request, timeout=self._peer.timeouts.stream_ms / 1000)
        async with closing(self._peer.messages(operation, call)) as messages:
            async for message in messages:
                symbols.extend(message.symbols)
                with self._peer.reading(operation):
                    if len(symbols) > MAX_SYMBOLS:
                        raise InvalidField(field="symbols", problem=f"more than {MAX_SYMBOLS}")
        return symbols

    async def attest_inconsistency(
        self, *, epoch: int, blob_id: BlobId, axis: Axis, proof: ProofUpload
    ) -> SignedMessage:
        """The node's signature that a blob is encoded wrongly; not verified here."""
        operation = "AttestInconsistency"
        call = self._stub().AttestInconsistency(timeout=self._peer.timeouts.stream_ms / 1000)
        ending = CallEnding(call)
        start: pb.AttestInconsistencyStart | None = pb.AttestInconsistencyStart(
            epoch=epoch, blob_id=blob_id, axis=convert.write_axis(axis), size_bytes=proof.size_bytes
        )
        try:
            async with closing(_cut(proof.chunks)) as parts:
                async for part in parts:
                    request = pb.AttestInconsistencyRequest(start=start, data=part)
                    if not await self._peer.write(operation, call, request, ending):
                        break
                    start = None
            await self._peer.progress(operation, call.done_writing())
            answer = await self._peer.progress(operation, call)
        finally:
            call.cancel()
        with self._peer.reading(operation):
            return convert.read_signed(answer)

    async def agree_to_protocol(self, *, consent: SignedMessage, public_key: bytes) -> None:
        """Let the node vote for a protocol version."""
        request = pb.AgreeToProtocolRequest(message=consent.message, signature=consent.signature, public_key=public_key)
        await self._peer.unary("AgreeToProtocol", self._stub().AgreeToProtocol, request)

    async def sign_protocol_vote(self, *, epoch: int, version: int, start_epoch: int) -> SignedMessage:
        """The node's vote for a protocol version; not verified here."""
        request = pb.SignProtocolVoteRequest(epoch=epoch, protocol_version=version, start_epoch=start_epoch)
        answer = await self._peer.unary("SignProtocolVote", self._stub().SignProtocolVote, request)
        with self._peer.reading("SignProtocolVote"):
            return convert.read_signed(answer)

    async def blob_status(self, *, blob_id: BlobId) -> bytes | None:
        """The node's own record of a blob (BCS), or None."""
        answer = await self._peer.unary("BlobStatus", self._stub().BlobStatus, pb.BlobStatusRequest(blob_id=blob_id))
        return answer.record if answer.HasField("record") else None

    async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
        """Certified blobs of which the node lacks something."""
        request = pb.ListIncompleteRequest(after=after, limit=min(limit, U32_MAX))
        answer = await self._peer.unary("ListIncomplete", self._stub().ListIncomplete, request)
        with self._peer.reading("ListIncomplete"):
            return convert.read_incomplete(answer)

    async def health(self) -> NodeHealth:
        """How the node says that it is."""
        answer = await self._peer.unary("Health", self._stub().Health, pb.HealthRequest())
        with self._peer.reading("Health"):
            return convert.read_health(answer)


async def _one_by_one(slivers: Sequence[SliverUpload]) -> AsyncIterator[SliverUpload]:
    for sliver in slivers:
        yield sliver


async def _cut(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Chunks in parts that fit into a message; an empty one first, which announces what comes."""
    yield b""
    async with closing(chunks) as source:
        async for chunk in source:
            for at in range(0, len(chunk), MESSAGE_BYTES):
                yield chunk[at : at + MESSAGE_BYTES]
