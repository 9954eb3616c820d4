"""`plan(observed) -> actions`: one round, each object by itself, so that a stuck one keeps nobody waiting."""

from __future__ import annotations

from dataclasses import dataclass

from haulout_operator.actions import Action
from haulout_operator.observed import Observed
from haulout_operator.planning.network import plan_epoch, plan_network, plan_network_removal
from haulout_operator.planning.node import plan_node
from haulout_operator.planning.place import place_of
from haulout_operator.planning.pool import ScalingBlocked, plan_pool
from haulout_operator.planning.protocol import plan_protocol
from haulout_operator.planning.transition import plan_transitions


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in order, and which pools cannot have the size they were asked for."""

    actions: tuple[Action, ...]
    blocked: dict[str, ScalingBlocked]


def plan(observed: Observed) -> Plan:
    """The next actions; none when everything is as it should be.

    At most one node's Pod is replaced in a round: the next round sees what that did to the budget.
    """
    if observed.network.is_deleting:
        return Plan(tuple(plan_network_removal(observed)), {})
    actions = plan_network(observed)
    blocked: dict[str, ScalingBlocked] = {}
    for pool in observed.pools:
        planned = plan_pool(observed, pool)
        actions += planned.actions
        if planned.blocked is not None:
            blocked[pool.name] = planned.blocked
    place = place_of(observed)
    has_replaced = False
    for node in sorted(observed.nodes, key=lambda node: (node.spec.serial, node.name), reverse=True):
        for action in plan_node(observed, place, node):
            replaces = replaces_pod(observed, action)
            if not (replaces and has_replaced):
                actions.append(action)
            has_replaced = has_replaced or replaces
    actions += plan_transitions(observed)
    actions += plan_protocol(observed)
    actions += plan_epoch(observed)
    return Plan(tuple(actions), blocked)


def replaces_pod(observed: Observed, action: Action) -> bool:
    """Whether an action changes the Pod of a node that has one."""
    manifest = getattr(action, "manifest", None)
    if manifest is None or manifest["kind"] != "StatefulSet":
        return False
    name = manifest["metadata"]["name"]
    return observed.child("StatefulSet", name) is not None and any(node.name == name for node in observed.nodes)
