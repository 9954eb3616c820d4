"""Operators that are killed in the middle of things, and two of them at once."""

from __future__ import annotations

from haulout_operator.failpoints import Failpoint
from tests.kubernetes.installation import Installation
from tests.kubernetes.load import Load

# In the order in which one change of epoch comes to them. All twelve, each alone, are in `test_full`.
POINTS = (Failpoint.LEAVE_REQUESTED, Failpoint.EPOCH_CHANGED, Failpoint.VOLUME_DELETED)


def test_an_operator_killed_in_an_epoch_change_is_finished_by_the_next(network: Installation, under_load: Load) -> None:
    victim = network.nodes()[0]
    network.arm(*POINTS)
    network.kubectl("delete", "sn", victim, "--wait=false")
    network.wait(f"killed at {POINTS[0]}", lambda: network.has_ended_at(POINTS[0]))
    network.wait("leave requested", lambda: network.reason(victim) == "OwnsShards")
    # Epochs change by hand: nobody but the operator takes the step, and it ends there on its way to the last point.
    transition = network.ask_for_an_epoch()
    network.wait(f"killed at {POINTS[-1]}", lambda: network.has_ended_at(POINTS[-1]))
    [pod] = network.operator_pods()
    assert pod["status"]["containerStatuses"][0]["restartCount"] >= len(POINTS) - 1  # the last may still be awaited
    network.disarm()
    network.wait_for_transition(transition)
    network.wait("it is gone", lambda: victim not in network.nodes())
    network.settle(4)
    network.wait("its volume is gone", lambda: f"{victim}-data" not in network.names("pvc"), 60)
    under_load.finish(f"operators killed at {', '.join(POINTS)}")


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
