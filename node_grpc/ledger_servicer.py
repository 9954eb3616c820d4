"""The ledger behind gRPC: decode, call, encode; one method per rpc, and no decision but the bounds of messages."""

# ruff: noqa: N802 - the methods of a servicer are named by the .proto file

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from haulout import bcs
from haulout.chain.block import Block, BlockHeader
from haulout.chain.checkpoint import CheckpointSignature
from haulout.errors import InvalidField
from haulout.ports import Finality, Ledger
from haulout.wire.calls import MAX_ANSWER_BYTES
from haulout.wire.convert import read_digest, read_object_id
from haulout.wire.serving import Context
from haulout.wire.slivers import MESSAGE_BYTES
from haulout.wire.streams import closing, gather_ready
from haulout.wire.v1 import ledger_pb2 as pb
from haulout.wire.v1.ledger_pb2_grpc import LedgerServicer as Servicer

WAIT_MS_MAX = 60_000
MAX_KEYS = 1_024
MAX_KEY_BYTES = 256
ROW_OVERHEAD_BYTES = 16
PER_METHOD = {"Snapshot": 4}


class LedgerServicer(Servicer):
    """Serves any `ports.Ledger`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last: tuple[BlockHeader, pb.BlocksResponse] | None = None  # what all who keep up are sent

    async def Submit(self, request: pb.SubmitRequest, context: Context) -> pb.SubmitResponse:
        """Hand in a signed transaction."""
        result = await self._ledger.submit(request.transaction, wait_ms=min(request.wait_ms, WAIT_MS_MAX))
        return pb.SubmitResponse(result=None if result is None else bcs.encode(result))

    async def Result(self, request: pb.ResultRequest, context: Context) -> pb.ResultResponse:
        """What became of a transaction."""
        digest = read_digest(request.digest)
        result = await self._ledger.result(digest, wait_ms=min(request.wait_ms, WAIT_MS_MAX))
        return pb.ResultResponse(result=None if result is None else bcs.encode(result))

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """The head and how the ledger is."""
        status = await self._ledger.status()
        return pb.StatusResponse(
            chain_id=status.chain_id,
            head=bcs.encode(status.head),
            engine=status.engine,
            pending_transactions=status.pending_transactions,
            metrics=status.metrics,
            finality=_write_finality(status.finality),
            oldest_height=status.oldest_height,
            protocol_version=status.protocol_version,
        )

    async def Read(self, request: pb.ReadRequest, context: Context) -> pb.ReadResponse:
        """Rows with proofs."""
        if len(request.keys) > MAX_KEYS:
            raise InvalidField(field="keys", problem=f"{len(request.keys)} keys, at most {MAX_KEYS} at once")
        for key in request.keys:
            _check_key(key, "keys")
        read = await self._ledger.read(list(request.keys))
        answer = pb.ReadResponse(
            header=bcs.encode(read.header),
            entries=[pb.StateEntry(key=entry.key, value=entry.value, proof=entry.proof) for entry in read.entries],
        )
        if answer.ByteSize() > MAX_ANSWER_BYTES:
            raise InvalidField(field="keys", problem=f"the answer exceeds {MAX_ANSWER_BYTES} bytes; ask for fewer")
        return answer

    async def Scan(self, request: pb.ScanRequest, context: Context) -> pb.ScanResponse:
        """Rows in key order."""
        _check_key(request.start, "start")
        _check_key(request.end, "end")
        rows: list[pb.Row] = []
        room = MAX_ANSWER_BYTES
        for key, value in await self._ledger.scan(request.start, request.end, limit=request.limit):
            room -= len(key) + len(value) + ROW_OVERHEAD_BYTES
            if room < 0 and rows:
                return pb.ScanResponse(rows=rows, is_cut=True)
            rows.append(pb.Row(key=key, value=value))
        return pb.ScanResponse(rows=rows)

    async def Blocks(self, request: pb.BlocksRequest, context: Context) -> AsyncIterator[pb.BlocksResponse]:
        """Blocks from a height on: full messages for whoever is behind, each block at once for whoever is not."""
        ready = gather_ready(
            self._ledger.blocks(request.from_height), size_of=block_size_bytes, max_bytes=MESSAGE_BYTES
        )
        async with closing(ready) as batches:
            async for batch in batches:
                if len(batch) == 1 and self._last is not None and self._last[0] is batch[0].header:
                    yield self._last[1]
                    continue
                messages = [pb.BlocksResponse(parts=parts) for parts in pack_blocks(batch)]
                if len(batch) == len(messages) == 1:
                    self._last = batch[0].header, messages[0]
                for message in messages:
                    yield message

    async def Events(self, request: pb.EventsRequest, context: Context) -> AsyncIterator[pb.EventsResponse]:
        """Events from a sequence number on, gathered like blocks."""

        async def encoded() -> AsyncIterator[bytes]:
            async with closing(self._ledger.events(request.from_sequence)) as events:
                async for event in events:
                    yield bcs.encode(event)

        ready = gather_ready(encoded(), size_of=len, max_bytes=MESSAGE_BYTES)
        async with closing(ready) as batches:
            async for batch in batches:
                yield pb.EventsResponse(events=batch)

    async def Snapshot(self, request: pb.SnapshotRequest, context: Context) -> AsyncIterator[pb.SnapshotResponse]:
        """The whole state; a chunk may take several messages."""
        async with closing(self._ledger.snapshot()) as chunks:
            async for chunk in chunks:
                for at in range(0, max(len(chunk), 1), MESSAGE_BYTES):
                    piece = chunk[at : at + MESSAGE_BYTES]
                    yield pb.SnapshotResponse(data=piece, ends_chunk=at + MESSAGE_BYTES >= len(chunk))

    async def WatchAttestation(
        self, request: pb.WatchAttestationRequest, context: Context
    ) -> pb.WatchAttestationResponse:
        """What to sign next, and what is certified."""
        answer = await self._ledger.attestation(
            node_id=read_object_id(request.node_id, "node_id") if request.HasField("node_id") else None,
            wanted=request.wanted,
            attested=request.attested,
            wait_ms=min(request.wait_ms, WAIT_MS_MAX),
        )
        return pb.WatchAttestationResponse(
            wanted_height=answer.wanted_height,
            latest=None if answer.latest is None else bcs.encode(answer.latest),
            signed=None if answer.signed is None else bcs.encode(answer.signed),
        )

    async def Attest(self, request: pb.AttestRequest, context: Context) -> pb.AttestResponse:
        """Take a node's signature of a checkpoint."""
        await self._ledger.attest(bcs.decode(CheckpointSignature, request.signature))
        return pb.AttestResponse()

    async def EpochCheckpoint(self, request: pb.EpochCheckpointRequest, context: Context) -> pb.EpochCheckpointResponse:
        """The last certified checkpoint of an epoch."""
        found = await self._ledger.epoch_checkpoint(request.epoch)
        return pb.EpochCheckpointResponse(checkpoint=None if found is None else bcs.encode(found))

    async def EpochCommittee(self, request: pb.EpochCommitteeRequest, context: Context) -> pb.EpochCommitteeResponse:
        """The committee of an epoch."""
        return pb.EpochCommitteeResponse(committee=await self._ledger.epoch_committee(request.epoch))


def block_size_bytes(block: Block) -> int:
    """About what a block takes on the wire."""
    return sum(map(len, block.transactions)) + 300


def pack_blocks(blocks: Iterable[Block]) -> Iterator[list[pb.BlockPart]]:
    """The parts of one message at a time, about a MiB each: many small blocks, or a piece of a large one."""
    parts: list[pb.BlockPart] = []
    room = MESSAGE_BYTES
    for block in blocks:
        start: pb.BlockStart | None = pb.BlockStart(
            header=bcs.encode(block.header), n_transactions=len(block.transactions)
        )
        room -= 300
        at = 0
        while start is not None or at < len(block.transactions):
            piece: list[bytes] = []
            while at < len(block.transactions) and room > 0:
                piece.append(block.transactions[at])
                room -= len(block.transactions[at]) + ROW_OVERHEAD_BYTES
                at += 1
            parts.append(pb.BlockPart(start=start, transactions=piece))
            start = None
            if room <= 0:
                yield parts
                parts, room = [], MESSAGE_BYTES
    if parts:
        yield parts


def _write_finality(finality: Finality | None) -> pb.Finality | None:
    if finality is None:
        return None
    return pb.Finality(sequenced=finality.sequenced, committed=finality.committed, attested=finality.attested)


def _check_key(key: bytes, field: str) -> None:
    if len(key) > MAX_KEY_BYTES:
        raise InvalidField(field=field, problem=f"{len(key)} bytes, keys have at most {MAX_KEY_BYTES}")
