"""What a client holds of a network while it works: the ports, its verified view, and what it learned about nodes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from haulout.client.budget import ByteBudget
from haulout.client.metrics import ClientMetrics
from haulout.client.plan import Patience
from haulout.client.view import LedgerView
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import DiskFull, Unreachable
from haulout.ledger import queries
from haulout.ledger.state import Node
from haulout.observability import tracing
from haulout.ports import Clock, NodeTransport, Rng, StorageNodeApi, Workers
from haulout.primitives import BlobId, ObjectId

SPILL_THRESHOLD_BYTES = 8 << 20  # of buffers while a blob is stored: few at once
READ_SPILL_THRESHOLD_BYTES = 1 << 20  # of blobs that were read: hundreds may wait for slow readers
ENCODED_IN_MEMORY_BYTES = 512 << 20  # segments of all blobs in stripes that are being stored
READS_IN_MEMORY_BYTES = 512 << 20  # slivers of all reads together, before they are decoded
PENALTY_MS = 2_000
NOWHERE = "127.0.0.1:1"  # what a member without an address is called at: nothing answers there


@dataclass(frozen=True, slots=True)
class MemberLink:
    """A committee member and the way to it."""

    node_id: ObjectId
    name: str
    public_key: bytes
    shards: tuple[int, ...]
    api: StorageNodeApi

    @property
    def weight(self) -> int:
        return len(self.shards)


class NodeRecord:
    """How a node has been doing: when it failed last, and how fast it answers."""

    __slots__ = ("failed_until_us", "latency_us")

    def __init__(self) -> None:
        self.failed_until_us = 0
        self.latency_us = 0

    def succeeded(self, latency_us: int) -> None:
        self.failed_until_us = 0
        self.latency_us = latency_us if not self.latency_us else (7 * self.latency_us + latency_us) // 8

    def failed(self, now_us: int) -> None:
        self.failed_until_us = now_us + PENALTY_MS * 1000


@dataclass
class Network:
    """Everything `store_blob` and `read_blob` need; made once per process by its composition root."""

    view: LedgerView
    transport: NodeTransport
    scheme: SignatureScheme
    clock: Clock
    rng: Rng
    workers: Workers
    spill: Path | None = None  # where large buffers live instead of in memory; None keeps them in memory
    metrics: ClientMetrics = field(default_factory=ClientMetrics)
    patience: Patience = field(default_factory=Patience)
    reads: ByteBudget = field(default_factory=lambda: ByteBudget(READS_IN_MEMORY_BYTES))
    encoded: ByteBudget = field(default_factory=lambda: ByteBudget(ENCODED_IN_MEMORY_BYTES))
    _records: dict[ObjectId, NodeRecord] = field(default_factory=dict)
    _stores: dict[BlobId, asyncio.Lock] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure one phase of a store, and show it in the trace."""
        started_us = self.clock.monotonic_us()
        with tracing.span(f"store: {name}"):
            try:
                yield
            finally:
                seconds = (self.clock.monotonic_us() - started_us) / 1_000_000
                self.metrics.store_phase.labels(name).observe(seconds, tracing.exemplar())

    def record_of(self, node_id: ObjectId) -> NodeRecord:
        """What is known of a node's behaviour."""
        return self._records.setdefault(node_id, NodeRecord())

    def _link(self, node_id: ObjectId, node: Node | None, public_key: bytes, shards: tuple[int, ...]) -> MemberLink:
        if node is None or not node.addresses:
            return MemberLink(node_id, node_id.hex()[:8], public_key, shards, self.transport.connect(NOWHERE))
        self.metrics.know_node(node.name)
        return MemberLink(node_id, node.name, public_key, shards, self.transport.connect(node.addresses[0]))

    async def current_links(self) -> tuple[int, list[MemberLink]]:
        """The current epoch and its committee's members, in the committee's order: who takes what is stored now."""
        committee = await self.view.committee()
        nodes = await self.view.nodes([member.node_id for member in committee.members])
        return committee.epoch, [
            self._link(ObjectId(m.node_id), nodes.get(ObjectId(m.node_id)), m.public_key, m.shards)
            for m in committee.members
        ]

    async def links_of(self, node_ids: Iterable[ObjectId]) -> list[MemberLink]:
        """The ways to nodes, whatever they hold: links without shards, in the order asked."""
        wanted = list(node_ids)
        nodes = await self.view.nodes(wanted)
        return [
            self._link(node_id, node, b"" if node is None else node.public_key, ())
            for node_id in wanted
            for node in (nodes.get(node_id),)
        ]

    async def holder_links(self, certified_epoch: int) -> tuple[int, list[MemberLink], bool]:
        """The current epoch and who has the slivers of blobs first certified in an epoch, each with the shards it
        speaks for; and whether any of these shards is on its way to somebody else."""
        committee = await self.view.committee()
        moving = await self.view.open_hand_overs()
        holders = queries.shard_holders(committee, moving, certified_epoch)
        nodes = await self.view.nodes(list(holders))
        links = [
            self._link(node_id, node, b"" if node is None else node.public_key, shards)
            for node_id, shards in holders.items()
            for node in (nodes.get(node_id),)
        ]
        return committee.epoch, links, any(certified_epoch < record.epoch for record in moving)

    @contextlib.asynccontextmanager
    async def storing(self, blob_id: BlobId) -> AsyncIterator[None]:
        """Let one store of a blob id at a time work here: the second finds what the first has done."""
        lock = self._stores.setdefault(blob_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and not getattr(lock, "_waiters", None):
                self._stores.pop(blob_id, None)


def open_buffer(
    spill: Path | None, size_bytes: int, stack: contextlib.ExitStack, *, threshold_bytes: int | None = None
) -> memoryview:
    """A zeroed writable buffer that lives until `stack` is closed.

    It is in memory or, from `threshold_bytes` on (`SPILL_THRESHOLD_BYTES` if None), in a file without a name that is
    mapped.

    Raises:
        DiskFull: there is no room for the file.
    """
    if spill is None or size_bytes < (SPILL_THRESHOLD_BYTES if threshold_bytes is None else threshold_bytes):
        return memoryview(bytearray(size_bytes))
    with disk_full_is_ours(spill):
        spill.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(tempfile.TemporaryFile(dir=spill, prefix="spill-"))  # noqa: SIM115 - the stack's
        # The space is taken now: writing to a map when the disk is full would kill the process.
        os.posix_fallocate(file.fileno(), 0, size_bytes)
    mapped = mmap.mmap(file.fileno(), size_bytes)
    stack.callback(_unmap, mapped)
    view = memoryview(mapped)
    stack.callback(view.release)
    return view


@contextlib.contextmanager
def disk_full_is_ours(folder: Path) -> Iterator[None]:
    """Turn a full disk into `DiskFull`; any other failure of the disk is nobody's to act on and stays as it is."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path=str(folder)) from e
        raise


def _unmap(mapped: mmap.mmap) -> None:
    """Close a map; arrays over it that are still alive keep it until they are collected."""
    with contextlib.suppress(BufferError):
        mapped.close()


def unreachable_text(error: Exception) -> str:
    """A node's failure in a few words, for messages that list several."""
    if isinstance(error, Unreachable):
        return "unreachable"
    code = getattr(error, "code", None)
    return str(code) if code else type(error).__name__
