"""The schema as a document: committed, sorted, and every member described."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

from graphql import (
    BreakingChange,
    BreakingChangeType,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    find_breaking_changes,
    is_introspection_type,
    is_specified_scalar_type,
)

from graphql_api.events import TYPES
from graphql_api.finders import FINDERS
from graphql_api.limits import CONNECTIONS
from graphql_api.read_model.project import HANDLERS
from graphql_api.schema import sdl
from haulout.ledger.events import EVENTS


@functools.cache
def parsed() -> GraphQLSchema:
    """The schema as its document says; building it takes as long as everything else here."""
    return build_schema(sdl())


def test_the_committed_document_is_the_schema() -> None:
    committed = resources.files("graphql_api").joinpath("schema.graphql").read_text()
    assert sdl() == committed, "run: python -m graphql_api.schema > graphql_api/schema.graphql"


def test_nothing_of_the_last_release_is_broken() -> None:
    """A field may go, or change, when the release before had it `@deprecated`."""
    released = build_schema(Path(__file__).with_name("released.graphql").read_text())
    broken = [change for change in find_breaking_changes(released, parsed()) if not was_deprecated(released, change)]
    assert broken == [], (
        "deprecate first, or at a release: cp graphql_api/schema.graphql tests/unit/graphql_api/released.graphql"
    )


def was_deprecated(released: GraphQLSchema, change: BreakingChange) -> bool:
    """Whether a removed member was marked for it."""
    type_name, _, field_name = change.description.split(" ")[1].partition(".")
    type_ = released.type_map.get(type_name)
    if change.type is not BreakingChangeType.FIELD_REMOVED or not isinstance(type_, GraphQLObjectType):
        return False
    return type_.fields[field_name].deprecation_reason is not None


def test_a_removed_field_is_noticed_unless_it_was_deprecated() -> None:
    old = build_schema('type Query { kept: Int, gone: Int, leaving: Int @deprecated(reason: "use kept") }')
    changes = find_breaking_changes(old, build_schema("type Query { kept: Int }"))
    assert [was_deprecated(old, change) for change in sorted(changes, key=lambda c: c.description)] == [False, True]


def test_every_member_is_described() -> None:
    undescribed = []
    for type_ in parsed().type_map.values():
        if is_introspection_type(type_) or is_specified_scalar_type(type_):
            continue
        members = {type_.name: type_.description}
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for name, field in type_.fields.items():
                members[f"{type_.name}.{name}"] = field.description
                members.update({f"{type_.name}.{name}({a})": arg.description for a, arg in field.args.items()})
        elif isinstance(type_, GraphQLInputObjectType):
            members.update({f"{type_.name}.{name}": field.description for name, field in type_.fields.items()})
        elif isinstance(type_, GraphQLEnumType):
            members.update({f"{type_.name}.{name}": value.description for name, value in type_.values.items()})
        undescribed += [name for name, description in members.items() if not description]
    assert undescribed == []


def test_every_connection_is_known_to_the_cost_limit() -> None:
    paged = set()
    for type_ in parsed().type_map.values():
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            paged |= {name for name, field in type_.fields.items() if "first" in field.args}
    assert paged == CONNECTIONS


def test_every_node_can_be_found_by_its_id() -> None:
    schema = parsed()
    nodes = {type_.name for type_ in schema.get_implementations(schema.type_map["Node"]).objects}  # type: ignore[arg-type]
    assert nodes - {cls.__name__ for cls in TYPES.values()} | {"Event"} == set(FINDERS)  # type: ignore[attr-defined]


def test_every_event_of_the_ledger_is_projected_and_shown() -> None:
    assert set(HANDLERS) == set(EVENTS.variants.values())
    assert set(TYPES) == {cls.__name__ for cls in EVENTS.variants.values()}
