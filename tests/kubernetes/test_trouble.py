"""What goes wrong in clusters, one thing after another on one installation, under load wherever data could suffer.

Every scenario leaves the network as it found it: settled, with all nodes ready. Those that break machines or the API
server need the testbed's command (`HAULOUT_TESTBED`); elsewhere they are left out and say so.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.kubernetes.installation import Installation, is_ready, say
from tests.kubernetes.load import SHORT, Load, read, store

FROZEN_S = 120
WHILE_FROZEN = 500  # operations: the data goes on without an API server
HELD_S = 10  # a node that a partition holds back stays as it is
BLOB = bytes(range(255, -1, -1)) * 500


def stored_slivers(network: Installation, node: str) -> float:
    return network.metrics(f"pod/{node}-0")["haulout_node_stored_slivers"]


def replaced_claim(network: Installation, claim: str, pod: str) -> None:
    """A volume is gone, and the operator has made the claim anew."""
    old = network.get("pvc", claim)["metadata"]["uid"]
    network.kubectl("delete", "pvc", claim, "--wait=false")
    network.kubectl("delete", "pod", pod, "--grace-period=0", "--force")

    def is_new() -> bool:
        return claim in network.names("pvc") and network.get("pvc", claim)["metadata"]["uid"] != old

    network.wait("a new volume claim", is_new, 120)


def test_node_processes_die_one_after_another(network: Installation, under_load: Load) -> None:
    for node in network.nodes():
        network.kubectl("delete", "pod", f"{node}-0", "--grace-period=0", "--force")
        network.wait_until_down_and_up(node)
    network.settle()
    under_load.finish("every node's process killed in turn")


def test_a_lost_volume_is_rebuilt_from_the_others(network: Installation, under_load: Load) -> None:
    node = network.nodes()[1]
    network.wait("slivers to lose", lambda: stored_slivers(network, node) >= 100, 120)
    before = stored_slivers(network, node)
    replaced_claim(network, f"{node}-data", f"{node}-0")
    network.kubectl("delete", "pod", f"{node}-0", "--grace-period=0", "--force", "--ignore-not-found")
    network.kubectl("wait", "--for=condition=Ready", f"sn/{node}", "--timeout=240s")
    started = time.monotonic()
    network.wait("slivers rebuilt", lambda: stored_slivers(network, node) >= before)
    say(f"volume lost: {before:.0f} slivers there again {time.monotonic() - started:.0f} s after the Pod was ready")
    network.settle()
    under_load.finish("a lost volume", least=SHORT)


def test_a_drain_stops_where_the_budget_ends(network: Installation, under_load: Load) -> None:
    machines = [pod["spec"]["nodeName"] for pod in network.node_pods()]
    fullest = max(sorted(set(machines)), key=machines.count)
    here = sorted(
        pod["metadata"]["labels"]["haulout.dev/node"]
        for pod in network.node_pods()
        if pod["spec"]["nodeName"] == fullest
    )
    others = {pod["metadata"]["uid"] for pod in network.node_pods() if pod["spec"]["nodeName"] != fullest}
    assert len(here) > 1, f"each machine has one node, nothing to hold back: {machines}"
    what = ["--delete-emptydir-data", "--ignore-daemonsets", "--pod-selector=haulout.dev/role=node"]
    try:
        network.kubectl("cordon", fullest)
        answer = network.kubectl("drain", fullest, *what, "--timeout=20s", check=False)
        assert "disruption budget" in answer, answer
        down = [node for node in here if network.condition("sn", node, "Ready")["status"] != "True"]
        assert len(down) == 1, (here, down)  # the one whose shards the others bear
        assert network.condition("snet", "main", "Available")["status"] == "True"
    finally:
        network.kubectl("uncordon", fullest)
    network.settle()
    assert others <= {pod["metadata"]["uid"] for pod in network.node_pods()}
    under_load.finish("a machine drained as far as the budget goes", least=SHORT)


def test_a_release_rolls_through_by_halves_within_the_budget(breakable: Installation, under_load: Load) -> None:
    serials = {one["metadata"]["name"]: one["spec"]["serial"] for one in breakable.get("sn")["items"]}
    held = sorted(serials, key=lambda name: serials[name])[:2]
    set_partition(breakable, sorted(serials.values())[2])
    tag = breakable.cluster.load_again("again")
    started = time.monotonic()
    breakable.upgrade("--set", f"image.tag={tag}")
    least = 4

    def updated() -> set[str]:
        """Nodes on the new image, once all are ready."""
        nonlocal least
        ready = [one for one in breakable.node_pods() if is_ready(one)]
        least = min(least, len(ready))
        new = [one for one in ready if one["spec"]["containers"][0]["image"].endswith(f":{tag}")]
        return {one["metadata"]["labels"]["haulout.dev/node"] for one in new} if len(ready) == 4 else set()

    breakable.wait("half of the nodes on the new image", lambda: updated() == set(serials) - set(held), 420)
    breakable.wait("the pool says so", lambda: breakable.get("snp", "main")["status"]["updatedReplicas"] == 2, 60)
    time.sleep(HELD_S)
    assert updated() == set(serials) - set(held)
    set_partition(breakable, 0)
    breakable.wait("all nodes on the new image", lambda: updated() == set(serials), 420)
    assert least >= 3, f"{4 - least} nodes were down at once"
    breakable.settle()
    under_load.finish(f"a release rolled through by halves in {time.monotonic() - started:.0f} s")


def set_partition(network: Installation, serial: int) -> None:
    """Nodes with a serial below this one keep what they run."""
    patch = json.dumps({"spec": {"update": {"partition": serial}}})
    network.kubectl("patch", "snp/main", "--type=merge", "-p", patch)


def test_the_ledgers_process_dies(network: Installation, under_load: Load) -> None:
    uid = network.get("pod", "main-ledger-0")["metadata"]["uid"]
    network.kubectl("delete", "pod", "main-ledger-0", "--grace-period=0", "--force")
    network.wait_for_another_pod("main-ledger-0", uid)
    network.wait("the ledger is back", lambda: network.condition("snet", "main", "LedgerReachable")["status"] == "True")
    network.settle()
    under_load.finish("a killed ledger", least=SHORT)


def test_a_lost_ledger_is_restored_from_the_nodes(network: Installation) -> None:
    with network.reached("main-gateway") as gateway:
        blob_id = store(gateway, BLOB)
    chain, epoch = network.get("snet", "main")["status"]["chainId"], network.epoch()
    started = time.monotonic()
    uid = network.get("pod", "main-ledger-0")["metadata"]["uid"]
    replaced_claim(network, "main-ledger-data", "main-ledger-0")
    network.wait_for_another_pod("main-ledger-0", uid)
    network.wait("the ledger is back", lambda: network.condition("snet", "main", "LedgerReachable")["status"] == "True")
    assert network.get("cm", "main-restore")["data"]["nodes"].count("\n") == len(network.nodes())
    network.settle()
    say(f"ledger restored from the nodes after {time.monotonic() - started:.0f} s")
    assert (network.get("snet", "main")["status"]["chainId"], network.epoch()) == (chain, epoch)
    with network.reached("main-gateway") as gateway:
        assert read(gateway, blob_id) == BLOB  # registered and certified before the loss
        assert read(gateway, store(gateway, BLOB[::-1])) == BLOB[::-1]
    network.advance_epoch()


@pytest.mark.usefixtures("earlier_release")  # made meanwhile
def test_the_api_server_does_not_answer_for_two_minutes(breakable: Installation, under_load: Load) -> None:
    before = under_load.operations
    breakable.cluster.break_machine("freeze-api")
    try:
        time.sleep(FROZEN_S)
    finally:
        breakable.cluster.break_machine("thaw-api")
    done = under_load.operations - before
    breakable.wait("the API server", lambda: "ok" in breakable.kubectl("get", "--raw", "/readyz", check=False), 120)
    breakable.settle()
    under_load.finish(f"API server frozen for {FROZEN_S} s ({done} operations meanwhile)")
    assert done >= WHILE_FROZEN
