"""A pool: which nodes it should have, which it adopts, and which it may let go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from haulout.primitives import max_faulty, smallest_committee
from haulout_operator.actions import Action, Apply, CancelLeave, Create, CreateNodeKeys, Delete
from haulout_operator.manifests.common import Manifest, Owner, digest_of
from haulout_operator.models.base import API_VERSION, Reference
from haulout_operator.models.pool import StorageNodePoolSpec, StorageNodeSpec
from haulout_operator.names import (
    CONTENT_ANNOTATION,
    FINALIZER,
    LEAVING_ANNOTATION,
    NODE_LABEL,
    RELEASED_LABEL,
    next_serial,
    node_labels,
    node_name,
)
from haulout_operator.observed import LedgerFacts, Observed, Resource, labels_of, pool_of_claim, serial_of_claim
from haulout_operator.planning.budget import compute_budget, is_up
from haulout_operator.planning.drift import contains, content_of
from haulout_operator.planning.leaving import LEAVE_FIRST, LEAVING, counts_toward_replicas, is_free, is_scaled_down
from haulout_operator.planning.size import asked_of_others, smallest_size, wanted_size
from haulout_operator.quantities import parse_duration_ms, parse_time_ms

Pool = Resource[StorageNodePoolSpec]
Node = Resource[StorageNodeSpec]


@dataclass(frozen=True, slots=True)
class ScalingBlocked:
    """Why a pool cannot have the size that was asked for, and what to do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """What to do for a pool, and what stands in its way."""

    actions: tuple[Action, ...]
    blocked: ScalingBlocked | None = None


def plan_pool(observed: Observed, pool: Pool) -> PoolPlan:
    """Adopt what an earlier pool of this name left, make what is missing, let go what is too much."""
    if pool.is_deleting:
        return PoolPlan(())
    nodes = observed.nodes_of(pool.name)
    orphans = find_orphans(observed, pool)
    adopted = [build_storage_node(observed, pool, name, serial) for name, serial in orphans]
    actions: list[Action] = [Create(pool.subject, manifest) for manifest in adopted]
    actions += _follow_template(observed, pool, nodes)
    staying = [node for node in nodes if counts_toward_replicas(node)]
    actions += replace_dead(observed, pool, nodes)
    refused = _why_too_small(observed, pool)
    n_unread = sum(name == pool.name for name in observed.unread_nodes.values())  # left alone, and not replaced
    missing = wanted_size(observed, pool) - len(staying) - len(orphans) - n_unread
    if missing > 0:
        returning = call_back(observed, pool, nodes, missing)
        actions += returning.actions
        missing -= returning.count
    if missing > 0:
        if observed.was_founded and observed.ledger is None:
            reason, why = "LedgerUnreachable", "new identities need the ledger"
            return PoolPlan(tuple(actions), ScalingBlocked(reason, f"{why}: {observed.ledger_problem}"))
        actions += _make_nodes(observed, pool, missing, taken={serial for _, serial in orphans})
        return PoolPlan(tuple(actions), refused)
    if missing < 0:
        removals, blocked = _let_go(observed, pool, staying, -missing, refused)
        return PoolPlan((*actions, *removals), blocked)
    return PoolPlan(tuple(actions), refused)


def find_orphans(observed: Observed, pool: Pool) -> list[tuple[str, int]]:
    """Names and serials of nodes whose volume is there and whose StorageNode is not, by serial."""
    known = {node.name for node in observed.nodes} | set(observed.unread_nodes)
    found = []
    for claim in observed.volumes():
        name = labels_of(claim)[NODE_LABEL]
        mine = pool_of_claim(claim) == pool.name and name not in known and serial_of_claim(claim) >= 0
        is_over = bool(claim["metadata"].get("deletionTimestamp")) or RELEASED_LABEL in labels_of(claim)
        if mine and not is_over:
            found.append((name, serial_of_claim(claim)))
    return sorted(found, key=lambda one: one[1])


def build_storage_node(observed: Observed, pool: Pool, name: str, serial: int, *, is_leaving: bool = False) -> Manifest:
    """The StorageNode of a pool with this name and serial."""
    network = observed.network.name
    spec = StorageNodeSpec(
        network_ref=Reference(name=network),
        pool_ref=Reference(name=pool.name),
        serial=serial,
        template=pool.spec.template,
    )
    body = spec.model_dump(by_alias=True, exclude_none=True)
    del body["desiredState"]  # people's, and the scale-down's
    metadata: Manifest = {
        "name": name,
        "namespace": observed.namespace,
        "labels": node_labels(network, pool.name, name, serial),
        "ownerReferences": [Owner(pool.kind, pool.name, pool.uid).reference()],
        "finalizers": [FINALIZER],
    }
    metadata["annotations"] = {CONTENT_ANNOTATION: digest_of([metadata["labels"], body])}
    if is_leaving:
        metadata["annotations"][LEAVING_ANNOTATION] = LEAVING
    return {"apiVersion": API_VERSION, "kind": "StorageNode", "metadata": metadata, "spec": body}


def _make_nodes(observed: Observed, pool: Pool, count: int, taken: Iterable[int]) -> list[Action]:
    """New identities under names that nothing was ever called: nodes, volumes, and whatever the ledger knows.

    Their keys are made at once, so that the network can be founded, or the nodes registered, in the next round.
    """
    used = {*taken}
    used |= {node.spec.serial for node in observed.nodes_of(pool.name)}
    used |= {serial_of_claim(claim) for claim in observed.volumes() if pool_of_claim(claim) == pool.name}
    names = {node.name for node in observed.nodes} | {labels_of(claim)[NODE_LABEL] for claim in observed.volumes()}
    names |= set(observed.unread_nodes)
    names |= set(observed.ledger.nodes) if observed.ledger is not None else set()
    actions: list[Action] = []
    serial, n_made = next_serial(used), 0
    while n_made < count:
        name = node_name(pool.name, pool.uid, serial)
        if name not in names:
            names.add(name)
            manifest = build_storage_node(observed, pool, name, serial)
            labels = tuple(sorted(manifest["metadata"]["labels"].items()))
            actions += [Create(pool.subject, manifest), CreateNodeKeys(pool.subject, name, labels)]
            n_made += 1
        serial += 1
    return actions


def _follow_template(observed: Observed, pool: Pool, nodes: list[Node]) -> list[Action]:
    """A changed template reaches the specs of the nodes; their Pods follow one at a time."""
    actions: list[Action] = []
    for node in nodes:
        is_leaving = is_scaled_down(node)
        wanted = build_storage_node(observed, pool, node.name, node.spec.serial, is_leaving=is_leaving)
        was_applied = node.annotations.get(CONTENT_ANNOTATION) == content_of(wanted)
        live = node.spec.model_dump(by_alias=True, exclude_none=True)
        if not node.is_deleting and not (was_applied and contains(live, wanted["spec"])):
            actions.append(Apply(node.subject, wanted))
    return actions


def _let_go(
    observed: Observed, pool: Pool, staying: list[Node], surplus: int, refused: ScalingBlocked | None
) -> tuple[list[Action], ScalingBlocked | None]:
    """Nodes that the ledger does not count on go at once, newest first; others leave it first, fewest shards first.

    All leave together, so that one epoch moves their shards once; each goes when nothing of it is needed any more.
    Those that somebody has named (`haulout.dev/leaving: first`) come before all others.
    """
    staying = sorted(staying, key=lambda node: node.annotations.get(LEAVING_ANNOTATION) == LEAVE_FIRST)
    free = [node for node in reversed(staying) if is_free(observed, node)][:surplus]
    members = [node for node in reversed(staying) if not is_free(observed, node)]
    members.sort(key=lambda node: (node.annotations.get(LEAVING_ANNOTATION) != LEAVE_FIRST, _n_shards(observed, node)))
    victims = members[: surplus - len(free)]
    blocked = refused or _why_blocked(observed, pool, victims) if victims else None
    if blocked is not None:
        victims = []
    deletions = [Delete(pool.subject, API_VERSION, "StorageNode", node.name, node.uid) for node in free]
    marks = [
        Apply(pool.subject, build_storage_node(observed, pool, node.name, node.spec.serial, is_leaving=True))
        for node in victims
    ]
    return [*deletions, *marks], blocked


@dataclass(frozen=True, slots=True)
class Returning:
    """Nodes that stay after all, and what makes them stay."""

    count: int
    actions: tuple[Action, ...]


def call_back(observed: Observed, pool: Pool, nodes: list[Node], count: int) -> Returning:
    """Members that were on their way out because the pool had become smaller, for as long as the vote is open: those
    with most shards first, so that least has to move. Nodes that somebody deleted or drained are not among them."""
    ledger = observed.ledger
    if ledger is None or ledger.phase != "Done":
        return Returning(0, ())
    asked = [node for node in nodes if is_scaled_down(node) and not node.is_deleting and _n_shards(observed, node)]
    asked = [node for node in asked if node.spec.desired_state == "Active"]
    asked.sort(key=lambda node: (-_n_shards(observed, node), node.spec.serial))
    actions: list[Action] = []
    for node in asked[:count]:
        known = ledger.nodes[node.name]
        if known.is_leaving:
            actions.append(CancelLeave(pool.subject, node.name, known.node_id, ledger.epoch))
        actions.append(Apply(pool.subject, build_storage_node(observed, pool, node.name, node.spec.serial)))
    return Returning(len(asked[:count]), tuple(actions))


def replace_dead(observed: Observed, pool: Pool, nodes: list[Node]) -> list[Action]:
    """A member that has been down for `replacement.after` leaves as if somebody had deleted it: its substitute is made
    first, the others rebuild what it had, and its volume goes only with proof. One at a time, and only while what is
    down is within what the network bears: when more is down the cause is elsewhere."""
    ledger = observed.ledger
    if ledger is None or ledger.phase != "Done" or not pool.spec.replacement.enabled:
        return []
    if compute_budget(observed, ledger).remaining < 0 or not all(counts_toward_replicas(node) for node in nodes):
        return []
    after_ms = parse_duration_ms(pool.spec.replacement.after)
    for node in nodes:
        is_member = bool(_n_shards(observed, node)) and node.spec.desired_state == "Active"
        if is_member and not is_up(observed, node.name) and down_ms(observed, node) >= after_ms:
            return [Delete(pool.subject, API_VERSION, "StorageNode", node.name, node.uid)]
    return []


def down_ms(observed: Observed, node: Node) -> int:
    """How long its `Ready` has been False; a status that was lost starts the time anew."""
    for one in node.status.get("conditions") or ():
        if one["type"] == "Ready" and one["status"] == "False":
            return observed.now_ms - parse_time_ms(one["lastTransitionTime"])
    return 0


def _n_shards(observed: Observed, node: Node) -> int:
    known = observed.ledger_node(node.name)
    return 0 if known is None else len(known.shards)


def _why_blocked(observed: Observed, pool: Pool, victims: list[Node]) -> ScalingBlocked | None:
    if observed.ledger is None:
        return ScalingBlocked("LedgerUnreachable", f"nothing is let go unseen: {observed.ledger_problem}")
    budget = compute_budget(observed, observed.ledger)
    if budget.remaining < 0:
        return ScalingBlocked(
            "BudgetExhausted",
            f"{budget.used} shards are down or moving, {budget.limit} may be. Next: bring the nodes back first.",
        )
    return _why_too_full(observed, pool, observed.ledger, victims)


def _why_too_full(observed: Observed, pool: Pool, ledger: LedgerFacts, victims: list[Node]) -> ScalingBlocked | None:
    """Whether who stays could not hold what has been sold: shards follow stake, and so do their bytes."""
    gone = {node.name for node in victims}
    staying = [node.name for node in observed.nodes if counts_toward_replicas(node) and node.name not in gone]
    held = {name: known for name in staying if (known := ledger.nodes.get(name)) is not None and known.stake_frost}
    total = sum(known.stake_frost for known in held.values())
    full = [
        name
        for name, known in sorted(held.items())
        if ledger.booked_bytes * known.stake_frost > known.capacity_bytes * total
    ]
    if not full:
        return None
    return ScalingBlocked(
        "CapacityExceeded",
        f"{ledger.booked_bytes} bytes of storage are sold, and the volumes of {', '.join(full)} could not hold their "
        f"share when {', '.join(sorted(gone))} had left. Next: raise template.storage.size, or kubectl scale "
        f"snp/{pool.name} --replicas={len(observed.nodes_of(pool.name))}.",
    )


def _why_too_small(observed: Observed, pool: Pool) -> ScalingBlocked | None:
    """A size that no committee can have: members stay, and those that somebody deletes are still replaced."""
    least = smallest_size(observed, pool)
    if observed.ledger is None or pool.spec.replicas >= least:
        return None
    n_shards = observed.ledger.n_shards
    smallest, cap = smallest_committee(n_shards), max_faulty(n_shards)
    target = pool.spec.replicas + asked_of_others(observed, pool)
    return ScalingBlocked(
        "BelowMinNodes",
        f"{target} nodes × at most {cap} shards = {target * cap} < {n_shards}. Smallest safe size is {smallest}. "
        f"Next: kubectl scale snp/{pool.name} --replicas={least}.",
    )
