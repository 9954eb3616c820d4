"""NetworkPolicies, where the cluster's network enforces them; elsewhere the test is left out and says so."""

from __future__ import annotations

import time
from typing import Any

import pytest

from haulout_operator.names import GRPC_PORT, HTTP_PORT, METRICS_PORT
from tests.kubernetes.installation import Installation

GUARDED = {"app": "guarded"}
SERVE = ["python", "-m", "http.server", str(GRPC_PORT)]
ENFORCED_S = 10  # networks get to know of a policy a little later
REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print('reached')"


def test_strangers_reach_what_is_for_everybody_and_no_more(network: Installation) -> None:
    network.create(pod_of(network, "guarded", SERVE))
    network.create(pod_of(network, "stranger", ["sleep", "600"]))
    closed = {"podSelector": {"matchLabels": GUARDED}, "policyTypes": ["Ingress"], "ingress": []}
    metadata = {"name": "guarded"}
    network.create(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": closed}
    )
    try:
        network.kubectl("wait", "--for=condition=Ready", "pod/guarded", "pod/stranger", "--timeout=60s")
        network.wait("it listens", lambda: reaches(network, "127.0.0.1", GRPC_PORT, pod="guarded"), 30)
        if not is_closed(network, network.get("pod", "guarded")["status"]["podIP"]):
            pytest.skip("this cluster's network enforces no NetworkPolicies")
        for service in ("main-ledger", *network.nodes()):
            assert not reaches(network, service, GRPC_PORT), service
            pod = network.get("pod", f"{service}-0")
            assert reaches(network, pod["status"]["podIP"], METRICS_PORT), service
        for service in ("main-gateway", "main-graphql"):
            assert reaches(network, service, HTTP_PORT), service
    finally:
        network.kubectl("delete", "pod", "guarded", "stranger", "--grace-period=0", "--force")
        network.kubectl("delete", "networkpolicy", "guarded")


def is_closed(network: Installation, host: str) -> bool:
    """Whether a policy that lets nobody in holds, at once or soon."""
    deadline = time.monotonic() + ENFORCED_S
    while reaches(network, host, GRPC_PORT):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def reaches(network: Installation, host: str, port: int, pod: str = "stranger") -> bool:
    """Whether a Pod that is not of the network gets a connection."""
    answer = network.kubectl("exec", pod, "--", "python", "-c", REACH, host, str(port), check=False)
    return "reached" in answer


def pod_of(network: Installation, name: str, command: list[str]) -> dict[str, Any]:
    """A Pod with the image and the security of a node's, and labels of its own."""
    live = network.node_pods()[0]["spec"]
    kept = ("image", "imagePullPolicy", "securityContext")
    container = {"name": name, "command": command, **{key: live["containers"][0][key] for key in kept}}
    spec = {"securityContext": live["securityContext"], "containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
