"""The dashboards hold to Grafana's own schema, as its SDK for this version types it; no Grafana server is run here."""

from __future__ import annotations

import copy
import enum
import functools
import importlib
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import dashboard, prometheus

FOLDER = Path(__file__).resolve().parents[3] / "helm" / "haulout" / "monitoring" / "dashboards"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


@functools.cache
def members_of(model: type) -> dict[str, Any]:
    """The JSON members of a model with their types."""
    types_of_attributes = typing.get_type_hints(model)
    names = re.findall(r'"(\w+)"\]? ?[:=] self\.(\w+)', inspect.getsource(model.to_json))  # type: ignore[attr-defined]
    return {member: types_of_attributes[attribute] for member, attribute in names}


def find_mismatches(value: Any, wanted: Any, path: str) -> Iterator[str]:
    """Where a value is not what a type of the SDK says."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Dataquery:
        yield from find_mismatches(value, prometheus.Dataquery, path)  # the only source of these boards
    elif wanted in (object, Any):
        return
    elif origin in (typing.Union, types.UnionType):
        found = [list(find_mismatches(value, part, path)) for part in parts]
        yield from min(found, key=len)
    elif origin is typing.Literal:
        if value not in parts:
            yield f"{path}: {value!r} is none of {parts}"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for i, one in enumerate(value):
            yield from find_mismatches(one, parts[0], f"{path}[{i}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no object"
            return
        for name, one in value.items():
            yield from find_mismatches(one, parts[1], f"{path}.{name}")
    elif issubclass(wanted, enum.Enum):
        if value not in [one.value for one in wanted]:
            yield f"{path}: {value!r} is none of {wanted.__name__}"
    elif hasattr(wanted, "to_json"):
        yield from _mismatches_of_model(value, wanted, path)
    else:
        is_number = wanted is float and isinstance(value, int) and not isinstance(value, bool)
        if type(value) is not wanted and not is_number:
            yield f"{path}: {value!r} is no {wanted.__name__}"


def _mismatches_of_model(value: Any, model: type, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    members = members_of(model)
    yield from (f"{path}.{name} is unknown to {model.__name__}" for name in sorted(set(value) - set(members)))
    for name, wanted in members.items():
        if name in value:
            yield from find_mismatches(value[name], wanted, f"{path}.{name}")
        elif type(None) not in typing.get_args(wanted) and wanted is not object:
            yield f"{path}.{name} is missing"


def mismatches_of_board(board: dict[str, Any]) -> list[str]:
    """Of a whole dashboard, with what the plugin of each panel adds."""
    found = list(find_mismatches(board, dashboard.Dashboard, "board"))
    for i, panel in enumerate(board["panels"]):
        if panel["type"] == "row":
            continue
        plugin = importlib.import_module(f"grafana_foundation_sdk.models.{panel['type']}")
        found += find_mismatches(panel["options"], plugin.Options, f"board.panels[{i}].options")
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom is not None:
            found += find_mismatches(custom, plugin.FieldConfig, f"board.panels[{i}].custom")
    return found


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_holds_to_the_schema(name: str) -> None:
    assert mismatches_of_board(BOARDS[name]) == []


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        (("title",), 7),
        (("graphTooltip",), 9),
        (("panels", 1, "gridPos", "w"), "12"),
        (("panels", 1, "targets", 0, "expression"), "up"),
        (("panels", 1, "fieldConfig", "defaults", "thresholds", "mode"), "relative"),
        (("panels", 1, "options", "colour"), "red"),
        (("templating", "list", 0, "hide"), 5),
        (("refreshh",), "10s"),
    ],
)
def test_what_the_schema_does_not_know_is_found(where: tuple[str | int, ...], wrong: Any) -> None:
    board = copy.deepcopy(BOARDS["haulout-network"])
    part: Any = board
    for step in where[:-1]:
        part = part[step]
    part[where[-1]] = wrong
    assert mismatches_of_board(board) != []
