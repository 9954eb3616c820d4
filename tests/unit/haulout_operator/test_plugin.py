"""What the plug-in says, from objects as kubectl gives them."""

from __future__ import annotations

import io
import json
import tarfile

from haulout.primitives import hex_id_text
from haulout_operator.next_plan import describe_plan
from haulout_operator.plugin import describe_network, describe_troubles
from haulout_operator.support_bundle import collect, pack
from tests.unit.client.conftest import world as world


def condition(type_: str, status: str, reason: str = "Why", message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


async def test_a_healthy_network_has_no_troubles(town) -> None:
    town.found()
    await town.play()
    for kind in ("StorageNetwork", "StorageNodePool", "StorageNode"):
        for name in town.kube.names(kind):
            assert describe_troubles(town.kube.objects[kind, name]) == []


def test_only_what_is_not_as_it_should_be_is_a_trouble() -> None:
    conditions = [
        condition("Ready", "True"),
        condition("Degraded", "False"),
        condition("TransportSecure", "False"),
        condition("ScalingBlocked", "True", "BelowMinNodes", "Smallest safe size is 4."),
        condition("Registered", "Unknown", "LedgerUnreachable"),
    ]
    assert describe_troubles({"status": {"conditions": conditions}}) == [
        "ScalingBlocked=True BelowMinNodes: Smallest safe size is 4.",
        "Registered=Unknown LedgerUnreachable",
    ]


def test_a_network_is_told_in_a_few_lines() -> None:
    body = {
        "metadata": {"name": "main"},
        "status": {
            "chainId": "0xab",
            "epoch": {"number": 3, "phase": "Done", "endsAt": "2026-01-01T00:00:00Z"},
            "shards": {"total": 100, "available": 75, "moving": 0},
            "faultBudget": {"limit": 33, "used": 25, "remaining": 8},
        },
    }
    node = {
        "metadata": {"name": "main-abcd"},
        "status": {"phase": "Provisioning", "stake": "2,000 WAL", "conditions": [condition("Ready", "False", "Down")]},
    }
    assert describe_network(body, [node]) == [
        "network  main, chain 0xab",
        "epoch    3, phase Done, ends 2026-01-01T00:00:00Z",
        "shards   75 of 100 available, 0 moving",
        "budget   8 of 33 shards may be unavailable",
        "node     main-abcd: Provisioning, 0 shards, 2,000 WAL",
        "         Ready=False Down",
    ]


def test_a_network_that_is_not_founded_is_told_too() -> None:
    assert describe_network({"metadata": {"name": "main"}}, [])[0] == "network  main, chain not founded"


def test_a_report_has_objects_and_logs_and_no_secret() -> None:
    labels = {"haulout.dev/network": "main"}
    pod = {"metadata": {"name": "main-x-0", "labels": labels}, "spec": {"containers": [{"name": "node"}]}}
    odd = {"name": "GATEWAY_TOKEN", "value": "hunter2"}
    path = {"name": "HAULOUT_CONTROL_TOKEN_FILE", "value": "/etc/haulout/control/token"}
    pod["spec"]["containers"][0]["env"] = [odd, path]
    asked: list[tuple[str, ...]] = []

    def kubectl(*arguments: str) -> str:
        asked.append(arguments)
        if arguments[0] == "logs":
            return "connecting to postgresql://me:hunter2@db/x with Authorization: Bearer hunter2\n"
        if arguments[1] == "snet":
            return "kubectl get snet: forbidden\n"
        items = [pod] if arguments[1] == "pods" else [{"metadata": {"annotations": {"my/password": "hunter2"}}}]
        return json.dumps({"items": items})

    files = collect(kubectl)
    assert "hunter2" not in "".join(files.values())
    assert "/etc/haulout/control/token" in files["pods.json"]
    assert files["snet.txt"] == "kubectl get snet: forbidden\n"
    assert files["logs/main-x-0.node.log"] == "connecting to postgresql://…@db/x with Authorization: Bearer …\n"
    assert not [one for one in asked if any("secret" in part for part in one)]
    with tarfile.open(fileobj=io.BytesIO(pack(files))) as archive:
        assert sorted(archive.getnames()) == sorted(f"haulout-report/{name}" for name in files)


async def test_the_plan_is_the_ledgers_own(world) -> None:
    chain_id = hex_id_text(world.town.genesis.chain_id)
    lines = await world.run(describe_plan(world.sequencer, chain_id, []))
    assert lines[0] == "epoch    2"
    assert [line for line in lines if line.startswith("node")] == [
        f"node     {node.name}: 2 shards" for node in world.nodes
    ]
    lines = await world.run(describe_plan(world.sequencer, chain_id, ["node-0", "nobody"]))
    assert "node     node-0: 0 shards (-2)" in lines
    assert lines[-1] == "unknown  the ledger knows no node called nobody"
