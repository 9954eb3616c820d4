"""What a client holds of a network while it works: the ports, its verified view, and what it learned about nodes."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from haulout.client.metrics import ClientMetrics
from haulout.client.plan import Patience
from haulout.client.view import LedgerView
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import Unreachable
from haulout.ledger.state import Committee, Node
from haulout.ports import Clock, NodeTransport, Rng, StorageNodeApi, Workers
from haulout.primitives import BlobId, ObjectId

SPILL_THRESHOLD_BYTES = 8 << 20
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
    _records: dict[ObjectId, NodeRecord] = field(default_factory=dict)
    _stores: dict[BlobId, asyncio.Lock] = field(default_factory=dict)

    def record_of(self, node_id: ObjectId) -> NodeRecord:
        """What is known of a node's behaviour."""
        return self._records.setdefault(node_id, NodeRecord())

    def links(self, committee: Committee, nodes: dict[ObjectId, Node]) -> list[MemberLink]:
        """The members of a committee with their connections, in the committee's order."""
        links = []
        for member in committee.members:
            node = nodes.get(ObjectId(member.node_id))
            if node is None or not node.addresses:
                api: StorageNodeApi = self.transport.connect(NOWHERE)
                name = member.node_id.hex()[:8]
            else:
                api, name = self.transport.connect(node.addresses[0]), node.name
            links.append(MemberLink(ObjectId(member.node_id), name, member.public_key, member.shards, api))
        return links

    async def current_links(self) -> tuple[int, list[MemberLink]]:
        """The current epoch and its committee's members."""
        committee = await self.view.committee()
        nodes = await self.view.nodes([member.node_id for member in committee.members])
        return committee.epoch, self.links(committee, nodes)

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

    @contextlib.contextmanager
    def buffer(self, size_bytes: int) -> Iterator[memoryview]:
        """A zeroed writable buffer, in memory or, from `SPILL_THRESHOLD_BYTES` on, in a file without a name."""
        with contextlib.ExitStack() as stack:
            yield open_buffer(self.spill, size_bytes, stack)


def open_buffer(spill: Path | None, size_bytes: int, stack: contextlib.ExitStack) -> memoryview:
    """A buffer that lives until `stack` is closed."""
    if spill is None or size_bytes < SPILL_THRESHOLD_BYTES:
        return memoryview(bytearray(size_bytes))
    spill.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context(tempfile.TemporaryFile(dir=spill, prefix="spill-"))  # noqa: SIM115 - the stack closes it
    os.truncate(file.fileno(), size_bytes)
    mapped = mmap.mmap(file.fileno(), size_bytes)
    stack.callback(_unmap, mapped)
    view = memoryview(mapped)
    stack.callback(view.release)
    return view


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
