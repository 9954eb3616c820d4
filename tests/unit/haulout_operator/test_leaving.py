"""Ways out: scaled down, replaced, deleted; and what must be proven before anything goes."""

from __future__ import annotations

from haulout_operator.identity import address_of
from haulout_operator.ledger import read_facts
from haulout_operator.names import FORCE_REMOVE_ANNOTATION

NAMESPACE = "demo"


async def grown(town, size: int = 7) -> None:
    """A network of so many members, all with shards."""
    town.found()
    await town.play()
    town.scale(size)
    await town.play()
    await epoch_passes(town)


async def epoch_passes(town) -> None:
    await town.advance()
    await town.sync()
    await town.play()


async def test_nodes_that_were_added_get_shards_with_the_next_epoch(town) -> None:
    await grown(town)
    counts = [town.kube.objects["StorageNode", name]["status"]["committee"]["shardCount"] for name in town.nodes()]
    assert sorted(counts) == [14, 14, 14, 14, 14, 15, 15]
    transition = town.kube.objects["EpochTransition", "main-2"]["status"]
    assert transition["phase"] == "Done"
    assert transition["moves"]["done"] == transition["moves"]["total"] > 0
    assert town.condition("EpochTransition", "main-2", "Complete")["status"] == "True"


async def test_scaled_down_nodes_go_when_their_shards_have_arrived_elsewhere(town) -> None:
    await grown(town)
    town.scale(4)
    await town.play()
    assert len(town.nodes()) == 7  # three asked to leave, none is gone: they own shards
    leaving = town.leaving()
    assert [town.condition("StorageNode", name, "Ready")["reason"] for name in leaving] == ["OwnsShards"] * 3
    await town.advance()
    await town.play()
    assert [town.condition("StorageNode", name, "Ready")["reason"] for name in leaving] == ["HandingOver"] * 3
    treasury = address_of(bytes.fromhex(town.secret("main-treasury", "wallet.json")["secret"]))
    before = await read_facts(town, treasury)
    assert all(before.nodes[name].stakes for name in leaving)
    await town.sync()
    await town.play()
    assert len(town.nodes()) == 4
    assert not set(leaving) & set(town.nodes())
    assert len(town.kube.names("PersistentVolumeClaim")) == 4 + 1
    after = await read_facts(town, treasury)
    assert not any(after.nodes[name].stakes for name in leaving)
    assert after.treasury_frost >= before.treasury_frost + 3 * 2_000 * 10**9
    assert {f"{name}-keys" for name in leaving} <= set(town.kube.names("Secret"))


async def test_nobody_goes_on_a_state_that_is_not_attested(town) -> None:
    await grown(town)
    town.scale(6)
    await town.play()
    town.is_attested = False
    await epoch_passes(town)
    reasons = [town.condition("StorageNode", name, "Ready")["reason"] for name in town.nodes()]
    assert len(reasons) == 7
    assert reasons.count("WaitingForAttestation") == 1
    town.is_attested = True
    await town.play()
    assert len(town.nodes()) == 6


async def test_nobody_goes_who_says_that_it_still_holds_something(town) -> None:
    await grown(town)
    town.scale(6)
    await town.play()
    (victim,) = town.leaving()
    town.holdings[victim] = (3,)
    await epoch_passes(town)
    condition = town.condition("StorageNode", victim, "Ready")
    assert condition["reason"] == "NodeHolds"
    assert "still holds 1 shards" in condition["message"]
    town.holdings.clear()
    await town.play()
    assert victim not in town.nodes()


async def test_a_silent_node_goes_only_when_somebody_names_its_id(town) -> None:
    await grown(town)
    town.scale(6)
    await town.play()
    (victim,) = town.leaving()
    town.kube.break_pod(victim)
    town.kube.settle = lambda: None
    await epoch_passes(town)
    assert town.condition("StorageNode", victim, "Ready")["reason"] == "NodeSilent"
    body = town.kube.objects["StorageNode", victim]
    annotations = body["metadata"].setdefault("annotations", {})
    annotations[FORCE_REMOVE_ANNOTATION] = "0x1234"
    await town.play()
    assert victim in town.nodes()
    annotations[FORCE_REMOVE_ANNOTATION] = body["status"]["ledgerNodeId"]
    await town.play()
    assert victim not in town.nodes()


async def test_a_deleted_member_of_the_smallest_network_is_replaced_and_then_goes(town) -> None:
    town.found()
    await town.play()
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    await town.play()
    assert len(town.nodes()) == 5
    await epoch_passes(town)
    assert len(town.nodes()) == 4
    assert victim not in town.nodes()
    status = town.kube.objects["StorageNetwork", "main"]["status"]
    assert status["nodes"] == {"desired": 4, "ready": 4, "inCommittee": 4, "summary": "4/4"}


async def test_a_volume_that_is_kept_is_not_taken_up_as_a_node_again(town) -> None:
    town.found()
    town.kube.objects["StorageNodePool", "main"]["spec"]["pvcRetention"] = {"whenScaled": "Retain"}
    await town.play()
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    await town.play()
    await epoch_passes(town)
    assert victim not in town.nodes()
    assert f"{victim}-data" in town.kube.names("PersistentVolumeClaim")
    assert len(town.nodes()) == 4


async def test_no_name_is_ever_used_twice(town) -> None:
    town.found()
    await town.play()
    seen = set(town.nodes())
    for _ in range(3):
        town.scale(5)
        await town.play()
        await epoch_passes(town)
        new = set(town.nodes()) - seen
        assert len(new) == 1
        seen |= new
        town.scale(4)
        await town.play()
        await epoch_passes(town)
        assert len(town.nodes()) == 4
