"""The chart's README: its table of values from the comments in `values.yaml`, that of limits from their model.

`python -m haulout_operator.chart_readme FOLDER` writes it; a test compares what is
committed with what would be written.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.alias_generators import to_camel

from haulout_operator.models.network import GraphqlLimits

LIMITS = """
## Limits of GraphQL

In `network.spec.graphql.limits`; callers read them in `serviceConfig` and `rateLimit`.

| Value | Default | |
|---|---|---|
"""
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
    """The template with the tables behind it."""
    values = describe_values((folder / "values.yaml").read_text())
    limits = [(to_camel(name), field.default, field.description) for name, field in GraphqlLimits.model_fields.items()]
    return (folder / "README.md.tmpl").read_text() + _rows_of(values) + LIMITS + _rows_of(limits)


def _rows_of(described: Iterable[tuple[str, Any, str | None]]) -> str:
    return "".join(f"| `{path}` | `{json.dumps(default)}` | {text} |\n" for path, default, text in described)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "README.md").write_text(build_readme(target))
