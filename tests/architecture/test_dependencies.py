"""Every dependency has a reason that is written down, and no reason outlives its dependency."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest


def test_every_dependency_has_its_line(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {found.group() for line in wanted if (found := re.match(r"[A-Za-z0-9-]+", line))}
    text = (root / "docs" / "decisions" / "0001-dependencies.md").read_text()
    assert set(re.findall(r"\*\*([a-z0-9-]+)\*\*", text)) == names


@pytest.mark.parametrize(("name", "extras"), [("requirements.lock", ()), ("requirements-dev.lock", ("dev",))])
def test_every_dependency_is_pinned(root: Path, name: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    names = {found.group() for line in wanted if (found := re.match(r"[A-Za-z0-9-]+", line))}
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (root / name).read_text(), re.MULTILINE))
    assert names <= pinned, f"run `make lock`: {sorted(names - pinned)}"
