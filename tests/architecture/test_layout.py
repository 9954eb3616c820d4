"""Folders and names: nothing shadows the standard library, and every package is one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest


def shadowing_packages(root: Path) -> list[str]:
    """Importable folders with the name of a module of the standard library."""
    packages = {p.parent for p in root.rglob("__init__.py") if ".venv" not in p.parts}
    roots = [p for p in packages if p.parent not in packages]
    return sorted(p.name for p in roots if p.name in sys.stdlib_module_names)


def test_no_importable_folder_shadows_the_standard_library(root: Path) -> None:
    assert not shadowing_packages(root)


def test_the_guard_sees_operator_become_a_package(tmp_path: Path) -> None:
    (tmp_path / "operator" / "haulout_operator").mkdir(parents=True)
    (tmp_path / "operator" / "haulout_operator" / "__init__.py").touch()
    assert not shadowing_packages(tmp_path)
    (tmp_path / "operator" / "__init__.py").touch()
    assert shadowing_packages(tmp_path) == ["operator"]


def test_operator_is_a_folder_and_no_package(root: Path) -> None:
    assert (root / "operator").is_dir()
    assert not (root / "operator" / "__init__.py").exists()


def test_tests_are_no_packages(root: Path) -> None:
    assert not list((root / "tests").rglob("__init__.py"))


def test_every_folder_with_modules_is_a_package(modules: list[Path]) -> None:
    assert not {path.parent for path in modules if not (path.parent / "__init__.py").exists()}


def test_nothing_is_left_to_be_done_in_the_product(modules: list[Path]) -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert not [str(path) for path in modules if marks.search(path.read_text())]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_name_no_index(root: Path, name: str) -> None:
    text = (root / name).read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text
