"""What happened to epochs, shards, pools and rules. Part of `events`, which numbers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from haulout.bcs import U16, U32, U64, Bytes32, Bytes48


@dataclass(frozen=True, slots=True)
class CommitteeMemberRecord:
    """A member as events carry it; shards in the order that the next transition uses."""

    node_id: Bytes32
    public_key: Bytes48
    shards: tuple[U16, ...]


@dataclass(frozen=True, slots=True)
class VotingEnded:
    """The next epoch's committee, its keys and its capacity are fixed (the source's `EpochParametersSelected`)."""

    next_epoch: U32
    members: tuple[CommitteeMemberRecord, ...]
    total_capacity_bytes: U64


@dataclass(frozen=True, slots=True)
class CommitteeKept:
    """The nodes with stake could not hold all shards, so the old committee stays; comes before `VotingEnded`.

    `reason` is the code of the refusal, such as `COMMITTEE_TOO_SMALL`; `needed_nodes` the smallest committee.
    """

    next_epoch: U32
    reason: str
    n_nodes: U16
    needed_nodes: U16


@dataclass(frozen=True, slots=True)
class ShardMove:
    """A shard and the nodes that give and take it."""

    shard_index: U16
    from_node: Bytes32
    to_node: Bytes32


@dataclass(frozen=True, slots=True)
class HandOversOpened:
    """Shards change owner with this epoch, ascending; each hand-over is open until `ShardsReceived` names its shard."""

    epoch: U32
    moves: tuple[ShardMove, ...]


@dataclass(frozen=True, slots=True)
class ShardsReceived:
    """A node reported shards complete.

    For each of them, the last hand-over to this node and all earlier ones of the shard are done.

    Attributes:
        n_open: hand-overs to this node that are open after it.
        counted: whether the node counts towards the quorum from now on.
        sync_weight: shards of all nodes that count.
    """

    epoch: U32
    node_id: Bytes32
    shards: tuple[U16, ...]
    n_open: U16
    counted: bool
    sync_weight: U16


@dataclass(frozen=True, slots=True)
class RewardsDistributed:
    """The income of an epoch was burned in part and paid to its committee; what rounding left rolls over."""

    epoch: U32
    income_frost: U64
    burned_frost: U64
    paid_frost: U64
    rolled_over_frost: U64


@dataclass(frozen=True, slots=True)
class NodeRewarded:
    """A member's part of an epoch's income, the operator's commission included."""

    node_id: Bytes32
    epoch: U32
    reward_frost: U64
    commission_frost: U64


@dataclass(frozen=True, slots=True)
class PoolChanged:
    """A node's staking pool after a transaction, whole."""

    node_id: Bytes32
    latest_epoch: U32
    balance_frost: U64
    n_shares: U64
    rewards_frost: U64
    commission_rate_bps: U16
    commission_frost: U64
    commission_blocked_frost: U64
    pending_stake: Mapping[U32, U64]
    pending_shares: Mapping[U32, U64]
    pre_active_withdrawals: Mapping[U32, U64]
    pending_commission_rates: Mapping[U32, U16]


@dataclass(frozen=True, slots=True)
class ExchangeRateSet:
    """From this epoch on a pool's shares are worth this; flat when either is 0."""

    node_id: Bytes32
    epoch: U32
    balance_frost: U64
    n_shares: U64


@dataclass(frozen=True, slots=True)
class ActiveSetChanged:
    """`insert_active` was applied with this stake: 0 takes the node out."""

    node_id: Bytes32
    stake_frost: U64


@dataclass(frozen=True, slots=True)
class NodeVotesChanged:
    """What a node asks for and can serve."""

    node_id: Bytes32
    storage_price_frost: U64
    write_price_frost: U64
    node_capacity_bytes: U64


@dataclass(frozen=True, slots=True)
class PricesUpdated:
    """Prices changed within an epoch."""

    epoch: U32
    storage_price_frost: U64
    write_price_frost: U64


@dataclass(frozen=True, slots=True)
class NodeLeaveRequested:
    """A node will be in no committee whose vote ends after this."""

    node_id: Bytes32


@dataclass(frozen=True, slots=True)
class NodeLeaveCancelled:
    """A node may be in committees again."""

    node_id: Bytes32


@dataclass(frozen=True, slots=True)
class NodeAccountsChanged:
    """Who acts for a node; without a receiver of its own the commission goes to the governance account."""

    node_id: Bytes32
    governance: Bytes32
    capability: Bytes32
    commission_receiver: Bytes32 | None


@dataclass(frozen=True, slots=True)
class NodeKeyChosen:
    """A node will sign with this key once a voting end has fixed it in a committee."""

    node_id: Bytes32
    next_public_key: Bytes48


@dataclass(frozen=True, slots=True)
class NodeKeyRotated:
    """A node signs with this key from now on; a chosen key that equals it is chosen no more."""

    node_id: Bytes32
    public_key: Bytes48


@dataclass(frozen=True, slots=True)
class CommissionCollected:
    """A node's commission was paid out."""

    node_id: Bytes32
    receiver: Bytes32
    amount_frost: U64


@dataclass(frozen=True, slots=True)
class ProtocolVersionChosen:
    """A quorum is ready for a version of the rules from an epoch on."""

    protocol_version: U32
    from_epoch: U32


@dataclass(frozen=True, slots=True)
class ProtocolVersionActivated:
    """Blocks after this one follow this version of the rules."""

    protocol_version: U32


@dataclass(frozen=True, slots=True)
class SubsidiesChanged:
    """The network's fund for subsidies, whole.

    `already_frost` is what of the rewards booked for an epoch is not subsidised, or has been.
    """

    admin: Bytes32
    usage_rate_bps: U32
    base_frost: U64
    per_shard_frost: U64
    balance_frost: U64
    latest_epoch: U32
    already_frost: Mapping[U32, U64]
