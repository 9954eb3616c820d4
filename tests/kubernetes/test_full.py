"""What takes longer: every failpoint with and without the nodes' fallback, thirty nodes, a gibibyte, an hour."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulout_operator.failpoints import Failpoint
from tests.kubernetes.installation import EPOCHS_BY_HAND, Installation, say
from tests.kubernetes.load import Load, store
from tests.kubernetes.test_timed import SECOND, epoch_of
from tests.kubernetes.testbed import Cluster

EPOCH_S = 60
SOAK_S = int(os.environ.get("HAULOUT_SOAK_S", "3600"))
MANY = 30
MIB = 1024  # of slivers on the node that is drained
BLOB_BYTES = 8 << 20
COPY = Path(__file__).with_name("grpc_copy.py")


@contextlib.contextmanager
def installed(cluster: Cluster, name: str, *values: str) -> Iterator[Installation]:
    has_definitions = "storagenodes.haulout.dev" in cluster.run("kubectl", "get", "crds", "-o", "name")
    made = Installation(cluster, f"haulout-e2e-{name}", [*(SECOND if has_definitions else ()), *values])
    made.make_namespace()
    try:
        made.install()
        made.settle(made.get("snp", "main")["spec"]["replicas"])
        yield made
    finally:
        made.remove()


# --- every failpoint ----------------------------------------------------------------------------------------------


def timed(grace: str) -> list[str]:
    epoch = {"duration": f"{EPOCH_S}s", "driverGrace": grace}
    return [part for name, value in epoch.items() for part in ("--set", f"network.spec.epoch.{name}={value}")]


@pytest.fixture(scope="module")
def without_fallback(cluster: Cluster) -> Iterator[Installation]:
    with installed(cluster, "alone", *timed("365d")) as made:
        yield made


@pytest.fixture(scope="module")
def with_fallback(cluster: Cluster) -> Iterator[Installation]:
    with installed(cluster, "fallback", *timed("5s")) as made:
        yield made


def kill_at(network: Installation, point: Failpoint) -> str:
    """An operator ends at a point while a node is being replaced; the node."""
    victim = network.nodes()[0]
    network.arm(point)
    network.kubectl("delete", "sn", victim, "--wait=false")
    asked: str = network.get("sn", victim)["metadata"]["deletionTimestamp"]
    network.wait(f"killed at {point}", lambda: network.has_ended_at(point, asked), 4 * EPOCH_S)
    return victim


def is_over(network: Installation, victim: str) -> None:
    network.wait("it is gone", lambda: victim not in network.nodes(), 5 * EPOCH_S)
    network.settle(4)
    network.wait("its volume is gone", lambda: f"{victim}-data" not in network.names("pvc"), 60)


@pytest.mark.parametrize("point", Failpoint)
def test_the_next_operator_finishes(without_fallback: Installation, point: Failpoint) -> None:
    network = without_fallback
    with network.reached("main-gateway") as gateway, Load(gateway) as load:
        victim = kill_at(network, point)
        network.disarm()
        is_over(network, victim)
        load.finish(f"killed at {point}, nodes do not step in")


@pytest.mark.parametrize("point", Failpoint)
def test_the_nodes_go_on_alone(with_fallback: Installation, point: Failpoint) -> None:
    network = with_fallback
    with (
        network.reached("main-gateway") as gateway,
        network.reached("main-graphql") as graphql,
        Load(gateway) as load,
    ):
        victim = kill_at(network, point)
        network.kubectl("scale", "deploy/haulout-operator", "--replicas=0")
        before = epoch_of(graphql)
        network.wait("an epoch that nodes began", lambda: epoch_of(graphql) > before, 3 * EPOCH_S)
        network.disarm()
        network.kubectl("scale", "deploy/haulout-operator", "--replicas=1")
        is_over(network, victim)
        load.finish(f"killed at {point}, no operator for an epoch")


# --- thirty nodes at rest -------------------------------------------------------------------------------------------


def test_thirty_nodes_at_rest(cluster: Cluster) -> None:
    with installed(cluster, "many", *EPOCHS_BY_HAND, "--set", f"pool.replicas={MANY}") as network:
        time.sleep(60)
        before, started = network.metrics("deploy/haulout-operator"), time.monotonic()
        time.sleep(180)
        after = network.metrics("deploy/haulout-operator")
        minutes = (time.monotonic() - started) / 60
        total = "haulout_operator_api_requests_total"
        requests = sum(value - before.get(name, 0) for name, value in after.items() if name.startswith(total))
        cpu = (after["haulout_process_cpu_seconds_total"] - before["haulout_process_cpu_seconds_total"]) / minutes / 60
        n_objects = len(network.get("snet,snp,sn,sts,deploy,svc,pvc,cm,pdb,networkpolicy,pods")["items"])
        say(
            f"{MANY} nodes at rest: {requests / minutes / n_objects:.2f} requests/min for each of {n_objects} objects, "
            f"{cpu * 1000:.0f} mCPU, {after['haulout_process_resident_memory_bytes'] / 2**20:.0f} MiB"
        )
        assert requests / minutes / n_objects <= 2


# --- a gibibyte -----------------------------------------------------------------------------------------------------


def test_a_drain_of_a_gibibyte_beside_a_plain_copy(cluster: Cluster) -> None:
    with installed(cluster, "drain", *EPOCHS_BY_HAND, "--set", "pool.replicas=5") as network:
        victim = network.nodes()[-1]
        rng = random.Random(1)
        with network.reached("main-gateway") as gateway:
            while stored_bytes(network, victim) < MIB << 20:
                for _ in range(8):
                    store(gateway, rng.randbytes(BLOB_BYTES), timeout=120)
        held = stored_bytes(network, victim) / 2**20
        network.kubectl("annotate", f"sn/{victim}", "haulout.dev/leaving=first")
        network.kubectl("scale", "snp/main", "--replicas=4")
        network.wait("it leaves", lambda: network.reason(victim) == "OwnsShards")
        started = time.monotonic()
        transition = network.ask_for_an_epoch()
        network.kubectl("wait", "--for=create", f"ept/{transition}", "--timeout=60s")
        network.kubectl("wait", "--for=condition=HandedOver", f"ept/{transition}", "--timeout=1800s", timeout=1830)
        seconds = time.monotonic() - started
        network.wait("it is gone", lambda: victim not in network.nodes(), 900)
        gone = time.monotonic() - started
        plain = copy_plainly(network)
        say(f"drain of {held:.0f} MiB: handed over at {held / seconds:.1f} MiB/s, gone after {gone:.0f} s")
        say(f"plain gRPC between two Pods: {plain:.1f} MiB/s; the drain has {held / seconds / plain:.2f} of that")


def stored_bytes(network: Installation, node: str) -> float:
    return network.metrics(f"pod/{node}-0")["haulout_node_stored_bytes"]


def copy_plainly(network: Installation) -> float:
    """MiB per second from one Pod to another."""
    network.kubectl("create", "configmap", "copy", f"--from-file={COPY}")
    network.create(copy_pod(network, "copy-server", ["serve"]))
    network.kubectl("wait", "--for=condition=Ready", "pod/copy-server", "--timeout=60s")
    address = network.get("pod", "copy-server")["status"]["podIP"]
    network.create(copy_pod(network, "copy-client", ["copy", f"{address}:9000", str(MIB)]))
    network.wait("the copy", lambda: network.get("pod", "copy-client")["status"]["phase"] == "Succeeded", 600)
    return float(network.kubectl("logs", "copy-client"))


def copy_pod(network: Installation, name: str, arguments: list[str]) -> dict[str, Any]:
    live = network.node_pods()[0]["spec"]
    container = {
        "name": "copy",
        "image": live["containers"][0]["image"],
        "imagePullPolicy": live["containers"][0]["imagePullPolicy"],
        "command": ["python", "/copy/grpc_copy.py", *arguments],
        "securityContext": live["containers"][0]["securityContext"],
        "volumeMounts": [{"name": "copy", "mountPath": "/copy"}],
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": live["securityContext"],
        "containers": [container],
        "volumes": [{"name": "copy", "configMap": {"name": "copy"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


# --- an hour --------------------------------------------------------------------------------------------------------


def test_an_hour_of_kills_and_epochs(cluster: Cluster) -> None:
    with installed(cluster, "soak", *timed("5s")) as network:
        rng = random.Random(int(os.environ.get("HAULOUT_SEED", "1")))
        with network.reached("main-gateway") as gateway, Load(gateway) as load:
            first, until, kills = network.epoch(), time.monotonic() + SOAK_S, 0
            while time.monotonic() < until:
                next_s = time.monotonic() + 60
                node = rng.choice(network.nodes())
                network.kubectl("delete", "pod", f"{node}-0", "--grace-period=0", "--force")
                kills += 1
                network.wait_until_down_and_up(node)
                if kills % 10 == 0:
                    network.kubectl("scale", "snp/main", f"--replicas={rng.choice((4, 5, 6))}")
                time.sleep(max(0.0, next_s - time.monotonic()))
            say(json.dumps({"epochs": network.epoch() - first, "kills": kills, "nodes": len(network.nodes())}))
            load.finish(f"{SOAK_S} s of soak")
