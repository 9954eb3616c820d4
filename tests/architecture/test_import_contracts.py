"""Data flows one way: the contracts of `pyproject.toml` hold, and would notice if they did not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a source tree."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "operator")])}
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def copy(root: Path, packages: list[Path], tmp_path: Path) -> Path:
    """The sources, to be broken."""
    shutil.copy(root / "pyproject.toml", tmp_path)
    for package in packages:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, tmp_path / package.relative_to(root), ignore=ignored)
    return tmp_path


def test_the_contracts_hold(root: Path) -> None:
    result = lint(root)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken" in result.stdout


BREAKS = [
    ("haulout/ledger/keys.py", "import haulout.client.store", "Data flows one way"),
    ("haulout/client/plan.py", "import haulout.node.rules", "Data flows one way"),
    ("haulout/chain/block.py", "import time", "The core is pure"),
    ("haulout/client/plan.py", "import grpc", "gRPC only in haulout.wire and node_grpc"),
    ("haulout/embedded/folder.py", "import kopf", "kopf and the Kubernetes client only under operator/"),
    ("haulout/gateway/app.py", "import strawberry", "Strawberry only in graphql_api"),
]


def test_each_contract_notices_a_break(copy: Path) -> None:
    for name, line, _ in BREAKS:
        with (copy / name).open("a") as file:
            file.write(f"\n{line}\n")
    (copy / "haulout" / "roomless").mkdir()
    (copy / "haulout" / "roomless" / "__init__.py").touch()
    result = lint(copy)
    assert result.returncode != 0
    broken = {line.partition(" BROKEN")[0] for line in result.stdout.splitlines() if " BROKEN" in line}
    assert broken >= {contract for _, _, contract in BREAKS} | {"Every room of haulout has its place"}, result.stdout
