"""Storage nodes: how they are asked, what they are given and what they say."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from haulout.primitives import Axis, BlobId, Buffer, Digest, ObjectId, SliverIndex, SliverPairIndex


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
    """What a node holds of one blob, over the shards it owns.

    `checked_ms` says since when all that it holds of it has been read again and compared, by its clock; 0 when it has
    not been since the node started.
    """

    is_registered: bool
    has_metadata: bool
    missing: tuple[tuple[SliverPairIndex, Axis], ...]
    partial: tuple[PartialSliver, ...] = ()  # those of `missing` that are not missing altogether
    checked_ms: int = 0


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A signed message (`crypto.messages`): exactly the bytes that were signed."""

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
    """How a node is; the fields of the health document of Walrus's nodes, and ours."""

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
    release: str = ""  # that it runs, as 0.1.0; empty of one that does not tell
    protocol_version: int = 0  # newest one whose rules that release knows; 0 of one that does not tell
    agreed_version: int = 0  # of the rules that its owner lets it vote for; 0 for none
    agreed_epoch: int = 0  # from which on; 0 for none

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
    `Unavailable`, and those of `node.errors` under their codes.
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

    async def agree_to_protocol(self, *, consent: SignedMessage, public_key: bytes) -> None:
        """Let the node vote for a protocol version.

        Args:
            consent: a `crypto.messages.ProtocolConsent`, signed by the account that governs the node (Ed25519).
            public_key: of that account.
        """

    async def sign_protocol_vote(self, *, epoch: int, version: int, start_epoch: int) -> SignedMessage:
        """Sign a vote for a protocol version (message of type 6), if the node's owner has agreed to exactly this."""

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
