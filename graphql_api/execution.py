"""How an answer is made: what the rows of a list wait for is fetched for all of them before any of them is walked.

graphql-core walks an answer depth first, so each field that waits makes tasks of its own: eight hundred for a page of
fifty blobs. Here a list is looked at level by level first, and each level is one query; the walk waits for nothing::

    blobs.nodes [b1, b2, …]  ──  certificate of b1, b2, …  |  objects of b1, b2, …
                                                              owner of o1, o2, …  |  storage of o1, o2, …

What a field of a selection needs (where its value is, how a leaf is written, its arguments) is found once for all rows.
Errors, and fields that are more than an attribute or a method, are left to graphql-core and Strawberry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    TypeNameMetaFieldDef,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path, Undefined, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import Info
from strawberry.types.arguments import convert_arguments
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

BACKREF = GraphQLCoreConverter.DEFINITION_BACKREF

Details = list[Any]  # the places of a document that ask for one field of an answer, as graphql-core collects them
Rows = Iterable[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One field of a selection.

    Attributes:
        name: in the answer.
        attribute: of the row, where the value is.
        write: for an attribute that is a leaf: makes the answer's value.
        method: gives the value or something to wait for, from a row and graphql-core's info.
        waits: whether something in it may have to be waited for.
    """

    name: str
    details: Details
    definition: GraphQLField
    attribute: str = ""
    write: Callable[[Any], Any] | None = None
    method: Callable[..., Any] | None = None
    waits: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The fields that are asked for of an object type."""

    type: GraphQLObjectType
    steps: tuple[Step, ...]
    waits: bool


class LevelExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes one operation, or one event of a subscription."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert not (self.middleware_manager and self.middleware_manager.middlewares), "methods are called past them"
        self._plans: dict[int, tuple[Any, Plan]] = {}  # by the identity of a set of fields, which is kept beside
        self._begin()

    def build_per_event_executor(self, payload: Any) -> LevelExecutor:
        executor = super().build_per_event_executor(payload)
        assert isinstance(executor, LevelExecutor)
        executor._begin()
        return executor

    def _begin(self) -> None:
        # By the identities of a row and of its step or plan; `_fetched` keeps the rows: no other gets their identity.
        self._values: dict[tuple[int, int], Any] = {}
        self._fetched: dict[tuple[int, int], Any] = {}

    # --- the walk -------------------------------------------------------------------------------------------

    def execute_fields(
        self, parent_type: GraphQLObjectType, source_value: Any, path: Path | None, grouped_field_set: Any, _: Any
    ) -> Any:
        """The fields of one row."""
        answer: dict[str, Any] = {}
        waiting: list[str] = []
        try:
            for step in self._plan(parent_type, grouped_field_set).steps:
                if step.write is not None:
                    try:
                        value = getattr(source_value, step.attribute)
                        written = None if value is None else step.write(value)
                    except Exception:  # noqa: BLE001 - the way below meets it again and says where
                        written = None
                    if written is not None and written is not Undefined:
                        answer[step.name] = written
                        continue
                found = self._value(step, parent_type, source_value, Path(path, step.name, parent_type.name))
                if found is not Undefined:
                    answer[step.name] = found
                    if self.is_awaitable(found):
                        waiting.append(step.name)
        except Exception:
            if waiting:
                self.settle_in_background([answer[name] for name in waiting])
            raise
        return _await_fields(answer, waiting) if waiting else answer

    def _value(self, step: Step, parent_type: GraphQLObjectType, row: Any, path: Path) -> Any:
        """The answer's value of a field, or what waits for it; an error is noted where the field may be null."""
        if not step.attribute and step.method is None:
            return self.execute_field(parent_type, row, step.details, path, None)
        info = self._info(step, parent_type, path)
        type_ = step.definition.type
        try:
            value = self._values.get((id(row), id(step)), Undefined)
            if value is Undefined:
                value = getattr(row, step.attribute) if step.method is None else step.method(row, info)
            if self.is_awaitable(value):
                return self.complete_awaitable_value(type_, step.details, info, path, value, None)
            completed = self.complete_value(type_, step.details, info, path, value, None)
        except Exception as e:  # noqa: BLE001 - it becomes an error of the answer
            self.handle_field_error(e, type_, step.details, path)
            return None
        return self._guard(step, path, completed) if self.is_awaitable(completed) else completed

    async def _guard(self, step: Step, path: Path, completed: Any) -> Any:
        try:
            return await completed
        except Exception as e:  # noqa: BLE001 - it becomes an error of the answer
            self.handle_field_error(e, step.definition.type, step.details, path)
            return None

    def complete_iterable_value(
        self,
        item_type: GraphQLOutputType,
        field_details_list: Details,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> Any:
        """A list; what its rows wait for comes first."""
        rows = items if isinstance(items, list) else list(items)
        complete = super().complete_iterable_value
        todo = list(self._todo(item_type, field_details_list, rows))
        if not todo:
            return complete(item_type, field_details_list, info, path, rows, position_context)

        async def fetch_and_complete() -> Any:
            await self._fetch(todo, path)
            completed = complete(item_type, field_details_list, info, path, rows, position_context)
            return await completed if self.is_awaitable(completed) else completed

        return fetch_and_complete()

    # --- what comes before it -------------------------------------------------------------------------------

    async def _fetch(self, todo: list[tuple[Plan, list[Any]]], path: Path) -> None:
        """Find what these rows wait for, level by level."""
        steps = [(step, plan.type, rows) for plan, rows in todo for step in plan.steps if step.waits]
        await _together([self._fetch_step(step, type_, rows, path) for step, type_, rows in steps])

    async def _fetch_step(self, step: Step, parent_type: GraphQLObjectType, rows: list[Any], path: Path) -> None:
        found: list[Any]
        if step.method is None:
            found = [getattr(row, step.attribute, None) for row in rows]
        else:
            found = await self._call(step, parent_type, rows, path)
            self._values.update(((id(row), id(step)), value) for row, value in zip(rows, found, strict=True))
        await self._fetch(list(self._todo(step.definition.type, step.details, found)), path)

    async def _call(self, step: Step, parent_type: GraphQLObjectType, rows: list[Any], path: Path) -> list[Any]:
        """What a method gives for each row, or its error, which the walk raises where it belongs."""
        assert step.method is not None, "the caller has looked"
        found: list[Any] = []
        waiting: list[int] = []
        info = self._info(step, parent_type, Path(path, step.name, parent_type.name))  # its path tells no row
        for row in rows:
            try:
                value = step.method(row, info)
            except Exception as e:  # noqa: BLE001 - the walk raises it
                value = e
            if self.is_awaitable(value):
                waiting.append(len(found))
            found.append(value)
        ends = await asyncio.gather(*(found[place] for place in waiting), return_exceptions=True)
        for place, end in zip(waiting, ends, strict=True):
            if isinstance(end, BaseException) and not isinstance(end, Exception):
                raise end
            found[place] = end
        return found

    def _info(self, step: Step, parent_type: GraphQLObjectType, path: Path) -> GraphQLResolveInfo[Any]:
        return self.build_resolve_info(step.definition, [place.node for place in step.details], parent_type, path)

    def _todo(self, type_: GraphQLOutputType, details: Details, rows: Rows) -> Iterator[tuple[Plan, list[Any]]]:
        """The rows that something waits in and that were not fetched before, by what is asked for of them."""
        named = get_named_type(type_)
        if is_leaf_type(named):
            return
        by_type: dict[GraphQLObjectType, list[Any]] = {}
        for row in _flat(rows):
            of_row = named if is_object_type(named) else self._type_of(row)
            if of_row is not None:
                by_type.setdefault(of_row, []).append(row)
        for object_type, members in by_type.items():
            plan = self._plan(object_type, self.collect_subfields(object_type, details).grouped_field_set)
            if plan.waits:
                new = [row for row in members if (id(row), id(plan)) not in self._fetched]
                self._fetched.update(((id(row), id(plan)), row) for row in new)
                if new:
                    yield plan, new

    def _type_of(self, row: Any) -> GraphQLObjectType | None:
        """The type of a row where the schema only says what it implements."""
        definition = get_object_definition(row)
        named = None if definition is None else self.schema.get_type(definition.name)
        return named if is_object_type(named) else None

    # --- what is asked for ----------------------------------------------------------------------------------

    def _plan(self, type_: GraphQLObjectType, fields: Any) -> Plan:
        """What a set of fields, as graphql-core collects them, amounts to."""
        known = self._plans.get(id(fields))
        if known is not None:
            return known[1]
        steps = []
        for name, details in fields.items():
            definition = self.schema.get_field(type_, details[0].node.name.value)
            if definition is not None:
                steps.append(self._step(type_, name, details, definition))
        plan = Plan(type_, tuple(steps), any(step.waits for step in steps))
        self._plans[id(fields)] = (fields, plan)
        return plan

    def _step(self, type_: GraphQLObjectType, name: str, details: Details, definition: GraphQLField) -> Step:
        if definition is TypeNameMetaFieldDef:
            return Step(name, details, definition, method=lambda *_: type_.name)
        field = definition.extensions.get(BACKREF)
        if not isinstance(field, StrawberryField) or field.is_subscription or field.extensions:
            return Step(name, details, definition)
        has_more = self._has_waiting(definition.type, details)
        if field.base_resolver is None:
            write = None if has_more else _writer(definition.type)
            return Step(name, details, definition, field.python_name, write, waits=has_more)
        method, arguments = _method_of(field), self._arguments(field, definition, details)
        if method is None or arguments is None:
            return Step(name, details, definition)

        def call(row: Any, info: GraphQLResolveInfo[Any]) -> Any:
            return method(row, Info(_raw_info=info, _field=field), arguments)

        return Step(name, details, definition, method=call, waits=has_more or field.is_async)

    def _has_waiting(self, type_: GraphQLOutputType, details: Details) -> bool:
        """Whether something that is asked for of a field's value may have to be waited for."""
        named = get_named_type(type_)
        if is_object_type(named):
            return self._plan(named, self.collect_subfields(named, details).grouped_field_set).waits
        return is_abstract_type(named)

    def _arguments(self, field: StrawberryField, definition: GraphQLField, details: Details) -> dict[str, Any] | None:
        """What a method is called with; None leaves it to graphql-core to say what is wrong with them."""
        if not definition.args:
            return {}
        place = details[0]
        try:
            values = get_argument_values(
                definition, place.node, self.variable_values, place.fragment_variable_values, self.hide_suggestions
            )
        except GraphQLError:
            return None
        schema = self.schema.extensions[BACKREF]
        return convert_arguments(values, field.arguments, schema.schema_converter.scalar_registry, schema.config)


@cache
def _method_of(field: StrawberryField) -> Callable[[Any, Info[Any, Any], dict[str, Any]], Any] | None:
    """Calls a field's method with a row, the resolver's info and arguments; None where it takes more than these."""
    resolver = field.base_resolver
    assert resolver is not None, "the caller has looked"
    mine, its_info = resolver.self_parameter, resolver.info_parameter
    if set(resolver.reserved_parameters.values()) - {None, mine, its_info}:
        return None
    function = cast(Callable[..., Any], resolver.wrapped_func)
    if mine is None:
        return None if its_info is None else lambda _, info, arguments: function(**{its_info.name: info}, **arguments)
    if its_info is None:
        return lambda row, _, arguments: function(row, **arguments)
    name = its_info.name
    return lambda row, info, arguments: function(row, **{name: info}, **arguments)


def _writer(type_: GraphQLOutputType) -> Callable[[Any], Any] | None:
    """How a leaf, or a list of leaves, is written; None or an error where it is not as simple as that."""
    inner = type_.of_type if is_non_null_type(type_) else type_
    if is_leaf_type(inner):
        return inner.coerce_output_value
    write = _writer(inner.of_type) if is_list_type(inner) else None
    return None if write is None else partial(_write_all, write)


def _write_all(write: Callable[[Any], Any], values: list[Any]) -> list[Any] | None:
    written = [None if value is None else write(value) for value in values]
    return None if None in written or Undefined in written else written


def _flat(values: Rows) -> Iterator[Any]:
    """The rows in lists of lists; nulls and errors have no fields."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        elif value is not None and not isinstance(value, BaseException):
            yield value


async def _together(waiting: list[Coroutine[Any, Any, None]]) -> None:
    if len(waiting) == 1:
        await waiting[0]
    else:
        await gather_with_cancel(*waiting)


async def _await_fields(answer: dict[str, Any], waiting: list[str]) -> dict[str, Any]:
    if len(waiting) == 1:
        answer[waiting[0]] = await answer[waiting[0]]
    else:
        answer.update(zip(waiting, await gather_with_cancel(*(answer[name] for name in waiting)), strict=True))
    return answer
