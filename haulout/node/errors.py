"""What a storage node refuses, under the codes of Walrus's node API where it has one.

`WrongEpoch` and `DiskFull` live in `haulout.errors`, `UnsupportedEncodingType` and `SliverIndexOutOfRange` in
`haulout.codec.errors`, `StorageFailed` in `haulout.world.errors`, `LedgerDiverged` in `haulout.replica.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Corrupt, Forbidden, InvalidInput, NotFound, Rejected, Unavailable

# --- malformed: the caller fixes it -------------------------------------------------------------------------


@dataclass(eq=False)
class InvalidMetadata(InvalidInput):
    """Metadata that does not decode or does not hash to the blob id."""

    code = "INVALID_METADATA"
    template = "the metadata is not that of blob {blob_id}: {problem}"
    blob_id: str
    problem: str


@dataclass(eq=False)
class InvalidSliver(InvalidInput):
    """A sliver that does not decode or does not match the hash in the blob's metadata."""

    code = "INVALID_SLIVER"
    template = "{axis} sliver of pair {pair_index} of blob {blob_id} is not valid: {problem}"
    blob_id: str
    pair_index: int
    axis: str
    problem: str


@dataclass(eq=False)
class SliverIndexMismatch(InvalidInput):
    """The index inside the sliver is not the one that belongs to the sliver pair."""

    code = "SLIVER_INDEX_MISMATCH"
    template = "the {axis} sliver of pair {pair_index} has index {expected_index}, this one says {sliver_index}"
    axis: str
    pair_index: int
    expected_index: int
    sliver_index: int


@dataclass(eq=False)
class InvalidStripes(InvalidInput):
    """Stripes asked of a blob that does not have them, or of one that is not in stripes."""

    code = "INVALID_STRIPES"
    template = "no such stripes of blob {blob_id}: {problem}"
    blob_id: str
    problem: str


@dataclass(eq=False)
class SliverTooLarge(InvalidInput):
    """More bytes than a sliver of any blob of this network can have."""

    code = "SLIVER_TOO_LARGE"
    template = "the sliver has {size_bytes} bytes, the largest of this network has {limit_bytes}"
    size_bytes: int
    limit_bytes: int


@dataclass(eq=False)
class TooManyTargets(InvalidInput):
    """One request asks for more slivers than a blob has."""

    code = "SLIVER_COUNT_EXCEEDS_LIMIT"
    template = "{count} slivers asked in one request, at most {limit} can be"
    count: int
    limit: int


# --- a rule said no: the caller decides ---------------------------------------------------------------------


@dataclass(eq=False)
class NotRegistered(Rejected):
    """No live registration of the blob is known to this node."""

    code = "NOT_REGISTERED"
    template = "blob {blob_id} is not registered at height {height}"
    hint = "register it, or retry once this node has seen the registration"
    blob_id: str
    height: int


@dataclass(eq=False)
class InvalidBlob(Rejected):
    """The blob id is marked invalid on the ledger."""

    code = "INVALID_BLOB"
    template = "blob {blob_id} was proven to be wrongly encoded"
    blob_id: str


@dataclass(eq=False)
class MetadataNotStored(Rejected):
    """A sliver came before the metadata that it would be checked against."""

    code = "METADATA_NOT_FOUND"
    template = "no metadata of blob {blob_id} is stored here"
    hint = "send the metadata first"
    blob_id: str


@dataclass(eq=False)
class ShardNotAssigned(Rejected):
    """The shard of this sliver pair belongs to another node."""

    code = "SHARD_NOT_ASSIGNED"
    template = "shard {shard_index} is not assigned to this node in epoch {epoch}"
    hint = "refresh the committee"
    shard_index: int
    epoch: int


@dataclass(eq=False)
class MissingSlivers(Rejected):
    """Not everything that a confirmation promises is here."""

    code = "MISSING_SLIVERS"
    template = "{missing} slivers of blob {blob_id} are missing on this node"
    hint = "ask for the holdings and upload what is missing"
    blob_id: str
    missing: int


@dataclass(eq=False)
class SymbolNotPresent(Rejected):
    """The node holds no sliver from which the symbol could be made."""

    code = "SYMBOL_NOT_PRESENT_AT_SHARDS"
    template = "no sliver of blob {blob_id} that gives symbols of {axis} sliver {target_index} is stored here"
    blob_id: str
    axis: str
    target_index: int


@dataclass(eq=False)
class NotAgreed(Rejected):
    """The node votes for new rules only as its owner has agreed to them."""

    code = "PROTOCOL_NOT_AGREED"
    template = "the owner of {name} has not agreed to protocol version {protocol_version} from epoch {start_epoch}"
    hint = "whoever holds the account that governs it runs `haulout protocol activate --from-epoch {start_epoch}`"
    name: str
    protocol_version: int
    start_epoch: int


@dataclass(eq=False)
class NotAVoter(Rejected):
    """The node is no member of the committee that votes."""

    code = "NOT_A_VOTER"
    template = "{name} signs no vote in epoch {epoch}: it is no member of the committee with its present key"
    name: str
    epoch: int


# --- it is not there ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class MetadataNotFound(NotFound):
    """The blob's metadata is not here, or the blob is not registered."""

    code = "METADATA_NOT_FOUND"
    template = "no metadata of blob {blob_id} is stored here"
    blob_id: str


@dataclass(eq=False)
class SliverNotFound(NotFound):
    """No sliver of the blob is here, or the blob is not registered."""

    code = "SLIVER_NOT_FOUND"
    template = "no sliver of blob {blob_id} is stored here"
    blob_id: str


# --- bytes are not what they claim --------------------------------------------------------------------------


@dataclass(eq=False)
class CorruptRecord(Corrupt):
    """A stored row or file is not what was written; it is dropped and rebuilt from the other nodes."""

    code = "CORRUPT_RECORD"
    template = "stored bytes of {what} are damaged"
    what: str


@dataclass(eq=False)
class UnknownStoreVersion(Corrupt):
    """The folder was written by a release that keeps things in another way."""

    code = "UNKNOWN_STORE_VERSION"
    template = "the node's data has format version {found}, this build reads up to {supported}"
    hint = "start it with the release that wrote it"
    found: int
    supported: int


# --- not now ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class TooManyRequests(Unavailable):
    """A bound of this node is reached."""

    code = "UNAVAILABLE"
    template = "{what}: at most {limit} at once"
    what: str
    limit: int


@dataclass(eq=False)
class NodeStopping(Unavailable):
    """The node is shutting down."""

    code = "NODE_STOPPING"
    template = "the node {name} is shutting down"
    hint = "ask another node, or this one again later"
    name: str


@dataclass(eq=False)
class RepairFailed(Unavailable):
    """A blob could not be completed from the other nodes this time; it is tried again."""

    code = "REPAIR_FAILED"
    template = "blob {blob_id} cannot be completed now: {problem}"
    blob_id: str
    problem: str


# --- not allowed to ask -------------------------------------------------------------------------------------


@dataclass(eq=False)
class ShardSyncForbidden(Forbidden):
    """Slivers of a shard go to its new owner, and to whoever proves to be that."""

    code = "SHARD_SYNC_FORBIDDEN"
    template = "shard {shard_index} is not handed over to the sender of this request: {problem}"
    hint = "ask again once both nodes see the same epoch"
    shard_index: int
    problem: str


@dataclass(eq=False)
class ConsentForbidden(Forbidden):
    """Only the account that governs a node lets it vote for new rules, and an older consent replaces no newer one."""

    code = "PROTOCOL_CONSENT_FORBIDDEN"
    template = "this lets {name} vote for nothing: {problem}"
    hint = "sign it with the account that governs the node"
    name: str
    problem: str
