"""The servicer of a storage node against clients that do not keep to the rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from structlog.testing import capture_logs

from haulout.ports import Outcome, ProofUpload, SignedMessage, SliverUpload
from haulout.wire.serving import Limits
from haulout.wire.v1 import storage_pb2 as pb
from haulout.wire.v1.storage_pb2_grpc import StorageNodeStub, add_StorageNodeServicer_to_server
from node_grpc.storage_servicer import StorageServicer

N_SHARDS = 10
LARGEST_SLIVER = 7 * 65_534 + 128  # K2 = 7 at n = 10
ID = b"\x01" * 32


class Node:
    """Notes what reaches it; `hold` lets calls hang, `bug` lets them fail as a bug would."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.slivers: list[SliverUpload] = []
        self.hold: asyncio.Event | None = None
        self.bug: BaseException | None = None
        self.active = 0

    async def until_active(self, count: int) -> None:
        """Wait until so many calls hang here."""
        for _ in range(1_000):
            if self.active >= count:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"{self.active} of {count} calls arrived within 5 s")

    async def _step(self, call: Any) -> None:
        self.calls.append(call)
        if self.bug is not None:
            raise self.bug
        if self.hold is not None:
            self.active += 1
            await self.hold.wait()

    async def store_metadata(self, *, epoch: int, blob_id: bytes, metadata: bytes) -> Outcome:
        await self._step(("store_metadata", epoch, blob_id, metadata))
        return Outcome.STORED

    async def store_slivers(self, *, epoch: int, blob_id: bytes, slivers: AsyncIterable[SliverUpload]) -> list[Outcome]:
        async for sliver in slivers:
            self.slivers.append(sliver)
            await self._step("sliver")
        return [Outcome.STORED] * len(self.slivers)

    async def confirm_blob(self, *, epoch: int, blob_id: bytes, object_id: bytes | None, wait_ms: int) -> SignedMessage:
        await self._step(("confirm_blob", object_id, wait_ms))
        return SignedMessage(b"m", b"s" * 96)

    async def store_and_confirm(self, *, slivers: Sequence[SliverUpload], **request: Any) -> SignedMessage:
        self.slivers += slivers
        await self._step(("store_and_confirm", request))
        return SignedMessage(b"m", b"s" * 96)

    async def read_slivers(
        self, *, epoch: int, blob_id: bytes, targets: Sequence[Any], stripes: Any = None
    ) -> AsyncIterator[SliverUpload]:
        await self._step(("read_slivers", targets))
        for pair, axis in targets:
            yield SliverUpload(pair, axis, b"bytes")

    async def attest_inconsistency(self, *, epoch: int, blob_id: bytes, axis: Any, proof: ProofUpload) -> SignedMessage:
        async for _ in proof.chunks:
            pass
        await self._step(("attest_inconsistency", axis))
        return SignedMessage(b"m", b"s" * 96)

    async def blob_status(self, *, blob_id: bytes) -> bytes | None:
        await self._step(("blob_status", blob_id))
        return None

    async def read_recovery_symbols(self, **request: Any) -> Sequence[bytes]:
        await self._step(("read_recovery_symbols", request))
        return [b"symbol"]

    async def list_incomplete(self, *, after: bytes | None, limit: int) -> Any:
        await self._step(("list_incomplete", after, limit))


@pytest.fixture
def node() -> Node:
    return Node()


def error_info(error: grpc.aio.AioRpcError) -> ErrorInfo:
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    info = ErrorInfo()
    assert Status.FromString(details).details[0].Unpack(info)
    assert info.domain == "haulout.dev"
    return info


async def refused(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Status, reason and fields of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = error_info(caught.value)
    return caught.value.code(), info.reason, dict(info.metadata)


async def messages(requests: Iterable[Any]) -> AsyncIterator[Any]:
    for request in requests:
        yield request


def start(*parts: pb.SliverPart) -> pb.StoreSliversRequest:
    return pb.StoreSliversRequest(start=pb.StoreSliversStart(epoch=1, blob_id=ID), parts=parts)


def whole(size_bytes: int, pair: int = 0, axis: Any = pb.AXIS_PRIMARY) -> pb.SliverPart:
    header = pb.SliverHeader(pair_index=pair, axis=axis, size_bytes=size_bytes)
    return pb.SliverPart(header=header, data=bytes(size_bytes))


def at_once(*slivers: pb.WholeSliver, blob_id: bytes = ID, metadata: bytes = b"m") -> pb.StoreAndConfirmRequest:
    return pb.StoreAndConfirmRequest(epoch=1, blob_id=blob_id, metadata=metadata, slivers=slivers)


def sliver_of(size_bytes: int, pair: int = 0, axis: Any = pb.AXIS_PRIMARY) -> pb.WholeSliver:
    return pb.WholeSliver(pair_index=pair, axis=axis, data=bytes(size_bytes))


INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("StoreMetadata", pb.StoreMetadataRequest(blob_id=ID[:31], metadata=b"m"), "blob_id"),
        ("StoreMetadata", pb.StoreMetadataRequest(metadata=b"m"), "blob_id"),
        ("StoreMetadata", pb.StoreMetadataRequest(blob_id=ID), "metadata"),
        ("StoreMetadata", pb.StoreMetadataRequest(blob_id=ID, metadata=bytes((1 << 20) + 1)), "metadata"),
        ("StoreAndConfirm", at_once(blob_id=b""), "blob_id"),
        ("StoreAndConfirm", at_once(metadata=b""), "metadata"),
        ("StoreAndConfirm", at_once(metadata=bytes((1 << 20) + 1)), "metadata"),
        ("StoreAndConfirm", at_once(sliver_of(3, pair=70_000)), "pair_index"),
        ("StoreAndConfirm", at_once(sliver_of(3, axis=0)), "axis"),
        ("StoreAndConfirm", pb.StoreAndConfirmRequest(blob_id=ID, metadata=b"m", object_id=b"x"), "object_id"),
        ("Holdings", pb.HoldingsRequest(blob_id=ID + b"x"), "blob_id"),
        ("ConfirmBlob", pb.ConfirmBlobRequest(blob_id=ID, object_id=b""), "object_id"),
        ("ReadMetadata", pb.ReadMetadataRequest(), "blob_id"),
        ("BlobStatus", pb.BlobStatusRequest(blob_id=b"short"), "blob_id"),
        ("ListIncomplete", pb.ListIncompleteRequest(after=b"", limit=1), "after"),
        ("ListIncomplete", pb.ListIncompleteRequest(), "limit"),
        ("ListIncomplete", pb.ListIncompleteRequest(limit=1_000_000), "limit"),
    ],
)
async def test_wrong_lengths_and_missing_fields_are_refused_by_name(
    serve: Any, node: Node, method: str, request_: Any, field: str
) -> None:
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (channel, _):
        code, reason, fields = await refused(getattr(StorageNodeStub(channel), method)(request_))
        assert (code, reason, fields["field"]) == (INVALID, "MALFORMED_REQUEST", field)
    assert node.calls == []


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ([(70_000, 1)], "MALFORMED_REQUEST"),
        ([(0, 0)], "MALFORMED_REQUEST"),
        ([(0, 9)], "MALFORMED_REQUEST"),
        ([(0, 1), (0, 1)], "MALFORMED_REQUEST"),
        ([(i, 1) for i in range(2 * N_SHARDS + 1)], "SLIVER_COUNT_EXCEEDS_LIMIT"),
    ],
)
async def test_targets_that_cannot_be_are_refused(
    serve: Any, node: Node, targets: list[tuple[int, Any]], reason: str
) -> None:
    request = pb.ReadSliversRequest(
        blob_id=ID, targets=[pb.SliverTarget(pair_index=pair, axis=axis) for pair, axis in targets]
    )
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (channel, _):
        code, got, _fields = await refused(StorageNodeStub(channel).ReadSlivers(request).read())
        assert (code, got) == (INVALID, reason)
    assert node.calls == []


@pytest.mark.parametrize(
    ("requests", "reason", "n_kept"),
    [
        ([], "MALFORMED_REQUEST", 0),
        ([pb.StoreSliversRequest(parts=[whole(3)])], "MALFORMED_REQUEST", 0),
        ([pb.StoreSliversRequest(start=pb.StoreSliversStart(epoch=1, blob_id=b"x"))], "MALFORMED_REQUEST", 0),
        ([start(), start()], "MALFORMED_REQUEST", 0),
        ([start(whole(3), pb.SliverPart(data=b"stray"))], "MALFORMED_REQUEST", 1),
        ([start(pb.SliverPart(header=pb.SliverHeader(pair_index=1, axis=1, size_bytes=9)))], "MALFORMED_REQUEST", 0),
        ([start(whole(3), whole(LARGEST_SLIVER + 1))], "SLIVER_TOO_LARGE", 1),
        ([start(*(whole(1, pair=i) for i in range(21)))], "SLIVER_COUNT_EXCEEDS_LIMIT", 20),
    ],
    ids=["nothing", "no start", "bad id", "two starts", "stray bytes", "cut off", "too large", "too many"],
)
async def test_uploads_that_do_not_keep_to_the_form_end_and_keep_what_was_whole(
    serve: Any, node: Node, requests: list[pb.StoreSliversRequest], reason: str, n_kept: int
) -> None:
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (channel, _):
        code, got, _fields = await refused(StorageNodeStub(channel).StoreSlivers(messages(requests)))
        assert (code, got) == (INVALID, reason)
    assert len(node.slivers) == n_kept


async def test_the_largest_sliver_there_can_be_is_taken(serve: Any, node: Node) -> None:
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (channel, _):
        answer = await StorageNodeStub(channel).StoreSlivers(messages([start(whole(LARGEST_SLIVER))]))
        assert list(answer.outcomes) == [pb.OUTCOME_STORED]
    assert len(node.slivers[0].bcs) == LARGEST_SLIVER


async def test_bytes_that_are_no_message_are_refused_and_unknown_fields_are_not(serve: Any, node: Node) -> None:
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (channel, _):
        name = "/haulout.wire.v1.StorageNode/"
        status = channel.unary_unary(name + "BlobStatus")
        good = pb.BlobStatusRequest(blob_id=ID).SerializeToString()
        code, reason, fields = await refused(status(good[:-3]))
        assert (code, reason, fields["field"]) == (INVALID, "MALFORMED_REQUEST", "request")
        assert await status(good + b"\xfa\x7f\x05extra") == b""

        async def truncated() -> AsyncIterator[bytes]:
            yield start(whole(100)).SerializeToString()[:-3]

        code, reason, fields = await refused(channel.stream_unary(name + "StoreSlivers")(truncated()))
        assert (code, reason, fields["field"]) == (INVALID, "MALFORMED_REQUEST", "request")
        code, reason, fields = await refused(channel.unary_stream(name + "ReadSlivers")(b"\xff").read())
        assert (code, reason, fields["field"]) == (INVALID, "MALFORMED_REQUEST", "request")
    assert node.calls == [("blob_status", ID)]


def proof_start(size_bytes: int, data: bytes = b"") -> pb.AttestInconsistencyRequest:
    start = pb.AttestInconsistencyStart(epoch=7, blob_id=ID, axis=pb.AXIS_PRIMARY, size_bytes=size_bytes)
    return pb.AttestInconsistencyRequest(start=start, data=data)


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "start"),
        ([pb.AttestInconsistencyRequest(data=b"proof")], "start"),
        ([proof_start(10, b"only 9 by")], "data"),
        ([proof_start(3, b"four")], "data"),
        ([proof_start(8, b"four"), proof_start(8, b"four")], "start"),
    ],
    ids=["nothing", "no start", "too short", "too long", "two starts"],
)
async def test_proofs_that_do_not_keep_to_the_form_are_refused(
    serve: Any, node: Node, requests: list[pb.AttestInconsistencyRequest], field: str
) -> None:
    servicer = StorageServicer(node, n_shards=N_SHARDS)
    async with serve(add_StorageNodeServicer_to_server, servicer) as (channel, _):
        code, reason, fields = await refused(StorageNodeStub(channel).AttestInconsistency(messages(requests)))
        assert (code, reason, fields["field"]) == (INVALID, "MALFORMED_REQUEST", field)
    assert node.calls == []


async def test_a_message_beyond_the_limit_does_not_reach_the_node(serve: Any, node: Node) -> None:
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (channel, _):
        request = pb.StoreMetadataRequest(blob_id=ID, metadata=bytes(6 << 20))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await StorageNodeStub(channel).StoreMetadata(request)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert node.calls == []


async def test_an_unknown_method_is_unimplemented(serve: Any, node: Node) -> None:
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/haulout.wire.v1.StorageNode/Explode")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_bug_leaves_a_trace_id_and_nothing_else(serve: Any, node: Node) -> None:
    node.bug = KeyError("secret words")
    async with serve(add_StorageNodeServicer_to_server, StorageServicer(node, n_shards=N_SHARDS)) as (
        channel,
        registry,
    ):
        stub = StorageNodeStub(channel)
        for call in (
            lambda: stub.BlobStatus(pb.BlobStatusRequest(blob_id=ID)),
            lambda: stub.ReadSlivers(pb.ReadSliversRequest(blob_id=ID)).read(),
            lambda: stub.StoreSlivers(messages([start(whole(3))])),
        ):
            with capture_logs() as logged, pytest.raises(grpc.aio.AioRpcError) as caught:
                await call()
            info = error_info(caught.value)
            assert (caught.value.code(), info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
            trace_id = info.metadata["trace_id"]
            assert len(trace_id) == 32
            assert trace_id in (caught.value.details() or "")
            assert "secret" not in str(caught.value)
            assert [line["trace_id"] for line in logged] == [trace_id]
        labels = {"method": "BlobStatus", "status": "INTERNAL"}
        assert registry.get_sample_value("haulout_grpc_calls_total", labels) == 1


async def test_calls_beyond_the_bound_are_refused_at_once_and_the_others_finish(serve: Any, node: Node) -> None:
    node.hold = asyncio.Event()
    limits = Limits(per_method={"ConfirmBlob": 2})
    servicer = StorageServicer(node, n_shards=N_SHARDS)
    async with serve(add_StorageNodeServicer_to_server, servicer, limits) as (channel, registry):
        stub = StorageNodeStub(channel)
        request = pb.ConfirmBlobRequest(blob_id=ID, wait_ms=9)
        running = [asyncio.ensure_future(stub.ConfirmBlob(request)) for _ in range(2)]
        await node.until_active(2)
        assert registry.get_sample_value("haulout_grpc_active_calls", {"method": "ConfirmBlob"}) == 2
        code, reason, fields = await refused(stub.ConfirmBlob(request))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")
        assert fields == {"what": "ConfirmBlob", "limit": "2"}
        node.hold.set()
        assert [answer.message for answer in await asyncio.gather(*running)] == [b"m", b"m"]
        assert (await stub.ConfirmBlob(request)).message == b"m"
        assert registry.get_sample_value("haulout_grpc_active_calls", {"method": "ConfirmBlob"}) == 0


async def test_memory_for_uploads_is_bounded_and_given_back(serve: Any, node: Node) -> None:
    node.hold = asyncio.Event()
    servicer = StorageServicer(node, n_shards=N_SHARDS, upload_budget_bytes=500_000)
    async with serve(add_StorageNodeServicer_to_server, servicer) as (channel, _):
        stub = StorageNodeStub(channel)
        first = asyncio.ensure_future(stub.StoreSlivers(messages([start(whole(300_000))])))
        await node.until_active(1)
        code, reason, _fields = await refused(stub.StoreSlivers(messages([start(whole(300_000))])))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")
        node.hold.set()
        await first
        cut = start(pb.SliverPart(header=pb.SliverHeader(pair_index=1, axis=1, size_bytes=400_000)))
        await refused(stub.StoreSlivers(messages([cut])))
        await stub.StoreSlivers(messages([start(whole(450_000))]))  # everything has been given back


async def test_memory_for_requests_that_carry_everything_is_bounded_and_given_back(serve: Any, node: Node) -> None:
    node.hold = asyncio.Event()
    servicer = StorageServicer(node, n_shards=N_SHARDS, upload_budget_bytes=500_000)
    async with serve(add_StorageNodeServicer_to_server, servicer) as (channel, _):
        stub = StorageNodeStub(channel)
        first = asyncio.ensure_future(stub.StoreAndConfirm(at_once(sliver_of(300_000))))
        await node.until_active(1)
        code, reason, _fields = await refused(stub.StoreAndConfirm(at_once(sliver_of(100_000), sliver_of(150_000))))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")
        node.hold.set()
        await first
        assert (await stub.StoreAndConfirm(at_once(sliver_of(450_000)))).message == b"m"
        too_many = at_once(*(sliver_of(1, pair=i) for i in range(21)))
        assert (await refused(stub.StoreAndConfirm(too_many)))[:2] == (INVALID, "SLIVER_COUNT_EXCEEDS_LIMIT")
    assert [len(sliver.bcs) for sliver in node.slivers] == [300_000, 450_000]


async def test_a_client_that_falls_silent_is_given_up(serve: Any, node: Node) -> None:
    async def silent() -> AsyncIterator[pb.StoreSliversRequest]:
        yield start(whole(3))
        await asyncio.Event().wait()

    servicer = StorageServicer(node, n_shards=N_SHARDS)
    async with serve(add_StorageNodeServicer_to_server, servicer, Limits(idle_ms=100)) as (channel, _):
        code, reason, _fields = await refused(StorageNodeStub(channel).StoreSlivers(silent()))
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert len(node.slivers) == 1


async def test_a_call_without_deadline_gets_one(serve: Any, node: Node) -> None:
    node.hold = asyncio.Event()
    servicer = StorageServicer(node, n_shards=N_SHARDS)
    async with serve(add_StorageNodeServicer_to_server, servicer, Limits(call_ms=100)) as (channel, _):
        code, reason, _fields = await refused(StorageNodeStub(channel).BlobStatus(pb.BlobStatusRequest(blob_id=ID)))
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
