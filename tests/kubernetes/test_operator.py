"""Operators that are killed in the middle of things, and two of them at once."""

from __future__ import annotations

import pytest

from haulout_operator.failpoints import Failpoint
from tests.kubernetes.installation import Installation
from tests.kubernetes.load import Load

# On a network whose epochs change by hand nobody but the operator takes a step. All twelve are in `test_full`.
POINTS = (Failpoint.LEAVE_REQUESTED, Failpoint.EPOCH_CHANGED, Failpoint.VOLUME_DELETED)


def test_an_operator_killed_in_an_epoch_change_is_finished_by_the_next(
    network: Installation, under_load: Load, subtests: pytest.Subtests
) -> None:
    for point in POINTS:
        with subtests.test(point.value):
            replace_a_node(network, point)
    under_load.finish(f"operators killed at {', '.join(POINTS)}")


def replace_a_node(network: Installation, point: Failpoint) -> None:
    """Delete a node with an operator that ends at a point on the way; the next one finishes."""
    victim = network.nodes()[0]
    network.arm(point)
    network.kubectl("delete", "sn", victim, "--wait=false")
    transition = ""
    if point is not Failpoint.LEAVE_REQUESTED:
        network.wait("leave requested", lambda: network.reason(victim) == "OwnsShards")
        transition = network.ask_for_an_epoch()
    network.wait(f"killed at {point}", network.was_killed)
    network.disarm()
    if not transition:
        network.wait("leave requested", lambda: network.reason(victim) == "OwnsShards")
        transition = network.ask_for_an_epoch()
    network.wait_for_transition(transition)
    network.wait("it is gone", lambda: victim not in network.nodes())
    network.settle(4)
    network.wait("its volume is gone", lambda: f"{victim}-data" not in network.names("pvc"), 60)


def test_a_mind_that_is_changed_in_time_moves_nothing(network: Installation) -> None:
    network.kubectl("scale", "snp/main", "--replicas=5")
    network.wait("a fifth staked node", lambda: network.staked() == 5)
    network.advance_epoch()
    network.wait("5 members", lambda: network.members() == 5)
    before = network.nodes()
    network.kubectl("scale", "snp/main", "--replicas=4")
    network.wait("one leaves", lambda: "OwnsShards" in network.reasons())
    network.kubectl("scale", "snp/main", "--replicas=5")
    network.wait("nobody leaves", lambda: set(network.reasons()) == {"Serving"})
    assert network.nodes() == before
    network.kubectl("scale", "snp/main", "--replicas=4")
    network.wait("one leaves", lambda: "OwnsShards" in network.reasons())
    network.advance_epoch()
    network.settle(4)


def test_two_operators_make_no_more_nodes_than_were_asked_for(network: Installation, under_load: Load) -> None:
    network.kubectl("scale", "deploy/haulout-operator", "--replicas=2")
    network.kubectl("rollout", "status", "deploy/haulout-operator", "--timeout=120s")
    network.kubectl("scale", "snp/main", "--replicas=6")
    most = 0

    def has_grown() -> bool:
        nonlocal most
        most = max(most, len(network.nodes()))
        return network.staked() == 6

    network.wait("6 staked nodes", has_grown)
    network.settle(6)
    assert max(most, len(network.nodes())) == 6
    network.advance_epoch()
    network.kubectl("scale", "snp/main", "--replicas=4")
    network.wait("two leave", lambda: network.reasons().count("OwnsShards") == 2)
    network.advance_epoch()
    network.settle(4)
    network.kubectl("scale", "deploy/haulout-operator", "--replicas=1")
    network.kubectl("rollout", "status", "deploy/haulout-operator", "--timeout=120s")
    under_load.finish("two operators, 4 to 6 to 4 nodes")
