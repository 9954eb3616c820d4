"""Where the sources are."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def packages(root: Path) -> list[Path]:
    """The folders that are shipped as packages."""
    return [root / "haulout", root / "node_grpc", root / "graphql_api", root / "operator" / "haulout_operator"]


@pytest.fixture(scope="session")
def modules(packages: list[Path]) -> list[Path]:
    """All Python files of the product."""
    found = [path for package in packages for path in sorted(package.rglob("*.py"))]
    assert len(found) > 100
    return found
