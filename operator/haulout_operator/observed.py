"""What the planner sees: one moment of a network in Kubernetes and on its ledger, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from haulout.ledger.genesis import Genesis
from haulout_operator.manifests.common import Manifest
from haulout_operator.models.base import Model
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.models.pool import StorageNodePoolSpec, StorageNodeSpec
from haulout_operator.names import (
    FINALIZER,
    NODE_LABEL,
    POOL_LABEL,
    ROLE_LABEL,
    SERIAL_LABEL,
    component_name,
    volume_name,
)

S = TypeVar("S", bound=Model)

SHORT = {"PersistentVolumeClaim": "pvc"}


@dataclass(frozen=True, slots=True)
class Resource(Generic[S]):
    """A custom resource: its metadata, its spec as a type, its status as it stands."""

    kind: str
    name: str
    uid: str
    generation: int
    spec: S
    status: Mapping[str, Any]
    annotations: Mapping[str, str]
    finalizers: tuple[str, ...]
    is_deleting: bool

    @property
    def subject(self) -> Subject:
        return Subject(self.kind, self.name)

    @property
    def holds_finalizer(self) -> bool:
        return FINALIZER in self.finalizers


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an action is done for, and that tells when it failed."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A Pod as far as it matters."""

    name: str
    labels: Mapping[str, str]
    is_ready: bool
    machine: str
    zone: str  # of its machine; empty when that tells none, or we may not know
    problem: str  # "Reason: message" of what keeps it from running; empty when nothing does
    n_restarts: int = 0

    @property
    def node(self) -> str:
        """The StorageNode it belongs to, or an empty string."""
        return self.labels.get(NODE_LABEL, "")


@dataclass(frozen=True, slots=True)
class LedgerNode:
    """A node as the ledger has it."""

    node_id: bytes
    name: str
    governance: bytes
    is_leaving: bool
    stake_frost: int  # active and pending
    capacity_bytes: int  # as it votes
    shards: tuple[int, ...]  # in the current committee
    is_next: bool = False  # chosen for the next committee
    open_hand_overs: int = 0  # shards that it still has to hand over, or keeps until the epoch is settled
    incoming: int = 0  # shards on their way to it, of whatever epoch
    has_reported: bool = False  # that it has all that it gained with the current epoch
    stakes: tuple[bytes, ...] = ()  # object ids of what the treasury has staked in it

    @property
    def is_unneeded(self) -> bool:
        """Whether, by the ledger's word, it owns nothing, will own nothing, and nobody takes anything from it."""
        return not (self.shards or self.is_next or self.open_hand_overs or self.stakes)


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """Where the ledger stands."""

    chain_id: bytes
    height: int
    attested_height: int  # up to which n - f shards have signed what they executed
    protocol_version: int
    epoch: int
    phase: str  # Done, Voted or Sync
    phase_since_ms: int
    epoch_duration_ms: int
    is_forced: bool
    synced_weight: int
    n_shards: int
    is_manual: bool  # epochs change only when somebody asks
    treasury_frost: int
    nodes: Mapping[str, LedgerNode]  # by name
    due_ms: int | None = None  # when the next step of the epoch may be taken; None where that is up to people
    booked_bytes: int = 0  # of storage that is sold for the next epoch
    moves_total: int = 0  # of this epoch
    moves_done: int = 0
    moving: frozenset[int] = frozenset()  # shards on their way, of whatever epoch
    next_protocol: tuple[int, int] | None = None  # version and first epoch of the rules that are chosen
    knows: int = 0  # newest protocol version of its process's release


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself."""

    node_id: bytes
    height: int
    epoch: int
    is_full: bool  # it serves reads and takes nothing in
    holds: int  # shards that it owns, gains or has still to give
    moving_bytes: int = 0  # of slivers on the shards on their way to it, when it began to fetch them
    moved_bytes: int = 0  # what has arrived of these
    stored_bytes: int = 0  # of all slivers on its volume
    release: str = ""  # that it runs; empty of one that does not tell
    protocol_version: int = 0  # newest one that its release knows


@dataclass(frozen=True, slots=True)
class SampleRead:
    """Blobs that were read while one node was not asked, and those that could not be, with the reason."""

    n_read: int
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything of one network at one moment."""

    namespace: str
    default_image: str
    now_ms: int
    network: Resource[StorageNetworkSpec]
    pools: Sequence[Resource[StorageNodePoolSpec]]
    nodes: Sequence[Resource[StorageNodeSpec]]
    transitions: Sequence[Manifest]
    children: Mapping[tuple[str, str], Manifest]  # (kind, name), as the API server has them
    pods: Sequence[PodFacts]
    secrets: frozenset[str]  # those that exist, of the names this network needs
    genesis: Genesis | None
    genesis_problem: str
    ledger: LedgerFacts | None
    ledger_problem: str
    reports: Mapping[str, NodeReport]  # of registered nodes that are ready and answer
    answered_ms: Mapping[str, int] = field(default_factory=dict)  # when a node did last, as far as we remember
    samples: Mapping[str, SampleRead] = field(default_factory=dict)  # for nodes that nothing else holds
    complaints: Mapping[tuple[str, str], str] = field(default_factory=dict)  # why a child has no Pod or volume
    control_address: str = ""  # where the operator serves `ClusterControl`; empty when nowhere
    failures: Mapping[Subject, str] = field(default_factory=dict)  # of the last round
    unread_nodes: Mapping[str, str] = field(default_factory=dict)  # names of nodes whose spec is none, with their pools

    def nodes_of(self, pool: str) -> list[Resource[StorageNodeSpec]]:
        """The pool's nodes by serial."""
        mine = [node for node in self.nodes if node.spec.pool_ref is not None and node.spec.pool_ref.name == pool]
        return sorted(mine, key=lambda node: (node.spec.serial, node.name))

    def pod_of(self, node: str) -> PodFacts | None:
        """The Pod of a node, the ready one if there are two."""
        pods = sorted((pod for pod in self.pods if pod.node == node), key=lambda pod: not pod.is_ready)
        return pods[0] if pods else None

    def troubles_of(self, role: str) -> str:
        """What keeps the Pods of a role from running, as people read it; empty when nothing does."""
        pods = [pod for pod in self.pods if pod.labels.get(ROLE_LABEL) == role and pod.problem]
        said = [f"pod/{pod.name}: {pod.problem}" for pod in pods]
        for (kind, name), complaint in self.complaints.items():
            if labels_of(self.children[kind, name]).get(ROLE_LABEL) == role:
                said.append(f"{SHORT.get(kind, kind.lower())}/{name}: {complaint}")
        return "; ".join(said)

    def ledger_node(self, name: str) -> LedgerNode | None:
        """The node on the ledger, if that can be asked and knows it."""
        return None if self.ledger is None else self.ledger.nodes.get(name)

    def child(self, kind: str, name: str) -> Manifest | None:
        """A child as the API server has it."""
        return self.children.get((kind, name))

    @property
    def was_founded(self) -> bool:
        """Whether the network was founded at some time, whatever is left of its genesis: volumes come later."""
        return self.genesis is not None or bool(self.genesis_problem or self.volumes_of_founded())

    def volumes_of_founded(self) -> list[str]:
        """Names of the volume claims that no network has before it is founded: those of its nodes and of its ledger."""
        names = {claim["metadata"]["name"] for claim in self.volumes()}
        ledger = volume_name(component_name(self.network.name, "ledger"))
        return sorted(names | ({ledger} if self.child("PersistentVolumeClaim", ledger) else set()))

    def volumes(self) -> list[Manifest]:
        """Volume claims of nodes."""
        claims = [body for (kind, _), body in self.children.items() if kind == "PersistentVolumeClaim"]
        return [claim for claim in claims if NODE_LABEL in labels_of(claim)]


def labels_of(body: Manifest) -> Mapping[str, str]:
    """Labels of any object."""
    labels: Mapping[str, str] = body.get("metadata", {}).get("labels") or {}
    return labels


def annotations_of(body: Manifest) -> Mapping[str, str]:
    """Annotations of any object."""
    annotations: Mapping[str, str] = body.get("metadata", {}).get("annotations") or {}
    return annotations


def pool_of_claim(claim: Manifest) -> str:
    """The pool whose node has this volume."""
    return labels_of(claim).get(POOL_LABEL, "")


def serial_of_claim(claim: Manifest) -> int:
    """The serial number of the node that has this volume; -1 when it tells none."""
    text = labels_of(claim).get(SERIAL_LABEL, "")
    return int(text) if text.isascii() and text.isdigit() else -1
