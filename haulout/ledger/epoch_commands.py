"""Commands that move an epoch on, and those of stake, pools and governance. Part of `commands`, which numbers them.

The steps of an epoch are open to everybody: they are refused until they are due, and `expected_epoch` makes a second
caller's attempt harmless. Checks and their order stand where a command is processed.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout.bcs import U16, U32, U64, Bytes32, Bytes48, Bytes96
from haulout.ledger.object_refs import ObjectRef

# --- steps of an epoch --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndVoting:
    """Choose the next committee and its capacity: `Done -> Voted`. Due when half the epoch is over."""

    expected_epoch: U32


@dataclass(frozen=True, slots=True)
class ChangeEpoch:
    """Start the next epoch: pay the old committee, hand shards over: `Voted -> Sync`. Due when the epoch is over."""

    expected_epoch: U32


@dataclass(frozen=True, slots=True)
class ReportSyncDone:
    """A node has all blobs certified before `epoch` in these shards, durably; its capability account reports it.

    A node counts towards the quorum when no hand-over to it is open any more; one that gained nothing reports an
    empty list.
    """

    node_id: Bytes32
    epoch: U32
    shards: tuple[U16, ...]


@dataclass(frozen=True, slots=True)
class ForceDone:
    """Reopen voting although the shards have not arrived: `Sync -> Done`. Due half an epoch after the change.

    Hand-overs stay open, so nobody deletes what has not arrived.
    """

    expected_epoch: U32


@dataclass(frozen=True, slots=True)
class AdvanceEpoch:
    """Voting end and epoch change at once, whatever the time; only where genesis says `manual_epochs`."""

    expected_epoch: U32


# --- stake --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestWithdraw:
    """Take a stake out of its pool from a later epoch on; it earns until then."""

    staked: ObjectRef


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Pay a stake out, with its rewards; destroys the StakedWal."""

    staked: ObjectRef


# --- nodes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestLeave:
    """Take a node out of the next committees; signed by its governance account."""

    node_id: Bytes32
    expected_epoch: U32


@dataclass(frozen=True, slots=True)
class CancelLeave:
    """Let a leaving node stay, or one that left come back; signed by its governance account."""

    node_id: Bytes32
    expected_epoch: U32


@dataclass(frozen=True, slots=True)
class SetVotes:
    """What a node asks for and can serve; None leaves a vote as it is. Signed by its capability account."""

    node_id: Bytes32
    storage_price_frost: U64 | None
    write_price_frost: U64 | None
    node_capacity_bytes: U64 | None


@dataclass(frozen=True, slots=True)
class UpdatePrices:
    """Let the current committee's price votes take effect now."""


@dataclass(frozen=True, slots=True)
class SetCommission:
    """The share of rewards that a node's operator keeps, from two epochs ahead on."""

    node_id: Bytes32
    rate_bps: U16


@dataclass(frozen=True, slots=True)
class CollectCommission:
    """Pay a node's commission out to its receiver, less what is blocked until the next voting end."""

    node_id: Bytes32


@dataclass(frozen=True, slots=True)
class SetNodeAccounts:
    """Who acts for a node: None leaves an account as it is. Signed by its governance account."""

    node_id: Bytes32
    governance: Bytes32 | None
    capability: Bytes32 | None
    commission_receiver: Bytes32 | None


@dataclass(frozen=True, slots=True)
class SetNextPublicKey:
    """Rotate a node's BLS key: it signs with the new one from the next epoch on whose vote ends after this."""

    node_id: Bytes32
    public_key: Bytes48
    proof_of_possession: Bytes96


@dataclass(frozen=True, slots=True)
class JoinActiveSet:
    """Ask for a place among the nodes that may become members, for one that was crowded out."""

    node_id: Bytes32


# --- rules --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpdateProtocolVersion:
    """Follow another version of the rules from an epoch on, proven by a quorum of the current committee."""

    message: bytes
    signature: Bytes96
    signers: bytes


# --- subsidies ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddSubsidy:
    """Give FROST to the committees of this epoch and those after it, in equal parts."""

    amount_frost: U64
    n_epochs: U32


@dataclass(frozen=True, slots=True)
class OpenSubsidies:
    """Open the network's fund for subsidies; the sender, a member's governance account, sets its rates."""

    usage_rate_bps: U32
    base_frost: U64
    per_shard_frost: U64


@dataclass(frozen=True, slots=True)
class SetSubsidies:
    """Change the fund's rates, and who sets them."""

    admin: Bytes32
    usage_rate_bps: U32
    base_frost: U64
    per_shard_frost: U64


@dataclass(frozen=True, slots=True)
class FundSubsidies:
    """Put FROST into the fund."""

    amount_frost: U64


@dataclass(frozen=True, slots=True)
class ProcessSubsidies:
    """Let the fund pay what is due; anyone may, any number of times."""
