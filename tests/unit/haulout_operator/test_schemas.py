"""Everything that is applied fits the schemas of the Kubernetes versions that the chart admits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from haulout_operator.crds import KINDS, build_crd

GOLDEN = Path(__file__).resolve().parent / "golden"
VERSIONS = ("1.28", "1.30", "1.32", "1.34", "1.36", "1.37")


def manifests() -> Iterator[dict[str, Any]]:
    """Every child of the golden networks once, and the kinds themselves."""
    for path in sorted(GOLDEN.glob("*.out.yaml")):
        yield from (body for body in yaml.safe_load_all(path.read_text()) if body)
    for kind in KINDS:
        yield build_crd(kind)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_applied_fits_this_version(version: str) -> None:
    for body in manifests():
        kubernetes_validate.validate(body, version, strict=True)


def test_a_field_that_no_version_knows_is_noticed() -> None:
    body = next(one for one in manifests() if one["kind"] == "StatefulSet")
    body["spec"]["replicaCount"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="replicaCount"):
        kubernetes_validate.validate(body, VERSIONS[0], strict=True)
