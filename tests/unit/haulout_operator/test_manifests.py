"""Manifests: golden files of a whole network, and what every Pod of it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graphql_api.__main__ import parse_arguments, read_bounds
from graphql_api.limits import DEFAULT_BOUNDS, Bounds
from graphql_api.rates import POINTS_PER_HOUR
from haulout.errors import InvalidField
from haulout_operator.bootstrap import merge_with_live, read_documents
from haulout_operator.manifests.common import Place, digest_of
from haulout_operator.manifests.node import NodeShape, build_node_pod
from haulout_operator.models.base import FIXED_VARIABLES
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.models.pool import StorageNodeSpec
from haulout_operator.names import node_name
from haulout_operator.planning.drift import contains, needs_apply
from haulout_operator.quantities import UNITS, parse_bytes, parse_duration_ms
from haulout_operator.render import render, render_text
from haulout_operator.statuses.node import ranges_text

GOLDEN = Path(__file__).resolve().parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.in.yaml"))
CASES = [name.removesuffix(".in") for name in CASES]


def rendered(case: str) -> list[dict[str, Any]]:
    return render(read_documents(GOLDEN / f"{case}.in.yaml"), namespace="demo", image="registry.example/haulout:1.2.3")


def pods() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for case in CASES:
        for body in rendered(case):
            if body["kind"] in ("StatefulSet", "Deployment"):
                found.append((f"{case}/{body['metadata']['name']}", body["spec"]["template"]["spec"]))
    return found


@pytest.mark.parametrize("case", CASES)
def test_children_are_as_they_were_reviewed(case: str) -> None:
    expected = (GOLDEN / f"{case}.out.yaml").read_text()
    assert render_text(rendered(case)) == expected, (
        f"haulout-operator render -f {case}.in.yaml --namespace demo --image registry.example/haulout:1.2.3"
    )


@pytest.mark.parametrize(("name", "pod"), pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_pods_pass_the_restricted_standard(name: str, pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert "cpu" not in container["resources"]["limits"]
    allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    assert all((set(volume) - {"name"}) <= allowed for volume in pod["volumes"])


def test_the_default_network_asks_for_little() -> None:
    chart = Path(__file__).resolve().parents[3] / "helm" / "haulout" / "values.yaml"
    operator = yaml.safe_load(chart.read_text())["operator"]["resources"]["requests"]
    requests = [operator]
    for body in rendered("default"):
        if body["kind"] in ("StatefulSet", "Deployment"):
            containers = body["spec"]["template"]["spec"]["containers"]
            requests += [container["resources"]["requests"] for container in containers] * body["spec"]["replicas"]
    assert len(requests) == 8
    assert sum(int(one["cpu"].removesuffix("m")) for one in requests) <= 1000
    assert sum(parse_bytes(one["memory"]) for one in requests) <= 2 << 30


def test_labels_that_people_add_to_pods_change_none_of_ours() -> None:
    [pod] = {
        yaml.dump(one["spec"]["template"]["metadata"])
        for one in rendered("rich")
        if "serial" in yaml.dump(one)
        and one["kind"] == "StatefulSet"
        and one["metadata"]["labels"]["haulout.dev/serial"] == "0"
    }
    assert "team: storage" in pod
    assert "haulout.dev/role: node" in pod


def test_variables_that_are_the_operators_alone_are_those_that_it_sets() -> None:
    names: set[str] = set()
    for case, node_id in (("default", None), ("rich", "0x01")):
        network, pool = read_documents(GOLDEN / f"{case}.in.yaml")
        template = {**pool["spec"].get("template", {}), "extraEnv": []}
        spec = StorageNodeSpec.model_validate({"networkRef": {"name": "main"}, "template": template})
        place = Place("demo", "main", StorageNetworkSpec.model_validate(network["spec"]), "haulout:1")
        [process] = build_node_pod(place, NodeShape("main-abcd", spec, node_id))["containers"]
        names |= {one["name"] for one in process["env"]}
    assert {name for name in names if not name.startswith("OTEL_")} - {"HAULOUT_LOG_FORMAT"} == set(FIXED_VARIABLES)


def graphql_options(limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the process makes of the environment that its Pod has under a network's limits."""
    documents = read_documents(GOLDEN / "default.in.yaml")
    [network] = [one for one in documents if one["kind"] == "StorageNetwork"]
    network["spec"] = {**network.get("spec", {}), "graphql": {"limits": limits}}
    [process] = [
        container
        for body in render(documents, namespace="demo", image="haulout:1")
        if body["kind"] == "Deployment" and body["metadata"]["name"].endswith("-graphql")
        for container in body["spec"]["template"]["spec"]["containers"]
    ]
    for one in process["env"]:
        if "value" in one:
            monkeypatch.setenv(one["name"], one["value"])
    return parse_arguments([])


def test_limits_of_graphql_reach_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"maxCost": 701, "maxCostWithToken": 702, "maxDepth": 7, "maxAliases": 8, "maxSubscriptions": 9}
    said |= {"queryTimeout": "11s", "mutationTimeout": "2m", "pointsPerHour": 0}
    options = graphql_options(said, monkeypatch)
    assert options.points_per_hour == "0"
    assert read_bounds(options) == Bounds(
        cost=701, cost_with_token=702, depth=7, aliases=8, subscriptions=9, timeout_ms=11_000,
        mutation_timeout_ms=120_000,
    )  # fmt: skip


def test_limits_of_graphql_are_those_of_its_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    options = graphql_options({}, monkeypatch)
    assert (read_bounds(options), options.points_per_hour) == (DEFAULT_BOUNDS, str(POINTS_PER_HOUR))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "²", "", "9" * 16])
def test_a_limit_that_is_no_number_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = graphql_options({}, monkeypatch)
    options.max_depth = text
    with pytest.raises(InvalidField, match="max_depth"):
        read_bounds(options)


def test_keys_and_volumes_belong_to_nobody_so_that_nothing_takes_them_along() -> None:
    for body in rendered("default"):
        assert (body["kind"] == "PersistentVolumeClaim") is ("ownerReferences" not in body["metadata"])


def test_node_names_are_stable_short_and_of_their_serial() -> None:
    assert node_name("main", "uid", 0) == node_name("main", "uid", 0)
    assert len({node_name("main", "uid", serial) for serial in range(100)}) == 100
    assert len(node_name("p" * 35, "uid", 7)) == 40


def test_what_the_api_server_adds_is_no_drift_and_what_people_change_is() -> None:
    wanted = {"a": {"b": 1, "empty": {}, "off": False}, "list": [{"x": 1}]}
    assert contains({"a": {"b": 1, "more": 2}, "list": [{"x": 1, "y": 2}], "status": {}}, wanted)
    assert not contains({"a": {"b": 2}, "list": [{"x": 1}]}, wanted)
    assert not contains({"a": {"b": 1}, "list": [{"x": 1}, {"x": 2}]}, wanted)
    assert not contains({"a": {"b": 1}}, wanted)


@pytest.mark.parametrize(
    ("wanted", "live", "is_same"),
    [
        ({"cpu": "1000m", "memory": "1024Mi"}, {"cpu": "1", "memory": "1Gi"}, True),  # as the API server writes them
        ({"cpu": "0.5"}, {"cpu": "500m"}, True),
        ({"cpu": "1"}, {"cpu": "2"}, False),
        ({"memory": "1G"}, {"memory": "1Gi"}, False),
        ({"cpu": "1"}, {}, False),
        ({"cpu": "1"}, {"cpu": "1e0"}, False),  # not known, not guessed
    ],
)
def test_amounts_are_compared_as_numbers(wanted: dict[str, str], live: dict[str, str], is_same: bool) -> None:
    for part in ("requests", "limits"):
        assert contains({"resources": {part: live}}, {"resources": {part: wanted}}) is is_same


def test_content_applied_last_decides_beside_what_stands_there() -> None:
    wanted = {"metadata": {"annotations": {"haulout.dev/content": "2"}}, "spec": {"a": 1}}
    live = {"metadata": {"annotations": {"haulout.dev/content": "1"}}, "spec": {"a": 1, "was": "ours"}}
    assert needs_apply(wanted, live)
    live["metadata"]["annotations"]["haulout.dev/content"] = "2"
    assert not needs_apply(wanted, live)


@pytest.mark.parametrize(("text", "value"), [("10Gi", 10 << 30), ("5M", 5_000_000), ("7", 7)])
def test_reads_sizes(text: str, value: int) -> None:
    assert parse_bytes(text) == value
    assert len(UNITS) == 9


@pytest.mark.parametrize(("text", "value"), [("90s", 90_000), ("24h", 86_400_000), ("14d", 1_209_600_000)])
def test_reads_durations(text: str, value: int) -> None:
    assert parse_duration_ms(text) == value


@pytest.mark.parametrize("text", ["", "10 Gi", "1.5Gi", "Gi", "-1", "10GiB"])
def test_refuses_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_bytes(text)


def test_writes_shards_as_ranges() -> None:
    assert ranges_text([3, 1, 2, 7]) == "1-3,7"
    assert ranges_text([]) == ""


POOL = {
    "apiVersion": "haulout.dev/v1alpha1",
    "kind": "StorageNodePool",
    "metadata": {"name": "main"},
    "spec": {"networkRef": {"name": "main"}, "replicas": 4},
}


def installed(replicas: int, live_replicas: int) -> dict[str, Any]:
    body = {**POOL, "spec": {**POOL["spec"], "replicas": replicas}}
    live = merge_with_live(body, None, "demo")
    assert live is not None
    live["spec"]["replicas"] = live_replicas
    return live


def test_an_installation_that_did_not_change_leaves_everything_as_it_is() -> None:
    assert merge_with_live(POOL, installed(4, live_replicas=7), "demo") is None


def test_a_changed_installation_keeps_the_size_that_somebody_scaled_to() -> None:
    changed = {**POOL, "spec": {**POOL["spec"], "update": {"paused": True}}}
    wanted = merge_with_live(changed, installed(4, live_replicas=7), "demo")
    assert wanted is not None
    assert wanted["spec"] == {"networkRef": {"name": "main"}, "replicas": 7, "update": {"paused": True}}


def test_a_size_that_the_installation_changes_wins() -> None:
    changed = {**POOL, "spec": {**POOL["spec"], "replicas": 5}}
    wanted = merge_with_live(changed, installed(4, live_replicas=7), "demo")
    assert wanted is not None
    assert wanted["spec"]["replicas"] == 5
    assert wanted["metadata"]["annotations"]["haulout.dev/installed"] == digest_of(changed)


def test_a_chart_brings_networks_and_pools_only(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n")
    with pytest.raises(InvalidField, match="something else"):
        read_documents(path)


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("StorageNetwork", {"epoch": {"duraton": "1h"}}, "spec.epoch.duraton"),
        ("StorageNodePool", {"networkRef": {"name": "main"}, "replica": 7}, "spec.replica"),
        (
            "StorageNodePool",
            {"networkRef": {"name": "main"}, "template": {"tolerations": [{"efect": "NoSchedule"}]}},
            "spec.template.tolerations.0.efect",
        ),
    ],
)
def test_a_review_shows_fields_that_there_are_none_of(kind: str, spec: dict[str, Any], field: str) -> None:
    network = {"apiVersion": "haulout.dev/v1alpha1", "kind": "StorageNetwork", "metadata": {"name": "main"}, "spec": {}}
    odd = {**network, "kind": kind, "spec": spec}
    with pytest.raises(InvalidField, match=f"{field}.*there is no such field"):
        render([network, odd], namespace="demo", image="haulout:1")
    free = {"template": {"affinity": {"nodeAffinity": {"anything": 1}}, "nodeSelector": {"disk": "fast"}}}
    pool = {**network, "kind": "StorageNodePool", "spec": {"networkRef": {"name": "main"}, **free}}
    assert render([network, pool], namespace="demo", image="haulout:1")
