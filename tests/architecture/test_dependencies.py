"""Every dependency has a reason that is written down, and no reason outlives its dependency."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def test_every_dependency_has_its_line(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {found.group() for line in wanted if (found := re.match(r"[A-Za-z0-9-]+", line))}
    text = (root / "docs" / "decisions" / "0001-dependencies.md").read_text()
    assert set(re.findall(r"\*\*([a-z0-9-]+)\*\*", text)) == names
