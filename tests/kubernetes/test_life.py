"""One installation from `helm install` to `helm uninstall` and back, in the order in which its tests stand here."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

BLOB = bytes(range(256)) * 800


def say(text: str) -> None:
    print(f"\n[e2e] {text}", flush=True)


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


def test_from_install_to_the_first_verified_read(installation: Any) -> None:
    started = time.monotonic()
    seconds = installation.install()
    with installation.forwarded("svc/main-gateway", 8080) as gateway:
        assert read(gateway, store(gateway, BLOB)) == BLOB
    say(f"helm install --wait: {seconds:.0f} s; first verified read after {time.monotonic() - started:.0f} s")
    assert len(installation.nodes()) == 4


def test_helm_test_passes(installation: Any) -> None:
    assert "Succeeded" in installation.helm("test", "haulout")


REFUSED = [
    ("snet", "main", {"spec": {"shards": 200}}, "the network was founded with it"),
    ("snet", "main", {"spec": {"epoch": {"duration": "2h"}}}, "epoch.duration cannot be changed"),
    ("snet", "main", {"spec": {"epoch": {"maxEpochsAhead": 5}}}, "epoch.maxEpochsAhead cannot be changed"),
    ("snet", "main", {"spec": {"deletion": {"policy": "Destroy"}}}, "needs deletion.confirm"),
    ("snet", "main", {"spec": {"tls": {"mode": "Maybe"}}}, "Unsupported value"),
    ("snet", "main", {"spec": {"ledger": {"storage": {"size": "1Gi"}}}}, "volumes only grow"),
    ("snp", "main", {"spec": {"networkRef": {"name": "other"}}}, "identity belongs to one network"),
    ("snp", "main", {"spec": {"replicas": 1000}}, "should be less than or equal to 150"),
    ("snp", "main", {"spec": {"template": {"stake": "a lot"}}}, "should match"),
    ("snp", "main", {"spec": {"template": {"storage": {"size": "1Gi"}}}}, "volumes only grow"),
]


@pytest.mark.parametrize(("kind", "name", "patch", "words"), REFUSED, ids=lambda value: str(value)[:60])
def test_the_api_server_refuses_in_words_that_help(
    installation: Any, kind: str, name: str, patch: dict[str, Any], words: str
) -> None:
    answer = installation.kubectl(
        "patch", kind, name, "--type=merge", "--dry-run=server", "-p", json.dumps(patch), check=False
    )
    assert words in answer, answer


def test_names_that_are_too_long_are_refused(installation: Any) -> None:
    body = {
        "apiVersion": "haulout.dev/v1alpha1",
        "kind": "StorageNodePool",
        "metadata": {"name": "p" * 41},
        "spec": {"networkRef": {"name": "main"}},
    }
    answer = installation.kubectl("create", "--dry-run=server", "-f", "-", check=False, text=json.dumps(body))
    assert "at most 40 characters" in answer


def test_a_settled_operator_is_quiet(installation: Any) -> None:
    def requests() -> float:
        with installation.forwarded("deploy/haulout-operator", 9090) as url:
            text = httpx.get(f"{url}/metrics", timeout=30, trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith("haulout_operator_api_requests_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    time.sleep(10)
    before, started = requests(), time.monotonic()
    time.sleep(75)
    per_minute = (requests() - before) / (time.monotonic() - started) * 60
    children = "snet,snp,sn,sts,deploy,svc,pvc,cm,pdb,networkpolicy,pods"
    n_objects = len(installation.get(children)["items"])
    say(f"operator at rest: {per_minute:.0f} requests/min for {n_objects} objects")
    assert per_minute / n_objects <= 2


def test_scaling_below_the_smallest_committee_says_so_and_does_nothing(installation: Any) -> None:
    before = installation.nodes()
    installation.kubectl("scale", "snp/main", "--replicas=3")
    installation.wait(
        "ScalingBlocked", lambda: installation.condition("snp", "main", "ScalingBlocked")["reason"] == "BelowMinNodes"
    )
    message = installation.condition("snp", "main", "ScalingBlocked")["message"]
    assert "Smallest safe size is 4. Next: kubectl scale snp/main --replicas=4." in message
    assert installation.nodes() == before
    installation.kubectl("scale", "snp/main", "--replicas=4")
    installation.kubectl("wait", "--for=condition=ScalingBlocked=false", "snp/main", "--timeout=60s")


def test_grows_under_load(installation: Any, load_on: Any) -> None:
    with installation.forwarded("svc/main-gateway", 8080) as gateway, load_on(gateway) as load:
        started = time.monotonic()
        installation.kubectl("scale", "snp/main", "--replicas=7")
        installation.wait("7 staked nodes", lambda: staked(installation) == 7)
        joined = time.monotonic() - started
        installation.advance_epoch()
        installation.wait("7 members", lambda: members(installation) == 7)
        done = time.monotonic() - started
    say(load.report(f"4 to 7 nodes: staked after {joined:.0f} s, shards moved after {done:.0f} s"))
    assert not load.failed


def test_shrinks_under_load(installation: Any, load_on: Any) -> None:
    with installation.forwarded("svc/main-gateway", 8080) as gateway, load_on(gateway) as load:
        started = time.monotonic()
        installation.kubectl("scale", "snp/main", "--replicas=4")
        installation.wait("three leave", lambda: reasons(installation).count("OwnsShards") == 3)
        installation.advance_epoch()
        installation.wait("4 nodes", lambda: len(installation.nodes()) == 4)
        done = time.monotonic() - started
    say(load.report(f"7 to 4 nodes: gone after {done:.0f} s"))
    assert not load.failed
    claims = [one["metadata"]["name"] for one in installation.get("pvc")["items"]]
    installation.wait("volumes of those that left go", lambda: len(installation.get("pvc")["items"]) == 5)
    assert "main-ledger-data" in claims


def test_a_deleted_node_is_replaced_first(installation: Any, load_on: Any) -> None:
    victim = installation.nodes()[0]
    with installation.forwarded("svc/main-gateway", 8080) as gateway, load_on(gateway) as load:
        installation.kubectl("delete", "sn", victim, "--wait=false")
        installation.wait("a substitute with stake", lambda: staked(installation) == 5)
        installation.wait("leave requested", lambda: "OwnsShards" in reasons(installation))
        installation.advance_epoch()
        installation.wait("it is gone", lambda: victim not in installation.nodes())
    say(load.report("delete one of 4 nodes"))
    assert not load.failed
    assert len(installation.nodes()) == 4


def test_a_killed_pod_comes_back_to_its_volume(installation: Any, load_on: Any) -> None:
    node = installation.nodes()[0]
    with installation.forwarded("svc/main-gateway", 8080) as gateway, load_on(gateway) as load:
        installation.kubectl("delete", "pod", f"{node}-0", "--grace-period=0", "--force")
        installation.wait("not ready", lambda: installation.condition("sn", node, "Ready")["status"] != "True", 60)
        installation.kubectl("wait", "--for=condition=Ready", f"sn/{node}", "--timeout=180s")
    say(load.report("a killed node"))
    assert not load.failed


def test_uninstall_keeps_data_and_a_new_installation_has_it(installation: Any) -> None:
    with installation.forwarded("svc/main-gateway", 8080) as gateway:
        blob_id = store(gateway, BLOB[::-1])
    names = installation.nodes()
    installation.helm("uninstall", "haulout")
    installation.wait("Pods are gone", lambda: no_network_pods(installation))
    assert installation.nodes() == []
    assert len(installation.get("pvc")["items"]) == 5
    seconds = installation.install()
    with installation.forwarded("svc/main-gateway", 8080) as gateway:
        assert read(gateway, blob_id) == BLOB[::-1]
    assert installation.nodes() == names
    say(f"installed again after {seconds:.0f} s, data intact")


def staked(installation: Any) -> int:
    items = installation.get("sn")["items"]
    return sum(
        one["status"] == "True"
        for item in items
        for one in item.get("status", {}).get("conditions", [])
        if one["type"] == "Staked"
    )


def members(installation: Any) -> int:
    return int(installation.get("snet", "main")["status"]["nodes"]["inCommittee"])


def reasons(installation: Any) -> list[str]:
    items = installation.get("sn")["items"]
    conditions = [one for item in items for one in item.get("status", {}).get("conditions", [])]
    return [one["reason"] for one in conditions if one["type"] == "Ready"]


def no_network_pods(installation: Any) -> bool:
    items = installation.get("pods")["items"]
    return not [one for one in items if "haulout.dev/network" in one["metadata"].get("labels", {})]
