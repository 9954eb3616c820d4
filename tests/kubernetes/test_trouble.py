"""What goes wrong in clusters, one thing after another on one installation, under load wherever data could suffer.

Every scenario leaves the network as it found it: settled, with all nodes ready. Those that break machines or the API
server need the testbed's command (`HAULOUT_TESTBED`); elsewhere they are left out and say so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

SETTLE_S = 300
FROZEN_S = 120
LEAST_OPERATIONS = 20
BLOB = bytes(range(255, -1, -1)) * 500
OPERATOR = "app.kubernetes.io/component=haulout-operator"
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction"}


def store(gateway: str, content: bytes) -> str:
    answer = httpx.put(f"{gateway}/v1/blobs", params={"epochs": "20"}, content=content, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    found = document.get("newlyCreated", {}).get("blobObject") or document["alreadyCertified"]
    return str(found["blobId"])


def read(gateway: str, blob_id: str) -> bytes:
    answer = httpx.get(f"{gateway}/v1/blobs/{blob_id}", timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.content


def say(text: str) -> None:
    print(f"\n[e2e] {text}", flush=True)


@pytest.fixture(scope="module")
def network(installation: Any) -> Any:
    """The installation, settled, with four nodes."""
    if not installation.is_installed():
        installation.install()
    settle(installation)
    return installation


@pytest.fixture
def breakable(network: Any) -> Any:
    """The same on machines that may be broken."""
    if not network.cluster.testbed:
        pytest.skip("needs HAULOUT_TESTBED: this cluster's machines are not ours to break")
    return network


@pytest.fixture
def under_load(network: Any, load_on: Any) -> Iterator[Any]:
    """Writes and reads while the test does its worst; none may fail."""
    if network.cluster.testbed:
        with load_on(network.address("main-gateway", 8080)) as load:
            yield load
    else:
        with network.forwarded("svc/main-gateway", 8080) as gateway, load_on(gateway) as load:
            yield load


def settle(network: Any, size: int = 4) -> None:
    """All nodes ready and members, nothing moving."""

    def is_settled() -> bool:
        status = network.get("snet", "main").get("status", {})
        holds = {one["type"]: one["status"] for one in status.get("conditions", [])}
        return holds.get("Ready") == "True" and holds.get("Available") == "True" and len(network.nodes()) == size

    network.wait(f"{size} settled nodes", is_settled, SETTLE_S)


def finish(load: Any, scenario: str) -> None:
    deadline = time.monotonic() + 60  # what is over quickly has not seen much load yet
    while load.operations < LEAST_OPERATIONS and time.monotonic() < deadline:
        time.sleep(0.5)
    load.stop()
    say(load.report(scenario))
    assert not load.failed
    assert load.operations >= LEAST_OPERATIONS


def reason_of(network: Any, node: str) -> str:
    return str(network.condition("sn", node, "Ready")["reason"])


def stored_slivers(network: Any, node: str) -> float:
    with network.forwarded(f"pod/{node}-0", 9090) as url:
        text = httpx.get(f"{url}/metrics", timeout=30, trust_env=False).text
    line = next(line for line in text.splitlines() if line.startswith("haulout_node_stored_slivers "))
    return float(line.rpartition(" ")[2])


def warnings_of(network: Any, kind: str, name: str) -> set[str]:
    """Reasons of Warning events about an object."""
    events = network.get("events")["items"]
    about = [one for one in events if (one["involvedObject"]["kind"], one["involvedObject"]["name"]) == (kind, name)]
    return {one["reason"] for one in about if one["type"] == "Warning"}


def test_a_size_that_cannot_be_is_a_warning_event(network: Any) -> None:
    network.kubectl("scale", "snp/main", "--replicas=3")
    network.wait("a warning", lambda: "BelowMinNodes" in warnings_of(network, "StorageNodePool", "main"), 60)
    assert "BelowMinNodes" in network.kubectl("describe", "snp/main")
    assert len(network.nodes()) == 4
    network.kubectl("scale", "snp/main", "--replicas=4")


def test_a_lost_volume_is_rebuilt_from_the_others(network: Any, under_load: Any) -> None:
    node = network.nodes()[1]
    network.wait("slivers to lose", lambda: stored_slivers(network, node) >= 100, 120)
    before = stored_slivers(network, node)
    old = network.get("pvc", f"{node}-data")["metadata"]["uid"]
    network.kubectl("delete", "pvc", f"{node}-data", "--wait=false")
    network.kubectl("delete", "pod", f"{node}-0", "--grace-period=0", "--force")

    def is_new() -> bool:
        found = network.kubectl("get", "pvc", f"{node}-data", "-o", "json", check=False)
        return found.startswith("{") and json.loads(found)["metadata"]["uid"] != old

    network.wait("a new volume claim", is_new, 120)
    network.kubectl("delete", "pod", f"{node}-0", "--grace-period=0", "--force", "--ignore-not-found")
    network.kubectl("wait", "--for=condition=Ready", f"sn/{node}", "--timeout=240s")
    started = time.monotonic()
    network.wait("slivers rebuilt", lambda: stored_slivers(network, node) >= before, SETTLE_S)
    say(f"volume lost: {before:.0f} slivers there again {time.monotonic() - started:.0f} s after the Pod was ready")
    finish(under_load, "a lost volume")


def test_node_processes_die_one_after_another(network: Any, under_load: Any) -> None:
    for node in network.nodes():
        network.kubectl("delete", "pod", f"{node}-0", "--grace-period=0", "--force")
        network.wait("not ready", lambda node=node: network.condition("sn", node, "Ready")["status"] != "True", 60)
        network.kubectl("wait", "--for=condition=Ready", f"sn/{node}", "--timeout=240s")
    finish(under_load, "every node's process killed in turn")


def test_evictions_stop_where_the_budget_ends(network: Any, under_load: Any) -> None:
    first, second = network.nodes()[:2]
    answers = []
    for node in (first, second):
        body = {**EVICTION, "metadata": {"name": f"{node}-0", "namespace": network.namespace}}
        path = f"/api/v1/namespaces/{network.namespace}/pods/{node}-0/eviction"
        answers.append(network.kubectl("create", "--raw", path, "-f", "-", check=False, text=json.dumps(body)))
    assert '"Success"' in answers[0], answers[0]
    assert "disruption budget" in answers[1], answers[1]
    network.wait("evicted", lambda: network.condition("sn", first, "Ready")["status"] != "True", 60)
    network.kubectl("wait", "--for=condition=Ready", f"sn/{first}", "--timeout=240s")
    finish(under_load, "an eviction")


def test_two_operators_make_no_more_nodes_than_were_asked_for(network: Any, under_load: Any) -> None:
    network.kubectl("scale", "deploy/haulout-operator", "--replicas=2")
    network.kubectl("rollout", "status", "deploy/haulout-operator", "--timeout=120s")
    network.kubectl("scale", "snp/main", "--replicas=5")
    settle(network, 5)
    network.kubectl("scale", "snp/main", "--replicas=4")
    settle(network, 4)
    network.kubectl("scale", "deploy/haulout-operator", "--replicas=1")
    finish(under_load, "two operators")


def test_an_operator_killed_in_the_middle_of_an_epoch_goes_on(network: Any, under_load: Any) -> None:
    network.kubectl("scale", "snp/main", "--replicas=5")
    network.wait("a fifth staked node", lambda: staked(network) == 5)
    epoch = network.epoch()
    network.kubectl("annotate", "--overwrite", "snet/main", f"haulout.dev/advance-epoch={epoch}")
    for _ in range(3):
        time.sleep(1)
        network.kubectl(
            "delete", "pod", "-l", "app.kubernetes.io/component=haulout-operator", "--grace-period=0", "--force"
        )
    name = f"ept/main-{epoch + 1}"
    network.wait(name, lambda: f"main-{epoch + 1}" in network.kubectl("get", "ept", "-o", "name"), 240)
    network.kubectl("wait", "--for=condition=HandedOver", name, "--timeout=240s", timeout=300)
    network.wait("5 members", lambda: network.get("snet", "main")["status"]["nodes"]["inCommittee"] == 5)
    network.kubectl("scale", "snp/main", "--replicas=4")
    network.wait("one leaves", lambda: "OwnsShards" in [reason_of(network, node) for node in network.nodes()])
    network.kubectl("scale", "snp/main", "--replicas=5")  # the mind is changed: nobody goes, nobody comes
    before = network.nodes()
    network.wait("nobody leaves", lambda: {reason_of(network, node) for node in network.nodes()} == {"Serving"})
    assert network.nodes() == before
    network.kubectl("scale", "snp/main", "--replicas=4")
    network.wait("one leaves", lambda: "OwnsShards" in [reason_of(network, node) for node in network.nodes()])
    network.advance_epoch()
    settle(network, 4)
    finish(under_load, "an operator killed three times in one epoch change")


def test_a_release_rolls_through_within_the_budget(breakable: Any, under_load: Any) -> None:
    tag = breakable.cluster.load_again("again")
    started = time.monotonic()
    breakable.upgrade("--set", f"image.tag={tag}")
    least = 4

    def is_rolled() -> bool:
        nonlocal least
        pods = [one for one in breakable.get("pods")["items"] if "haulout.dev/node" in one["metadata"]["labels"]]
        ready = [one for one in pods if {"type": "Ready", "status": "True"}.items() <= ready_of(one).items()]
        least = min(least, len(ready))
        images = {one["spec"]["containers"][0]["image"] for one in ready}
        return len(ready) == 4 and all(image.endswith(f":{tag}") for image in images)

    breakable.wait("all nodes on the new image", is_rolled, 420)
    assert least >= 3, f"{4 - least} nodes were down at once"
    settle(breakable)
    finish(under_load, f"a release rolled through in {time.monotonic() - started:.0f} s")


def test_the_ledgers_process_dies(network: Any, under_load: Any) -> None:
    network.kubectl("delete", "pod", "main-ledger-0", "--grace-period=0", "--force")
    network.wait("the ledger is back", lambda: network.condition("snet", "main", "LedgerReachable")["status"] == "True")
    settle(network)
    finish(under_load, "a killed ledger")


def test_a_lost_ledger_is_restored_from_the_nodes(network: Any) -> None:
    with network.forwarded("svc/main-gateway", 8080) as gateway:
        blob_id = store(gateway, BLOB)
    chain = network.get("snet", "main")["status"]["chainId"]
    epoch = network.epoch()
    old = network.get("pvc", "main-ledger-data")["metadata"]["uid"]
    network.kubectl("delete", "pvc", "main-ledger-data", "--wait=false")
    network.kubectl("delete", "pod", "main-ledger-0", "--grace-period=0", "--force")

    def is_new() -> bool:
        found = network.kubectl("get", "pvc", "main-ledger-data", "-o", "json", check=False)
        return found.startswith("{") and json.loads(found)["metadata"]["uid"] != old

    network.wait("a new volume claim", is_new, 120)
    network.wait("the ledger is back", lambda: network.condition("snet", "main", "LedgerReachable")["status"] == "True")
    assert network.get("cm", "main-restore")["data"]["nodes"].count("\n") == len(network.nodes())
    settle(network)
    status = network.get("snet", "main")["status"]
    assert (status["chainId"], status["epoch"]["number"]) == (chain, epoch)
    with network.forwarded("svc/main-gateway", 8080) as gateway:
        assert read(gateway, blob_id) == BLOB  # registered and certified before the loss
        again = store(gateway, BLOB[::-1])
        assert read(gateway, again) == BLOB[::-1]
    network.advance_epoch()


def test_the_api_server_does_not_answer_for_two_minutes(breakable: Any, under_load: Any) -> None:
    before = under_load.operations
    breakable.cluster.break_machine("freeze-api")
    try:
        time.sleep(FROZEN_S)
    finally:
        breakable.cluster.break_machine("thaw-api")
    done = under_load.operations - before
    breakable.wait("the API server", lambda: "ok" in breakable.kubectl("get", "--raw", "/readyz", check=False), 120)
    settle(breakable)
    finish(under_load, f"API server frozen for {FROZEN_S} s ({done} operations meanwhile)")
    assert done >= 20


def test_a_machine_dies_and_comes_back(breakable: Any, under_load: Any) -> None:
    pods = breakable.get("pods")["items"]
    roles: dict[str, list[str]] = {}
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        role = labels.get("haulout.dev/role", labels.get("app.kubernetes.io/component", ""))
        roles.setdefault(pod["spec"].get("nodeName", ""), []).append(role)
    candidates = [name for name, has in roles.items() if has.count("node") == 1 and "ledger" not in has]
    if not candidates:
        pytest.skip(f"no machine has one storage node and not the ledger: {roles}")
    machine = candidates[0]
    (victim,) = [
        pod["metadata"]["labels"]["haulout.dev/node"]
        for pod in pods
        if pod["spec"].get("nodeName") == machine and "haulout.dev/node" in pod["metadata"].get("labels", {})
    ]
    names = breakable.nodes()
    breakable.cluster.break_machine("kill-node", machine)
    try:
        breakable.wait("it is seen", lambda: breakable.condition("sn", victim, "Ready")["status"] != "True", 240)
        assert breakable.condition("snet", "main", "Available")["status"] == "True"
        time.sleep(20)
        assert breakable.nodes() == names  # nobody is replaced on one view of the world
    finally:
        breakable.cluster.break_machine("start-node", machine)
    settle(breakable)
    assert breakable.nodes() == names
    finish(under_load, "a machine that died and came back")


def staked(network: Any) -> int:
    items = network.get("sn")["items"]
    conditions = [one for item in items for one in item.get("status", {}).get("conditions", [])]
    return sum(one["type"] == "Staked" and one["status"] == "True" for one in conditions)


def ready_of(pod: dict[str, Any]) -> dict[str, Any]:
    conditions = pod.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "Ready"), {})
