"""What the actors ask of the world: eight ports, most with a real and a simulated implementation.

Actors get them by argument and know nothing behind them, so the same code runs in a cluster, on one machine and in
a deterministic simulation. Every implementation of a port passes that port's contract suite (`tests/contract`).
Errors are those of `haulout.errors`; foreign exceptions never pass a port.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ParamSpec, Protocol, TypeVar

from haulout.chain.block import Block, BlockHeader, TransactionResult
from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.ledger.events import Event
from haulout.primitives import Axis, BlobId, Digest, ObjectId, SliverIndex, SliverPairIndex

Buffer = bytes | bytearray | memoryview
P = ParamSpec("P")
T = TypeVar("T")


# --- time and chance ----------------------------------------------------------------------------------------


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for how long things take."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC; may jump."""

    def monotonic_us(self) -> int:
        """Microseconds since some start; never goes back."""

    async def sleep_ms(self, duration_ms: int) -> None:
        """Let `duration_ms` pass."""


class Rng(Protocol):
    """Chance. Real: the operating system's; simulated: one seed."""

    def random_bytes(self, n: int) -> bytes:
        """`n` bytes nobody can predict."""

    def below(self, limit: int) -> int:
        """A number in [0, limit), evenly."""

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in random order."""


class Workers(Protocol):
    """CPU-heavy calls off the event loop; in a simulation they run inline."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` and return its result; its exception is raised here."""


# --- storage ------------------------------------------------------------------------------------------------


class Disk(Protocol):
    """Files under one folder; paths are relative, with `/`. What `sync` has returned for survives a power cut."""

    async def write(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Make or replace a file, not yet durable; returns its size. Folders are made as needed.

        Raises:
            DiskFull: nothing is left of the file.
        """

    async def sync(self, paths: Sequence[str]) -> None:
        """Make these files and their names durable, as one batch. A failed sync is fatal to the caller's process."""

    async def write_atomic(self, path: str, chunks: Iterable[Buffer]) -> int:
        """Replace a file durably: after a crash it is wholly the old or wholly the new one."""

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file or a part of it; short at its end.

        Raises:
            NotFound: no such file.
        """

    async def size(self, path: str) -> int | None:
        """Bytes in a file, or None when there is none."""

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    async def list(self, prefix: str) -> list[str]:
        """Paths of all files below a folder, sorted."""

    async def free_bytes(self) -> int:
        """Bytes that can still be written."""


class Store(Protocol):
    """An ordered key-value store with atomic batches and one writer. SQLite outside, a crashable fake inside."""

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the end with `reverse`, as of the call."""

    async def commit(self, writes: Mapping[bytes, bytes | None], *, durable: bool = True) -> None:
        """Apply all writes (None deletes) or none. When `durable`, it and all before it survive a power cut once
        this returns; otherwise a suffix of commits may be lost, never a part of one.

        Raises:
            DiskFull: nothing was applied.
        """

    async def close(self) -> None:
        """Release the files; nothing may be called afterwards."""


# --- storage nodes ------------------------------------------------------------------------------------------


class Outcome(Enum):
    """What became of something that a node was given to keep."""

    STORED = "stored"
    ALREADY_STORED = "already_stored"


@dataclass(frozen=True, slots=True)
class SliverUpload:
    """One sliver on its way, or consecutive stripes of one.

    `bcs` is the canonical sliver of a known axis (`codec.Sliver`). With RS8 a sliver never travels as a whole:
    `first_stripe` is set, and `bcs` are stripes from that one on with their proof (`codec.SliverStripes`).
    """

    pair_index: SliverPairIndex
    axis: Axis
    bcs: Buffer
    first_stripe: int | None = None


@dataclass(frozen=True, slots=True)
class PartialSliver:
    """A sliver in stripes of which a part is held."""

    pair_index: SliverPairIndex
    axis: Axis
    missing: tuple[range, ...]  # stripes, ascending


@dataclass(frozen=True, slots=True)
class SyncedSliver:
    """A sliver of a shard that changes owner."""

    blob_id: BlobId
    upload: SliverUpload


@dataclass(frozen=True, slots=True)
class BlobHoldings:
    """What a node holds of one blob, over the shards it owns."""

    is_registered: bool
    has_metadata: bool
    missing: tuple[tuple[SliverPairIndex, Axis], ...]
    partial: tuple[PartialSliver, ...] = ()  # those of `missing` that are not missing altogether


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A signed message of `spec/encoding.md` 10: exactly the bytes that were signed."""

    message: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ProofUpload:
    """A proof of a wrong encoding on its way: its bytes in chunks, of a blob in stripes more than fit into memory."""

    size_bytes: int
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class IncompleteBlob:
    """A certified blob of which a node lacks something."""

    blob_id: BlobId
    lacks_metadata: bool
    missing_slivers: int


@dataclass(frozen=True, slots=True)
class IncompletePage:
    """Incomplete blobs in order of their ids; `next_after` is None at the end. `height` is the node's own."""

    height: int
    blobs: tuple[IncompleteBlob, ...]
    next_after: BlobId | None


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """How a node is; the fields of the health document (`spec/client-api.md` 14.2)."""

    node_id: ObjectId
    name: str
    epoch: int
    status: str  # Standby, Active, Diverged, StorageFailed …: match on the first word; DiskFull after it is read-only
    uptime_ms: int
    height: int  # last block re-executed
    block_digest: Digest
    head_height: int  # last block heard of
    shards: tuple[int, ...]
    incomplete_blobs: int
    corrupt_slivers: int  # found since start
    stored_slivers: int
    stored_bytes: int
    attested_height: int = 0  # of the last certified checkpoint that the node has verified
    gaining: tuple[int, ...] = ()  # shards on their way here
    giving: tuple[int, ...] = ()  # shards kept until their new owners have everything
    moving_bytes: int = 0  # of slivers on the shards on their way here, when their sync began
    moved_bytes: int = 0  # of these, what has arrived

    @property
    def word(self) -> str:
        """The first word of its status."""
        return self.status.split(" ", 1)[0]

    @property
    def is_serving(self) -> bool:
        """It has not stopped by itself."""
        return self.word in ("Active", "Standby")


class StorageNodeApi(Protocol):
    """One storage node as its clients and peers see it. Every request names the epoch it is made for.

    Implemented by the node itself, by the gRPC client, and by the simulated network. Common errors: `WrongEpoch`,
    `Unavailable`, and those of `spec/client-api.md` 14.1 under their codes.
    """

    async def store_metadata(self, *, epoch: int, blob_id: BlobId, metadata: bytes) -> Outcome:
        """Keep the metadata (BCS, without id) of a registered blob."""

    async def store_slivers(
        self, *, epoch: int, blob_id: BlobId, slivers: AsyncIterable[SliverUpload]
    ) -> Sequence[Outcome]:
        """Keep slivers of a registered blob whose metadata the node has; outcomes in order. The first that is refused
        ends the call with its error; those before it are kept.

        Of a blob in stripes they come as whole segments (`codec.sizes.segment_stripes`)."""

    async def holdings(self, *, epoch: int, blob_id: BlobId) -> BlobHoldings:
        """What the node has and lacks of a blob: where an upload resumes."""

    async def confirm_blob(
        self, *, epoch: int, blob_id: BlobId, object_id: ObjectId | None, wait_ms: int
    ) -> SignedMessage:
        """Sign that all slivers of all own shards are durable; `object_id` for a deletable blob, None for a permanent
        one. Waits up to `wait_ms` for the registration to arrive."""

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
        """`store_metadata`, `store_slivers` and `confirm_blob` in one request, for a blob of which everything that the
        node is to have fits into one message. When anything in it is refused, nothing of it is kept; slivers that are
        lacking are said by `MissingSlivers`, and then those that came are. Not for blobs in stripes."""

    async def read_metadata(self, *, epoch: int, blob_id: BlobId) -> bytes:
        """Metadata with id (BCS)."""

    def read_slivers(
        self,
        *,
        epoch: int,
        blob_id: BlobId,
        targets: Sequence[tuple[SliverPairIndex, Axis]],
        stripes: range | None = None,
    ) -> AsyncIterator[SliverUpload]:
        """The asked slivers that the node has, in any order; those it lacks are left out.

        Of a blob in stripes only `stripes` are read, all of them if it is None; they come in pieces of a segment or
        less. Of other blobs `stripes` must be None.
        """

    def sync_shards(self, *, public_key: bytes, requests: Sequence[SignedMessage]) -> AsyncIterator[SyncedSliver]:
        """Slivers of shards that the sender takes over, blob by blob in order of their ids.

        Args:
            public_key: BLS key of the node that asks.
            requests: one signed message for all shards, or messages of type 3, one per shard and axis, alike in
                epoch, first blob and count.
        """

    async def read_recovery_symbols(
        self, *, epoch: int, blob_id: BlobId, target: SliverIndex, target_axis: Axis, with_proofs: bool
    ) -> Sequence[bytes]:
        """All symbols of a target sliver that the node can make: general recovery symbols (BCS) with proofs, decoding
        symbols (BCS, either axis) without."""

    async def attest_inconsistency(
        self, *, epoch: int, blob_id: BlobId, axis: Axis, proof: ProofUpload
    ) -> SignedMessage:
        """Sign that a blob is encoded wrongly, if the proof about a sliver of `axis` shows it: an `InconsistencyProof`
        (BCS), or that of `codec.striped_inconsistency` for a blob in stripes."""

    async def blob_status(self, *, blob_id: BlobId) -> bytes | None:
        """The node's own record of a blob (BCS of `ledger.state.BlobRecord`), or None."""

    async def list_incomplete(self, *, after: BlobId | None, limit: int) -> IncompletePage:
        """Certified blobs of which the node lacks something, by cursor."""

    async def health(self) -> NodeHealth:
        """How the node is."""


class NodeTransport(Protocol):
    """The way to storage nodes. Nothing above it knows gRPC."""

    def connect(self, address: str) -> StorageNodeApi:
        """The node at an address; costs nothing and never fails, its calls may."""

    async def close(self) -> None:
        """Let go of all connections."""


# --- the ledger ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateEntry:
    """A row of the state, or its absence, with the proof that it is so (canonical bytes of `chain.proof`)."""

    key: bytes
    value: bytes | None
    proof: bytes


@dataclass(frozen=True, slots=True)
class StateRead:
    """Rows as of one block."""

    header: BlockHeader
    entries: tuple[StateEntry, ...]


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Where the ledger stands."""

    chain_id: Digest
    head: BlockHeader
    engine: str
    pending_transactions: int
    metrics: Mapping[str, int] = field(default_factory=dict)
    finality: Finality | None = None
    oldest_height: int = 0  # of the blocks that are kept; state and history are there whatever it is


@dataclass(frozen=True, slots=True)
class Finality:
    """How far the ledger is, by height: put in order, durable, and signed by n - f shards that executed it again.

    Nothing is sure to stay before it is `committed`, and nothing is proven to a stranger before it is `attested`.
    """

    sequenced: int
    committed: int
    attested: int


@dataclass(frozen=True, slots=True)
class Attestation:
    """What nodes are asked to sign next, and what is certified already."""

    wanted_height: int  # 0: nothing at present
    latest: CertifiedCheckpoint | None
    signed: CheckpointSignature | None = None  # the last of the node that asks, as far as the ledger knows


class Ledger(Protocol):
    """The ledger as everyone else sees it: it orders transactions and hands out blocks, results, rows with proofs."""

    async def submit(self, transaction: bytes, *, wait_ms: int = 0) -> TransactionResult | None:
        """Hand in a signed transaction (BCS). Returns its result when that is durable within `wait_ms`, else None.
        The same digest again gives the recorded result.

        Raises:
            InvalidInput: inadmissible, with the reason's code; it is in no block.
        """

    async def result(self, digest: Digest, *, wait_ms: int = 0) -> TransactionResult | None:
        """What became of a transaction, waiting up to `wait_ms` for it."""

    async def status(self) -> LedgerStatus:
        """The head and how the ledger is."""

    async def read(self, keys: Sequence[bytes]) -> StateRead:
        """Rows of committed tables with proofs against the head's state root."""

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Rows in key order, without proofs: for indexes whose hits are then read with `read`."""

    def blocks(self, from_height: int) -> AsyncIterator[Block]:
        """All blocks from a height on, then each new one as it is made; ends only with an error.

        Raises:
            BlockNotKept: the first one was pruned (`LedgerStatus.oldest_height`).
        """

    def events(self, from_sequence: int) -> AsyncIterator[Event]:
        """All events from a sequence number on, then each new one. Raises `EventNotKept`, as `blocks` does."""

    def snapshot(self) -> AsyncIterator[bytes]:
        """The whole state at the head in chunks, deterministic; verified by its root on import."""

    async def attestation(
        self, *, node_id: ObjectId | None = None, wanted: int = 0, attested: int = 0, wait_ms: int = 0
    ) -> Attestation:
        """What to sign next, and the latest certified checkpoint; waits up to `wait_ms` until they are others than the
        caller knows (`wanted`, `attested`: their heights). A node is told soon what to sign next, and what is certified
        with it or within a second; who names no node is told at once what is certified, and nothing else."""

    async def attest(self, signature: CheckpointSignature) -> None:
        """Hand in a node's signature of a checkpoint. One that is no longer wanted is not an error.

        Raises:
            Rejected: of another block than the ledger's, not of a member, or not its signature.
        """

    async def epoch_checkpoint(self, epoch: int) -> CertifiedCheckpoint | None:
        """The last certified checkpoint of an epoch: of a past one, it names the committee that followed."""

    async def epoch_committee(self, epoch: int) -> bytes | None:
        """The committee of an epoch (BCS of `ledger.state.Committee`), also of past ones that the state forgot; not
        proven by itself, but named by the checkpoint that closed the epoch before."""


# --- whoever runs the processes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process of a network; see `control.proto`."""

    name: str
    role: str
    pid: int | None
    state: str
    reasons: tuple[str, ...]
    n_restarts: int
    urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact about a network that holds or does not, with a stable word for why."""

    type: str
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """Every process, in the order of their start, and the conditions of the whole."""

    place: str
    is_ready: bool
    processes: tuple[ProcessInfo, ...]
    conditions: tuple[Condition, ...] = ()


class ClusterControl(Protocol):
    """Whoever runs the processes of one network: the supervisor of `haulout up`, or the operator in a cluster."""

    async def list_processes(self) -> ClusterReport:
        """Every process and how it is."""

    async def stop_node(self, name: str) -> None:
        """Stop a process and leave it stopped.

        Raises:
            InvalidInput: no such process.
        """

    async def start_node(self, name: str) -> None:
        """Start a stopped process.

        Raises:
            InvalidInput: no such process.
        """

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """Start one storage node more, register it and stake on it; its name and id.

        Raises:
            Rejected: the ledger refuses, under its code.
        """

    async def drain_node(self, name: str) -> ObjectId:
        """Have a node leave the committee with the next epoch; its id.

        Raises:
            InvalidInput: no such node.
            Rejected: it may not go, as with too few nodes left.
        """

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """Stop a node for good; its id.

        Raises:
            InvalidInput: no such node.
            Rejected: others still need what it has.
        """

    async def scale_nodes(self, n_nodes: int) -> None:
        """Have this many storage nodes from now on; returns when that is accepted. How far it is, and what is in its
        way, is told by the conditions `Progressing` and `ScalingBlocked`.

        Raises:
            InvalidInput: more than there may be.
            Rejected: too few to hold all shards.
        """

    async def shutdown(self) -> None:
        """Begin to end everything; returns at once.

        Raises:
            Rejected: it is not ended this way.
        """
