"""The chart as text: roles, image, and what its values may be. Rendering is tested where there is a helm."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from haulout.embedded.founding import MALLOC_ENVIRONMENT
from haulout_operator.chart_readme import build_readme, describe_values
from haulout_operator.chart_schema import build_schema
from haulout_operator.models.base import Model
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.models.pool import StorageNodePoolSpec
from haulout_operator.names import EPOCHS_COMPONENT

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "haulout"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))


def rules_of(file: str) -> list[dict[str, Any]]:
    """The rules of a role's template; only its metadata is templated."""
    text = (CHART / "templates" / file).read_text()
    blocks = re.findall(r"^rules:\n((?:  .*\n)+)", text, re.MULTILINE)
    assert blocks
    return [rule for block in blocks for rule in yaml.safe_load(block)]


MATRIX = {
    ("haulout.dev", "storagenetworks"): "create delete get list patch watch",
    ("haulout.dev", "storagenodepools"): "create delete get list patch watch",
    ("haulout.dev", "storagenodes"): "create delete get list patch watch",
    ("haulout.dev", "epochtransitions"): "create delete get list patch watch",
    ("haulout.dev", "storagenetworks/status"): "patch",
    ("haulout.dev", "storagenodepools/status"): "patch",
    ("haulout.dev", "storagenodes/status"): "patch",
    ("haulout.dev", "epochtransitions/status"): "patch",
    ("haulout.dev", "storagenetworks/finalizers"): "update",
    ("haulout.dev", "storagenodepools/finalizers"): "update",
    ("haulout.dev", "storagenodes/finalizers"): "update",
    ("apps", "statefulsets"): "create delete get list patch watch",
    ("apps", "deployments"): "create delete get list patch watch",
    ("", "services"): "create delete get list patch watch",
    ("", "persistentvolumeclaims"): "create delete get list patch watch",
    ("", "configmaps"): "create delete get list patch watch",
    ("policy", "poddisruptionbudgets"): "create delete get list patch watch",
    ("networking.k8s.io", "networkpolicies"): "create delete get list patch watch",
    ("", "secrets"): "create delete get",
    ("", "events"): "create list",
    ("", "pods"): "get list watch",
}


def test_the_operator_may_do_exactly_this() -> None:
    found = {
        (group, resource): " ".join(sorted(rule["verbs"]))
        for rule in rules_of("role.yaml")
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert found == MATRIX


@pytest.mark.parametrize("file", ["role.yaml", "aggregate-roles.yaml"])
def test_no_rule_is_a_wildcard_or_runs_commands(file: str) -> None:
    for rule in rules_of(file):
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in words
        assert not {"pods/exec", "nodes", "namespaces", "escalate", "bind", "impersonate"} & set(words)


def test_a_pod_of_the_epoch_controller_may_speak_to_the_ledger() -> None:
    text = (CHART / "templates" / "epoch-controller.yaml").read_text()
    assert f"app.kubernetes.io/component: {EPOCHS_COMPONENT}\n" in text


def test_machines_are_looked_at_one_by_one_and_only_when_asked_for() -> None:
    assert yaml.safe_load((CHART / "values.yaml").read_text())["rbac"]["readMachines"] is False
    text = (CHART / "templates" / "machines-role.yaml").read_text()
    assert text.startswith("{{- if and .Values.rbac.create .Values.rbac.readMachines }}\n")
    [rule] = rules_of("machines-role.yaml")
    assert (rule["apiGroups"], rule["resources"], rule["verbs"]) == ([""], ["nodes"], ["get"])


def test_tokens_are_reviewed_only_when_asked_for() -> None:
    assert yaml.safe_load((CHART / "values.yaml").read_text())["tokenReview"]["enabled"] is False
    text = (CHART / "templates" / "token-review.yaml").read_text()
    assert text.startswith("{{- if and .Values.rbac.create (.Values.tokenReview).enabled }}\n")
    roles = re.findall(r"^roleRef:\n(?:  .*\n)*?  kind: (.*)\n  name: (.*)$", text, re.MULTILINE)
    assert roles == [("ClusterRole", "system:auth-delegator")]
    subjects = re.findall(r"^  - kind: (.*)\n    name: (.*)$", text, re.MULTILINE)
    assert subjects == [("ServiceAccount", '{{ include "haulout.serviceAccount" . }}')]


def test_cluster_roles_are_for_people_only() -> None:
    kinds = [(path.name, path.read_text()) for path in (CHART / "templates").glob("*.yaml")]
    assert sorted(name for name, text in kinds if re.search(r"^kind: ClusterRole$", text, re.MULTILINE)) == [
        "aggregate-roles.yaml",
        "machines-role.yaml",
    ]
    bindings = sorted(name for name, text in kinds if "kind: ClusterRoleBinding" in text)
    assert bindings == ["machines-role.yaml", "token-review.yaml"]
    assert all(rule["apiGroups"] == ["haulout.dev"] for rule in rules_of("aggregate-roles.yaml"))


def test_every_value_has_its_place_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(value: Any, node: dict[str, Any], path: str) -> None:
        if "properties" not in node or not isinstance(value, dict):
            return
        if path == "values.global":  # charts above this one say there what they like
            return
        assert node["additionalProperties"] is False, path
        for name, child in value.items():
            assert name in node["properties"], f"{path}.{name}"
            check(child, node["properties"][name], f"{path}.{name}")

    check(values, schema, "values")


@pytest.mark.parametrize(("part", "spec"), [("network", StorageNetworkSpec), ("pool", StorageNodePoolSpec)])
def test_specs_in_values_may_be_all_that_the_kinds_have(part: str, spec: type[Model]) -> None:
    assert (CHART / "values.schema.json").read_text() == build_schema(CHART), "run `make gen`"
    schema = json.loads((CHART / "values.schema.json").read_text())
    fields = {to_camel(name) for name in spec.model_fields} - {"networkRef", "replicas"}
    assert set(schema["properties"][part]["properties"]["spec"]["properties"]) == fields


TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


def is_valid(value: Any, node: dict[str, Any], root: dict[str, Any]) -> bool:
    """JSON Schema as far as ours goes."""
    if "$ref" in node:
        return is_valid(value, root["definitions"][node["$ref"].rpartition("/")[2]], root)
    known = {"type", "properties", "additionalProperties", "items", "enum", "pattern", "not", "const", "description"}
    known |= {"required", "minimum", "maximum", "minLength", "maxLength", "maxItems", "maxProperties"}
    assert set(node) <= known | {"$schema", "title", "definitions"}, node
    types = node.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(
        isinstance(value, TYPES[one]) and isinstance(value, bool) == (one == "boolean") for one in types
    ):
        return False
    if "enum" in node and value not in node["enum"]:
        return False
    if node.get("not", {}).get("const", ...) == value:
        return False
    if isinstance(value, str):
        in_length = node.get("minLength", 0) <= len(value) <= node.get("maxLength", len(value))
        return in_length and re.search(node.get("pattern", ""), value) is not None
    if isinstance(value, list):
        return all(is_valid(one, node.get("items", {}), root) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return bool(node.get("minimum", value) <= value <= node.get("maximum", value))
    if isinstance(value, dict):
        rest = node.get("additionalProperties", {})
        parts = {name: node.get("properties", {}).get(name, rest) for name in value}
        has_all = set(node.get("required", ())) <= set(value)
        return has_all and all(part is not False and is_valid(value[name], part, root) for name, part in parts.items())
    return True


def values_are_refused(values: dict[str, Any]) -> bool:
    schema = json.loads((CHART / "values.schema.json").read_text())
    return not is_valid(values, schema, schema)


@pytest.mark.parametrize(
    "values",
    [
        {"netwrok": {}},
        {"network": {"spec": {"epoch": {"duraton": "1h"}}}},
        {"network": {"spec": {"ledger": {"storage": {"siez": "1Gi"}}}}},
        {"network": {"spec": {"graphql": {"replicas": -1}}}},
        {"network": {"spec": {"graphql": {"limits": {"maxCots": 20_000}}}}},
        {"network": {"spec": {"graphql": {"limits": {"maxDepth": 3}}}}},
        {"network": {"spec": {"graphql": {"limits": {"queryTimeout": "10 s"}}}}},
        {"network": {"spec": {"deletion": {"policy": "Keep"}}}},
        {"network": {"name": "1st"}},
        {"pool": {"name": "p" * 36}},
        {"pool": {"spec": {"template": {"stake": "lots"}}}},
        {"pool": {"spec": {"template": {"tolerations": [{"efect": "NoSchedule"}]}}}},
        {"pool": {"spec": {"template": {"resources": {"request": {}}}}}},
        {"pool": {"spec": {"replicas": 7}}},
        {"operator": {"resources": {"request": {}}}},
        {"image": {"tag": "latest"}},
        {"global": {"imageRegistry": "registry.example/"}},
        {"monitoring": {"prometheus": {"alertmanager": "http://alertmanager:9093"}}},
        {"operator": {"extraEnv": [{"value": "nameless"}]}},
        {"operator": {"extraEnv": [{"name": "A", "vaule": "b"}]}},
        {"operator": {"extraVolumeMounts": [{"name": "a", "mountPath": "/a", "readonly": True}]}},
        {"operator": {"tolerations": [{"efect": "NoSchedule"}]}},
        {"operator": {"affinity": {"nodeAffinty": {}}}},
        {"pool": {"spec": {"template": {"affinity": {"podAntiAfinity": {}}}}}},
        {"pool": {"spec": {"template": {"topologySpreadConstraints": [{"maxskew": 1}]}}}},
    ],
    ids=str,
)
def test_a_typo_in_values_is_refused_at_any_depth(values: dict[str, Any]) -> None:
    assert values_are_refused(values)


def test_what_is_meant_is_not_refused() -> None:
    assert not values_are_refused(yaml.safe_load((CHART / "values.yaml").read_text()))
    for path in CI_VALUES:
        assert not values_are_refused(yaml.safe_load(path.read_text())), path.name
    amounts = {"requests": {"cpu": 1, "memory": "512Mi"}, "limits": {"memory": "1.5Gi"}}
    template = {"resources": amounts, "affinity": {"podAffinity": {"anything": []}}}
    assert not values_are_refused({"pool": {"spec": {"template": template}}})
    assert not values_are_refused({"monitoring": {"prometheus": {"alertmanager": "alertmanager.observability:9093"}}})
    limits = {"maxCost": 20_000, "queryTimeout": "1m", "pointsPerHour": 0}
    assert not values_are_refused({"network": {"spec": {"graphql": {"limits": limits}}}})


@pytest.mark.parametrize("path", CI_VALUES, ids=lambda path: path.stem)
def test_values_for_a_feature_name_values_that_there_are(path: Path) -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    def check(value: dict[str, Any], known: dict[str, Any], where: str) -> None:
        for name, child in value.items():
            assert name in known, f"{where}.{name}"
            if isinstance(child, dict) and known[name]:
                check(child, known[name], f"{where}.{name}")

    check(yaml.safe_load(path.read_text()), defaults, "values")


def test_the_image_has_the_allocator_settings_that_processes_get_elsewhere() -> None:
    text = (ROOT / "Dockerfile").read_text()
    found = dict(re.findall(r"(MALLOC_\w+)=(\d+)", text))
    assert found == MALLOC_ENVIRONMENT


def test_the_image_runs_as_nobody() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "USER 65532:65532" in text
    assert ":latest" not in text


def test_every_image_may_come_from_a_registry_that_the_values_name() -> None:
    templates = [path.read_text() for path in (CHART / "templates").rglob("*.yaml") if path.parent.name != "crds"]
    images = [image for text in templates for image in re.findall(r"^ +image: (.+)$", text, re.MULTILINE)]
    assert len(images) == 6
    assert all('include "haulout.image"' in one or 'include "haulout.fromRegistry"' in one for one in images)


def test_every_pod_may_pull_its_image_and_those_with_our_image_run_where_the_operator_may() -> None:
    """A hook that cannot pull, or is put nowhere, keeps `helm uninstall` from ending."""
    files = [path for path in (CHART / "templates").rglob("*.yaml") if path.parent.name != "crds"]
    found = {path.name: path.read_text() for path in files}
    pods = {name: text for name, text in found.items() if re.search(r"^ +image: ", text, re.MULTILINE)}
    assert len(pods) == 6
    assert [name for name, text in pods.items() if 'include "haulout.pullSecrets"' not in text] == []
    ours = {name for name, text in pods.items() if 'include "haulout.image"' in text}
    assert ours == {"deployment.yaml", "epoch-controller.yaml", "first-blob.yaml", "uninstall.yaml"}
    assert [name for name in ours if 'include "haulout.scheduling"' not in found[name]] == []


def test_what_make_image_makes_is_what_the_chart_asks_for() -> None:
    """So that README's two lines go together."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())["image"]
    image = f"{values['repository']}:{values['tag'] or chart['appVersion']}"
    script = (ROOT / ".ci" / "image").read_text()
    [line] = re.findall(r"^image=\S.*$", script, re.MULTILINE)
    told = subprocess.run(
        ["bash", "-c", f"{line}; echo $image"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
        check=True,
    )
    assert told.stdout.strip() == image
    for page in ("README.md", "docs/operations.md"):
        assert f"kind load docker-image {image} " in (ROOT / page).read_text()


def test_operator_and_epoch_controller_take_the_same_extras() -> None:
    for file in ("deployment.yaml", "epoch-controller.yaml"):
        text = (CHART / "templates" / file).read_text()
        for name in ("extraEnv", "extraVolumes", "extraVolumeMounts"):
            assert f"{{{{- with .Values.operator.{name} }}}}" in text


def test_the_readme_has_every_value() -> None:
    assert (CHART / "README.md").read_text() == build_readme(CHART), "run `make gen`"
    described = {path for path, _, _ in describe_values((CHART / "values.yaml").read_text())}

    def leaves(value: Any, path: str) -> set[str]:
        if isinstance(value, dict) and value and path not in described:
            return {leaf for name, child in value.items() for leaf in leaves(child, f"{path}.{name}".lstrip("."))}
        return {path}

    assert leaves(yaml.safe_load((CHART / "values.yaml").read_text()), "") == described
    limits = (CHART / "README.md").read_text().partition("## Limits of GraphQL\n")[2]
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["network"]["properties"]["spec"]
    known = schema["properties"]["graphql"]["properties"]["limits"]["properties"]
    assert re.findall(r"^\| `(\w+)` \| `.+` \| .+\. \|$", limits, re.MULTILINE) == list(known)


def test_every_way_of_scraping_gives_targets_the_labels_that_rules_and_dashboards_ask_for() -> None:
    by_operator = (CHART / "templates" / "podmonitor.yaml").read_text()
    by_ours = (CHART / "templates" / "_helpers.tpl").read_text()
    for label in ("network", "role", "process"):
        assert f"targetLabel: {label}}}" in by_operator
        assert f"target_label: {label}}}" in by_ours
    assert "{targetLabel: job, replacement: haulout}" in by_operator
    assert "job_name: haulout\n" in by_ours


def test_prometheus_may_look_at_pods_and_nothing_else() -> None:
    [rule] = rules_of("monitoring/prometheus.yaml")
    assert (rule["apiGroups"], rule["resources"], rule["verbs"]) == ([""], ["pods"], ["get", "list", "watch"])


@pytest.mark.parametrize("file", ["prometheus.yaml", "grafana.yaml"])
def test_monitoring_is_brought_only_when_asked_for(file: str) -> None:
    text = (CHART / "templates" / "monitoring" / file).read_text()
    assert text.startswith("{{- if .Values.monitoring.enabled }}\n")
    assert text.endswith("{{- end }}\n")
    for pattern in re.findall(r'\.Files\.(?:Get|Glob) "([^"]+)"', text):
        assert list(CHART.glob(pattern)), pattern
