"""What can be asked of the ledger: one class per command, in the order of their variant numbers.

A transaction holds a list of commands that take effect together or not at all. A command names an object either by
its id or, when an earlier command of the same transaction makes it, by that command's position: an object's id
depends on the transaction's digest, so its maker cannot know it in advance. The acting account is the transaction's
sender; no command repeats it. Checks and their order stand where a command is processed.
"""

# ruff: noqa: I001 (what is imported under its own name is part of this module)
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from haulout.bcs import U8, U16, U32, U64, Bytes32, Bytes48, Bytes96, Union
from haulout.ledger.epoch_commands import (
    AddSubsidy as AddSubsidy,
    AdvanceEpoch as AdvanceEpoch,
    CancelLeave as CancelLeave,
    ChangeEpoch as ChangeEpoch,
    CollectCommission as CollectCommission,
    EndVoting as EndVoting,
    ForceDone as ForceDone,
    FundSubsidies as FundSubsidies,
    JoinActiveSet as JoinActiveSet,
    OpenSubsidies as OpenSubsidies,
    ProcessSubsidies as ProcessSubsidies,
    ReportSyncDone as ReportSyncDone,
    RequestLeave as RequestLeave,
    RequestWithdraw as RequestWithdraw,
    SetCommission as SetCommission,
    SetNextPublicKey as SetNextPublicKey,
    SetNodeAccounts as SetNodeAccounts,
    SetSubsidies as SetSubsidies,
    SetVotes as SetVotes,
    UpdatePrices as UpdatePrices,
    UpdateProtocolVersion as UpdateProtocolVersion,
    Withdraw as Withdraw,
)
from haulout.ledger.object_refs import (
    Created as Created,
    Existing as Existing,
    ObjectRef as ObjectRef,
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Move FROST from the sender to another account."""

    to: Bytes32
    amount_frost: U64


@dataclass(frozen=True, slots=True)
class TransferObject:
    """Hand a storage resource, a blob or a stake over to another account."""

    object: ObjectRef
    to: Bytes32


@dataclass(frozen=True, slots=True)
class ReserveSpace:
    """Buy `size_bytes` of encoded storage for epochs [start, end); makes one Storage.

    A start before the current epoch means now, as in the source; so 0 always means now.
    """

    size_bytes: U64
    start_epoch: U32
    end_epoch: U32


@dataclass(frozen=True, slots=True)
class SplitStorageByEpoch:
    """Cut a storage resource in time; makes the later part."""

    storage: ObjectRef
    epoch: U32


@dataclass(frozen=True, slots=True)
class SplitStorageBySize:
    """Cut a storage resource in size; it keeps `keep_bytes`; makes the rest."""

    storage: ObjectRef
    keep_bytes: U64


@dataclass(frozen=True, slots=True)
class FuseStorage:
    """Merge `other` into `storage`: sizes where the periods are equal, else adjacent periods of one size."""

    storage: ObjectRef
    other: ObjectRef


@dataclass(frozen=True, slots=True)
class DestroyStorage:
    """Give a storage resource up; booked capacity is not released."""

    storage: ObjectRef


@dataclass(frozen=True, slots=True)
class RegisterBlob:
    """Bind a storage resource to a blob id; makes one Blob. `root_hash` and `size_bytes` are proven by the id."""

    storage: ObjectRef
    blob_id: Bytes32
    root_hash: Bytes32
    size_bytes: U64
    encoding_type: U8
    deletable: bool


@dataclass(frozen=True, slots=True)
class CertifyBlob:
    """Prove with a quorum of the current committee that the blob is stored."""

    blob: ObjectRef
    message: bytes
    signature: Bytes96
    signers: bytes  # bitmap over the committee's members


@dataclass(frozen=True, slots=True)
class ExtendBlob:
    """Keep a certified blob for `n_epochs` more, at today's price."""

    blob: ObjectRef
    n_epochs: U32


@dataclass(frozen=True, slots=True)
class ExtendBlobWithStorage:
    """Keep a certified blob longer with storage already owned."""

    blob: ObjectRef
    storage: ObjectRef


@dataclass(frozen=True, slots=True)
class DeleteBlob:
    """Delete a deletable blob; makes its Storage, free for use."""

    blob: ObjectRef


@dataclass(frozen=True, slots=True)
class BurnBlob:
    """Destroy a blob object with its storage; the bytes stay until they expire."""

    blob: ObjectRef


@dataclass(frozen=True, slots=True)
class SetBlobAttribute:
    """Add or replace one attribute of a blob."""

    blob: ObjectRef
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class RemoveBlobAttribute:
    """Remove one attribute of a blob; refused when it is not there."""

    blob: ObjectRef
    key: str


@dataclass(frozen=True, slots=True)
class InvalidateBlobId:
    """Mark a blob id as inconsistently encoded, proven by f + 1 of the current committee."""

    message: bytes
    signature: Bytes96
    signers: bytes


@dataclass(frozen=True, slots=True)
class ShareBlob:
    """Give a blob up to everybody, with FROST for extensions, or none: it has no owner any more, and no way back."""

    blob: ObjectRef
    amount_frost: U64


@dataclass(frozen=True, slots=True)
class FundSharedBlob:
    """Put FROST into a shared blob; only extensions of it are paid from them, and nobody gets them back."""

    blob: ObjectRef
    amount_frost: U64


@dataclass(frozen=True, slots=True)
class ExtendSharedBlob:
    """Keep a certified shared blob for `n_epochs` more, at today's price, from its own funds; anyone may."""

    blob: ObjectRef
    n_epochs: U32


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """Register a storage node and its pool; makes one Node whose id is the pool's. The sender governs it."""

    name: str
    addresses: tuple[str, ...]
    public_key: Bytes48
    network_public_key: bytes
    proof_of_possession: Bytes96
    commission_rate_bps: U16
    storage_price_frost: U64
    write_price_frost: U64
    node_capacity_bytes: U64
    capability: Bytes32  # the account that may report sync-done, vote and change addresses for the node


@dataclass(frozen=True, slots=True)
class SetNodeAddresses:
    """Replace the list of addresses of a node."""

    node_id: Bytes32
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stake:
    """Lock FROST in a node's pool; makes one StakedWal."""

    node_id: Bytes32
    amount_frost: U64


@dataclass(frozen=True, slots=True)
class SplitStake:
    """Cut a stake in two; it keeps the rest, makes one StakedWal of `amount_frost`."""

    staked: ObjectRef
    amount_frost: U64


@dataclass(frozen=True, slots=True)
class JoinStake:
    """Merge `other` into `staked`: same node, same activation, same state."""

    staked: ObjectRef
    other: ObjectRef


# Numbers are for ever: a command that goes away leaves its number unused, a new one is added behind.
COMMANDS = Union(
    {
        0: Transfer,
        1: TransferObject,
        2: ReserveSpace,
        3: SplitStorageByEpoch,
        4: SplitStorageBySize,
        5: FuseStorage,
        6: DestroyStorage,
        7: RegisterBlob,
        8: CertifyBlob,
        9: ExtendBlob,
        10: ExtendBlobWithStorage,
        11: DeleteBlob,
        12: BurnBlob,
        13: SetBlobAttribute,
        14: RemoveBlobAttribute,
        15: InvalidateBlobId,
        16: RegisterNode,
        17: SetNodeAddresses,
        18: Stake,
        19: SplitStake,
        20: JoinStake,
        21: EndVoting,
        22: ChangeEpoch,
        23: ReportSyncDone,
        24: ForceDone,
        25: AdvanceEpoch,
        26: RequestWithdraw,
        27: Withdraw,
        28: RequestLeave,
        29: CancelLeave,
        30: SetVotes,
        31: UpdatePrices,
        32: SetCommission,
        33: CollectCommission,
        34: SetNodeAccounts,
        35: SetNextPublicKey,
        36: JoinActiveSet,
        37: UpdateProtocolVersion,
        38: AddSubsidy,
        39: OpenSubsidies,
        40: SetSubsidies,
        41: FundSubsidies,
        42: ProcessSubsidies,
        43: ShareBlob,
        44: FundSharedBlob,
        45: ExtendSharedBlob,
    }
)
# The last command that each version of the rules knows; the newest version knows all.
LAST_OF_PROTOCOL: Final = {1: COMMANDS.tag_of(JoinStake), 2: COMMANDS.tag_of(ProcessSubsidies)}
Command = Annotated[
    Transfer
    | TransferObject
    | ReserveSpace
    | SplitStorageByEpoch
    | SplitStorageBySize
    | FuseStorage
    | DestroyStorage
    | RegisterBlob
    | CertifyBlob
    | ExtendBlob
    | ExtendBlobWithStorage
    | DeleteBlob
    | BurnBlob
    | SetBlobAttribute
    | RemoveBlobAttribute
    | InvalidateBlobId
    | RegisterNode
    | SetNodeAddresses
    | Stake
    | SplitStake
    | JoinStake
    | EndVoting
    | ChangeEpoch
    | ReportSyncDone
    | ForceDone
    | AdvanceEpoch
    | RequestWithdraw
    | Withdraw
    | RequestLeave
    | CancelLeave
    | SetVotes
    | UpdatePrices
    | SetCommission
    | CollectCommission
    | SetNodeAccounts
    | SetNextPublicKey
    | JoinActiveSet
    | UpdateProtocolVersion
    | AddSubsidy
    | OpenSubsidies
    | SetSubsidies
    | FundSubsidies
    | ProcessSubsidies
    | ShareBlob
    | FundSharedBlob
    | ExtendSharedBlob,
    COMMANDS,
]
