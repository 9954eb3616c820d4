"""The schema as a document: sorted, so that a change is a small diff, with the scope and the cost of every member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from graphql import (
    ConstArgumentNode,
    ConstDirectiveNode,
    DirectiveDefinitionNode,
    DocumentNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    InputObjectTypeDefinitionNode,
    InterfaceTypeDefinitionNode,
    IntValueNode,
    NameNode,
    ObjectTypeDefinitionNode,
    UnionTypeDefinitionNode,
    parse,
    print_ast,
)

from graphql_api.limits import CONNECTIONS, LIST_SIZES, MUTATION_WEIGHT, WEIGHTS
from graphql_api.read_model.paging import DEFAULT_PAGE

COST = '''
"""
What a field adds to the cost of a document, which is counted before anything is executed: its weight (1 if left out),
and what is selected inside of it once per row: as many as `first` or `last` asks for, else `rows`.
"""
directive @cost(weight: Int, rows: Int) on FIELD_DEFINITION
'''

SCALARS = frozenset({"BigInt", "Boolean", "Float", "ID", "Int", "String"})

Node = TypeVar("Node")


def print_document(text: str) -> str:
    """The schema in `text`, sorted and with the cost of its fields."""
    document = parse(text + COST)
    definitions = sorted(document.definitions, key=_rank)
    return print_ast(DocumentNode(definitions=tuple(_sorted(node) for node in definitions))) + "\n"


def _rank(node: Any) -> tuple[int, str]:
    """Directives in front, as everywhere; then types by name."""
    return (0 if isinstance(node, DirectiveDefinitionNode) else 1, "" if not hasattr(node, "name") else node.name.value)


def _by_name(nodes: Sequence[Node] | None) -> tuple[Node, ...]:
    return tuple(sorted(nodes or (), key=lambda node: node.name.value))  # type: ignore[attr-defined]


def _sorted(node: Any) -> Any:
    changes: dict[str, Any] = {}
    if isinstance(node, ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode):
        base = MUTATION_WEIGHT if node.name.value == "Mutation" else 0
        changes["fields"] = tuple(_field(field, base) for field in _by_name(node.fields))
        changes["interfaces"] = _by_name(node.interfaces)
    elif isinstance(node, InputObjectTypeDefinitionNode):
        changes["fields"] = _by_name(node.fields)
    elif isinstance(node, EnumTypeDefinitionNode):
        changes["values"] = _by_name(node.values)
    elif isinstance(node, UnionTypeDefinitionNode):
        changes["types"] = _by_name(node.types)
    elif isinstance(node, DirectiveDefinitionNode):
        changes["arguments"] = _by_name(node.arguments)
    return replace(node, **changes)


def _field(field: FieldDefinitionNode, base: int) -> FieldDefinitionNode:
    """A field with its arguments in order and what it costs, which is `base` more in this type."""
    name = field.name.value
    rows = DEFAULT_PAGE if name in CONNECTIONS else LIST_SIZES.get(name)
    if print_ast(field.type).rstrip("!") in SCALARS:
        rows = None  # nothing is selected inside of it
    costs = {"weight": base + WEIGHTS.get(name, 1) if base else WEIGHTS.get(name), "rows": rows}
    arguments = tuple(
        ConstArgumentNode(name=NameNode(value=key), value=IntValueNode(value=str(value)))
        for key, value in costs.items()
        if value is not None
    )
    directives = field.directives or ()
    if arguments:
        directives = (*directives, ConstDirectiveNode(name=NameNode(value="cost"), arguments=arguments))
    return replace(field, arguments=_by_name(field.arguments), directives=directives)
