"""Whole rounds against a ledger core and an API server in memory."""

from __future__ import annotations

import asyncio

import pytest

from haulout.account.wallet import Wallet
from haulout.errors import InvalidField
from haulout.ledger.commands import ReserveSpace
from haulout.ledger.genesis import Genesis
from haulout.primitives import hex_id_text
from haulout.sim.rng import SeededRng
from haulout_operator.identity import address_of
from haulout_operator.kube import AccessRefused
from haulout_operator.ledger import read_facts
from haulout_operator.names import FINALIZER, NETWORK_LABEL
from haulout_operator.reconcile import RESYNC_MS, SOON_MS
from haulout_operator.uninstall import uninstall

NAMESPACE = "demo"


async def test_founds_a_network_and_then_has_nothing_left_to_do_or_say(town) -> None:
    town.found()
    assert await town.play() <= 5
    assert len(town.nodes()) == 4
    assert town.kube.names("StatefulSet") == sorted([*town.nodes(), "main-ledger"])
    assert town.kube.names("Deployment") == ["main-gateway", "main-graphql"]
    assert len(town.kube.names("PersistentVolumeClaim")) == 6
    for kind in ("StorageNetwork", "StorageNodePool"):
        assert town.condition(kind, "main", "Ready")["status"] == "True"
    status = town.kube.objects["StorageNetwork", "main"]["status"]
    assert status["shards"] == {"total": 100, "available": 100, "moving": 0}
    assert status["faultBudget"]["summary"] == "33/33"
    assert status["epoch"]["number"] == 1
    town.kube.writes.clear()
    for _ in range(3):
        assert not await town.round()
    assert town.kube.writes == []


async def test_the_genesis_names_the_treasury_as_governor_and_the_service_as_address(town) -> None:
    town.found()
    await town.play()
    genesis = town.kube.objects["ConfigMap", "main-genesis"]
    assert genesis["immutable"] is True
    assert "ownerReferences" not in genesis["metadata"]
    assert f"{town.nodes()[0]}.demo.svc:9000" in genesis["data"]["genesis.json"]


async def test_two_operators_make_no_more_nodes_than_were_asked_for(town) -> None:
    town.found()
    other = town.new_operator(seed=2)
    for _ in range(8):
        await town.round_at_once(town.operator, other)
    assert len(town.nodes()) == 4
    assert len(town.kube.names("Secret")) == 4 + 4


async def test_a_pool_below_the_smallest_committee_is_not_founded(town) -> None:
    town.found(replicas=3)
    await town.play()
    condition = town.condition("StorageNetwork", "main", "Available")
    assert (condition["status"], condition["reason"]) == ("False", "GenesisTooSmall")
    assert "kubectl scale snp/main --replicas=4" in condition["message"]
    assert "main-genesis" not in town.kube.names("ConfigMap")
    town.scale(4)
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"


async def test_a_pool_without_stake_founds_nothing_and_says_so(town) -> None:
    town.found()
    town.kube.objects["StorageNodePool", "main"]["spec"]["template"] = {"stake": "0"}
    await town.play()
    condition = town.condition("StorageNetwork", "main", "Available")
    assert condition["reason"] == "GenesisTooSmall"
    assert "Next: give snp/main a template.stake" in condition["message"]
    town.kube.objects["StorageNodePool", "main"]["spec"]["template"] = {"stake": "2000WAL"}
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"


async def test_new_nodes_are_registered_and_staked_from_the_treasury(town) -> None:
    town.found()
    await town.play()
    old = set(town.nodes())
    town.scale(7)
    await town.play()
    new = set(town.nodes()) - old
    assert len(new) == 3
    for name in new:
        assert town.condition("StorageNode", name, "Registered")["status"] == "True"
        staked = town.condition("StorageNode", name, "Staked")
        assert (staked["status"], staked["message"]) == ("True", "2,000 WAL")
        assert town.condition("StorageNode", name, "InCommittee")["reason"] == "NextEpoch"
        template = town.kube.objects["StatefulSet", name]["spec"]["template"]
        names = {one["name"] for one in template["spec"]["containers"][0]["env"]}
        assert "HAULOUT_NODE_ID" in names
    assert town.kube.objects["StorageNodePool", "main"]["status"]["readyReplicas"] == 7


async def test_a_treasury_without_funds_says_what_is_lacking(town) -> None:
    town.found(funds={"treasury": "1500WAL"})
    await town.play()
    town.scale(5)
    await town.play()
    lacking = [town.condition("StorageNode", name, "Staked") for name in town.nodes()]
    unfunded = [one for one in lacking if one["status"] == "False"]
    assert [one["reason"] for one in unfunded] == ["StakeUnfunded"]
    assert "lacks 500 WAL" in unfunded[0]["message"]
    treasury = address_of(bytes.fromhex(town.secret("main-treasury", "wallet.json")["secret"]))
    assert f"to the treasury, account {hex_id_text(treasury)}, or lower template.stake" in unfunded[0]["message"]


async def test_scaling_below_the_smallest_committee_says_why_and_does_nothing_else(town) -> None:
    town.found()
    await town.play()
    before = town.nodes()
    town.kube.writes.clear()
    town.scale(3)
    await town.play()
    blocked = town.condition("StorageNodePool", "main", "ScalingBlocked")
    assert (blocked["status"], blocked["reason"]) == ("True", "BelowMinNodes")
    assert blocked["message"] == (
        "3 nodes × at most 33 shards = 99 < 100. Smallest safe size is 4. Next: kubectl scale snp/main --replicas=4."
    )
    assert town.nodes() == before
    assert all(write.startswith(("status", "create Event")) for write in town.kube.writes)
    warnings = [one for (kind, _), one in town.kube.objects.items() if kind == "Event" and one["type"] == "Warning"]
    assert [(one["involvedObject"]["kind"], one["reason"]) for one in warnings] == [
        ("StorageNodePool", "BelowMinNodes"),
    ]
    assert town.kube.objects["StorageNodePool", "main"]["spec"]["replicas"] == 3


async def test_nobody_leaves_when_the_others_could_not_hold_what_is_sold(town) -> None:
    town.found(5)
    await town.play()
    sold = 45 << 30  # of 5 volumes of 10 GiB
    secret = bytes.fromhex(town.secret("main-treasury", "wallet.json")["secret"])
    genesis = Genesis.from_json(town.kube.objects["ConfigMap", "main-genesis"]["data"]["genesis.json"])
    wallet = Wallet(secret, chain_id=genesis.chain_id, ledger=town, clock=town.clock, rng=SeededRng(7))
    await wallet.execute([ReserveSpace(size_bytes=sold, start_epoch=0, end_epoch=3)])
    town.scale(4)
    await town.play()
    blocked = town.condition("StorageNodePool", "main", "ScalingBlocked")
    assert (blocked["status"], blocked["reason"]) == ("True", "CapacityExceeded")
    assert f"{sold} bytes of storage are sold" in blocked["message"]
    assert "kubectl scale snp/main --replicas=5" in blocked["message"]
    assert town.leaving() == []
    assert "CapacityExceeded" in town.warnings()
    town.kube.objects["StorageNodePool", "main"]["spec"]["template"] = {"storage": {"size": "12Gi"}}
    town.kube.settle()
    await town.play()
    assert len(town.leaving()) == 1
    assert town.condition("StorageNodePool", "main", "ScalingBlocked")["status"] == "False"


async def test_a_node_that_the_ledger_does_not_count_on_goes_at_once(town) -> None:
    town.found()
    await town.play()
    old = town.nodes()
    town.ledger_is_up = True
    town.scale(5)
    await town.round()  # made, not registered yet
    town.scale(4)
    await town.play()
    assert town.nodes() == old
    assert len(town.kube.names("PersistentVolumeClaim")) == 6


async def test_a_deleted_member_stays_until_the_ledger_lets_it_go_and_its_substitute_comes_first(town) -> None:
    town.found()
    await town.play()
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    await town.play()
    assert victim in town.nodes()
    assert len(town.nodes()) == 5
    condition = town.condition("StorageNode", victim, "Ready")
    assert condition["reason"] == "OwnsShards"
    assert "it owns 25 shards" in condition["message"]
    assert ("StatefulSet", victim) in town.kube.objects


async def test_a_refused_size_still_gives_a_deleted_member_its_substitute(town) -> None:
    town.found()
    await town.play()
    town.scale(2)
    await town.play()
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    await town.play()
    assert len(town.nodes()) == 5
    assert town.condition("StorageNodePool", "main", "ScalingBlocked")["reason"] == "BelowMinNodes"
    assert town.condition("StorageNode", victim, "Ready")["reason"] == "OwnsShards"
    for _ in range(2):
        await town.advance()
        await town.sync()
        await town.play()
    assert victim not in town.nodes()
    assert len(town.nodes()) == 4
    town.kube.writes.clear()
    assert not await town.round()
    assert town.kube.writes == []


async def test_members_of_a_deleted_pool_stay_while_nobody_could_take_their_place(town) -> None:
    town.found()
    await town.play()
    members = town.nodes()
    await town.kube.delete("", "StorageNodePool", NAMESPACE, "main")
    for name in members:
        await town.kube.delete("", "StorageNode", NAMESPACE, name)
    await town.play()
    assert town.nodes() == members
    for name in members:
        ready = town.condition("StorageNode", name, "Ready")
        assert ready["reason"] == "BelowMinNodes"
        assert "0 other nodes have stake, and no committee has fewer than 4" in ready["message"]
    town.kube.add("StorageNodePool", "other", {"networkRef": {"name": "main"}, "replicas": 4})
    await town.play()
    for _ in range(2):
        await town.advance()
        await town.sync()
        await town.play()
    assert len(town.nodes()) == 4
    assert not set(town.nodes()) & set(members)


async def test_pools_that_become_smaller_together_keep_a_committee(town) -> None:
    town.found()
    town.kube.add("StorageNodePool", "other", {"networkRef": {"name": "main"}, "replicas": 3})
    await town.play()
    for name in ("main", "other"):
        town.kube.objects["StorageNodePool", name]["spec"]["replicas"] = 1
    await town.play()
    for name in ("main", "other"):
        blocked = town.condition("StorageNodePool", name, "ScalingBlocked")
        assert blocked["message"].startswith("2 nodes"), blocked
    assert town.leaving() == []
    assert len(town.nodes()) == 7


@pytest.mark.parametrize(("main", "other"), [(4, 0), (2, 2)])
async def test_a_refused_size_makes_no_pool_larger(town, main: int, other: int) -> None:
    town.found(main)
    town.kube.add("StorageNodePool", "other", {"networkRef": {"name": "main"}, "replicas": other})
    await town.play()
    before = town.nodes()
    town.scale(1)
    town.kube.objects["StorageNodePool", "other"]["spec"]["replicas"] = 0
    await town.play()
    assert town.nodes() == before
    assert town.leaving() == []
    assert town.condition("StorageNodePool", "main", "ScalingBlocked")["reason"] == "BelowMinNodes"
    other_says = town.condition("StorageNodePool", "other", "ScalingBlocked")["reason"]
    assert other_says == ("BelowMinNodes" if other else "Free")  # what others ask for is no matter of an empty pool


async def test_drift_is_repaired_and_nothing_else_is_touched(town) -> None:
    town.found()
    await town.play()
    service = town.kube.objects["Service", "main-gateway"]
    service["spec"]["ports"][0]["port"] = 81
    service["spec"]["sessionAffinity"] = "None"  # a default of the API server is no drift
    town.kube.writes.clear()
    await town.play()
    assert [write for write in town.kube.writes if write.startswith("apply")] == ["apply Service/main-gateway"]
    assert service["spec"]["ports"][0]["port"] == 8080


async def test_a_deleted_child_comes_back(town) -> None:
    town.found()
    await town.play()
    node = town.nodes()[0]
    await town.kube.delete("", "StatefulSet", NAMESPACE, node)
    await town.play()
    assert ("StatefulSet", node) in town.kube.objects


async def test_a_field_that_leaves_the_spec_leaves_the_pods(town) -> None:
    town.found()
    pool = town.kube.objects["StorageNodePool", "main"]
    pool["spec"]["template"] = {"nodeSelector": {"disk": "fast"}}
    await town.play()
    node = town.nodes()[0]
    pod = town.kube.objects["StatefulSet", node]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    pool["spec"]["template"] = {}
    await town.play(limit=30)
    assert "nodeSelector" not in town.kube.objects["StatefulSet", node]["spec"]["template"]["spec"]


async def test_an_upgrade_replaces_one_node_at_a_time_and_waits_for_it(town) -> None:
    town.found()
    await town.play()
    town.kube.objects["StorageNetwork", "main"]["spec"]["image"] = "haulout:2"
    for _ in range(10):
        town.kube.writes.clear()
        await town.round()
        replaced = [w for w in town.kube.writes if w in {f"apply StatefulSet/{name}" for name in town.nodes()}]
        assert len(replaced) <= 1
        if replaced:  # its Pod starts, and is not ready for a while: nobody else's may go
            town.kube.break_pod(replaced[0].rpartition("/")[2])
            town.kube.settle = lambda: None
            await town.round()
            del town.kube.settle
            town.kube.objects.pop(("Pod", f"{replaced[0].rpartition('/')[2]}-0"))
            town.kube.settle()
    images = {
        town.kube.objects["StatefulSet", n]["spec"]["template"]["spec"]["containers"][0]["image"] for n in town.nodes()
    }
    assert images == {"haulout:2"}


async def test_however_late_kubernetes_is_no_second_pod_goes_before_the_first_is_back(town) -> None:
    town.found()
    await town.play()
    town.kube.writes.clear()
    town.kube.objects["StorageNetwork", "main"]["spec"]["image"] = "haulout:2"
    await town.rounds_alone(limit=2)
    replaced = [w for w in town.kube.writes if w in {f"apply StatefulSet/{name}" for name in town.nodes()}]
    assert len(replaced) == 1
    assert len(town.node_pods()) == 4  # Kubernetes has done nothing yet, and all of them are still ready
    workload = town.kube.objects["StatefulSet", replaced[0].rpartition("/")[2]]
    workload["status"] = {"observedGeneration": workload["metadata"]["generation"], "updatedReplicas": 0}
    assert await town.rounds_alone(limit=1) == 0  # it has seen the change, and not made the Pod anew
    town.kube.settle()
    await town.rounds_alone(limit=2)
    replaced = [w for w in town.kube.writes if w in {f"apply StatefulSet/{name}" for name in town.nodes()}]
    assert len(set(replaced)) == 2


async def test_a_paused_update_keeps_pods(town) -> None:
    town.found()
    await town.play()
    town.kube.objects["StorageNodePool", "main"]["spec"]["update"] = {"paused": True}
    town.kube.objects["StorageNetwork", "main"]["spec"]["image"] = "haulout:2"
    await town.play()
    pods = {
        town.kube.objects["StatefulSet", n]["spec"]["template"]["spec"]["containers"][0]["image"] for n in town.nodes()
    }
    assert pods == {"haulout:1"}
    assert town.kube.objects["StorageNodePool", "main"]["status"]["updatedReplicas"] == 0


async def test_a_paused_network_is_told_about_and_left_alone(town) -> None:
    town.found()
    town.kube.objects["StorageNetwork", "main"]["metadata"]["annotations"] = {"haulout.dev/paused": "true"}
    await town.play()
    assert town.nodes() == []
    assert town.condition("StorageNetwork", "main", "Paused")["status"] == "True"


def images_of(town) -> set[str]:
    return {
        town.kube.objects["Pod", f"{name}-0"]["spec"]["template"]["spec"]["containers"][0]["image"]
        for name in town.nodes()
    }


async def test_shards_in_recovery_have_spent_the_budget_beyond_their_epoch(town) -> None:
    town.found(5)
    await town.play()
    town.scale(7)
    await town.play()
    late = [name for name in town.nodes() if town.condition("StorageNode", name, "InCommittee")["status"] == "False"]
    await town.advance()
    await town.sync(but=late)  # all others report: the epoch is done, and its shards are still on their way
    await town.play()
    facts = await read_facts(town, None)
    assert facts.phase == "Done"
    assert len(facts.moving) == sum(len(facts.nodes[name].shards) for name in late) == 28
    budget = town.kube.objects["StorageNetwork", "main"]["status"]["faultBudget"]
    assert budget["used"] == len(facts.moving)
    town.kube.objects["StorageNetwork", "main"]["spec"]["image"] = "haulout:2"
    await town.play()
    assert images_of(town) == {"haulout:1"}  # 14 or 15 shards each, and 5 remain
    await town.sync(but=set(town.nodes()) - set(late))
    await town.play()
    assert images_of(town) == {"haulout:2"}


async def test_a_node_in_maintenance_is_stopped_when_the_others_bear_that_and_comes_back(town) -> None:
    town.found()
    await town.play()
    first, second = town.nodes()[:2]
    for name in (first, second):
        town.kube.objects["StorageNode", name]["spec"]["desiredState"] = "Maintenance"
    await town.play()
    stopped = [name for name in (first, second) if ("Pod", f"{name}-0") not in town.kube.objects]
    assert len(stopped) == 1  # 25 of 33 shards may be down, 50 may not
    (waiting,) = {first, second} - set(stopped)
    assert town.condition("StorageNode", stopped[0], "Ready")["reason"] == "Maintenance"
    assert town.condition("StorageNode", waiting, "Ready")["reason"] == "MaintenanceWaits"
    town.clock.time_ms += 7_200_000
    await town.play()
    assert len(town.nodes()) == 4  # nobody takes it for dead
    town.kube.objects["StorageNode", stopped[0]]["spec"]["desiredState"] = "Active"
    await town.play()
    assert ("Pod", f"{stopped[0]}-0") in town.kube.objects
    assert ("Pod", f"{waiting}-0") not in town.kube.objects


async def test_evictions_are_allowed_as_far_as_the_budget_goes(town) -> None:
    town.found()
    await town.play()
    budget = town.kube.objects["PodDisruptionBudget", "main-nodes"]["spec"]
    assert budget["minAvailable"] == 3  # 25 of 33 shards may go, 50 may not
    town.kube.break_pod(town.nodes()[0])
    town.kube.settle = lambda: None
    await town.play()
    assert town.kube.objects["PodDisruptionBudget", "main-nodes"]["spec"]["minAvailable"] == 4
    status = town.kube.objects["StorageNetwork", "main"]["status"]
    assert status["faultBudget"] == {"limit": 33, "used": 25, "remaining": 8, "summary": "8/33"}
    assert town.condition("StorageNetwork", "main", "Available")["status"] == "True"
    assert town.condition("StorageNetwork", "main", "Degraded")["status"] == "True"
    town.kube.break_pod(town.nodes()[1])
    await town.play()
    available = town.condition("StorageNetwork", "main", "Available")
    assert (available["status"], available["reason"]) == ("False", "TooFewShards")


async def test_an_object_that_is_refused_keeps_nobody_else_waiting(town) -> None:
    town.found()
    town.kube.refused.add(("Service", "main-graphql"))
    for _ in range(6):
        await town.round()
    assert town.condition("StorageNodePool", "main", "Ready")["status"] == "True"
    ready = town.condition("StorageNetwork", "main", "Ready")
    assert ready["reason"] == "ActionFailed"
    assert "a policy says no" in ready["message"]
    town.kube.refused.clear()
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"


async def test_a_spec_that_cannot_be_read_says_so_and_harms_nobody(town) -> None:
    town.found()
    town.kube.add("StorageNodePool", "odd", {"networkRef": {"name": "main"}, "replicas": "many"})
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"
    odd = town.condition("StorageNodePool", "odd", "Ready")
    assert odd["reason"] == "SpecUnreadable"
    assert "spec.replicas" in odd["message"]


async def test_lost_genesis_is_never_made_anew_while_volumes_are_there(town) -> None:
    town.found()
    await town.play()
    kept = town.kube.objects.pop(("ConfigMap", "main-genesis"))
    await town.play()
    available = town.condition("StorageNetwork", "main", "Available")
    assert available["reason"] == "GenesisMissing"
    assert "main-genesis" not in town.kube.names("ConfigMap")
    town.kube.objects["ConfigMap", "main-genesis"] = kept
    await town.play()
    assert town.condition("StorageNetwork", "main", "Available")["status"] == "True"


async def test_without_its_genesis_nothing_of_a_network_is_let_go_or_made_anew(town) -> None:
    """A genesis that is gone is no sign that there never was one: that is one view alone, and volumes tell another."""
    town.found(5)
    await town.play()
    names, claims = town.nodes(), town.kube.names("PersistentVolumeClaim")
    secret = town.kube.objects.pop(("Secret", f"{names[1]}-keys"))
    genesis = town.kube.objects.pop(("ConfigMap", "main-genesis"))
    treasury = town.kube.objects.pop(("Secret", "main-treasury"))
    await town.restart()
    await town.kube.delete("", "StorageNode", NAMESPACE, names[0])
    town.scale(1)
    await town.play()
    assert (town.nodes(), town.kube.names("PersistentVolumeClaim")) == (names, claims)
    assert {f"{names[1]}-keys", "main-treasury"}.isdisjoint(town.kube.names("Secret"))
    going = town.condition("StorageNode", names[0], "Ready")
    assert going["reason"] == "LedgerUnreachable"
    assert "configmap/main-genesis is not there. Next: kubectl describe snet/main" in going["message"]
    assert town.condition("StorageNetwork", "main", "Ready")["reason"] == "GenesisMissing"
    town.scale(7)
    await town.play()
    assert town.nodes() == names
    assert town.condition("StorageNodePool", "main", "ScalingBlocked")["reason"] == "LedgerUnreachable"
    town.kube.objects["ConfigMap", "main-genesis"] = genesis
    town.kube.objects["Secret", "main-treasury"] = treasury
    town.kube.objects["Secret", f"{names[1]}-keys"] = secret
    await town.play()
    await town.advance()
    await town.sync()
    await town.play()
    assert names[0] not in town.nodes()
    assert len(town.nodes()) == 7


async def test_a_lost_ledger_is_restored_from_the_nodes_and_not_begun_anew(town) -> None:
    town.found()
    await town.play()
    assert "main-restore" not in town.kube.names("ConfigMap")
    town.kube.writes.clear()
    await town.kube.delete("", "PersistentVolumeClaim", NAMESPACE, "main-ledger-data")
    await town.play()
    applied = [write for write in town.kube.writes if write.startswith("apply")]
    assert applied == ["apply ConfigMap/main-restore", "apply PersistentVolumeClaim/main-ledger-data"]
    listed = town.kube.objects["ConfigMap", "main-restore"]["data"]["nodes"].split()
    assert listed == [f"{name}.demo.svc:9000" for name in town.nodes()]
    (first,) = town.kube.objects["StatefulSet", "main-ledger"]["spec"]["template"]["spec"]["initContainers"]
    assert first["command"][:4] == ["haulout", "ledger", "restore", "--from-nodes"]


async def test_lost_keys_are_not_replaced_by_others(town) -> None:
    town.found()
    await town.play()
    node = town.nodes()[0]
    del town.kube.objects["Secret", f"{node}-keys"]
    town.clock.time_ms += 3_600_000
    await town.play()
    assert ("Secret", f"{node}-keys") not in town.kube.objects
    assert town.condition("StorageNode", node, "Ready")["reason"] == "KeysMissing"


async def test_without_the_ledger_nothing_is_made_or_let_go(town) -> None:
    town.found()
    await town.play()
    before = town.nodes()
    town.ledger_is_up = False
    for size in (6, 2):
        town.scale(size)
        await town.play()
        assert town.nodes() == before
        assert town.condition("StorageNodePool", "main", "ScalingBlocked")["reason"] == "LedgerUnreachable"
    assert town.condition("StorageNetwork", "main", "LedgerReachable")["status"] == "False"
    assert town.kube.objects["StorageNetwork", "main"]["status"]["epoch"]["number"] == 1  # what it said last


async def test_uninstall_keeps_data_and_a_new_installation_takes_it_up(town) -> None:
    town.found()
    await town.play()
    names, genesis = town.nodes(), town.kube.objects["ConfigMap", "main-genesis"]["data"]
    keys = town.secret(f"{names[0]}-keys", "keys.json")
    await uninstall(town.kube, NAMESPACE)
    assert town.nodes() == town.kube.names("StatefulSet") == town.kube.names("Pod") == []
    assert len(town.kube.names("PersistentVolumeClaim")) == 6
    assert len(town.kube.names("Secret")) == 8
    assert not await town.round()
    town.found()
    await town.play()
    assert town.nodes() == names
    assert town.kube.objects["ConfigMap", "main-genesis"]["data"] == genesis
    assert town.secret(f"{names[0]}-keys", "keys.json") == keys
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"


@pytest.mark.parametrize("confirm", ["main", None])
async def test_only_a_confirmed_destruction_destroys(town, confirm: str | None) -> None:
    town.found(deletion={"policy": "Destroy", **({"confirm": confirm} if confirm else {})})
    await town.play()
    await town.kube.delete("", "StorageNetwork", NAMESPACE, "main")
    for _ in range(4):
        await town.round()
    assert "main" not in town.kube.names("StorageNetwork")
    left = town.kube.names("PersistentVolumeClaim") + town.kube.names("Secret") + town.kube.names("ConfigMap")
    assert bool(left) is (confirm is None)
    assert town.nodes() == town.kube.names("StatefulSet") == town.kube.names("Pod") == []


async def test_destruction_takes_the_keys_of_nodes_that_had_left_and_nobody_elses(town) -> None:
    town.found(deletion={"policy": "Destroy", "confirm": "main"})
    await town.play()
    left, moved, *_ = town.nodes()
    for name in (left, moved):  # their StorageNodes and volumes went before
        for kind, child in (("StorageNode", name), ("StatefulSet", name), ("PersistentVolumeClaim", f"{name}-data")):
            del town.kube.objects[kind, child]
    town.kube.objects["Secret", f"{moved}-keys"]["metadata"]["labels"][NETWORK_LABEL] = "other"
    await town.register_stranger("vault")
    labels = dict(town.kube.objects["Secret", f"{left}-keys"]["metadata"]["labels"])
    town.kube.add("Secret", "vault-keys", {})["metadata"]["labels"] = labels
    await town.kube.delete("", "StorageNetwork", NAMESPACE, "main")
    for _ in range(4):
        await town.round()
    assert "main" not in town.kube.names("StorageNetwork")
    assert sorted(town.kube.names("Secret")) == sorted([f"{moved}-keys", "vault-keys"])


async def test_a_pool_whose_network_is_gone_says_so_and_takes_its_nodes_up_when_it_is_back(town) -> None:
    town.found()
    await town.play()
    names = town.nodes()
    await town.kube.delete("", "StorageNetwork", NAMESPACE, "main")
    for _ in range(3):
        await town.round()
    assert town.nodes() == town.kube.names("Pod") == []
    ready = town.condition("StorageNodePool", "main", "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NetworkMissing")
    assert "there is no StorageNetwork main in namespace demo. Next: make it" in ready["message"]
    assert "NetworkMissing" in town.warnings()
    town.kube.writes.clear()
    await town.round()
    assert town.kube.writes == []
    town.kube.add("StorageNetwork", "main", {"epoch": {"manual": True}})
    await town.play()
    assert town.nodes() == names
    assert town.condition("StorageNodePool", "main", "Ready")["status"] == "True"


async def test_a_pool_that_is_made_again_takes_up_no_identity_that_the_ledger_has_let_go(town) -> None:
    town.found()
    town.kube.add("StorageNodePool", "other", {"networkRef": {"name": "main"}, "replicas": 4})
    await town.play()
    gone = [name for name in town.nodes() if name.startswith("other")]
    await town.kube.delete("", "StorageNodePool", NAMESPACE, "other")
    await town.play()
    await town.advance()
    await town.sync()
    await town.play()
    assert not set(town.nodes()) & set(gone)
    assert {f"{name}-data" for name in gone} <= set(town.kube.names("PersistentVolumeClaim"))
    town.kube.add("StorageNodePool", "other", {"networkRef": {"name": "main"}, "replicas": 2})
    await town.play()
    others = [name for name in town.nodes() if name.startswith("other")]
    assert len(others) == 2
    assert not set(others) & set(gone)
    assert {town.condition("StorageNode", name, "Staked")["status"] for name in others} == {"True"}


async def test_a_node_whose_network_is_gone_is_released(town) -> None:
    body = town.kube.add("StorageNode", "lost", {"networkRef": {"name": "main"}})
    body["metadata"]["finalizers"] = [FINALIZER]
    await town.kube.delete("", "StorageNode", NAMESPACE, "lost")
    assert not await town.round()
    assert town.nodes() == []


async def test_what_kubernetes_does_not_tell_is_looked_for_soon(town) -> None:
    town.found(5)
    await town.play()
    assert town.operator._rest_ms("main") >= RESYNC_MS
    town.scale(6)
    town.height_lag = 1  # the new node has not come to the ledger's head, of which there is no event
    await town.play()
    assert town.operator._rest_ms("main") == SOON_MS
    town.height_lag = 0
    await town.play()
    assert town.operator._rest_ms("main") >= RESYNC_MS
    await town.advance()
    await town.round()
    assert town.operator._rest_ms("main") == SOON_MS  # members fetch shards
    await town.sync()
    await town.play()
    assert town.operator._rest_ms("main") >= RESYNC_MS


async def test_a_node_whose_spec_cannot_be_read_is_left_alone_and_not_made_twice(town) -> None:
    town.found(5)
    await town.play()
    names, odd = town.nodes(), town.nodes()[2]
    before = dict(town.kube.objects["StorageNode", odd]["status"])
    budget = town.kube.objects["PodDisruptionBudget", "main-nodes"]["spec"]["minAvailable"]
    town.kube.objects["StorageNode", odd]["spec"]["desiredState"] = "Sideways"  # as a later release may know it
    await town.play()
    assert town.nodes() == names
    assert town.kube.objects["PodDisruptionBudget", "main-nodes"]["spec"]["minAvailable"] == budget == 4
    ready = town.condition("StorageNode", odd, "Ready")
    assert (ready["reason"], ready["lastTransitionTime"][:2]) == ("SpecUnreadable", "20")
    assert "spec.desiredState" in ready["message"]
    assert "Next: correct that field" in ready["message"]
    assert town.kube.objects["StorageNode", odd]["status"]["ledgerNodeId"] == before["ledgerNodeId"]
    [told] = [
        one for (kind, _), one in town.kube.objects.items() if kind == "Event" and one["reason"] == ready["reason"]
    ]
    assert told["involvedObject"]["uid"] == town.kube.objects["StorageNode", odd]["metadata"]["uid"]
    town.kube.writes.clear()
    assert not await town.round()
    assert town.kube.writes == []


async def test_a_network_whose_spec_cannot_be_read_says_so_once_and_says_when_it_can_be(town) -> None:
    town.found()
    await town.play()
    network = town.kube.objects["StorageNetwork", "main"]
    network["spec"]["shards"] = "many"
    error = InvalidField(field="spec.shards", problem="not a number")
    for _ in range(2):
        await town.operator._tell_failed("main", error)
    ready = town.condition("StorageNetwork", "main", "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "SpecUnreadable")
    assert network["status"]["chainId"]  # what was told before stands
    events = [one for (kind, _), one in town.kube.objects.items() if kind == "Event"]
    assert [one["reason"] for one in events].count("SpecUnreadable") == 1
    network["spec"]["shards"] = 100
    await town.play()
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"


async def test_a_node_that_somebody_made_by_hand_is_counted(town) -> None:
    town.found(4)
    await town.play()
    town.kube.add("StorageNode", "extra", {"networkRef": {"name": "main"}})
    await town.play()
    status = town.kube.objects["StorageNetwork", "main"]["status"]
    assert status["nodes"]["summary"] == "5/5"
    assert town.condition("StorageNetwork", "main", "Progressing")["status"] == "False"
    down = town.nodes()[1]
    town.kube.break_pod(down)
    await town.operator.run_round("main", {})
    ready = town.condition("StorageNetwork", "main", "Ready")
    assert ready["reason"] == "NodesNotReady"
    assert f"4 of 5 nodes are ready. Next: kubectl describe sn of {down}." in ready["message"]


@pytest.mark.parametrize("size", ["2Pi", "1e12", "1.5e3Gi", "10737418240000m"])
async def test_a_claim_of_an_odd_size_keeps_nobody_waiting(town, size: str) -> None:
    """People grow claims themselves, in whatever way Kubernetes writes numbers."""
    town.found()
    await town.play()
    claim = town.kube.objects["PersistentVolumeClaim", f"{town.nodes()[0]}-data"]
    claim["spec"]["resources"]["requests"]["storage"] = claim["status"]["capacity"]["storage"] = size
    town.scale(5)
    await town.play()
    assert len(town.nodes()) == 5
    assert town.condition("StorageNetwork", "main", "Ready")["status"] == "True"
    assert claim["spec"]["resources"]["requests"]["storage"] == size


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (AccessRefused(what="list of Service", status=403, problem="no"), "AccessRefused", "give the operator that"),
        (KeyError("spec"), "RoundBroken", "KeyError: 'spec'"),
    ],
    ids=["access", "broken"],
)
async def test_what_keeps_all_rounds_from_anything_is_told_on_the_network(town, error, reason, words) -> None:
    town.found()
    await town.play()
    look, broken = town.operator._observer.look, [error] * 3

    async def fail(*arguments):
        if broken:
            raise broken.pop()
        return await look(*arguments)

    town.operator._observer.look = fail
    told: list[dict] = []
    write = town.kube.apply_status

    async def watch(body):
        if body["kind"] == "StorageNetwork":
            told.append(next(one for one in body["status"]["conditions"] if one["type"] == "Ready"))
            if not broken and told[-1]["status"] == "True":
                over.set()
        return await write(body)

    over = asyncio.Event()
    town.kube.apply_status = watch
    town.operator.wake("main")
    await asyncio.wait_for(over.wait(), 60)
    await town.operator.close()
    assert [one["reason"] for one in told[:1]] == [reason]
    assert words in told[0]["message"]
    assert "Next: " in told[0]["message"]
    assert reason in town.warnings()


async def test_a_network_that_is_made_while_its_absence_is_told_is_looked_at(town) -> None:
    operator, looks = town.operator, []

    async def run_round(network, failures):
        looks.append(network)
        if len(looks) == 1:
            operator.wake(network)  # it is there again

    operator.run_round = run_round
    operator.wake("main")
    await asyncio.wait_for(operator._tasks["main"], 60)
    assert looks == ["main", "main"]
