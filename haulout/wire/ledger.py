"""The ledger over gRPC: `GrpcLedger` implements `ports.Ledger`.

Streams end with an error when the connection does; whoever follows starts anew from where it is. Nothing here is
verified: a replica executes every block again, and rows carry proofs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import grpc

from haulout import bcs
from haulout.chain.block import Block, BlockHeader, TransactionResult
from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.errors import InvalidField, Unreachable
from haulout.ledger.events import Event
from haulout.ports import Attestation, Finality, LedgerStatus, StateEntry, StateRead
from haulout.primitives import U32_MAX, Digest, ObjectId
from haulout.wire.calls import CLIENT_OPTIONS, Peer, Timeouts
from haulout.wire.convert import read_digest
from haulout.wire.security import open_channel
from haulout.wire.streams import closing
from haulout.wire.v1 import ledger_pb2 as pb
from haulout.wire.v1.ledger_pb2_grpc import LedgerStub

if TYPE_CHECKING:  # stubs of the stubs: they exist for the type checker only
    from haulout.wire.v1.ledger_pb2_grpc import LedgerAsyncStub

MAX_BLOCK_BYTES = 256 << 20
MAX_SNAPSHOT_CHUNK_BYTES = 256 << 20


class GrpcLedger:
    """Implements `ports.Ledger` for one address.

    Beyond the errors that the ledger reports under their own classes, every call may raise `Unreachable`,
    `DeadlineExceeded`, `MalformedAnswer` and `PlaintextRefused`.
    """

    def __init__(self, address: str, *, timeouts: Timeouts | None = None, allow_plaintext: bool = False) -> None:
        self._peer = Peer(address, timeouts or Timeouts())
        self._allow_plaintext = allow_plaintext
        self._channel: grpc.aio.Channel | None = None
        self._made_stub: LedgerAsyncStub | None = None
        self._is_closed = False

    @property
    def address(self) -> str:
        return self._peer.address

    async def close(self) -> None:
        """Close the connection; calls in flight end with `Unreachable`."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> TransactionResult | None:
        """Hand in a signed transaction; its result when that is durable within `wait_ms`, else None."""
        request = pb.SubmitRequest(transaction=transaction, wait_ms=min(wait_ms, U32_MAX))
        answer = await self._peer.unary("Submit", self._stub().Submit, request, wait_ms=wait_ms)
        return self._result("Submit", answer)

    async def result(self, digest: Digest, *, wait_ms: int = 0) -> TransactionResult | None:
        """What became of a transaction, waiting up to `wait_ms` for it."""
        request = pb.ResultRequest(digest=digest, wait_ms=min(wait_ms, U32_MAX))
        answer = await self._peer.unary("Result", self._stub().Result, request, wait_ms=wait_ms)
        return self._result("Result", answer)

    async def status(self) -> LedgerStatus:
        """The head and how the ledger is."""
        answer = await self._peer.unary("Status", self._stub().Status, pb.StatusRequest())
        with self._peer.reading("Status"):
            return LedgerStatus(
                chain_id=read_digest(answer.chain_id, "chain_id"),
                head=bcs.decode(BlockHeader, answer.head),
                engine=answer.engine,
                pending_transactions=answer.pending_transactions,
                metrics=MappingProxyType(dict(answer.metrics)),
                finality=_read_finality(answer),
                oldest_height=answer.oldest_height,
                protocol_version=answer.protocol_version,
            )

    async def read(self, keys: Sequence[bytes]) -> StateRead:
        """Rows with proofs against the head's state root; the proofs are not checked here."""
        answer = await self._peer.unary("Read", self._stub().Read, pb.ReadRequest(keys=keys))
        with self._peer.reading("Read"):
            if [entry.key for entry in answer.entries] != list(keys):
                raise InvalidField(field="entries", problem="not the rows that were asked for")
            return StateRead(
                header=bcs.decode(BlockHeader, answer.header),
                entries=tuple(
                    StateEntry(
                        key=entry.key,
                        value=entry.value if entry.HasField("value") else None,
                        proof=entry.proof,
                    )
                    for entry in answer.entries
                ),
            )

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Rows in key order, without proofs; asks again while messages are full."""
        rows: list[tuple[bytes, bytes]] = []
        while len(rows) < limit:
            request = pb.ScanRequest(start=start, end=end, limit=min(limit - len(rows), U32_MAX))
            answer = await self._peer.unary("Scan", self._stub().Scan, request)
            with self._peer.reading("Scan"):
                for row in answer.rows:
                    if not start <= row.key < end:
                        raise InvalidField(field="rows", problem="out of order, or not in the range asked for")
                    rows.append((row.key, row.value))
                    start = row.key + b"\0"
                if answer.is_cut and not answer.rows:
                    raise InvalidField(field="rows", problem="cut off before the first")
            if not answer.is_cut:
                break
        return rows[:limit]

    async def blocks(self, from_height: int) -> AsyncIterator[Block]:
        """All blocks from a height on, then each new one; ends only with an error."""
        header: BlockHeader | None = None
        transactions: list[bytes] = []
        n_transactions = n_bytes = 0
        call = self._stub().Blocks(pb.BlocksRequest(from_height=from_height))
        async with closing(self._peer.messages("Blocks", call, endless=True)) as messages:
            async for message in messages:
                for part in message.parts:
                    with self._peer.reading("Blocks"):
                        if part.HasField("start"):
                            if header is not None:
                                raise InvalidField(field="parts", problem=f"block {header.height} is cut off")
                            header = bcs.decode(BlockHeader, part.start.header)
                            n_transactions, n_bytes, transactions = part.start.n_transactions, 0, []
                        elif header is None:
                            raise InvalidField(field="parts", problem="transactions without a block")
                        transactions.extend(part.transactions)
                        n_bytes += part.ByteSize()
                        if len(transactions) > n_transactions or n_bytes > MAX_BLOCK_BYTES:
                            raise InvalidField(field="parts", problem=f"block {header.height} is larger than announced")
                    if len(transactions) == n_transactions:
                        block = Block(header=header, transactions=tuple(transactions))
                        header = None
                        yield block
        raise Unreachable(peer=self.address, problem="the stream of blocks ended")

    async def events(self, from_sequence: int) -> AsyncIterator[Event]:
        """All events from a sequence number on, then each new one; ends only with an error."""
        call = self._stub().Events(pb.EventsRequest(from_sequence=from_sequence))
        async with closing(self._peer.messages("Events", call, endless=True)) as messages:
            async for message in messages:
                for raw in message.events:
                    with self._peer.reading("Events"):
                        event: Event = bcs.decode(Event, raw)
                    yield event
        raise Unreachable(peer=self.address, problem="the stream of events ended")

    async def snapshot(self) -> AsyncIterator[bytes]:
        """The whole state at the head in chunks; verified on import, not here."""
        call = self._stub().Snapshot(pb.SnapshotRequest())
        chunk = bytearray()
        async with closing(self._peer.messages("Snapshot", call)) as messages:
            async for message in messages:
                chunk += message.data
                with self._peer.reading("Snapshot"):
                    if len(chunk) > MAX_SNAPSHOT_CHUNK_BYTES:
                        raise InvalidField(field="data", problem=f"a chunk above {MAX_SNAPSHOT_CHUNK_BYTES} bytes")
                if message.ends_chunk:
                    yield bytes(chunk)
                    chunk = bytearray()
        with self._peer.reading("Snapshot"):
            if chunk:
                raise InvalidField(field="data", problem="the last chunk is cut off")

    async def attestation(
        self, *, node_id: ObjectId | None = None, wanted: int = 0, attested: int = 0, wait_ms: int = 0
    ) -> Attestation:
        """What to sign next, and the latest certified checkpoint; neither is verified here."""
        request = pb.WatchAttestationRequest(
            node_id=node_id, wanted=wanted, attested=attested, wait_ms=min(wait_ms, U32_MAX)
        )
        answer = await self._peer.unary("WatchAttestation", self._stub().WatchAttestation, request, wait_ms=wait_ms)
        with self._peer.reading("WatchAttestation"):
            return Attestation(
                wanted_height=answer.wanted_height,
                latest=bcs.decode(CertifiedCheckpoint, answer.latest) if answer.HasField("latest") else None,
                signed=bcs.decode(CheckpointSignature, answer.signed) if answer.HasField("signed") else None,
            )

    async def attest(self, signature: CheckpointSignature) -> None:
        """Hand in a node's signature of a checkpoint."""
        await self._peer.unary("Attest", self._stub().Attest, pb.AttestRequest(signature=bcs.encode(signature)))

    async def epoch_checkpoint(self, epoch: int) -> CertifiedCheckpoint | None:
        """The last certified checkpoint of an epoch, not verified here."""
        request = pb.EpochCheckpointRequest(epoch=epoch)
        answer = await self._peer.unary("EpochCheckpoint", self._stub().EpochCheckpoint, request)
        with self._peer.reading("EpochCheckpoint"):
            return bcs.decode(CertifiedCheckpoint, answer.checkpoint) if answer.HasField("checkpoint") else None

    async def epoch_committee(self, epoch: int) -> bytes | None:
        """The committee of an epoch (BCS), not verified here."""
        request = pb.EpochCommitteeRequest(epoch=epoch)
        answer = await self._peer.unary("EpochCommittee", self._stub().EpochCommittee, request)
        return answer.committee if answer.HasField("committee") else None

    def _stub(self) -> LedgerAsyncStub:
        if self._is_closed:
            raise Unreachable(peer=self.address, problem="the connection was closed")
        if self._made_stub is None:
            self._channel = open_channel(self.address, CLIENT_OPTIONS, allow_plaintext=self._allow_plaintext)
            self._made_stub = LedgerStub(self._channel)
        return self._made_stub

    def _result(self, operation: str, answer: pb.SubmitResponse | pb.ResultResponse) -> TransactionResult | None:
        if not answer.HasField("result"):
            return None
        with self._peer.reading(operation):
            return bcs.decode(TransactionResult, answer.result)


def _read_finality(answer: pb.StatusResponse) -> Finality | None:
    if not answer.HasField("finality"):
        return None
    return Finality(answer.finality.sequenced, answer.finality.committed, answer.finality.attested)
