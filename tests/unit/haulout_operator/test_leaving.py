"""Ways out: scaled down, replaced, deleted; and what must be proven before anything goes."""

from __future__ import annotations

from dataclasses import replace

from haulout.ledger.genesis import Genesis
from haulout_operator.identity import address_of
from haulout_operator.ledger import read_facts
from haulout_operator.names import FORCE_REMOVE_ANNOTATION
from haulout_operator.observed import SampleRead
from haulout_operator.planning.leaving import plan_leaving

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


async def test_a_change_of_epoch_tells_what_moves_and_who_is_still_fetching(town) -> None:
    town.found(4)
    await town.play()
    town.scale(5)
    await town.play()
    await town.advance()
    facts = await read_facts(town, None)
    [new] = [name for name, node in facts.nodes.items() if node.incoming == len(node.shards) > 0]
    town.moving_bytes = {new: (1000, 250)}
    for _ in range(2):  # its EpochTransition is made, and told about
        await town.round()
    moves = town.kube.objects["EpochTransition", "main-2"]["status"]["moves"]
    assert moves == {"total": 20, "done": 0, "bytes": 1000, "bytesDone": 250}
    town.kube.break_pod(new)
    await town.operator.run_round("main", {})
    complete = town.condition("EpochTransition", "main-2", "Complete")
    assert (complete["status"], complete["reason"]) == ("False", "Sync")
    assert f"on their way to {new} (20 shards, its Pod is not ready). Next: kubectl describe sn" in complete["message"]
    assert town.condition("StorageNode", new, "Synced")["message"] == "20 shards are on their way to it"
    town.kube.settle()
    town.kube.objects["Pod", f"{new}-0"]["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    town.moving_bytes = {}
    await town.sync()
    await town.play()
    moves = town.kube.objects["EpochTransition", "main-2"]["status"]["moves"]
    assert moves == {"total": 20, "done": 20, "bytes": 1000, "bytesDone": 1000}
    assert town.condition("EpochTransition", "main-2", "Ready")["status"] == "True"
    assert town.condition("StorageNode", new, "Synced")["status"] == "True"


async def test_a_change_that_is_yet_to_come_is_not_complete(town) -> None:
    town.found()
    await town.play()
    spec = {"networkRef": {"name": "main"}, "fromEpoch": 1, "toEpoch": 2}
    town.kube.add("EpochTransition", "main-2", spec)  # an administrator's
    await town.play()
    for type_ in ("Complete", "Ready", "HandedOver"):
        assert town.condition("EpochTransition", "main-2", type_)["status"] == "False"
    assert town.kube.objects["EpochTransition", "main-2"]["status"]["phase"] == "Waiting"
    await town.advance()
    await town.sync()
    await town.play()
    status = town.kube.objects["EpochTransition", "main-2"]["status"]
    assert status["phase"] == "Done"
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
    assert len(town.kube.names("PersistentVolumeClaim")) == 4 + 2
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


def genesis_of(town) -> Genesis:
    return Genesis.from_json(town.kube.objects["ConfigMap", "main-genesis"]["data"]["genesis.json"])


async def unstaked(town) -> str:
    """A node that the ledger says it never counted on, as one that was put back to an earlier state does of others; it
    is being deleted."""
    town.found()
    spec = {"networkRef": {"name": "main"}, "replicas": 1, "template": {"stake": "0"}}
    town.kube.add("StorageNodePool", "idle", spec)
    await town.play()
    [victim] = [name for name in town.nodes() if name.startswith("idle-")]
    assert not (await read_facts(town, None)).nodes[victim].stake_frost
    assert victim not in {one.name for one in genesis_of(town).nodes}
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    return victim


async def test_a_node_that_the_ledger_never_counted_on_goes_only_on_an_attested_state(town) -> None:
    victim = await unstaked(town)
    town.is_attested = False
    await town.play()
    condition = town.condition("StorageNode", victim, "Ready")
    assert condition["reason"] == "WaitingForAttestation"
    assert "Next, if that takes long: bring back the nodes that are down" in condition["message"]
    assert f"{victim}-data" in town.kube.names("PersistentVolumeClaim")
    town.is_attested = True
    await town.play()
    assert victim not in town.nodes()
    assert f"{victim}-data" not in town.kube.names("PersistentVolumeClaim")


async def test_a_node_that_says_it_holds_shards_is_not_let_go_as_one_that_never_counted(town) -> None:
    victim = await unstaked(town)
    town.holdings[victim] = (1, 2)
    await town.play()
    assert town.condition("StorageNode", victim, "Ready")["reason"] == "NodeHolds"
    assert f"{victim}-data" in town.kube.names("PersistentVolumeClaim")
    town.holdings.clear()
    await town.play()
    assert victim not in town.nodes()


async def test_a_founder_that_the_ledger_does_not_know_is_not_let_go(town) -> None:
    """That ledger is not the one it was, whatever it is."""
    town.found(5)
    await town.play()
    sight = await town.operator._observer.look("main", {})
    ledger = sight.observed.ledger
    node = sight.observed.nodes[0]
    forgetful = replace(ledger, nodes={name: one for name, one in ledger.nodes.items() if name != node.name})
    leaving = plan_leaving(replace(sight.observed, ledger=forgetful), node)
    assert (leaving.reason, leaving.actions) == ("ForeignLedger", ())
    without_volume = {key: one for key, one in sight.observed.children.items() if key[1] != f"{node.name}-data"}
    assert plan_leaving(replace(sight.observed, ledger=forgetful, children=without_volume), node).is_over


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


async def test_the_nodes_own_word_alone_lets_nobody_go(town) -> None:
    await grown(town)
    town.scale(6)
    await town.play()
    (victim,) = town.leaving()
    town.holdings[victim] = ()
    await town.advance()
    town.giving[victim] = 0
    await town.play()
    assert town.condition("StorageNode", victim, "Ready")["reason"] == "HandingOver"
    assert victim not in town.sampled  # nothing is read on its behalf before the ledger has let go of it


async def test_nobody_goes_without_whom_a_blob_cannot_be_read(town) -> None:
    await grown(town)
    town.scale(6)
    await town.play()
    (victim,) = town.leaving()
    town.samples[victim] = None  # the ledger did not answer while blobs were picked
    await epoch_passes(town)
    assert town.condition("StorageNode", victim, "Ready")["reason"] == "WaitingForSample"
    town.samples[victim] = SampleRead(2, ("aBc (BLOB_UNAVAILABLE)",))
    await town.play()
    condition = town.condition("StorageNode", victim, "Ready")
    assert condition["reason"] == "SampleUnreadable"
    assert "1 of 3 sampled blobs cannot be read: aBc (BLOB_UNAVAILABLE)" in condition["message"]
    town.samples.clear()
    await town.play()
    assert victim not in town.nodes()


async def test_what_a_status_says_proves_nothing(town) -> None:
    await grown(town)
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    await town.play()
    forged = {"type": "Ready", "status": "False", "reason": "Proven", "message": "", "lastTransitionTime": "", "x": 1}
    town.kube.objects["StorageNode", victim]["status"] = {"phase": "Drained", "conditions": [forged]}
    await town.round()
    assert victim in town.nodes()
    assert town.condition("StorageNode", victim, "Ready")["reason"] == "OwnsShards"


async def test_a_pool_that_grows_again_before_the_vote_keeps_its_nodes(town) -> None:
    await grown(town)
    before, pods = town.nodes(), town.node_pods()
    town.scale(5)
    await town.play()
    assert len(town.leaving()) == 2
    town.kube.writes.clear()
    town.scale(7)
    await town.play()
    assert (town.nodes(), town.leaving(), town.node_pods()) == (before, [], pods)
    made = [write for write in town.kube.writes if not write.startswith(("status", "create Event"))]
    assert {write.partition("/")[0] for write in made} == {"apply StorageNode"}  # the mark goes
    await epoch_passes(town)
    facts = await read_facts(town, None)
    assert all(facts.nodes[name].shards and not facts.nodes[name].is_leaving for name in before)


async def test_a_node_that_somebody_deleted_is_not_called_back(town) -> None:
    await grown(town)
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    await town.play()
    town.scale(8)
    await town.play()
    await epoch_passes(town)
    assert victim not in town.nodes()
    assert len(town.nodes()) == 8


async def test_the_node_that_is_named_goes_first(town) -> None:
    await grown(town)
    chosen = town.nodes()[3]
    metadata = town.kube.objects["StorageNode", chosen]["metadata"]
    metadata["annotations"] |= {"haulout.dev/leaving": "first"}
    town.scale(6)
    await town.play()
    assert town.leaving() == [chosen]


async def test_a_drained_node_has_a_substitute_and_stays_empty(town) -> None:
    town.found()
    await town.play()
    drained = town.nodes()[0]
    town.kube.objects["StorageNode", drained]["spec"]["desiredState"] = "Drained"
    await town.play()
    await epoch_passes(town)
    await epoch_passes(town)
    assert len(town.nodes()) == 5
    assert town.condition("StorageNode", drained, "Ready")["reason"] == "Proven"
    assert town.kube.objects["StorageNode", drained]["status"]["committee"]["shardCount"] == 0


async def test_a_dead_member_is_replaced_after_its_time_and_not_before(town) -> None:
    town.found(5)
    await town.play()
    dead = town.nodes()[1]
    town.kube.break_pod(dead)
    settle, town.kube.settle = town.kube.settle, lambda: town.kube.settle_others(dead)
    await town.play()
    town.clock.time_ms += 50 * 60_000
    await town.play()
    assert (len(town.nodes()), town.leaving()) == (5, [])
    town.clock.time_ms += 11 * 60_000
    await town.play()
    assert (len(town.nodes()), town.leaving()) == (6, [dead])
    await epoch_passes(town)
    assert town.condition("StorageNode", dead, "Ready")["reason"] == "NodeSilent"
    await town.kube.delete("", "PersistentVolumeClaim", NAMESPACE, f"{dead}-data")  # lost with its machine
    await town.play()
    assert dead not in town.nodes()
    town.kube.settle = settle


async def test_nobody_is_replaced_when_more_is_down_than_the_network_bears(town) -> None:
    town.found()
    await town.play()
    for name in town.nodes()[:2]:
        town.kube.break_pod(name)
    town.kube.settle = lambda: None
    await town.play()
    town.clock.time_ms += 3 * 3_600_000
    await town.play()
    assert (len(town.nodes()), town.leaving()) == (4, [])


async def test_who_has_left_is_not_said_to_wait_for_a_committee(town) -> None:
    town.found(5)
    await town.play()
    town.scale(4)
    await town.play()
    [gone] = town.leaving()
    town.is_attested = False  # it stays a while
    await town.advance()
    await town.sync()
    await town.play()
    condition = town.condition("StorageNode", gone, "InCommittee")
    assert (condition["status"], condition["reason"]) == ("False", "Left")


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
