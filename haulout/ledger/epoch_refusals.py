"""Why a rule about epochs, pools and committees said no. Part of `refusals`."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Rejected


@dataclass(eq=False)
class UnexpectedEpoch(Rejected):
    """The caller thought of another epoch: usually somebody else was faster."""

    code = "UNEXPECTED_EPOCH"
    template = "this is epoch {epoch}, not {expected_epoch}"
    hint = "look at the current epoch and decide again"
    expected_epoch: int
    epoch: int


@dataclass(eq=False)
class WrongEpochState(Rejected):
    """The epoch is in another phase."""

    code = "WRONG_EPOCH_STATE"
    template = "{step} needs phase {needed}; epoch {epoch} is in {phase}"
    step: str
    needed: str
    epoch: int
    phase: str


@dataclass(eq=False)
class NextCommitteeIsEmpty(Rejected):
    """The vote has not ended, so nobody is known who could take over."""

    code = "NEXT_COMMITTEE_IS_EMPTY"
    template = "epoch {epoch} is in {phase}: no committee is chosen for the next epoch"
    hint = "end the vote first"
    epoch: int
    phase: str


@dataclass(eq=False)
class NotDueYet(Rejected):
    """A step of the epoch comes too early."""

    code = "NOT_DUE_YET"
    template = "{step} of epoch {epoch} is due at {due_ms} ms, it is {now_ms} ms"
    hint = "wait, or advance by hand on a network founded with manual epochs"
    step: str
    epoch: int
    due_ms: int
    now_ms: int


@dataclass(eq=False)
class EpochsNotManual(Rejected):
    """This network's epochs go by the clock alone."""

    code = "EPOCHS_NOT_MANUAL"
    template = "epochs of this network cannot be advanced by hand"
    hint = "found a development network with manual epochs"


@dataclass(eq=False)
class InvalidSyncEpoch(Rejected):
    """A report about the shards of another epoch."""

    code = "INVALID_SYNC_EPOCH"
    template = "the report is for epoch {report_epoch}, this is epoch {epoch}"
    report_epoch: int
    epoch: int


@dataclass(eq=False)
class DuplicateSyncDone(Rejected):
    """The node has reported all its shards for this epoch already."""

    code = "DUPLICATE_SYNC_DONE"
    template = "node {node_id} has reported epoch {epoch} already"
    node_id: str
    epoch: int


@dataclass(eq=False)
class NotInCommittee(Rejected):
    """The node is no member, and no shard is on its way to it."""

    code = "NOT_IN_COMMITTEE"
    template = "node {node_id} is not in the committee of epoch {epoch}"
    node_id: str
    epoch: int


@dataclass(eq=False)
class ShardNotAssigned(Rejected):
    """A node reports a shard that it neither owns nor was to receive."""

    code = "SHARD_NOT_ASSIGNED"
    template = "shard {shard_index} is not node {node_id}'s in epoch {epoch}"
    shard_index: int
    node_id: str
    epoch: int


@dataclass(eq=False)
class PoolAlreadyWithdrawing(Rejected):
    """The node is leaving already."""

    code = "POOL_ALREADY_WITHDRAWING"
    template = "node {node_id} is leaving already"
    node_id: str


@dataclass(eq=False)
class NodeNotLeaving(Rejected):
    """There is no leave to cancel."""

    code = "NODE_NOT_LEAVING"
    template = "node {node_id} is not leaving"
    node_id: str


@dataclass(eq=False)
class CommitteeSelected(Rejected):
    """The vote has ended: the next committee is without the node."""

    code = "COMMITTEE_SELECTED"
    template = "the committee of epoch {next_epoch} is chosen without node {node_id}"
    hint = "cancel again when epoch {next_epoch} has begun"
    node_id: str
    next_epoch: int


@dataclass(eq=False)
class NotStaked(Rejected):
    """The stake is being withdrawn already."""

    code = "NOT_STAKED"
    template = "{object_id} is being withdrawn already, from epoch {withdraw_epoch} on"
    object_id: str
    withdraw_epoch: int


@dataclass(eq=False)
class WithdrawDirectly(Rejected):
    """The stake can be paid out at once."""

    code = "WITHDRAW_DIRECTLY"
    template = "{object_id} needs no request"
    hint = "withdraw it"
    object_id: str


@dataclass(eq=False)
class NotWithdrawing(Rejected):
    """The stake is at work; it has to be requested back first."""

    code = "NOT_WITHDRAWING"
    template = "{object_id} is staked with a member of the committee"
    hint = "request its withdrawal first"
    object_id: str


@dataclass(eq=False)
class WithdrawEpochNotReached(Rejected):
    """The stake is bound until its epoch's shards have been handed over."""

    code = "WITHDRAW_EPOCH_NOT_REACHED"
    template = "{object_id} is paid out when epoch {withdraw_epoch} is Done; epoch {epoch} is in {phase}"
    object_id: str
    withdraw_epoch: int
    epoch: int
    phase: str


@dataclass(eq=False)
class HandOverOpen(Rejected):
    """The node has left, but others still need its shards: stake is bound until they have them."""

    code = "HAND_OVER_OPEN"
    template = "node {node_id} still hands {n_shards} shards over"
    hint = "wait until the new owners have reported them, and do not stop the node before"
    node_id: str
    n_shards: int


@dataclass(eq=False)
class ZeroShares(Rejected):
    """The stake is too small to be worth one share."""

    code = "ZERO_SHARES"
    template = "{principal_frost} FROST are worth no share of pool {node_id}"
    node_id: str
    principal_frost: int


@dataclass(eq=False)
class InvalidProtocolVersion(Rejected):
    """A quorum asks for a version that is not the next one, or for a past epoch."""

    code = "WRONG_VERSION"
    template = "version {protocol_version} from epoch {from_epoch} does not follow version {current} in epoch {epoch}"
    protocol_version: int
    from_epoch: int
    current: int
    epoch: int


@dataclass(eq=False)
class SubsidiesExist(Rejected):
    """The network has its fund."""

    code = "SUBSIDIES_EXIST"
    template = "the network's subsidies are set by {admin}"
    admin: str


@dataclass(eq=False)
class InsufficientSubsidies(Rejected):
    """The fund cannot pay, so it pays nobody."""

    code = "INSUFFICIENT_FUNDS_IN_POOL"
    template = "the fund for subsidies holds {available_frost} FROST, {needed_frost} are due next"
    hint = "open it, fund it, or lower its rates"
    available_frost: int
    needed_frost: int


@dataclass(eq=False)
class SubsidyRateTooHigh(Rejected):
    """More than a hundred times what users pay."""

    code = "INVALID_SUBSIDY_RATE"
    template = "{rate_bps} basis points are more than {limit_bps}"
    rate_bps: int
    limit_bps: int
