"""A storage node behind gRPC: decode, call, encode; one method per rpc, and no decision but the bounds of messages."""

# ruff: noqa: N802 - the methods of a servicer are named by the .proto file

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

from haulout.crypto.schemes import PUBLIC_KEY_BYTES
from haulout.errors import InvalidField
from haulout.node import rules
from haulout.node.errors import TooManyTargets
from haulout.ports import ProofUpload, SignedMessage, SliverUpload, StorageNodeApi
from haulout.primitives import BlobId
from haulout.wire import convert
from haulout.wire.calls import MAX_ANSWER_BYTES
from haulout.wire.errors import TooManyCalls
from haulout.wire.serving import Context
from haulout.wire.slivers import MESSAGE_BYTES, SliverAssembler, pack_answers, pack_synced
from haulout.wire.streams import closing
from haulout.wire.v1 import storage_pb2 as pb
from haulout.wire.v1.storage_pb2_grpc import StorageNodeServicer

# Slivers that are being put together, over all uploads at once.
UPLOAD_BUDGET_BYTES = 256 << 20
# Two hashes per shard and a few numbers: 64 KiB at n = 1000.
MAX_METADATA_BYTES = 1 << 20
MAX_PAGE = 10_000
ACCOUNT_KEY_BYTES = 32
MAX_CONSENT_BYTES = 256
PER_METHOD = {
    "StoreSlivers": 64,
    "ReadSlivers": 128,
    "ReadRecoverySymbols": 64,
    "SyncShards": 16,
    "AttestInconsistency": 4,
}


class StorageServicer(StorageNodeServicer):
    """Serves any `StorageNodeApi`."""

    def __init__(self, node: StorageNodeApi, *, n_shards: int, upload_budget_bytes: int = UPLOAD_BUDGET_BYTES) -> None:
        """Make a servicer.

        Args:
            node: who answers.
            n_shards: of the network; bounds the size and the number of slivers.
            upload_budget_bytes: memory for slivers that arrive; further uploads are refused for the moment.
        """
        self._node = node
        self._n_shards = n_shards
        self._budget_bytes = upload_budget_bytes

    async def StoreMetadata(self, request: pb.StoreMetadataRequest, context: Context) -> pb.StoreMetadataResponse:
        """Keep the metadata of a registered blob."""
        blob_id = convert.read_blob_id(request.blob_id)
        _check_metadata_size(request.metadata)
        outcome = await self._node.store_metadata(epoch=request.epoch, blob_id=blob_id, metadata=request.metadata)
        return pb.StoreMetadataResponse(outcome=convert.write_outcome(outcome))

    async def StoreSlivers(
        self, request_iterator: AsyncIterator[pb.StoreSliversRequest], context: Context
    ) -> pb.StoreSliversResponse:
        """Put slivers together as they arrive and keep them."""
        first = await anext(request_iterator, None)
        if first is None or not first.HasField("start"):
            raise InvalidField(field="start", problem="missing in the first message")
        epoch, blob_id = first.start.epoch, convert.read_blob_id(first.start.blob_id)
        async with closing(self._read_slivers(first, request_iterator)) as slivers:
            outcomes = await self._node.store_slivers(epoch=epoch, blob_id=blob_id, slivers=slivers)
        return pb.StoreSliversResponse(outcomes=[convert.write_outcome(outcome) for outcome in outcomes])

    async def _read_slivers(
        self, first: pb.StoreSliversRequest, rest: AsyncIterator[pb.StoreSliversRequest]
    ) -> AsyncIterator[SliverUpload]:
        """The slivers of an upload, each as soon as it is whole."""
        limit = 2 * self._n_shards
        reserved = count = 0

        def check_header(header: pb.SliverHeader) -> None:
            nonlocal reserved, count
            rules.check_sliver_size(header.size_bytes, self._n_shards, in_stripes=header.HasField("first_stripe"))
            count += 1
            if count > limit:
                raise TooManyTargets(count=count, limit=limit)
            if header.size_bytes > self._budget_bytes:
                raise TooManyCalls(what="bytes of slivers that arrive", limit=self._budget_bytes)
            self._budget_bytes -= header.size_bytes
            reserved = header.size_bytes

        assembler = SliverAssembler(check_header)
        message: pb.StoreSliversRequest | None = first
        try:
            while message is not None:
                for part in message.parts:
                    sliver = assembler.add(part)
                    if sliver is not None:
                        yield sliver
                        self._budget_bytes += reserved
                        reserved = 0
                message = await anext(rest, None)
                if message is not None and message.HasField("start"):
                    raise InvalidField(field="start", problem="only the first message carries it")
            assembler.check_complete()
        finally:
            self._budget_bytes += reserved

    async def Holdings(self, request: pb.HoldingsRequest, context: Context) -> pb.HoldingsResponse:
        """What the node has and lacks of a blob."""
        blob_id = convert.read_blob_id(request.blob_id)
        return convert.write_holdings(await self._node.holdings(epoch=request.epoch, blob_id=blob_id))

    async def ConfirmBlob(self, request: pb.ConfirmBlobRequest, context: Context) -> pb.ConfirmBlobResponse:
        """Sign that everything of the blob is durable."""
        signed = await self._node.confirm_blob(
            epoch=request.epoch,
            blob_id=convert.read_blob_id(request.blob_id),
            object_id=convert.read_object_id(request.object_id) if request.HasField("object_id") else None,
            wait_ms=request.wait_ms,
        )
        return convert.write_signed(signed)

    async def StoreAndConfirm(self, request: pb.StoreAndConfirmRequest, context: Context) -> pb.StoreAndConfirmResponse:
        """Keep metadata and slivers and sign for them."""
        blob_id = convert.read_blob_id(request.blob_id)
        _check_metadata_size(request.metadata)
        if len(request.slivers) > 2 * self._n_shards:
            raise TooManyTargets(count=len(request.slivers), limit=2 * self._n_shards)
        slivers = [convert.read_whole_sliver(sliver) for sliver in request.slivers]
        with self._reserved(sum(len(sliver.bcs) for sliver in slivers)):
            signed = await self._node.store_and_confirm(
                epoch=request.epoch,
                blob_id=blob_id,
                object_id=convert.read_object_id(request.object_id) if request.HasField("object_id") else None,
                metadata=request.metadata,
                slivers=slivers,
                wait_ms=request.wait_ms,
            )
        return pb.StoreAndConfirmResponse(message=signed.message, signature=signed.signature)

    @contextlib.contextmanager
    def _reserved(self, size_bytes: int) -> Iterator[None]:
        """Memory out of the budget of everything that arrives, for as long as the block runs."""
        if size_bytes > self._budget_bytes:
            raise TooManyCalls(what="bytes that arrive", limit=self._budget_bytes)
        self._budget_bytes -= size_bytes
        try:
            yield
        finally:
            self._budget_bytes += size_bytes

    async def ReadMetadata(self, request: pb.ReadMetadataRequest, context: Context) -> pb.ReadMetadataResponse:
        """Metadata with id."""
        blob_id = convert.read_blob_id(request.blob_id)
        return pb.ReadMetadataResponse(
            metadata_with_id=await self._node.read_metadata(epoch=request.epoch, blob_id=blob_id)
        )

    async def ReadSlivers(  # type: ignore[override]
        self, request: pb.ReadSliversRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """The asked slivers that the node has; messages come written."""
        blob_id = convert.read_blob_id(request.blob_id)
        if len(request.targets) > 2 * self._n_shards:
            raise TooManyTargets(count=len(request.targets), limit=2 * self._n_shards)
        targets = convert.read_targets(request.targets)
        stripes = convert.read_stripes(request.stripes) if request.HasField("stripes") else None
        slivers = self._node.read_slivers(epoch=request.epoch, blob_id=blob_id, targets=targets, stripes=stripes)
        async with closing(pack_answers(slivers)) as messages:
            async for message in messages:
                yield message

    async def SyncShards(  # type: ignore[override]
        self, request: pb.SyncShardsRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Slivers of shards that are handed over; messages come written."""
        if not 0 < len(request.requests) <= 2 * self._n_shards:
            raise TooManyTargets(count=len(request.requests), limit=2 * self._n_shards)
        public_key = convert.read_fixed(request.public_key, PUBLIC_KEY_BYTES, "public_key")
        signed = [SignedMessage(one.message, one.signature) for one in request.requests]
        slivers = self._node.sync_shards(public_key=public_key, requests=signed)
        async with closing(pack_synced(slivers)) as messages:
            async for message in messages:
                yield message

    async def ReadRecoverySymbols(
        self, request: pb.ReadRecoverySymbolsRequest, context: Context
    ) -> AsyncIterator[pb.ReadRecoverySymbolsResponse]:
        """All symbols of a sliver that the node can make."""
        symbols = await self._node.read_recovery_symbols(
            epoch=request.epoch,
            blob_id=convert.read_blob_id(request.blob_id),
            target=convert.read_sliver_index(request.target_index, "target_index"),
            target_axis=convert.read_axis(request.target_axis, "target_axis"),
            with_proofs=request.with_proofs,
        )
        batch: list[bytes] = []
        n_bytes = 0
        for symbol in symbols:
            batch.append(symbol)
            n_bytes += len(symbol)
            if n_bytes >= MESSAGE_BYTES:
                yield pb.ReadRecoverySymbolsResponse(symbols=batch)
                batch, n_bytes = [], 0
        if batch:
            yield pb.ReadRecoverySymbolsResponse(symbols=batch)

    async def AttestInconsistency(
        self, request_iterator: AsyncIterator[pb.AttestInconsistencyRequest], context: Context
    ) -> pb.AttestInconsistencyResponse:
        """Have a proof checked as it comes."""
        first = await anext(request_iterator, None)
        if first is None or not first.HasField("start"):
            raise InvalidField(field="start", problem="missing in the first message")
        start = first.start
        blob_id, axis = convert.read_blob_id(start.blob_id), convert.read_axis(start.axis)
        async with closing(_read_proof(first, request_iterator)) as chunks:
            proof = ProofUpload(start.size_bytes, chunks)
            signed = await self._node.attest_inconsistency(epoch=start.epoch, blob_id=blob_id, axis=axis, proof=proof)
        return convert.write_attestation(signed)

    async def AgreeToProtocol(self, request: pb.AgreeToProtocolRequest, context: Context) -> pb.AgreeToProtocolResponse:
        """Keep what the node's owner lets it vote for."""
        if len(request.public_key) != ACCOUNT_KEY_BYTES:
            problem = f"{len(request.public_key)} bytes, must be {ACCOUNT_KEY_BYTES}"
            raise InvalidField(field="public_key", problem=problem)
        if len(request.message) > MAX_CONSENT_BYTES:
            raise InvalidField(field="message", problem=f"{len(request.message)} bytes, at most {MAX_CONSENT_BYTES}")
        await self._node.agree_to_protocol(consent=convert.read_signed(request), public_key=request.public_key)
        return pb.AgreeToProtocolResponse()

    async def SignProtocolVote(
        self, request: pb.SignProtocolVoteRequest, context: Context
    ) -> pb.SignProtocolVoteResponse:
        """Have the node vote for new rules."""
        signed = await self._node.sign_protocol_vote(
            epoch=request.epoch, version=request.protocol_version, start_epoch=request.start_epoch
        )
        return convert.write_vote(signed)

    async def BlobStatus(self, request: pb.BlobStatusRequest, context: Context) -> pb.BlobStatusResponse:
        """The node's own record of a blob."""
        return pb.BlobStatusResponse(record=await self._node.blob_status(blob_id=convert.read_blob_id(request.blob_id)))

    async def ListIncomplete(self, request: pb.ListIncompleteRequest, context: Context) -> pb.ListIncompleteResponse:
        """Certified blobs of which the node lacks something."""
        after: BlobId | None = convert.read_blob_id(request.after, "after") if request.HasField("after") else None
        if not 0 < request.limit <= MAX_PAGE:
            raise InvalidField(field="limit", problem=f"{request.limit}, must be 1 to {MAX_PAGE}")
        return convert.write_incomplete(await self._node.list_incomplete(after=after, limit=request.limit))

    async def Health(self, request: pb.HealthRequest, context: Context) -> pb.HealthResponse:
        """How the node is."""
        return convert.write_health(await self._node.health())


def _check_metadata_size(metadata: bytes) -> None:
    if not 0 < len(metadata) <= MAX_METADATA_BYTES:
        raise InvalidField(field="metadata", problem=f"{len(metadata)} bytes, must be 1 to {MAX_METADATA_BYTES}")


async def _read_proof(
    first: pb.AttestInconsistencyRequest, rest: AsyncIterator[pb.AttestInconsistencyRequest]
) -> AsyncIterator[bytes]:
    """The bytes of a proof as they arrive, exactly as many as were announced."""
    left = first.start.size_bytes
    message: pb.AttestInconsistencyRequest | None = first
    while message is not None:
        left -= len(message.data)
        if left < 0:
            break
        yield message.data
        message = await anext(rest, None)
        if message is not None and message.HasField("start"):
            raise InvalidField(field="start", problem="only the first message carries it")
    if left:
        raise InvalidField(field="data", problem=f"not the {first.start.size_bytes} bytes that were announced")


assert MAX_PAGE * 64 < MAX_ANSWER_BYTES, "a full page fits into one message"
