"""What has happened: one class per event, in the order of their variant numbers.

Events alone suffice to project the ledger's state (a property test holds them to it), so each carries everything
its read models need. `Event` is the envelope with its place in history; `sequence` counts all events from 0 and is
the cursor by which readers follow. Source of the blob events: Walrus's contracts, `events.move`; the others are ours.
"""

# ruff: noqa: I001 (what is imported under its own name is part of this module)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from haulout.bcs import U8, U16, U32, U64, Bytes32, Bytes48, Union
from haulout.ledger.epoch_events import (
    ActiveSetChanged as ActiveSetChanged,
    CommissionCollected as CommissionCollected,
    CommitteeKept as CommitteeKept,
    CommitteeMemberRecord as CommitteeMemberRecord,
    ExchangeRateSet as ExchangeRateSet,
    HandOversOpened as HandOversOpened,
    NodeAccountsChanged as NodeAccountsChanged,
    NodeKeyChosen as NodeKeyChosen,
    NodeKeyRotated as NodeKeyRotated,
    NodeLeaveCancelled as NodeLeaveCancelled,
    NodeLeaveRequested as NodeLeaveRequested,
    NodeRewarded as NodeRewarded,
    NodeVotesChanged as NodeVotesChanged,
    PoolChanged as PoolChanged,
    PricesUpdated as PricesUpdated,
    ProtocolVersionActivated as ProtocolVersionActivated,
    ProtocolVersionChosen as ProtocolVersionChosen,
    RewardsDistributed as RewardsDistributed,
    ShardMove as ShardMove,
    ShardsReceived as ShardsReceived,
    SubsidiesChanged as SubsidiesChanged,
    VotingEnded as VotingEnded,
)


@dataclass(frozen=True, slots=True)
class BalanceChanged:
    """An account's balance after a transaction."""

    address: Bytes32
    balance_frost: U64


@dataclass(frozen=True, slots=True)
class StorageReserved:
    """A storage resource came to be, by purchase, split, or deletion of its blob."""

    object_id: Bytes32
    owner: Bytes32
    start_epoch: U32
    end_epoch: U32
    size_bytes: U64
    cost_frost: U64


@dataclass(frozen=True, slots=True)
class StorageChanged:
    """A storage resource has a new period, size or owner."""

    object_id: Bytes32
    owner: Bytes32
    start_epoch: U32
    end_epoch: U32
    size_bytes: U64


@dataclass(frozen=True, slots=True)
class StorageDestroyed:
    """A storage resource is gone: destroyed, merged into another, or bound to a blob."""

    object_id: Bytes32


@dataclass(frozen=True, slots=True)
class BlobRegistered:
    """A blob object came to be."""

    object_id: Bytes32
    owner: Bytes32
    blob_id: Bytes32
    root_hash: Bytes32
    size_bytes: U64
    encoding_type: U8
    registered_epoch: U32
    start_epoch: U32
    end_epoch: U32
    storage_id: Bytes32
    storage_size_bytes: U64
    deletable: bool
    cost_frost: U64


@dataclass(frozen=True, slots=True)
class BlobCertified:
    """A blob was certified, or its certified life was extended (`is_extension`).

    `certified_epoch` is always the epoch of first certification. The certificate is empty on an extension.
    """

    object_id: Bytes32
    blob_id: Bytes32
    certified_epoch: U32
    end_epoch: U32
    storage_size_bytes: U64
    deletable: bool
    is_extension: bool
    weight: U16
    message: bytes
    signature: bytes
    signers: bytes
    cost_frost: U64


@dataclass(frozen=True, slots=True)
class BlobDeleted:
    """A deletable blob was deleted by its owner; its storage lives on under `storage_id`."""

    object_id: Bytes32
    blob_id: Bytes32
    end_epoch: U32
    was_certified: bool
    storage_id: Bytes32


@dataclass(frozen=True, slots=True)
class BlobBurned:
    """A blob object was destroyed; its bytes stay until `end_epoch`."""

    object_id: Bytes32
    blob_id: Bytes32
    end_epoch: U32


@dataclass(frozen=True, slots=True)
class BlobTransferred:
    """A blob object has a new owner."""

    object_id: Bytes32
    blob_id: Bytes32
    owner: Bytes32


@dataclass(frozen=True, slots=True)
class BlobAttributesChanged:
    """A blob object has these attributes now."""

    object_id: Bytes32
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BlobInvalidated:
    """A blob id was proven to be inconsistently encoded."""

    blob_id: Bytes32
    epoch: U32


@dataclass(frozen=True, slots=True)
class BlobShared:
    """A blob object belongs to nobody any more, and holds FROST for its extensions."""

    object_id: Bytes32
    blob_id: Bytes32
    former_owner: Bytes32
    funds_frost: U64


@dataclass(frozen=True, slots=True)
class SharedBlobFunded:
    """Somebody put FROST into a shared blob, which holds `funds_frost` now."""

    object_id: Bytes32
    blob_id: Bytes32
    sender: Bytes32
    amount_frost: U64
    funds_frost: U64


@dataclass(frozen=True, slots=True)
class SharedBlobExtended:
    """Somebody had a shared blob pay for its own extension, told by `BlobCertified`; `funds_frost` are left."""

    object_id: Bytes32
    blob_id: Bytes32
    sender: Bytes32
    n_epochs: U32
    cost_frost: U64
    funds_frost: U64


@dataclass(frozen=True, slots=True)
class NodeRegistered:
    """A storage node and its pool came to be."""

    node_id: Bytes32
    governance: Bytes32
    capability: Bytes32
    name: str
    addresses: tuple[str, ...]
    public_key: Bytes48
    network_public_key: bytes
    commission_rate_bps: U16
    storage_price_frost: U64
    write_price_frost: U64
    node_capacity_bytes: U64
    activation_epoch: U32


@dataclass(frozen=True, slots=True)
class NodeAddressesChanged:
    """A storage node is reached elsewhere now."""

    node_id: Bytes32
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StakeChanged:
    """A stake object came to be or changed; `principal_frost` 0 means that it is gone.

    `pool_pending_frost` is what its pool will add at `activation_epoch` in all.
    """

    object_id: Bytes32
    owner: Bytes32
    node_id: Bytes32
    principal_frost: U64
    activation_epoch: U32
    withdraw_epoch: U32 | None
    pool_pending_frost: U64


@dataclass(frozen=True, slots=True)
class EpochStarted:
    """An epoch began with this committee; genesis emits it for epoch 1."""

    epoch: U32
    members: tuple[CommitteeMemberRecord, ...]
    total_capacity_bytes: U64
    storage_price_frost: U64
    write_price_frost: U64


@dataclass(frozen=True, slots=True)
class EpochDone:
    """The epoch's committee has its shards; genesis emits it for epoch 1."""

    epoch: U32
    forced: bool


@dataclass(frozen=True, slots=True)
class RingChanged:
    """The booking of one epoch after a transaction: encoded bytes sold and rewards collected."""

    epoch: U32
    used_bytes: U64
    rewards_frost: U64


EVENTS = Union(
    {
        0: BalanceChanged,
        1: StorageReserved,
        2: StorageChanged,
        3: StorageDestroyed,
        4: BlobRegistered,
        5: BlobCertified,
        6: BlobDeleted,
        7: BlobBurned,
        8: BlobTransferred,
        9: BlobAttributesChanged,
        10: BlobInvalidated,
        11: NodeRegistered,
        12: NodeAddressesChanged,
        13: StakeChanged,
        14: EpochStarted,
        15: EpochDone,
        16: RingChanged,
        17: VotingEnded,
        18: CommitteeKept,
        19: HandOversOpened,
        20: ShardsReceived,
        21: RewardsDistributed,
        22: NodeRewarded,
        23: PoolChanged,
        24: ExchangeRateSet,
        25: ActiveSetChanged,
        26: NodeVotesChanged,
        27: PricesUpdated,
        28: NodeLeaveRequested,
        29: NodeLeaveCancelled,
        30: NodeAccountsChanged,
        31: NodeKeyChosen,
        32: NodeKeyRotated,
        33: CommissionCollected,
        34: ProtocolVersionChosen,
        35: ProtocolVersionActivated,
        36: SubsidiesChanged,
        37: BlobShared,
        38: SharedBlobFunded,
        39: SharedBlobExtended,
    }
)
EventBody = Annotated[
    BalanceChanged
    | StorageReserved
    | StorageChanged
    | StorageDestroyed
    | BlobRegistered
    | BlobCertified
    | BlobDeleted
    | BlobBurned
    | BlobTransferred
    | BlobAttributesChanged
    | BlobInvalidated
    | NodeRegistered
    | NodeAddressesChanged
    | StakeChanged
    | EpochStarted
    | EpochDone
    | RingChanged
    | VotingEnded
    | CommitteeKept
    | HandOversOpened
    | ShardsReceived
    | RewardsDistributed
    | NodeRewarded
    | PoolChanged
    | ExchangeRateSet
    | ActiveSetChanged
    | NodeVotesChanged
    | PricesUpdated
    | NodeLeaveRequested
    | NodeLeaveCancelled
    | NodeAccountsChanged
    | NodeKeyChosen
    | NodeKeyRotated
    | CommissionCollected
    | ProtocolVersionChosen
    | ProtocolVersionActivated
    | SubsidiesChanged
    | BlobShared
    | SharedBlobFunded
    | SharedBlobExtended,
    EVENTS,
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, with its place in history."""

    sequence: U64
    height: U64
    tx_index: U32  # position in the block; U32_MAX for what no transaction caused
    time_ms: U64
    epoch: U32
    body: EventBody
