"""A second network beside the first: epochs of 90 s, made by an earlier release, upgraded under load, left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests import fresh_http
from tests.kubernetes.installation import Installation, say
from tests.kubernetes.load import Load
from tests.kubernetes.testbed import Cluster, build_earlier

EPOCH_S = 90
SECOND = ["--set", "crds.create=false", "--set", "rbac.aggregateClusterRoles=false"]
TIMED = ["--set", f"network.spec.epoch.duration={EPOCH_S}s", "--set", "network.spec.epoch.driverGrace=5s"]


@pytest.fixture(scope="module")
def earlier(cluster: Cluster) -> Iterator[Installation]:
    """The release that `upgrade-from` names, in a namespace of its own."""
    before = build_earlier()
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


def test_an_earlier_release_is_upgraded_and_its_epochs_go_on_without_an_operator(earlier: Installation) -> None:
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
        say(f"upgraded from {earlier_commit()} in {time.monotonic() - started:.0f} s")
        earlier.wait("an epoch by its clock", lambda: earlier.epoch() > first, 2 * EPOCH_S)

        earlier.kubectl("scale", "deploy/haulout-operator", "--replicas=0")
        with earlier.reached("main-graphql") as graphql:
            alone = epoch_of(graphql)
            earlier.wait("an epoch that nodes began", lambda: epoch_of(graphql) >= alone + 2, 3 * EPOCH_S)
        earlier.kubectl("scale", "deploy/haulout-operator", "--replicas=1")
        earlier.wait("the operator sees it", lambda: earlier.epoch() >= alone + 2, 120)
        earlier.settle()
        load.finish(f"an upgrade and {earlier.epoch() - first} epochs of {EPOCH_S} s, two of them without an operator")


def earlier_commit() -> str:
    return build_earlier().image.rpartition(":")[2]
