"""Why a rule said no: one class per obstacle, whose `code` stands in the transaction's result.

Codes are for ever, and so are texts and hints: a block commits to its results, words included. Where Walrus's contracts
have an abort code the name is its, in upper snake case; the others are ours. Those of certificates live in
`crypto.certificate`, `BLOB_TOO_LARGE` in `errors`.
"""

# ruff: noqa: I001 (what is imported under its own name is part of this module)
from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Rejected
from haulout.ledger.epoch_refusals import (
    CommitteeSelected as CommitteeSelected,
    DuplicateSyncDone as DuplicateSyncDone,
    EpochsNotManual as EpochsNotManual,
    HandOverOpen as HandOverOpen,
    InvalidProtocolVersion as InvalidProtocolVersion,
    InvalidSyncEpoch as InvalidSyncEpoch,
    NextCommitteeIsEmpty as NextCommitteeIsEmpty,
    NodeNotLeaving as NodeNotLeaving,
    NotDueYet as NotDueYet,
    NotInCommittee as NotInCommittee,
    NotStaked as NotStaked,
    NotWithdrawing as NotWithdrawing,
    PoolAlreadyWithdrawing as PoolAlreadyWithdrawing,
    InsufficientSubsidies as InsufficientSubsidies,
    ShardNotAssigned as ShardNotAssigned,
    SubsidiesExist as SubsidiesExist,
    SubsidyRateTooHigh as SubsidyRateTooHigh,
    UnexpectedEpoch as UnexpectedEpoch,
    WithdrawDirectly as WithdrawDirectly,
    WithdrawEpochNotReached as WithdrawEpochNotReached,
    WrongEpochState as WrongEpochState,
    ZeroShares as ZeroShares,
)

# --- accounts and objects -----------------------------------------------------------------------------------


@dataclass(eq=False)
class InsufficientFunds(Rejected):
    """The account cannot pay."""

    code = "INSUFFICIENT_FUNDS"
    template = "{address} holds {available_frost} FROST, {needed_frost} are needed"
    hint = "fund the account or ask for less"
    address: str
    available_frost: int
    needed_frost: int


@dataclass(eq=False)
class InvalidAmount(Rejected):
    """An amount that the operation cannot take."""

    code = "INVALID_AMOUNT"
    template = "{amount} is not possible here: {problem}"
    amount: int
    problem: str


@dataclass(eq=False)
class ObjectNotFound(Rejected):
    """No such object, or one of another kind."""

    code = "OBJECT_NOT_FOUND"
    template = "there is no {noun} {object_id}"
    noun: str
    object_id: str


@dataclass(eq=False)
class UnknownOutput(Rejected):
    """A command refers to an output that no earlier command made."""

    code = "UNKNOWN_OUTPUT"
    template = "no earlier command made output {output_index} of command {command_index}"
    command_index: int
    output_index: int


@dataclass(eq=False)
class NotOwner(Rejected):
    """The object belongs to another account."""

    code = "NOT_OWNER"
    template = "{object_id} belongs to {owner}, not to the sender {sender}"
    hint = "sign with its owner's key"
    object_id: str
    owner: str
    sender: str


@dataclass(eq=False)
class SameObject(Rejected):
    """Two arguments name one object."""

    code = "SAME_OBJECT"
    template = "{object_id} cannot be merged into itself"
    object_id: str


# --- storage ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class InvalidEpochsAhead(Rejected):
    """The period is empty or reaches further than storage is sold."""

    code = "INVALID_EPOCHS_AHEAD"
    template = "epochs [{start_epoch}, {end_epoch}) cannot be booked in epoch {epoch}: 1 to {max_epochs_ahead} ahead"
    start_epoch: int
    end_epoch: int
    epoch: int
    max_epochs_ahead: int


@dataclass(eq=False)
class InvalidResourceSize(Rejected):
    """A reservation of nothing."""

    code = "INVALID_RESOURCE_SIZE"
    template = "a storage resource has at least one byte"


@dataclass(eq=False)
class StorageExceeded(Rejected):
    """The network's capacity is sold out in an epoch."""

    code = "STORAGE_EXCEEDED"
    template = "epoch {epoch} has {free_bytes} of {capacity_bytes} bytes free, {needed_bytes} are needed"
    hint = "ask for fewer bytes or epochs, or wait for more nodes"
    epoch: int
    capacity_bytes: int
    free_bytes: int
    needed_bytes: int


@dataclass(eq=False)
class InvalidEpoch(Rejected):
    """A storage resource cannot be cut there."""

    code = "INVALID_EPOCH"
    template = "epoch {epoch} is not inside ({start_epoch}, {end_epoch})"
    epoch: int
    start_epoch: int
    end_epoch: int


@dataclass(eq=False)
class IncompatibleAmount(Rejected):
    """Two sizes that do not fit together."""

    code = "INCOMPATIBLE_AMOUNT"
    template = "sizes {size_bytes} and {other_size_bytes} do not fit together"
    size_bytes: int
    other_size_bytes: int


@dataclass(eq=False)
class IncompatibleEpochs(Rejected):
    """Two periods that do not touch, or do not reach beyond each other."""

    code = "INCOMPATIBLE_EPOCHS"
    template = "periods [{start_epoch}, {end_epoch}) and [{other_start_epoch}, {other_end_epoch}) do not fit together"
    start_epoch: int
    end_epoch: int
    other_start_epoch: int
    other_end_epoch: int


# --- blobs --------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class ResourceBounds(Rejected):
    """The storage has not begun or is over."""

    code = "RESOURCE_BOUNDS"
    template = "storage for epochs [{start_epoch}, {end_epoch}) is not valid in epoch {epoch}"
    hint = "use storage that covers the current epoch"
    start_epoch: int
    end_epoch: int
    epoch: int


@dataclass(eq=False)
class ResourceSize(Rejected):
    """The storage is too small for the encoded blob."""

    code = "RESOURCE_SIZE"
    template = "the encoded blob has {encoded_bytes} bytes, the storage {size_bytes}"
    hint = "reserve at least the encoded size"
    encoded_bytes: int
    size_bytes: int


@dataclass(eq=False)
class InvalidEncodingType(Rejected):
    """An encoding that this network does not accept."""

    code = "INVALID_ENCODING_TYPE"
    template = "encoding type {encoding_type} is not accepted with {n_shards} shards"
    encoding_type: int
    n_shards: int


@dataclass(eq=False)
class InvalidBlobId(Rejected):
    """The blob id does not follow from root hash, size and encoding, or is not the object's."""

    code = "INVALID_BLOB_ID"
    template = "blob id {blob_id} does not match {expected}"
    blob_id: str
    expected: str


@dataclass(eq=False)
class BlobIsInvalid(Rejected):
    """The blob id was proven to be inconsistently encoded."""

    code = "BLOB_IS_INVALID"
    template = "blob {blob_id} was proven to be inconsistently encoded"
    hint = "encode the data again and store it under its right id"
    blob_id: str


@dataclass(eq=False)
class AlreadyCertified(Rejected):
    """The object has been certified before."""

    code = "ALREADY_CERTIFIED"
    template = "{object_id} was certified in epoch {certified_epoch}"
    object_id: str
    certified_epoch: int


@dataclass(eq=False)
class NotCertified(Rejected):
    """The object has not been certified."""

    code = "NOT_CERTIFIED"
    template = "{object_id} is not certified"
    hint = "certify it first"
    object_id: str


@dataclass(eq=False)
class BlobNotDeletable(Rejected):
    """A permanent blob cannot be deleted."""

    code = "BLOB_NOT_DELETABLE"
    template = "{object_id} is permanent"
    hint = "it expires by itself; burning it destroys the object only"
    object_id: str


@dataclass(eq=False)
class InvalidBlobPersistenceType(Rejected):
    """The certificate is for the other kind of persistence."""

    code = "INVALID_BLOB_PERSISTENCE_TYPE"
    template = "{object_id}: the certificate is not for a blob with deletable={deletable}"
    object_id: str
    deletable: int


@dataclass(eq=False)
class InvalidBlobObject(Rejected):
    """The certificate of a deletable blob names another object."""

    code = "INVALID_BLOB_OBJECT"
    template = "the certificate is for object {certified_object_id}, not for {object_id}"
    object_id: str
    certified_object_id: str


@dataclass(eq=False)
class InvalidMessage(Rejected):
    """The certified bytes are not the message that this needs."""

    code = "INVALID_MSG_TYPE"
    template = "the certified bytes are no {expected}: {problem}"
    expected: str
    problem: str


@dataclass(eq=False)
class IncorrectEpoch(Rejected):
    """The certificate is from another epoch; a new one has to be collected."""

    code = "INCORRECT_EPOCH"
    template = "the certificate is from epoch {message_epoch}, this is epoch {epoch}"
    hint = "collect new confirmations"
    message_epoch: int
    epoch: int


@dataclass(eq=False)
class AlreadyInvalid(Rejected):
    """The blob id has been invalidated before."""

    code = "ALREADY_INVALID"
    template = "blob {blob_id} was invalidated in epoch {epoch}"
    blob_id: str
    epoch: int


@dataclass(eq=False)
class InvalidAttribute(Rejected):
    """An attribute is too long, or there are too many."""

    code = "INVALID_ATTRIBUTE"
    template = "attribute {key!r}: {problem}"
    key: str
    problem: str


@dataclass(eq=False)
class MissingAttribute(Rejected):
    """The attribute is not there."""

    code = "MISSING_METADATA"
    template = "{object_id} has no attribute {key!r}"
    object_id: str
    key: str


@dataclass(eq=False)
class BlobIsShared(Rejected):
    """A shared blob has no owner who could do this."""

    code = "BLOB_IS_SHARED"
    template = "{object_id} is shared and has no owner"
    hint = "it can be funded, and extended from its funds; nothing else"
    object_id: str


@dataclass(eq=False)
class BlobNotShared(Rejected):
    """The blob has an owner, and no funds of its own."""

    code = "BLOB_NOT_SHARED"
    template = "{object_id} belongs to {owner} and is not shared"
    hint = "its owner can share it, or extend it"
    object_id: str
    owner: str


@dataclass(eq=False)
class InsufficientSharedFunds(Rejected):
    """A shared blob cannot pay for its extension."""

    code = "INSUFFICIENT_SHARED_FUNDS"
    template = "{object_id} holds {available_frost} FROST for extensions, {needed_frost} are needed"
    hint = "fund it, or extend it by fewer epochs"
    object_id: str
    available_frost: int
    needed_frost: int


# --- nodes and stake ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class InvalidNameLength(Rejected):
    """A node's name is empty or too long."""

    code = "INVALID_NAME_LENGTH"
    template = "a node name has 1 to {limit_bytes} bytes, this one {size_bytes}"
    limit_bytes: int
    size_bytes: int


@dataclass(eq=False)
class InvalidNetworkAddress(Rejected):
    """A node's addresses are none, too many or too long."""

    code = "INVALID_NETWORK_ADDRESS_LENGTH"
    template = "addresses of a node: {problem}"
    problem: str


@dataclass(eq=False)
class NameTaken(Rejected):
    """Another node has this name."""

    code = "NAME_TAKEN"
    template = "the name {name!r} belongs to node {node_id}"
    name: str
    node_id: str


@dataclass(eq=False)
class KeyTaken(Rejected):
    """Another node has registered this key."""

    code = "KEY_TAKEN"
    template = "the key {public_key} belongs to node {node_id}"
    public_key: str
    node_id: str


@dataclass(eq=False)
class InvalidPublicKey(Rejected):
    """Bytes that are no key of the scheme."""

    code = "INVALID_PUBLIC_KEY"
    template = "{public_key} is not a public key of this network's scheme"
    public_key: str


@dataclass(eq=False)
class InvalidNetworkPublicKey(Rejected):
    """A network key of the wrong length."""

    code = "INVALID_NETWORK_PUBLIC_KEY"
    template = "a network key has 33 bytes, or none while transport is plaintext; this one has {size_bytes}"
    size_bytes: int


@dataclass(eq=False)
class InvalidProofOfPossession(Rejected):
    """The registering account has not shown that it holds the key."""

    code = "INVALID_PROOF_OF_POSSESSION"
    template = "the proof of possession of {public_key} does not verify for epoch {epoch} and sender {sender}"
    hint = "sign epoch, sender and key with the node's BLS key in this epoch"
    public_key: str
    epoch: int
    sender: str


@dataclass(eq=False)
class IncorrectCommissionRate(Rejected):
    """More than everything."""

    code = "INCORRECT_COMMISSION_RATE"
    template = "{rate_bps} is more than 10000 basis points"
    rate_bps: int


@dataclass(eq=False)
class PoolNotFound(Rejected):
    """No such node."""

    code = "POOL_NOT_FOUND"
    template = "there is no node {node_id}"
    node_id: str


@dataclass(eq=False)
class PoolIsNotActive(Rejected):
    """The node is leaving and takes no new stake."""

    code = "POOL_IS_NOT_ACTIVE"
    template = "node {node_id} is leaving and takes no stake"
    node_id: str


@dataclass(eq=False)
class StakeBelowThreshold(Rejected):
    """A stake object would be too small."""

    code = "STAKE_BELOW_THRESHOLD"
    template = "a stake has at least {threshold_frost} FROST, not {amount_frost}"
    amount_frost: int
    threshold_frost: int


@dataclass(eq=False)
class StakesDiffer(Rejected):
    """Two stakes that cannot become one."""

    code = "METADATA_MISMATCH"
    template = "{object_id} and {other_id} differ in node, activation or state"
    object_id: str
    other_id: str


@dataclass(eq=False)
class AuthorizationFailure(Rejected):
    """The sender does not act for the node."""

    code = "AUTHORIZATION_FAILURE"
    template = "{sender} does not act for node {node_id}"
    hint = "sign with the node's capability or governance account"
    sender: str
    node_id: str


@dataclass(eq=False)
class NoStake(Rejected):
    """No node has stake, so there is no committee."""

    code = "NO_STAKE"
    template = "no node has stake"


@dataclass(eq=False)
class CommitteeTooSmall(Rejected):
    """Too few nodes to hold all shards with at most f each."""

    code = "COMMITTEE_TOO_SMALL"
    template = "{n_nodes} nodes at most {cap} shards each hold {held} of {n_shards}; {needed_nodes} nodes are needed"
    hint = "add nodes, or found the network with allow_unsafe for tests"
    n_nodes: int
    cap: int
    held: int
    n_shards: int
    needed_nodes: int


@dataclass(eq=False)
class UpgradeRequired(Rejected):
    """The chain's rules are newer, or much older, than this build."""

    code = "UPGRADE_REQUIRED"
    template = "the ledger follows protocol version {protocol_version}, this build knows {oldest} to {newest}"
    hint = "install a release that knows it"
    protocol_version: int
    oldest: int
    newest: int
