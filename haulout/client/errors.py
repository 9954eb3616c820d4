"""What storing and reading can end with, beside the errors of the ledger and of single nodes."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Corrupt, InvalidInput, NotFound, Rejected, Unavailable


@dataclass(eq=False)
class BlobNotFound(NotFound):
    """The ledger knows of no certified, live blob with this id."""

    code = "BLOB_NOT_FOUND"
    template = "the blob {blob_id} does not exist: never certified, deleted or expired"
    hint = "check the id; `haulout blob-status` tells more"
    blob_id: str


@dataclass(eq=False)
class ObjectNotFound(NotFound):
    """The ledger has no blob object with this id."""

    code = "BLOB_NOT_FOUND"
    template = "there is no blob object {object_id}"
    hint = "check the id; `haulout list-blobs` shows yours"
    object_id: str


@dataclass(eq=False)
class BlobUnavailable(Unavailable):
    """The blob exists, but too few of its shards answer."""

    code = "BLOB_UNAVAILABLE"
    template = "{got} of the {needed} slivers needed for {blob_id} could be had ({reasons})"
    hint = "try again when more nodes are back"
    blob_id: str
    got: int
    needed: int
    reasons: str


@dataclass(eq=False)
class DeletedMeanwhile(Unavailable):
    """Somebody with the same account deleted the blob between the ledger's answer and the look at it."""

    code = "DELETED_MEANWHILE"
    template = "the blob {blob_id} was deleted by its owner while it was being stored"
    hint = "store it again if it is still wanted"
    blob_id: str


@dataclass(eq=False)
class InsufficientConfirmations(Unavailable):
    """Too few shards confirmed in time; what was uploaded stays and the next try resumes there."""

    code = "INSUFFICIENT_CONFIRMATIONS"
    template = "nodes with {weight} of the {needed} shards needed have confirmed {blob_id} ({reasons})"
    hint = "store it again when more nodes are back: it goes on where it stopped and pays nothing twice"
    blob_id: str
    weight: int
    needed: int
    reasons: str


@dataclass(eq=False)
class WrongBytes(Corrupt):
    """A node handed out something else than what the blob id commits to; it is not asked again for this blob."""

    code = "WRONG_BYTES"
    template = "what {node} handed out is wrong: {problem}"
    node: str
    problem: str


@dataclass(eq=False)
class SliversMissing(NotFound):
    """A node answers, but lacks slivers that it should have; it may get them yet."""

    code = "SLIVERS_MISSING"
    template = "{node} lacks {missing} slivers"
    node: str
    missing: int


@dataclass(eq=False)
class ForgedConfirmation(Corrupt):
    """What a node calls its confirmation does not verify; it is not asked again."""

    code = "FORGED_CONFIRMATION"
    template = "the confirmation of {node} does not verify"
    node: str


@dataclass(eq=False)
class ForgedVote(Corrupt):
    """What a node calls its vote for new rules is none."""

    code = "FORGED_VOTE"
    template = "the vote of {node} for new rules does not verify"
    node: str


@dataclass(eq=False)
class ProtocolVotesMissing(Rejected):
    """Too few of the committee stand behind new rules; names of nodes, `none` where there are none."""

    code = "PROTOCOL_VOTES_MISSING"
    template = (
        "{weight} of the {needed} shards that are needed stand behind protocol version {protocol_version} from epoch "
        "{start_epoch}; not agreed to by their owners: {not_agreed}; of a build that does not know it: {too_old}; "
        "without an answer that counts: {others}"
    )
    hint = (
        "what was agreed to is kept: upgrade the nodes that are too old, have the other owners run "
        "`haulout protocol activate --from-epoch {start_epoch}`; whoever is last puts it in force"
    )
    protocol_version: int
    start_epoch: int
    weight: int
    needed: int
    not_agreed: str
    too_old: str
    others: str


@dataclass(eq=False)
class EpochsOutOfRange(InvalidInput):
    """More epochs than can be bought, or none."""

    code = "INVALID_EPOCHS"
    template = "{n_epochs} epochs ahead is not between 1 and {limit}"
    n_epochs: int
    limit: int


@dataclass(eq=False)
class NotShareable(Rejected):
    """A blob object of which nothing good comes when it is shared: nobody could do to it what it still needs."""

    code = "NOT_SHAREABLE"
    template = "{object_id} cannot be shared: {problem}"
    hint = "share a permanent blob that is certified and has not expired"
    object_id: str
    problem: str


@dataclass(eq=False)
class SharedBlobExpired(Rejected):
    """Money for a blob that cannot be extended any more."""

    code = "BLOB_EXPIRED"
    template = "{object_id} expired with epoch {end_epoch}; nobody could use what is put into it, or get it back"
    object_id: str
    end_epoch: int


@dataclass(eq=False)
class DeletableShare(InvalidInput):
    """A blob is to be shared, so that nobody can delete it, and deletable."""

    code = "INVALID_BLOB_PERSISTENCE"
    template = "a deletable blob cannot be shared"
    hint = "store it as permanent"


@dataclass(eq=False)
class RangeOutOfBlob(Rejected):
    """A byte range that is not in the blob."""

    code = "INVALID_BYTE_RANGE"
    template = "the range holds no byte of the blob, which has {size_bytes}"
    hint = "bytes are counted from 0"
    start: int
    end: int
    size_bytes: int
