"""The API server refuses what cannot be meant, in words that help; no operator has a part in that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulout_operator.crds import KINDS, build_crd
from tests.kubernetes.installation import Installation
from tests.kubernetes.testbed import CHART, Cluster

NAMESPACE = "haulout-e2e-rules"
NETWORK: dict[str, Any] = {
    "shards": 100,
    "ledger": {"storage": {"size": "2Gi"}},
    "graphql": {"storage": {"size": "1Gi"}},
}
NODE = {"networkRef": {"name": "main"}, "poolRef": {"name": "main"}, "serial": 3, "desiredState": "Drained"}
THERE = [
    ("StorageNetwork", "main", NETWORK),
    ("StorageNodePool", "main", {"networkRef": {"name": "main"}, "template": {"storage": {"size": "10Gi"}}}),
    ("StorageNode", "main-abcd", NODE),
    ("EpochTransition", "main-2", {"networkRef": {"name": "main"}, "fromEpoch": 1, "toEpoch": 2}),
]
GROWS = "storage.size cannot shrink: volumes only grow"
FOUNDED = "cannot be changed: the network was founded with it"
BELONGS = "networkRef cannot be changed: a node's identity belongs to one network"

REFUSED = [
    ("snet/main", {"shards": 200}, f"shards {FOUNDED}"),
    ("snet/main", {"shards": 3}, "should be greater than or equal to 4"),
    ("snet/main", {"epoch": {"duration": "2h"}}, f"epoch.duration {FOUNDED}"),
    ("snet/main", {"epoch": {"duration": "soon"}}, "should match"),
    ("snet/main", {"epoch": {"maxEpochsAhead": 5}}, f"epoch.maxEpochsAhead {FOUNDED}"),
    ("snet/main", {"epoch": {"manual": True}}, f"epoch.manual {FOUNDED}"),
    ("snet/main", {"epoch": {"driverGrace": "5s"}}, f"epoch.driverGrace {FOUNDED}"),
    ("snet/main", {"funds": {"treasury": "20000000WAL"}}, f"funds.treasury {FOUNDED}"),
    ("snet/main", {"funds": {"gateway": "1"}}, f"funds.gateway {FOUNDED}"),
    ("snet/main", {"funds": {"graphql": "0"}}, f"funds.graphql {FOUNDED}"),
    ("snet/main", {"deletion": {"policy": "Destroy"}}, "needs deletion.confirm: write the network's name there"),
    (
        "snet/main",
        {"deletion": {"policy": "Destroy", "confirm": "other"}},
        "deletion.confirm is not the network's name",
    ),
    ("snet/main", {"safety": {"maxUnavailableShards": 34}}, "safety.maxUnavailableShards is at most f"),
    ("snet/main", {"tls": {"mode": "Maybe"}}, "Unsupported value"),
    ("snet/main", {"ledger": {"storage": {"size": "1Gi"}}}, GROWS),
    ("snet/main", {"graphql": {"storage": {"size": "1Mi"}}}, GROWS),
    ("snet/main", {"graphql": {"replicas": 2}}, "graphql.replicas above 1 needs graphql.recordsSecret"),
    ("snet/main", {"gateway": {"publicUrl": "blobs.example.org"}}, "should match"),
    ("snp/main", {"networkRef": {"name": "other"}}, BELONGS),
    ("snp/main", {"replicas": 1000}, "should be less than or equal to 150"),
    ("snp/main", {"template": {"stake": "a lot"}}, "should match"),
    ("snp/main", {"template": {"stake": "99999999999WAL"}}, "should match"),  # more than 64 bits of FROST
    ("snp/main", {"template": {"resources": {"requests": {"cpu": "much"}}}}, "should match"),
    ("snp/main", {"template": {"tolerations": [{"key": "a", "effect": "Never"}]}}, "Unsupported value"),
    ("snp/main", {"template": {"extraEnv": [{"name": "HAULOUT_DATA", "value": "/"}]}}, "that the operator sets"),
    ("snp/main", {"template": {"extraEnv": [{"name": "MY_LEVEL"}]}}, "a variable has either value or valueFrom"),
    (
        "snp/main",
        {"template": {"extraEnv": [{"name": "MY_TOKEN", "valueFrom": {}}]}},
        "name one: secretKeyRef or configMapKeyRef",
    ),
    ("snp/main", {"template": {"storage": {"size": "1Gi"}}}, GROWS),
    ("snp/main", {"template": {"storage": {"size": "10G"}}}, GROWS),
    ("snp/main", {"template": {"storage": {"size": "10737418239"}}}, GROWS),
    ("sn/main-abcd", {"networkRef": {"name": "other"}}, BELONGS),
    ("sn/main-abcd", {"serial": 4}, "serial cannot be changed"),
    ("sn/main-abcd", {"poolRef": None}, "poolRef stays"),
    ("sn/main-abcd", {"desiredState": "Active"}, "a drained identity is not used again: scale the pool for a new one"),
    ("sn/main-abcd", {"desiredState": "Maintenance"}, "a drained identity is not used again"),
    ("ept/main-2", {"toEpoch": 3}, "an EpochTransition cannot be changed"),
]
TAKEN = [
    ("snp/main", {"template": {"storage": {"size": "10737418240"}}}),  # as many bytes in another unit
    ("snp/main", {"template": {"storage": {"size": "11G"}}}),
    ("snp/main", {"template": {"storage": {"size": "9999Ti"}}}),
    ("snet/main", {"ledger": {"storage": {"size": "3Gi"}}}),
    ("snet/main", {"safety": {"maxUnavailableShards": 33}}),
    ("snet/main", {"deletion": {"policy": "Destroy", "confirm": "main"}}),
]
NAMES = [
    ("StorageNetwork", "n" * 41, "at most 40 characters"),
    ("StorageNodePool", "n" * 36, "at most 35 characters"),
    ("StorageNode", "n" * 41, "at most 40 characters"),
    ("StorageNetwork", "1st", "a letter, then letters, digits and dashes"),
    ("StorageNodePool", "a.b", "a letter, then letters, digits and dashes"),
    ("StorageNode", "a.b", "a letter, then letters, digits and dashes"),
]


@pytest.fixture(scope="module")
def definitions(network: Installation) -> Iterator[Cluster]:
    """One object of each kind of the chart, in a namespace where nobody looks after them."""
    cluster = network.cluster
    cluster.run("kubectl", "create", "namespace", NAMESPACE)
    for kind, name, spec in THERE:
        body = {"apiVersion": "haulout.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        cluster.run("kubectl", "-n", NAMESPACE, "create", "-f", "-", text=json.dumps(body))
    yield cluster
    cluster.run("kubectl", "delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize(("what", "spec", "words"), REFUSED, ids=[f"{what}-{spec}" for what, spec, _ in REFUSED])
def test_a_change_is_refused(definitions: Cluster, what: str, spec: dict[str, Any], words: str) -> None:
    patch = json.dumps({"spec": spec})
    command = ("kubectl", "-n", NAMESPACE, "patch", what, "--type=merge", "--dry-run=server", "-p", patch)
    answer = definitions.run(*command, check=False)
    assert words in answer, answer


@pytest.mark.parametrize(("what", "spec"), TAKEN, ids=[f"{what}-{spec}" for what, spec in TAKEN])
def test_a_change_that_can_be_meant_is_taken(definitions: Cluster, what: str, spec: dict[str, Any]) -> None:
    patch = json.dumps({"spec": spec})
    definitions.run("kubectl", "-n", NAMESPACE, "patch", what, "--type=merge", "--dry-run=server", "-p", patch)


@pytest.mark.parametrize(("kind", "name", "words"), NAMES)
def test_a_name_that_children_could_not_have_is_refused(definitions: Cluster, kind: str, name: str, words: str) -> None:
    spec = next(spec for its_kind, _, spec in THERE if its_kind == kind)
    body = {"apiVersion": "haulout.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    command = ("kubectl", "-n", NAMESPACE, "create", "--dry-run=server", "-f", "-")
    assert words in definitions.run(*command, check=False, text=json.dumps(body))


@pytest.mark.parametrize(
    "typo",
    [
        "network.spec.shard",
        "network.spec.epoch.manuel",
        "network.spec.graphql.limits.maxCots",
        "pool.spec.template.storage.siz",
    ],
)
def test_values_with_a_typo_are_refused(cluster: Cluster, typo: str) -> None:
    answer = cluster.run("helm", "template", str(CHART), "--set", f"{typo}=10", check=False)
    assert f"additional properties '{typo.rpartition('.')[2]}' not allowed" in answer, answer


@pytest.mark.parametrize("values", sorted((CHART / "ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_chart_is_clean_with_the_values_of_each_feature(cluster: Cluster, values: Path) -> None:
    cluster.run("helm", "lint", "--strict", str(CHART), "-f", str(values))
    text = cluster.run("helm", "template", "haulout", str(CHART), "-f", str(values))
    known = [one for one in text.split("\n---\n") if "monitoring.coreos.com" not in one]  # that operator is not here
    cluster.run("kubectl", "apply", "--dry-run=server", "-f", "-", text="\n---\n".join(known))


def test_every_rule_of_every_kind_is_tried() -> None:
    tried = [words for _, _, words in (*REFUSED, *NAMES)]
    messages = {message for kind in KINDS for message in messages_of(build_crd(kind))}
    assert len(messages) > 10
    assert [message for message in messages if not any(words in message for words in tried)] == []


def messages_of(node: Any) -> Iterator[str]:
    """Messages of the CEL rules anywhere below."""
    if isinstance(node, dict):
        for rule in node.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for child in node.values():
            yield from messages_of(child)
    elif isinstance(node, list):
        for child in node:
            yield from messages_of(child)
