"""The chart's README: its table of values from the comments in `values.yaml`.

`python -m haulout_operator.chart_readme FOLDER` writes it; a test compares what is
committed with what would be written.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

COMMENT = re.compile(r"^(?P<indent> *)# -- (?P<text>.+)$")
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9]+):")


def describe_values(text: str) -> Iterator[tuple[str, Any, str]]:
    """Path, default and description of every value with a comment of two dashes before it."""
    values = yaml.safe_load(text)
    path: list[str] = []
    description = ""
    for line in text.splitlines():
        comment, key = COMMENT.match(line), KEY.match(line)
        if comment:
            description = comment["text"]
        elif key:
            depth = len(key["indent"]) // 2
            path = [*path[:depth], key["key"]]
            if description:
                default = values
                for part in path:
                    default = default[part]
                yield ".".join(path), default, description
            description = ""


def build_readme(folder: Path) -> str:
    """The template with the table behind it."""
    rows = [
        f"| `{path}` | `{json.dumps(default)}` | {description} |"
        for path, default, description in describe_values((folder / "values.yaml").read_text())
    ]
    return (folder / "README.md.tmpl").read_text() + "\n".join(rows) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "README.md").write_text(build_readme(target))
