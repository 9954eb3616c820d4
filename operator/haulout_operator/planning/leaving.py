"""A node's way out, step by step, each proven anew on every pass.

The ledger is asked to let it go once a substitute has stake; its shards move with the next epoch; when none is on its
way any more the stake comes back; and only a state that n - f shards have signed, together with the node's own
word that it holds nothing and with blobs that are read without it, lets its volume go. One view of the world alone
never does, and what a status says is no view at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from haulout.primitives import hex_id_text, smallest_committee
from haulout_operator.actions import Action, DropFinalizer, RequestLeave, WithdrawStake
from haulout_operator.models.pool import StorageNodePoolSpec, StorageNodeSpec
from haulout_operator.names import FORCE_REMOVE_ANNOTATION, LEAVING_ANNOTATION, keys_name, volume_name
from haulout_operator.observed import LedgerFacts, LedgerNode, NodeReport, Observed, Resource
from haulout_operator.planning.size import wanted_size

Node = Resource[StorageNodeSpec]

# Values of the annotation: on its way out; and whom the pool should choose first when it becomes smaller.
LEAVING = "true"
LEAVE_FIRST = "first"

PROVEN = "Proven"
WITHDRAWING = "WithdrawingStake"


@dataclass(frozen=True, slots=True)
class Leaving:
    """Where a node is on its way out: a stable word, a sentence, and what to do now."""

    reason: str
    message: str
    actions: tuple[Action, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing holds the node any more."""
        return any(isinstance(action, DropFinalizer) for action in self.actions)

    @property
    def is_let_go(self) -> bool:
        """Whether the ledger counts on it no more, so that nobody will call it back."""
        return self.is_over or self.reason == WITHDRAWING

    @property
    def is_for_good(self) -> bool:
        """Whether the ledger has let go of its identity: it is never a member again."""
        return self.reason == PROVEN


def plan_leaving(observed: Observed, node: Node) -> Leaving:
    """The next step out for a node that is being deleted or drained."""
    release = DropFinalizer(node.subject, node.uid)
    if observed.network.is_deleting:
        return Leaving("NetworkGoes", "the network is being deleted", (release,))
    ledger = observed.ledger
    if ledger is None:
        if not observed.was_founded:
            return Leaving("NeverFounded", "the network was never founded", (release,))
        return _unseen(observed)
    known = ledger.nodes.get(node.name)
    if known is None:
        return _what_speaks_against(observed, ledger, node) or Leaving(
            "Unknown", "the ledger does not know it", (release,)
        )
    if not known.is_leaving and (known.stake_frost or known.shards):
        return _ask_to_leave(observed, ledger, node, known)
    held = _what_holds(known)
    if held is not None:
        return held
    if known.stakes:
        actions = tuple(WithdrawStake(node.subject, node.name, stake) for stake in known.stakes)
        return Leaving(WITHDRAWING, "its stake goes back to the treasury", actions)
    if not known.is_leaving:
        return _what_speaks_against(observed, ledger, node) or Leaving(
            "NeverStaked", "the ledger never counted on it", (release,)
        )
    missing = _missing_proof(observed, ledger, node, known)
    if missing is not None:
        return missing
    return Leaving(PROVEN, f"nothing of it is needed as of attested height {ledger.attested_height}", (release,))


def is_free(observed: Observed, node: Node) -> bool:
    """Whether the ledger counts on a node in no way, so that it can go without having to leave first."""
    if observed.ledger is None:
        return not observed.was_founded
    known = observed.ledger.nodes.get(node.name)
    return known is None or not (known.stake_frost or known.shards or known.open_hand_overs or known.stakes)


def _unseen(observed: Observed) -> Leaving:
    network = observed.network.name
    return Leaving(
        "LedgerUnreachable",
        f"nothing is let go unseen: {observed.ledger_problem}. Next: kubectl describe snet/{network} says what brings "
        f"the ledger back; if it is gone for good, kubectl delete snet/{network} gives the network up, and keeps "
        "volumes and keys unless deletion.policy is Destroy.",
    )


def _ask_to_leave(observed: Observed, ledger: LedgerFacts, node: Node, known: LedgerNode) -> Leaving:
    pool = _pool_of(observed, node)
    if pool is not None and not pool.is_deleting:
        staked, wanted = _n_staked(ledger, observed.nodes_of(pool.name)), wanted_size(observed, pool)
        if staked < wanted:
            return Leaving(
                "WaitingForSubstitute",
                f"{staked} of {wanted} other nodes have stake; it leaves when its substitute has. Next, if that takes "
                f"long: kubectl describe snp/{pool.name}, and sn of those that are not ready.",
            )
    staked, smallest = _n_staked(ledger, observed.nodes), smallest_committee(ledger.n_shards)
    if (known.shards or known.is_next) and staked < smallest:
        return Leaving(
            "BelowMinNodes",
            f"{staked} other nodes have stake, and no committee has fewer than {smallest}; it stays. Next: give a "
            "StorageNodePool of this network more replicas, or delete the StorageNetwork to give everything up.",
        )
    action = RequestLeave(node.subject, node.name, known.node_id, ledger.epoch)
    return Leaving("RequestingLeave", "the ledger is asked to let it go", (action,))


def _n_staked(ledger: LedgerFacts, nodes: Iterable[Node]) -> int:
    """How many of them have stake and are not on their way out."""
    known = [ledger.nodes.get(node.name) for node in nodes if counts_toward_replicas(node)]
    return sum(one is not None and one.stake_frost > 0 for one in known)


def _what_holds(known: LedgerNode) -> Leaving | None:
    if known.shards:
        when = "the epoch after next begins" if known.is_next else "the next epoch begins"
        return Leaving("OwnsShards", f"it owns {len(known.shards)} shards until {when}")
    if known.is_next:
        return Leaving("ChosenForNextEpoch", "the next committee was chosen before it asked to leave; one epoch more")
    if known.open_hand_overs:
        return Leaving("HandingOver", f"{known.open_hand_overs} of its shards have not arrived elsewhere yet")
    return None


def _what_speaks_against(observed: Observed, ledger: LedgerFacts, node: Node) -> Leaving | None:
    """Of a node that the ledger never counted on: whether anything says otherwise, as when its volume was put back to
    an earlier state. Only a node that has a volume has something to lose."""
    if observed.child("PersistentVolumeClaim", volume_name(node.name)) is None:
        return None
    is_founder = observed.genesis is not None and any(one.name == node.name for one in observed.genesis.nodes)
    if is_founder and node.name not in ledger.nodes:
        return Leaving(
            "ForeignLedger",
            f"configmap/{observed.network.name}-genesis names it, and the ledger does not know it. Next: kubectl "
            f"describe snet/{observed.network.name}; restore what belongs together.",
        )
    told = observed.reports.get(node.name)
    if told is not None and told.holds:
        return _node_holds(node, told)
    return _unattested(ledger)


def _unattested(ledger: LedgerFacts) -> Leaving | None:
    if ledger.attested_height >= ledger.height:
        return None
    return Leaving(
        "WaitingForAttestation",
        f"blocks attested by n - f shards: {ledger.attested_height} of {ledger.height}. Next, if that takes long: "
        "bring back the nodes that are down; kubectl get sn.",
    )


def _node_holds(node: Node, told: NodeReport) -> Leaving:
    return Leaving(
        "NodeHolds",
        f"the node is in epoch {told.epoch} and still holds {told.holds} shards; it goes by itself when they have "
        f"arrived elsewhere. Next, if that takes long: kubectl logs {node.name}-0.",
    )


def _missing_proof(observed: Observed, ledger: LedgerFacts, node: Node, known: LedgerNode) -> Leaving | None:
    return _unattested(ledger) or _missing_word(observed, ledger, node, known) or _missing_sample(observed, node)


def _missing_word(observed: Observed, ledger: LedgerFacts, node: Node, known: LedgerNode) -> Leaving | None:
    """The node's own word; of a node whose volume is gone there is nothing left to lose, so none is asked for."""
    node_id = hex_id_text(known.node_id)
    if node.annotations.get(FORCE_REMOVE_ANNOTATION) == node_id:
        return None
    told = observed.reports.get(node.name)
    if told is None and observed.child("PersistentVolumeClaim", volume_name(node.name)) is None:
        return None
    if told is None:
        return Leaving(
            "NodeSilent",
            "the ledger has let it go, and the node itself cannot be asked whether it holds anything. Next: bring its "
            f"Pod back, or, if its volume is lost: kubectl annotate sn/{node.name} {FORCE_REMOVE_ANNOTATION}={node_id}",
        )
    if told.node_id != known.node_id:
        return Leaving(
            "ForeignIdentity",
            f"its Pod answers as {hex_id_text(told.node_id)}, not as {node_id}. Next: look for what was copied; only "
            f"secret/{keys_name(node.name)} as it was registered lets it say that it holds nothing.",
        )
    if told.epoch != ledger.epoch or told.holds:
        return _node_holds(node, told)
    return None


def _missing_sample(observed: Observed, node: Node) -> Leaving | None:
    sample = observed.samples.get(node.name)
    if sample is None:
        return Leaving("WaitingForSample", "blobs are about to be read without it")
    if sample.failed:
        return Leaving(
            "SampleUnreadable",
            f"without it, {len(sample.failed)} of {sample.n_read + len(sample.failed)} sampled blobs cannot be read: "
            f"{', '.join(sample.failed)}. Next: bring back the nodes that are down; it stays until all can be read.",
        )
    return None


def counts_toward_replicas(node: Node) -> bool:
    """A node that is on its way out does not: its substitute is made first."""
    return not (node.is_deleting or node.spec.desired_state == "Drained" or is_scaled_down(node))


def is_scaled_down(node: Node) -> bool:
    """Whether it leaves because its pool has become smaller; until the vote it may be called back."""
    return node.annotations.get(LEAVING_ANNOTATION) == LEAVING


def _pool_of(observed: Observed, node: Node) -> Resource[StorageNodePoolSpec] | None:
    name = None if node.spec.pool_ref is None else node.spec.pool_ref.name
    return next((pool for pool in observed.pools if pool.name == name), None)
