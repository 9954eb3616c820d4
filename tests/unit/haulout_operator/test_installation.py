"""The network that a chart brings, when the API server does not take it."""

from __future__ import annotations

from haulout_operator.bootstrap import install_until_done

NETWORK = {"apiVersion": "haulout.dev/v1alpha1", "kind": "StorageNetwork", "metadata": {"name": "main"}}
POOL = {"apiVersion": "haulout.dev/v1alpha1", "kind": "StorageNodePool", "metadata": {"name": "main"}}


def brought(shards: int) -> list[dict]:
    pool = {"networkRef": {"name": "main"}, "replicas": 4}
    return [{**NETWORK, "spec": {"shards": shards}}, {**POOL, "spec": pool}]


async def test_what_is_refused_is_told_at_its_object_once_and_tried_until_it_is_taken(town) -> None:
    def never() -> bool:
        return False

    await install_until_done(town.kube, brought(100), "demo", clock=town.clock, is_stopped=never)
    town.kube.refused = {("StorageNetwork", "main")}
    tries = 0

    def after_a_while() -> bool:
        nonlocal tries
        tries += 1
        if tries == 8:
            town.kube.refused = set()
        return False

    began_ms = town.clock.time_ms
    await install_until_done(town.kube, brought(200), "demo", clock=town.clock, is_stopped=after_a_while)
    assert town.clock.time_ms - began_ms > 120_000  # it waits longer and longer
    events = [body for (kind, _), body in town.kube.objects.items() if kind == "Event"]
    [said] = [one for one in events if one["type"] == "Warning"]
    about = said["involvedObject"]
    assert (about["kind"], about["name"]) == ("StorageNetwork", "main")
    assert about["uid"] == town.kube.objects["StorageNetwork", "main"]["metadata"]["uid"]
    assert said["reason"] == "InstallationRefused"
    assert "a policy says no. Next: helm upgrade with values that are taken" in said["message"]
    assert town.kube.objects["StorageNetwork", "main"]["spec"]["shards"] == 200
