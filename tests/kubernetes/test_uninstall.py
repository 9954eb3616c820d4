"""The release goes and comes back: what is promised to stay has stayed."""

from __future__ import annotations

import time

from tests.kubernetes.installation import Installation, say
from tests.kubernetes.load import read, store

BLOB = bytes(range(256)) * 700


def test_uninstall_keeps_what_it_promises_and_a_new_installation_has_it(network: Installation) -> None:
    with network.reached("main-gateway") as gateway:
        blob_id = store(gateway, BLOB)
    names, claims, secrets = network.nodes(), network.names("pvc"), network.network_secrets()
    genesis = network.get("cm", "main-genesis")["data"]
    assert set(claims) >= {*(f"{name}-data" for name in names), "main-ledger-data", "main-graphql-data"}
    started = time.monotonic()
    network.helm("uninstall", "haulout")
    network.wait("Pods are gone", lambda: not network.network_pods())
    say(f"uninstalled after {time.monotonic() - started:.0f} s")
    for kind in ("snet", "snp", "sn", "ept", "sts", "deploy"):
        assert network.names(kind) == []
    assert network.names("pvc") == claims
    assert network.network_secrets() == secrets
    assert network.get("cm", "main-genesis")["data"] == genesis
    assert "storagenetworks.haulout.dev" in network.kubectl("get", "crd", "-o", "name")

    seconds = network.install()
    network.settle()
    with network.reached("main-gateway") as gateway:
        assert read(gateway, blob_id) == BLOB
    assert network.nodes() == names
    say(f"installed again after {seconds:.0f} s, data intact")
