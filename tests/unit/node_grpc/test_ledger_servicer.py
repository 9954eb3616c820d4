"""The servicer of the ledger: bounds of messages, and streams that are cut and put together again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from haulout.chain.block import NO_DIGEST, Block, BlockHeader, TransactionResult
from haulout.errors import InvalidField, NotFound, Unreachable
from haulout.ledger.events import BlobInvalidated, Event
from haulout.ports import LedgerStatus, StateEntry, StateRead
from haulout.primitives import Digest
from haulout.sequencer.errors import Inadmissible, LedgerBusy
from haulout.wire.errors import MalformedAnswer
from haulout.wire.ledger import GrpcLedger
from haulout.wire.serving import Guard, Limits, build_server, serving
from haulout.wire.v1 import ledger_pb2 as pb
from haulout.wire.v1.ledger_pb2_grpc import LedgerStub, add_LedgerServicer_to_server
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng
from node_grpc.ledger_servicer import LedgerServicer, pack_blocks

DIGEST = Digest(b"\x07" * 32)
RESULT = TransactionResult(DIGEST, 3, 1, "", "", ((b"\x01" * 32,), ()))


def header(height: int) -> BlockHeader:
    return BlockHeader(1, 1, b"\x09" * 32, height, 1_000, NO_DIGEST, NO_DIGEST, NO_DIGEST, NO_DIGEST, NO_DIGEST)


def block(height: int, *sizes: int) -> Block:
    return Block(header(height), tuple(bytes([i % 256]) * size for i, size in enumerate(sizes)))


class ScriptedLedger:
    """Hands out what a test puts in, then waits for ever or fails."""

    def __init__(self) -> None:
        self.blocks_out: list[Block] = []
        self.events_out: list[Event] = []
        self.chunks: list[bytes] = []
        self.rows: list[tuple[bytes, bytes]] = []
        self.failure: Exception | None = None
        self.waits: list[int] = []
        self.value_bytes = 10

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> TransactionResult | None:
        self._check()
        self.waits.append(wait_ms)
        return RESULT if transaction == b"known" else None

    async def result(self, digest: Digest, *, wait_ms: int = 0) -> TransactionResult | None:
        self.waits.append(wait_ms)
        return RESULT if digest == DIGEST else None

    async def status(self) -> LedgerStatus:
        return LedgerStatus(Digest(b"\x09" * 32), header(5), "memory", 12, {"blocks": 5})

    async def read(self, keys: Sequence[bytes]) -> StateRead:
        entries = tuple(StateEntry(key, None if key == b"none" else bytes(self.value_bytes), b"proof") for key in keys)
        return StateRead(header(5), entries)

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[tuple[bytes, bytes]]:
        self._check()
        return [row for row in self.rows if start <= row[0] < end][:limit]

    async def blocks(self, from_height: int) -> AsyncIterator[Block]:
        for one in self.blocks_out[from_height:]:
            yield one
        await self._end()

    async def events(self, from_sequence: int) -> AsyncIterator[Event]:
        for one in self.events_out[from_sequence:]:
            yield one
        await self._end()

    async def snapshot(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk

    async def _end(self) -> None:
        self._check()
        await asyncio.Event().wait()


@pytest.fixture
def scripted() -> ScriptedLedger:
    return ScriptedLedger()


@asynccontextmanager
async def over_grpc(ledger: Any) -> AsyncIterator[GrpcLedger]:
    from prometheus_client import CollectorRegistry

    guard = Guard(clock=SystemClock(), rng=SystemRng(), limits=Limits(), registry=CollectorRegistry())
    server = build_server(guard)
    add_LedgerServicer_to_server(LedgerServicer(ledger), server)
    async with serving(server, "127.0.0.1:0", drain_s=0.1) as address:
        client = GrpcLedger(address)
        yield client
        await client.close()


async def take(stream: AsyncIterator[Any], count: int) -> list[Any]:
    found = [await anext(stream) for _ in range(count)]
    await stream.aclose()  # type: ignore[attr-defined]
    return found


async def test_small_answers_arrive_as_they_are(scripted: ScriptedLedger) -> None:
    async with over_grpc(scripted) as ledger:
        assert await ledger.submit(b"known", wait_ms=250) == RESULT
        assert await ledger.submit(b"other") is None
        assert await ledger.result(DIGEST) == RESULT
        assert await ledger.result(NO_DIGEST, wait_ms=10**12) is None
        assert scripted.waits == [250, 0, 0, 60_000]  # the server has a cap
        status = await ledger.status()
        assert (status.chain_id, status.head, status.engine) == (b"\x09" * 32, header(5), "memory")
        assert (status.pending_transactions, dict(status.metrics)) == (12, {"blocks": 5})
        read = await ledger.read([b"some", b"none"])
        assert read == StateRead(
            header(5), (StateEntry(b"some", bytes(10), b"proof"), StateEntry(b"none", None, b"proof"))
        )


async def test_refusals_keep_their_code(scripted: ScriptedLedger) -> None:
    async with over_grpc(scripted) as ledger:
        scripted.failure = Inadmissible("EXPIRED_TRANSACTION_X")
        with pytest.raises(InvalidField.__base__) as caught:  # type: ignore[arg-type]
            await ledger.submit(b"x")
        assert caught.value.code == "EXPIRED_TRANSACTION_X"
        scripted.failure = LedgerBusy(pending=7, retry_after_ms=250)
        with pytest.raises(LedgerBusy) as busy:
            await ledger.submit(b"x")
        assert (busy.value.pending, busy.value.retry_after_ms) == (7, 250)


async def test_blocks_of_any_size_arrive_whole_and_in_order(scripted: ScriptedLedger) -> None:
    scripted.blocks_out = [
        block(0),
        block(1, 10, 20),
        block(2, *[60_000] * 100),  # 6 MB
        *(block(height, 300) for height in range(3, 200)),
        block(200),
    ]
    async with over_grpc(scripted) as ledger:
        assert await take(ledger.blocks(0), 201) == scripted.blocks_out
        assert await take(ledger.blocks(150), 3) == scripted.blocks_out[150:153]


async def test_all_who_follow_get_the_same_blocks(scripted: ScriptedLedger) -> None:
    scripted.blocks_out = [block(1, 10, 20), block(2)]
    async with over_grpc(scripted) as ledger:
        for _ in range(3):
            first = await take(ledger.blocks(0), 2)
            assert first == scripted.blocks_out
            assert await take(ledger.blocks(1), 1) == scripted.blocks_out[1:]


def test_messages_of_blocks_are_bounded_and_full() -> None:
    blocks = [block(height, *[60_000] * 10) for height in range(20)]  # 12 MB
    messages = list(pack_blocks(blocks))
    sizes = [pb.BlocksResponse(parts=parts).ByteSize() for parts in messages]
    assert max(sizes) < (1 << 20) + 70_000
    assert len(messages) == 12


async def test_the_end_of_a_stream_is_an_error(scripted: ScriptedLedger) -> None:
    class BlockGone(NotFound):
        code = "BLOCK_GONE"

    scripted.blocks_out = [block(0)]
    scripted.failure = BlockGone()
    async with over_grpc(scripted) as ledger:
        stream = ledger.blocks(0)
        assert await anext(stream) == block(0)
        with pytest.raises(NotFound) as caught:
            await anext(stream)
        assert caught.value.code == "BLOCK_GONE"


async def test_events_arrive_in_order(scripted: ScriptedLedger) -> None:
    scripted.events_out = [Event(i, 1, 0, 5, 1, BlobInvalidated(bytes([i % 256]) * 32, 1)) for i in range(3_000)]
    async with over_grpc(scripted) as ledger:
        assert await take(ledger.events(10), 2_990) == scripted.events_out[10:]


async def test_chunks_of_a_snapshot_keep_their_borders(scripted: ScriptedLedger) -> None:
    scripted.chunks = [b"a" * 10, b"b" * (1 << 20), b"c" * (3 << 20), b"d" * ((1 << 20) + 1), b"", b"e"]
    async with over_grpc(scripted) as ledger:
        assert [chunk async for chunk in ledger.snapshot()] == scripted.chunks


async def test_a_scan_goes_on_while_messages_are_full(scripted: ScriptedLedger) -> None:
    scripted.rows = [(b"k%03d" % i, bytes([i]) * 500_000) for i in range(20)]
    async with over_grpc(scripted) as ledger:
        assert list(await ledger.scan(b"k", b"l", limit=100)) == scripted.rows
        assert list(await ledger.scan(b"k", b"l", limit=12)) == scripted.rows[:12]
        assert list(await ledger.scan(b"k005", b"k007", limit=100)) == scripted.rows[5:7]
        assert list(await ledger.scan(b"z", b"zz", limit=100)) == []


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("Result", pb.ResultRequest(digest=b"short"), "digest"),
        ("Read", pb.ReadRequest(keys=[b"k"] * 1_025), "keys"),
        ("Read", pb.ReadRequest(keys=[bytes(257)]), "keys"),
        ("Scan", pb.ScanRequest(start=bytes(257), end=b"", limit=1), "start"),
        ("Scan", pb.ScanRequest(start=b"", end=bytes(257), limit=1), "end"),
    ],
)
async def test_requests_out_of_bounds_are_refused_by_field(
    serve: Any, scripted: ScriptedLedger, method: str, request_: Any, field: str
) -> None:
    async with serve(add_LedgerServicer_to_server, LedgerServicer(scripted)) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(LedgerStub(channel), method)(request_)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (caught.value.details() or "").startswith(f"{field}:")


async def test_rows_that_do_not_fit_into_one_answer_are_refused(scripted: ScriptedLedger) -> None:
    scripted.value_bytes = 100_000
    async with over_grpc(scripted) as ledger:
        with pytest.raises(InvalidField, match="ask for fewer"):
            await ledger.read([b"k%d" % i for i in range(50)])


async def test_a_ledger_that_makes_no_sense_is_named(serve: Any) -> None:
    class Liar(LedgerServicer):
        async def Status(self, request: Any, context: Any) -> Any:
            return pb.StatusResponse(chain_id=b"short")

        async def Submit(self, request: Any, context: Any) -> Any:
            return pb.SubmitResponse(result=b"\xff")

        async def Read(self, request: Any, context: Any) -> Any:
            return pb.ReadResponse(entries=[pb.StateEntry(key=b"another")])

        async def Scan(self, request: Any, context: Any) -> Any:
            return pb.ScanResponse(rows=[pb.Row(key=b"b"), pb.Row(key=b"a")])

        async def Blocks(self, request: Any, context: Any) -> Any:
            yield pb.BlocksResponse(parts=[pb.BlockPart(transactions=[b"stray"])])

        async def Events(self, request: Any, context: Any) -> Any:
            yield pb.EventsResponse(events=[b"\x00"])

    from prometheus_client import CollectorRegistry

    guard = Guard(clock=SystemClock(), rng=SystemRng(), limits=Limits(), registry=CollectorRegistry())
    server = build_server(guard)
    add_LedgerServicer_to_server(Liar(ScriptedLedger()), server)  # type: ignore[arg-type]
    async with serving(server, "127.0.0.1:0", drain_s=0.1) as address:
        ledger = GrpcLedger(address)
        for call in (
            ledger.status(),
            ledger.submit(b"x"),
            ledger.read([b"k"]),
            ledger.scan(b"a", b"c", limit=9),
            anext(ledger.blocks(0)),
            anext(ledger.events(0)),
        ):
            with pytest.raises(MalformedAnswer) as caught:
                await call
            assert caught.value.peer == address
        await ledger.close()
        with pytest.raises(Unreachable):
            await ledger.status()
