"""What nodes are made from has a name, as with StatefulSets, and reaches them one at a time, pool by pool."""

from __future__ import annotations

from typing import Any

from haulout_operator.ledger import read_facts
from haulout_operator.planning.budget import is_up


def told(town, pool: str = "main") -> tuple[str, str, int]:
    status = town.kube.objects["StorageNodePool", pool]["status"]
    return status["currentRevision"], status["updateRevision"], status["updatedReplicas"]


def change(town, pool: str = "main", **template: Any) -> None:
    spec = town.kube.objects["StorageNodePool", pool]["spec"]
    spec["template"] = {**spec.get("template", {}), **template}


def images_of(town, pool: str) -> list[str]:
    bodies = [town.kube.objects["StatefulSet", name] for name in town.nodes()]
    mine = [body for body in bodies if body["metadata"]["labels"]["haulout.dev/pool"] == pool]
    return [body["spec"]["template"]["spec"]["containers"][0]["image"] for body in mine]


async def test_a_pool_says_what_it_goes_from_and_to_until_all_are_there(town) -> None:
    town.found()
    await town.play()
    old, newest, n_updated = told(town)
    assert (old, n_updated) == (newest, 4)
    assert old.startswith("main-")
    change(town, priorityClassName="high")
    seen = []
    for _ in range(12):
        await town.round()
        seen.append(told(town))
    newest = seen[0][1]
    assert newest != old
    assert {one[:2] for one in seen if one[2] < 4} == {(old, newest)}
    assert [one[2] for one in seen if one[2] < 4] == sorted(one[2] for one in seen if one[2] < 4)
    assert seen[-1] == (newest, newest, 4)
    assert {town.kube.objects["StorageNode", name]["status"]["revision"] for name in town.nodes()} == {newest}
    change(town, priorityClassName="low")
    await town.play()
    change(town, priorityClassName="high")
    await town.play()
    assert told(town) == (newest, newest, 4)  # the same template is the same revision


async def test_what_makes_no_pod_anew_is_no_revision(town) -> None:
    town.found()
    await town.play()
    before = told(town)
    change(town, stake="3000WAL", storage={"size": "20Gi"})
    await town.play()
    assert told(town) == before


async def test_a_held_update_shows_both_revisions(town) -> None:
    town.found()
    await town.play()
    [old, *_] = told(town)
    town.kube.objects["StorageNodePool", "main"]["spec"]["update"] = {"partition": 2}
    change(town, extraEnv=[{"name": "HAULOUT_LOG_LEVEL", "value": "debug"}])
    await town.play()
    current, newest, n_updated = told(town)
    assert (current, n_updated) == (old, 2)
    assert newest != old


async def test_nodes_of_a_release_that_named_no_revisions_are_brought_along_one_by_one(town) -> None:
    town.found()
    await town.play()
    for name in town.nodes():
        del town.kube.objects["StatefulSet", name]["metadata"]["annotations"]["haulout.dev/revision"]
    for count in range(4):
        await town.round()  # tells what it saw, and then does the next
        current, newest, n_updated = told(town)
        assert current != newest
        assert n_updated == count
    await town.play()
    assert told(town) == (newest, newest, 4)


async def test_a_pool_goes_ahead_with_another_image_within_the_budget_of_all(town) -> None:
    town.found(3)
    town.kube.add("StorageNodePool", "ahead", {"networkRef": {"name": "main"}, "replicas": 3})
    await town.play()
    change(town, "ahead", image="haulout:2")
    while images_of(town, "ahead") != ["haulout:2"] * 3:
        town.kube.writes.clear()
        await town.round()
        replaced = [one.rpartition("/")[2] for one in town.kube.writes if one.startswith("apply StatefulSet/ahead")]
        assert len(replaced) <= 1
        if replaced:  # its Pod is not ready for a while: nobody else's may go, of whatever pool
            [name] = replaced
            change(town, "main", image="haulout:3")
            town.kube.break_pod(name)
            town.kube.settle = lambda: None
            town.kube.writes.clear()
            await town.round()
            sight = town.operator.seen["main"]
            facts = await read_facts(town, None)
            down = sum(len(node.shards) for name, node in facts.nodes.items() if not is_up(sight, name))
            assert 0 < down <= 33
            assert not [one for one in town.kube.writes if one.startswith("apply StatefulSet")]
            change(town, "main", image="")
            del town.kube.settle
            town.kube.objects.pop(("Pod", f"{name}-0"))
            town.kube.settle()
    await town.play()
    assert images_of(town, "ahead") == ["haulout:2"] * 3
    assert images_of(town, "main") == ["haulout:1"] * 3
    made = town.kube.objects["StatefulSet", f"{town.nodes()[0]}"]["spec"]["template"]["spec"]
    assert {one["image"] for one in (*made["containers"], *made["initContainers"])} == {"haulout:2"}
