"""What goes wrong has a reason of its own, a next step, and a Warning event; when it is over, that is told too."""

from __future__ import annotations

import json

import pytest

from haulout.ledger import keys, queries
from haulout_operator.ledger import Rows, read_facts
from haulout_operator.reconcile import AGAIN_MS, SOON_MS

ZONE = "topology.kubernetes.io/zone"


async def founded(town):
    town.found()
    await town.play()
    assert town.warnings() == set()
    return town.nodes()


def last_lines(code: str, problem: str) -> str:
    """As a process logs when it cannot go on."""
    ready = json.dumps({"event": "storage opened", "level": "info"})
    return f"{ready}\n{json.dumps({'event': 'cannot go on', 'level': 'error', 'code': code, 'problem': problem})}\n"


@pytest.mark.parametrize(
    ("code", "problem", "reason", "advice"),
    [
        ("UNKNOWN_STORE_VERSION", "the data has version 9", "WrongVolumeVersion", "run the release that wrote"),
        ("WRONG_GENESIS", "this store belongs to chain 0x12", "ForeignVolume", "give the volume back"),
        ("DISK_FULL", "no space left", "DiskFull", "raise template.storage.size"),
        ("MALFORMED_REQUEST", "keys.blsSecret: not the key", "ForeignIdentity", "restore the Secret"),
        ("STORAGE_FAILED", "fsync failed", "StorageFailed", "fsync failed"),
    ],
)
async def test_a_process_that_cannot_go_on_says_why(town, code, problem, reason, advice) -> None:
    node = (await founded(town))[0]
    town.kube.end_process(node, last_lines(code, problem))
    await town.operator.run_round("main", {})
    condition = town.condition("StorageNode", node, "Ready")
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert problem in condition["message"]
    assert advice in condition["message"]
    assert reason in town.warnings()


async def test_a_process_that_says_nothing_is_told_as_kubernetes_tells_it(town) -> None:
    node = (await founded(town))[0]
    town.kube.end_process(node, "Traceback (most recent call last):\n[1, 2]\n{broken")
    await town.operator.run_round("main", {})
    condition = town.condition("StorageNode", node, "Ready")
    assert condition["reason"] == "CrashLoopBackOff"
    assert "it ended with code 1 (Error)" in condition["message"]


async def test_a_full_volume_is_no_downtime_and_is_over_when_there_is_space(town) -> None:
    node = (await founded(town))[1]
    town.full = {node}
    await town.play()
    assert town.condition("StorageNode", node, "Ready")["status"] == "True"
    storage = town.condition("StorageNode", node, "StorageHealthy")
    assert (storage["status"], storage["reason"]) == ("False", "DiskFull")
    assert "raise template.storage.size of snp/main" in storage["message"]
    assert node in town.condition("StorageNetwork", "main", "Degraded")["message"]
    assert town.warnings() == {"DiskFull"}
    town.full = set()
    await town.play()
    assert town.condition("StorageNode", node, "StorageHealthy")["status"] == "True"
    assert town.condition("StorageNetwork", "main", "Degraded")["status"] == "False"


async def test_a_node_that_answers_as_another_is_not_ready(town) -> None:
    node, other = (await founded(town))[:2]
    town.identities[node] = (await read_facts(town, None)).nodes[other].node_id
    await town.play()
    condition = town.condition("StorageNode", node, "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "ForeignIdentity")
    assert f"secret/{node}-keys" in condition["message"]
    assert town.warnings() == {"ForeignIdentity"}


async def test_an_accounts_secret_that_is_gone_is_not_made_again(town) -> None:
    await founded(town)
    del town.kube.objects["Secret", "main-treasury"]
    await town.restart()
    await town.play()
    condition = town.condition("StorageNetwork", "main", "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "SecretMissing")
    assert "secret/main-treasury is gone" in condition["message"]
    assert "main-treasury" not in town.kube.names("Secret")
    assert town.warnings() == {"SecretMissing"}


async def test_a_ledger_that_does_not_answer_is_told_with_what_its_pod_says(town) -> None:
    await founded(town)
    town.kube.end_process("main-ledger", last_lines("DISK_FULL", "no space left on /data"), container="ledger")
    town.ledger_is_up = False
    await town.operator.run_round("main", {})
    condition = town.condition("StorageNetwork", "main", "Available")
    assert condition["reason"] == "LedgerUnreachable"
    assert "pod/main-ledger-0: DiskFull: no space left on /data. Next: raise" in condition["message"]
    assert town.warnings() == {"LedgerUnreachable"}


@pytest.mark.parametrize(("service", "available"), [("main-gateway", "False"), ("main-graphql", "True")])
async def test_a_service_that_does_not_answer_is_told(town, service, available) -> None:
    await founded(town)
    town.kube.end_process(service, last_lines("STORAGE_FAILED", "fsync failed"))
    await town.operator.run_round("main", {})
    assert town.condition("StorageNetwork", "main", "Available")["status"] == available
    for name, status in (("Ready", "False"), ("Degraded", "True")):
        condition = town.condition("StorageNetwork", "main", name)
        assert condition["status"] == status
        assert f"not ready: {service}; pod/{service}-0: StorageFailed: fsync failed" in condition["message"]
    assert town.warnings() == {"ServicesNotReady"}
    town.kube.settle()
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"


# --- what Kubernetes does not make ----------------------------------------------------------------------------


def complain(town, kind: str, name: str, message: str, time: str, uid: str = "") -> None:
    about = {"kind": kind, "name": name, "uid": uid or town.kube.objects[kind, name]["metadata"]["uid"]}
    metadata = {"name": f"{name}.{time}", "namespace": "demo"}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about, "type": "Warning"}
    town.kube._add({**event, "reason": "FailedCreate", "message": message, "lastTimestamp": time})


async def test_a_pod_that_kubernetes_does_not_make_is_told_with_its_reason(town) -> None:
    node, other = (await founded(town))[:2]
    complain(town, "StatefulSet", node, "of another StatefulSet of that name", "2031-01-01T00:00:00Z", uid="other")
    complain(town, "StatefulSet", node, "exceeded quota: pods=8", "2030-01-01T00:00:02Z")
    complain(town, "StatefulSet", node, "what was wrong before", "2030-01-01T00:00:01Z")
    complain(town, "StatefulSet", other, "long over: its Pod is there", "2030-01-01T00:00:02Z")
    del town.kube.objects["Pod", f"{node}-0"]
    await town.operator.run_round("main", {})
    ready = town.condition("StorageNode", node, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodRefused")
    assert "does not make its Pod: FailedCreate: exceeded quota: pods=8. Next: mend" in ready["message"]
    assert town.condition("StorageNode", other, "Ready")["status"] == "True"
    assert "PodRefused" in town.warnings()
    town.kube.hidden = {"Event"}  # people's own role
    await town.operator.run_round("main", {})
    assert town.condition("StorageNode", node, "Ready")["reason"] == "NoPod"


async def test_a_claim_without_a_volume_is_told_beside_what_the_scheduler_says(town) -> None:
    node = (await founded(town))[0]
    town.kube.objects["PersistentVolumeClaim", f"{node}-data"]["status"] = {"phase": "Pending"}
    complain(town, "PersistentVolumeClaim", f"{node}-data", 'storageclass "fast" not found', "2030-01-01T00:00:02Z")
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "unbound claims"}
    town.kube.objects["Pod", f"{node}-0"]["status"]["conditions"] = [unscheduled]
    await town.operator.run_round("main", {})
    ready = town.condition("StorageNode", node, "Ready")
    assert ready["reason"] == "Unschedulable"
    assert f'unbound claims; pvc/{node}-data: FailedCreate: storageclass "fast" not found' in ready["message"]


async def test_a_service_whose_pods_are_not_made_is_told_with_its_reason(town) -> None:
    await founded(town)
    del town.kube.objects["Pod", "main-gateway-0"]
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    town.kube.objects["Deployment", "main-gateway"]["status"] = {"conditions": [failure]}
    await town.operator.run_round("main", {})
    message = town.condition("StorageNetwork", "main", "Available")["message"]
    assert message == "not ready: main-gateway; deployment/main-gateway: FailedCreate: exceeded quota"


async def test_a_token_that_is_gone_is_made_again_before_graphql_waits_for_it(town) -> None:
    await founded(town)
    for kind, name in (("Secret", "main-control"), ("Pod", "main-graphql-0")):
        del town.kube.objects[kind, name]
    await town.round()
    assert ("Secret", "main-control") in town.kube.objects


async def test_a_lost_treasury_is_missed_within_minutes(town) -> None:
    await founded(town)
    del town.kube.objects["Secret", "main-treasury"]
    town.clock.time_ms += 60_000
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["reason"] == "SecretMissing"


async def test_keys_that_are_gone_are_missed_as_soon_as_their_process_does_not_run(town) -> None:
    node = (await founded(town))[0]
    del town.kube.objects["Secret", f"{node}-keys"]
    town.kube.break_pod(node)
    await town.operator.run_round("main", {})
    assert town.condition("StorageNode", node, "Ready")["reason"] == "KeysMissing"
    assert "KeysMissing" in town.warnings()


# --- zones ----------------------------------------------------------------------------------------------------


def put_into_zones(town, zones: str) -> None:
    for name, zone in zip(town.nodes(), zones, strict=True):
        town.kube.objects["Pod", f"{name}-0"]["metadata"]["labels"][ZONE] = zone


async def test_a_zone_with_more_shards_than_may_be_lost_is_reported(town) -> None:
    first, second, *_ = await founded(town)
    assert town.condition("StorageNetwork", "main", "ZoneOverBudget")["reason"] == "NoZones"
    put_into_zones(town, "aabc")
    await town.play()
    condition = town.condition("StorageNetwork", "main", "ZoneOverBudget")
    assert (condition["status"], condition["reason"]) == ("True", "ZoneTooHeavy")
    assert f"33 of 100 shards may be lost, and zone a has 50 ({first}, {second})" in condition["message"]
    assert f"kubectl delete sn/{first}" in condition["message"]
    assert town.warnings() == {"ZoneTooHeavy"}
    assert town.condition("StorageNetwork", "main", "Available")["status"] == "True"
    put_into_zones(town, "abcd")
    await town.play()
    assert town.condition("StorageNetwork", "main", "ZoneOverBudget")["reason"] == "WithinBudget"


async def test_zones_come_from_the_machines_where_pods_tell_none_and_we_may_look(town) -> None:
    machine = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "u", "labels": {ZONE: "a"}}}
    town.kube.objects["Node", "n1"] = machine
    town.kube.hidden = {"Node"}
    await founded(town)
    assert town.condition("StorageNetwork", "main", "ZoneOverBudget")["reason"] == "NoZones"
    town.kube.hidden = set()
    await town.play()
    assert town.condition("StorageNetwork", "main", "ZoneOverBudget")["reason"] == "NoZones"  # asked once an hour
    town.clock.time_ms += 3_600_000
    await town.play()
    assert "zone a has 100" in town.condition("StorageNetwork", "main", "ZoneOverBudget")["message"]


# --- volumes that grow ----------------------------------------------------------------------------------------


async def capacities(town) -> set[int]:
    rows = Rows(dict(await town.scan(*keys.table_range(keys.NODE), limit=1000)))
    return {node.node_capacity_bytes for _, node in queries.nodes(rows)}


async def test_a_node_votes_the_size_of_its_volume_once_that_has_grown(town) -> None:
    await founded(town)
    assert await capacities(town) == {10 << 30}
    template = town.kube.objects["StorageNodePool", "main"]["spec"].setdefault("template", {})
    template["storage"] = {"size": "20Gi"}
    town.kube.volumes_grow = False  # the claims ask for more, the volumes are what they were
    await town.play()
    claims = [town.kube.objects["PersistentVolumeClaim", f"{name}-data"] for name in town.nodes()]
    assert {claim["spec"]["resources"]["requests"]["storage"] for claim in claims} == {"20Gi"}
    assert await capacities(town) == {10 << 30}
    town.kube.volumes_grow = True
    town.kube.settle()
    await town.play()
    assert await capacities(town) == {20 << 30}


async def test_a_volume_that_cannot_grow_holds_up_nothing_else(town) -> None:
    nodes = await founded(town)
    template = town.kube.objects["StorageNodePool", "main"]["spec"].setdefault("template", {})
    template["storage"] = {"size": "20Gi"}
    town.kube.refused = {("PersistentVolumeClaim", f"{name}-data") for name in nodes}
    town.kube.objects["StorageNetwork", "main"]["spec"]["image"] = "haulout:2"
    for _ in range(10):
        await town.round()
    assert town.images() == {"haulout:2"}
    for name in nodes:
        assert town.condition("StorageNode", name, "Ready")["status"] == "True"
        storage = town.condition("StorageNode", name, "StorageHealthy")
        assert (storage["status"], storage["reason"]) == ("False", "VolumeCannotGrow")
        assert "a policy says no" in storage["message"]
        assert f"Next: kubectl delete sn/{name}" in storage["message"]
    assert "VolumeCannotGrow" in town.warnings()
    failures, has_acted = await town.operator.run_round("main", town.failures)
    assert failures and not has_acted
    assert town.operator._pause_ms("main", failures, has_acted, 60_000) == 60_000  # tried again, ever less often
    await town.advance()
    failures, has_acted = await town.operator.run_round("main", town.failures)
    assert failures and has_acted  # its EpochTransition is made
    assert town.operator._pause_ms("main", failures, has_acted, 60_000) == AGAIN_MS
    failures, has_acted = await town.operator.run_round("main", town.failures)
    assert town.operator._pause_ms("main", failures, has_acted, 60_000) == SOON_MS  # members fetch shards


async def test_a_claim_that_never_had_a_volume_is_made_anew_of_another_storage_class(town) -> None:
    nodes = await founded(town)
    claims = [town.kube.objects["PersistentVolumeClaim", f"{name}-data"] for name in nodes]
    for claim in claims:
        claim["spec"]["storageClassName"] = "nope"
        claim["status"] = {"phase": "Bound"}
    claims[0]["status"] = {"phase": "Pending"}
    claims[1]["status"] = {"phase": "Pending"}
    claims[1]["spec"]["volumeName"] = "pv-1"  # it is about to have one
    uids = [claim["metadata"]["uid"] for claim in claims]
    template = town.kube.objects["StorageNodePool", "main"]["spec"].setdefault("template", {})
    template["storage"] = {"size": "10Gi", "storageClassName": "fast"}
    town.kube.volumes_grow = False  # volumes are left as they are
    await town.play()
    after = [town.kube.objects["PersistentVolumeClaim", f"{name}-data"] for name in nodes]
    assert after[0]["spec"]["storageClassName"] == "fast"
    assert [one["metadata"]["uid"] for one in after[1:]] == uids[1:]
