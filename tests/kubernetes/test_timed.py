"""A second network beside the first: epochs of 90 s, made by an earlier release, upgraded under load, left alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from haulout.ledger.apply import PROTOCOL_VERSION
from tests import fresh_http
from tests.kubernetes.installation import Installation, say
from tests.kubernetes.load import Load, read, store
from tests.kubernetes.testbed import Cluster, Earlier

EPOCH_S = 90
SECOND = ["--set", "crds.create=false", "--set", "rbac.aggregateClusterRoles=false"]
TIMED = ["--set", f"network.spec.epoch.duration={EPOCH_S}s", "--set", "network.spec.epoch.driverGrace=5s"]
STEPS = 'haulout_operator_epoch_steps{network="main"}'
BLOB = bytes(range(256)) * 600


@pytest.fixture(scope="module")
def earlier(network: Installation, cluster: Cluster, earlier_release: Future[Earlier]) -> Iterator[Installation]:
    """The release that `upgrade-from` names, in a namespace of its own; the definitions are those of the first."""
    before = earlier_release.result()
    cluster.load(before.archive)
    made = Installation(cluster, "haulout-e2e-timed", [*TIMED, *SECOND])
    made.make_namespace()
    made.install(chart=before.chart, image=before.image)
    yield made
    made.remove()


def epoch_of(graphql: str) -> int:
    """The ledger's epoch as GraphQL tells it, which asks no operator."""
    answer = fresh_http.post(f"{graphql}/graphql", json={"query": "{ epoch { number } }"}, timeout=30)
    return int(answer.json()["data"]["epoch"]["number"])


def test_an_earlier_release_is_upgraded_and_its_epochs_go_on_without_an_operator(
    earlier: Installation, earlier_release: Future[Earlier]
) -> None:
    names, first = earlier.nodes(), earlier.epoch()
    with earlier.reached("main-gateway") as gateway, Load(gateway) as load:
        started = time.monotonic()
        repository, _, tag = earlier.cluster.image.rpartition(":")
        earlier.upgrade("--set", f"image.repository={repository}", "--set", f"image.tag={tag}")

        def is_rolled() -> bool:
            pods = [pod for pod in earlier.get("pods")["items"] if "haulout.dev/role" in pod["metadata"]["labels"]]
            images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
            return images == {earlier.cluster.image}

        earlier.wait("everything on the new release", is_rolled, 420)
        earlier.settle()
        assert earlier.nodes() == names
        commit = earlier_release.result().image.rpartition(":")[2]
        say(f"upgraded from {commit} in {time.monotonic() - started:.0f} s")
        earlier.wait("an epoch by its clock", lambda: earlier.epoch() > first, 2 * EPOCH_S)

        leave_epochs_to_a_pod_of_their_own(earlier)
        scale(earlier, "haulout-epochs", 0)
        with earlier.reached("main-graphql") as graphql:
            alone = epoch_of(graphql)
            earlier.wait("an epoch that nodes began", lambda: epoch_of(graphql) >= alone + 2, 3 * EPOCH_S)
        scale(earlier, "haulout-operator", 1)
        scale(earlier, "haulout-epochs", 1)
        earlier.wait("the operator sees it", lambda: earlier.epoch() >= alone + 2, 120)
        earlier.wait("the newest rules are in force", lambda: protocol_of(earlier) == PROTOCOL_VERSION, 3 * EPOCH_S)
        earlier.settle()
        load.finish(f"an upgrade and {earlier.epoch() - first} epochs of {EPOCH_S} s, two of them left to the nodes")


def protocol_of(network: Installation) -> int:
    """The version of the rules that the ledger follows, as the operator tells it."""
    return int(network.get("snet", "main")["status"]["protocolVersion"])


def leave_epochs_to_a_pod_of_their_own(network: Installation) -> None:
    """From now on the controller drives epochs in its own Pod, and the operator is gone."""
    network.upgrade("--set", "epochController.ownPod=true")
    for deployment in ("haulout-operator", "haulout-epochs"):
        network.kubectl("rollout", "status", f"deploy/{deployment}", "--timeout=120s")
    scale(network, "haulout-operator", 0)
    with network.reached("main-graphql") as graphql:
        before = epoch_of(graphql)
        network.wait("an epoch without an operator", lambda: epoch_of(graphql) > before, 3 * EPOCH_S)
        network.wait(  # its vote and its change; what came due before the Pod was up, the nodes did
            "two steps of the Pod", lambda: network.metrics("deploy/haulout-epochs").get(STEPS, 0) >= 2, 3 * EPOCH_S
        )


def scale(network: Installation, deployment: str, replicas: int) -> None:
    network.kubectl("scale", f"deploy/{deployment}", f"--replicas={replicas}")
    network.kubectl("rollout", "status", f"deploy/{deployment}", "--timeout=120s")


def test_one_of_two_networks_is_destroyed_and_the_other_has_no_part_in_it(
    network: Installation, earlier: Installation
) -> None:
    with network.reached("main-gateway") as here, earlier.reached("main-gateway") as there:
        stays, goes = store(here, BLOB), store(there, BLOB[::-1])
        assert (read(here, stays), read(there, goes)) == (BLOB, BLOB[::-1])
        unknown = [
            fresh_http.get(f"{gateway}/v1/blobs/{blob_id}", timeout=30).status_code
            for gateway, blob_id in ((here, goes), (there, stays))
        ]
        assert unknown == [404, 404]
    mine = (network.nodes(), network.names("pvc"), network.network_secrets())
    deletion = {"policy": "Destroy", "confirm": "main"}
    earlier.kubectl("patch", "snet/main", "--type=merge", "-p", json.dumps({"spec": {"deletion": deletion}}))
    started = time.monotonic()
    earlier.kubectl("delete", "snet/main", "--timeout=120s")
    earlier.wait("Pods are gone", lambda: not earlier.network_pods(), 120)
    earlier.wait("volumes are gone", lambda: not earlier.names("pvc"), 120)
    say(f"a network destroyed with its data in {time.monotonic() - started:.0f} s")
    assert earlier.network_secrets() == earlier.nodes() == []
    assert "main-genesis" not in earlier.names("cm")
    earlier.wait(
        "its pool says so", lambda: earlier.condition("snp", "main", "Ready")["reason"] == "NetworkMissing", 60
    )
    assert (network.nodes(), network.names("pvc"), network.network_secrets()) == mine
    network.settle()
    with network.reached("main-gateway") as here:
        assert read(here, stays) == BLOB
