"""Custom resource definitions: what is committed is what the models say, and the API server can afford it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulout.primitives import parse_frost
from haulout_operator.crds import KINDS, Kind, build_crd, crd_yaml
from haulout_operator.models.base import AMOUNT_PATTERN, QUANTITY_PATTERN, STAKE_PATTERN, bytes_of
from haulout_operator.names import node_name
from haulout_operator.quantities import parse_bytes

CHART = Path(__file__).resolve().parents[3] / "helm" / "haulout"


def schemas(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from schemas(child, f"{path}.{name}")
    if "items" in node:
        yield from schemas(node["items"], f"{path}[]")


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_what_is_committed_is_what_the_models_say(kind: Kind) -> None:
    committed = CHART / "templates" / "crds" / f"{kind.plural}.yaml"
    assert committed.read_text() == crd_yaml(kind), "run `make gen`"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_schemas_are_structural_and_bounded(kind: Kind) -> None:
    for path, node in schemas(schema_of(kind), kind.kind):
        assert node.get("type") in ("object", "array", "string", "integer", "boolean"), path
        for amount in (node.get("additionalProperties"),):
            assert amount is None or amount.get("type") == "string" or amount["x-kubernetes-int-or-string"], path
        assert "$ref" not in node and "anyOf" not in node, path
        if node["type"] == "array":
            assert "maxItems" in node, path
        is_ours = ".spec" in path or ".status" in path
        if node["type"] == "string" and is_ours:
            assert "maxLength" in node or "enum" in node or node.get("format") == "date-time", path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_status_is_only_what_was_written(kind: Kind) -> None:
    assert not [path for path, node in schemas(schema_of(kind)["properties"]["status"], "") if "default" in node]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_kubectl_explain_has_a_word_on_every_field(kind: Kind) -> None:
    spec = schema_of(kind)["properties"]["spec"]
    assert [path for path, node in schemas(spec, "spec") if not node.get("description") and path[-2:] != "[]"] == []


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        (QUANTITY_PATTERN, ["10Gi", "500G", "9999Ti", "1"], ["0", "99999Ti", "1.5Gi", "10gb", "-1Gi", ""]),
        (AMOUNT_PATTERN, ["0", "9999999999WAL", "5FROST"], ["99999999999WAL", "1.5WAL", "wal", "-1"]),
        (STAKE_PATTERN, ["0", "1WAL", "1000000000", "9999999999WAL"], ["999999999", "1FROST", "00WAL", "lots"]),
    ],
)
def test_what_is_taken_fits_64_bits(pattern: str, taken: list[str], refused: list[str]) -> None:
    assert [text for text in taken if not re.search(pattern, text)] == []
    assert [text for text in refused if re.search(pattern, text)] == []
    parse = parse_bytes if pattern == QUANTITY_PATTERN else parse_frost
    assert all(parse(text) < 2**64 for text in taken)


def test_rules_use_what_an_api_server_of_1_28_knows() -> None:
    """It refuses a definition as a whole when a rule calls what came later, as `quantity()` with 1.29."""
    rules = [rule["rule"] for kind in KINDS for rule in rules_below(schema_of(kind))]
    called = {name for rule in rules for name in re.findall(r"(\w+)\(", re.sub(r"'[^']*'", "''", rule))}
    assert called == {"endsWith", "find", "has", "int", "matches", "size"}


def rules_below(node: Any) -> Iterator[dict[str, str]]:
    """CEL rules anywhere in a schema."""
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", ())
        for child in node.values():
            yield from rules_below(child)


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [
        ("10737418240", 10 << 30),
        ("7k", 7_000),
        ("7Ki", 7 << 10),
        ("3M", 3_000_000),
        ("3Mi", 3 << 20),
        ("10G", 10**10),
        ("10Gi", 10 << 30),
        ("9999T", 9999 * 10**12),
        ("9999Ti", 9999 << 40),
    ],
)
def test_sizes_are_compared_as_the_bytes_that_they_are(size: str, size_bytes: int) -> None:
    number, _, unit = bytes_of("self").partition(" * ")
    assert number == "int(self.find('^[0-9]+'))"
    *cases, otherwise = unit.strip("()").split(" : ")
    asked = [re.fullmatch(r"self\.endsWith\('(\w+)'\) \? (\d+)", case) for case in cases]
    factors = [int(one.group(2)) for one in asked if one is not None and size.endswith(one.group(1))]
    assert int(re.findall("^[0-9]+", size)[0]) * (factors or [int(otherwise)])[0] == size_bytes == parse_bytes(size)


def test_only_the_pool_is_scaled() -> None:
    scaled = {kind.kind: "scale" in build_crd(kind)["spec"]["versions"][0]["subresources"] for kind in KINDS}
    assert scaled == {
        "StorageNetwork": False,
        "StorageNodePool": True,
        "StorageNode": False,
        "EpochTransition": False,
    }


def test_names_are_short() -> None:
    names = [build_crd(kind)["spec"]["names"]["shortNames"] for kind in KINDS]
    assert names == [["snet"], ["snp"], ["sn"], ["ept"]]


@pytest.mark.parametrize(
    ("plural", "longest"), [("storagenetworks", 40), ("storagenodepools", 35), ("storagenodes", 40)]
)
def test_whatever_name_is_taken_its_children_can_have_theirs(plural: str, longest: int) -> None:
    [kind] = [kind for kind in KINDS if kind.plural == plural]
    rules = [rule["rule"] for rule in schema_of(kind)["x-kubernetes-validations"]]
    assert rules[0] == f"size(self.metadata.name) <= {longest}"
    pattern = rules[1].partition("'")[2].rpartition("'")[0]
    for name, fits in (("main", True), ("a", True), ("a-1", True), ("1a", False), ("a.b", False), ("a-", False)):
        assert bool(re.match(pattern, name)) is fits, name


def test_the_longest_pool_can_have_nodes_and_the_longest_network_epochs() -> None:
    assert len(node_name("p" * 35, "uid", 1000)) <= 40
    [epochs] = [kind for kind in KINDS if kind.kind == "EpochTransition"]
    assert "x-kubernetes-validations" not in schema_of(epochs)  # main-12: as long as the network's, and a number


def test_what_genesis_fixes_cannot_be_changed() -> None:
    spec = schema_of(KINDS[0])["properties"]["spec"]["properties"]
    epoch, funds = (spec[name]["properties"] for name in ("epoch", "funds"))
    fixed = [spec["shards"], *(epoch[name] for name in ("duration", "maxEpochsAhead", "manual", "driverGrace"))]
    fixed += [funds[name] for name in ("treasury", "gateway", "graphql")]
    for field in fixed:
        rules = field["x-kubernetes-validations"]
        assert [rule["rule"] for rule in rules] == ["self == oldSelf"]
        assert "founded" in rules[0]["message"]
