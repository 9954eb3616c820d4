"""What the planner asks for. Each action may run twice; each is done for a subject that tells when it fails."""

from __future__ import annotations

from dataclasses import dataclass

from haulout_operator.manifests.common import Manifest
from haulout_operator.observed import Subject


@dataclass(frozen=True, slots=True)
class Apply:
    """Make or mend an object by server-side apply."""

    subject: Subject
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object; one that exists already is left as it is."""

    subject: Subject
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object if it is still the one that was seen."""

    subject: Subject
    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Keep a custom resource until it is let go."""

    subject: Subject
    uid: str


@dataclass(frozen=True, slots=True)
class DropFinalizer:
    """Let go of a custom resource that is being deleted."""

    subject: Subject
    uid: str


@dataclass(frozen=True, slots=True)
class CreateNodeKeys:
    """Make the identity of a node, once."""

    subject: Subject
    node: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CreateWallet:
    """Make an account, once."""

    subject: Subject
    name: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CreateToken:
    """Make the token that controls a network, once."""

    subject: Subject
    name: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GenesisNode:
    """A node of the first pool."""

    name: str
    stake_frost: int
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class CreateGenesis:
    """Found the network, once."""

    subject: Subject
    nodes: tuple[GenesisNode, ...]


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """Register a node on the ledger, governed by the treasury."""

    subject: Subject
    node: str
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class StakeNode:
    """Stake from the treasury."""

    subject: Subject
    node: str
    node_id: bytes
    amount_frost: int


@dataclass(frozen=True, slots=True)
class VoteCapacity:
    """Let a node vote the size of its volume."""

    subject: Subject
    node: str
    node_id: bytes
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class RequestLeave:
    """Ask the ledger to let a node go, as the treasury that governs it."""

    subject: Subject
    node: str
    node_id: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class CancelLeave:
    """Ask the ledger to let a node stay after all."""

    subject: Subject
    node: str
    node_id: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class WithdrawStake:
    """Take a stake back into the treasury."""

    subject: Subject
    node: str
    stake: bytes


@dataclass(frozen=True, slots=True)
class AdvanceEpoch:
    """Do what is left of an epoch now; on networks with manual epochs."""

    subject: Subject
    epoch: int


@dataclass(frozen=True, slots=True)
class ActivateProtocol:
    """Have the nodes that the treasury governs vote for a version of the rules, and the ledger take it."""

    subject: Subject
    version: int
    start_epoch: int


Action = (
    Apply
    | Create
    | Delete
    | AddFinalizer
    | DropFinalizer
    | CreateNodeKeys
    | CreateWallet
    | CreateToken
    | CreateGenesis
    | RegisterNode
    | StakeNode
    | VoteCapacity
    | RequestLeave
    | CancelLeave
    | WithdrawStake
    | AdvanceEpoch
    | ActivateProtocol
)


def describe(action: Action) -> str:
    """What an action does, for logs."""
    match action:
        case Apply(manifest=manifest) | Create(manifest=manifest):
            return f"{type(action).__name__} {manifest['kind']}/{manifest['metadata']['name']}"
        case Delete(kind=kind, name=name):
            return f"Delete {kind}/{name}"
        case (
            CreateNodeKeys(node=node)
            | RegisterNode(node=node)
            | StakeNode(node=node)
            | VoteCapacity(node=node)
            | RequestLeave(node=node)
            | CancelLeave(node=node)
            | WithdrawStake(node=node)
        ):
            return f"{type(action).__name__} {node}"
        case CreateWallet(name=name) | CreateToken(name=name):
            return f"{type(action).__name__} {name}"
        case ActivateProtocol(version=version, start_epoch=epoch):
            return f"ActivateProtocol {version} from epoch {epoch}"
        case _:
            return f"{type(action).__name__} {action.subject.kind}/{action.subject.name}"
