"""Executing level by level: the same answers as graphql-core's own walk, with fewer questions."""

from __future__ import annotations

import enum
from typing import Annotated, Any, NewType

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from graphql_api.execution import LevelExecutor
from graphql_api.loaders import Loader

Big = NewType("Big", int)
CONFIG = StrawberryConfig(scalar_map={Big: strawberry.scalar(name="Big", serialize=str, parse_value=int)})


@strawberry.enum
class Colour(enum.Enum):
    RED = "red"


@strawberry.interface
class Thing:
    number: int


@strawberry.type
class Leaf(Thing):
    numbers: list[int]

    @strawberry.field
    async def double(self, info: strawberry.Info) -> int:
        return int(await info.context.doubles.load(self.number))


@strawberry.type
class Branch(Thing):
    colour: Colour
    text: str | None
    leaves: list[Leaf]
    nested: list[list[Leaf | None] | None]
    broken: Annotated[int, strawberry.argument(description="No number at all.")]
    big: Big | None
    bigs: list[Big | None]
    nothing: Leaf | None = None

    @strawberry.field
    async def twin(self, info: strawberry.Info, step: int = 1) -> Branch:
        return branch(int(await info.context.twins.load(self.number + step)))

    @strawberry.field
    async def odd_only(self, info: strawberry.Info) -> int | None:
        return await self._odd(info)

    @strawberry.field
    async def must_be_odd(self, info: strawberry.Info) -> int:
        return await self._odd(info)

    async def _odd(self, info: strawberry.Info) -> int:
        await info.context.doubles.load(self.number)
        if self.number % 2 == 0:
            raise ValueError(f"{self.number} is even")
        return self.number

    @strawberry.field
    def things(self) -> list[Thing]:
        return [*self.leaves, branch(self.number + 10)]

    @strawberry.field
    def wrong(self) -> int | None:
        raise ValueError("never")


def branch(number: int) -> Branch:
    leaves = [Leaf(number=number * 100 + place, numbers=[place, place + 1]) for place in range(2)]
    broken: Any = "not a number"
    text = None if number % 3 == 0 else f"number {number}"
    big = None if number % 3 == 0 else Big(number)
    nested: list[list[Leaf | None] | None] = [[*leaves, None], None, []]
    return Branch(
        number=number,
        colour=Colour.RED,
        text=text,
        leaves=leaves,
        nested=nested,
        broken=broken,
        big=big,
        bigs=[big, Big(1)],
    )


@strawberry.type
class Query:
    @strawberry.field
    async def branches(self, first: int = 4) -> list[Branch]:
        return [branch(number) for number in range(first)]

    @strawberry.field
    def one(self) -> Branch:
        return branch(7)


class Context:
    """What loaders were asked for, one list of keys for each time."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int]]] = []
        self.doubles = Loader(self._double)
        self.twins = Loader(self._find_twins)

    async def _double(self, keys: list[int]) -> list[int]:
        self.asked.append(("doubles", keys))
        return [2 * key for key in keys]

    async def _find_twins(self, keys: list[int]) -> list[int]:
        self.asked.append(("twins", keys))
        return keys


PLAIN = strawberry.Schema(query=Query, types=[Leaf, Branch], config=CONFIG)
LEVELS = strawberry.Schema(query=Query, types=[Leaf, Branch], config=CONFIG, execution_context_class=LevelExecutor)

DOCUMENTS = (
    "{ branches { number colour text __typename nothing { number } leaves { number numbers double } } }",
    "{ branches { twin { number leaves { double } twin(step: 2) { number } } } }",
    "{ branches { nested { number double } } }",
    "{ branches { things { __typename number ... on Leaf { double } ... on Branch { twin { number } } } } }",
    "query ($n: Int!, $no: Boolean!) { branches(first: $n) { ...F number @skip(if: $no) } } fragment F on Branch "
    "{ a: twin { n: number } b: twin(step: 3) { number } leaves { double } leaves { numbers } }",
    "{ branches { number oddOnly wrong } }",
    "{ branches { number mustBeOdd } }",
    "{ branches { number twin { mustBeOdd } } one { oddOnly } }",
    "{ branches { number broken } }",
    "{ branches { big bigs } }",
    "{ one { number twin { leaves { double } } things { number } } again: one { text wrong } }",
    "{ branches(first: 0) { twin { number } } }",
    "{ __schema { queryType { fields { name args { name } } } } __typename }",
)


async def execute(schema: strawberry.Schema, document: str) -> tuple[Any, list[Any], Context]:
    context = Context()
    result = await schema.execute(document, {"n": 3, "no": True}, context_value=context)
    errors = sorted((str(error.path), error.message) for error in result.errors or ())
    return result.data, errors, context


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_answers_as_the_plain_walk_does(document: str) -> None:
    data, errors, _ = await execute(LEVELS, document)
    expected, expected_errors, _ = await execute(PLAIN, document)
    assert data == expected
    if data is not None:  # else which of several errors was the first is left open
        assert errors == expected_errors
    assert bool(errors) == bool(expected_errors)


async def test_errors_say_where_they_are() -> None:
    data, errors, _ = await execute(LEVELS, "{ branches { number oddOnly } }")
    assert [row["oddOnly"] for row in data["branches"]] == [None, 1, None, 3]
    assert errors == [("['branches', 0, 'oddOnly']", "0 is even"), ("['branches', 2, 'oddOnly']", "2 is even")]


async def test_asks_once_for_each_level_however_many_rows_there_are() -> None:
    document = "{ branches { a: twin { leaves { double } } b: twin(step: 5) { number } } }"
    data, errors, context = await execute(LEVELS, document)
    assert errors == []
    assert [row["a"]["leaves"][1]["double"] for row in data["branches"]] == [202, 402, 602, 802]
    assert context.asked == [("twins", [1, 2, 3, 4, 5, 6, 7, 8]), ("doubles", [100, 101, 200, 201, 300, 301, 400, 401])]


async def test_rows_of_an_interface_are_asked_for_by_their_types() -> None:
    document = "{ branches { things { ... on Leaf { double } ... on Branch { twin { number } } } } }"
    _, errors, context = await execute(LEVELS, document)
    assert errors == []
    assert [(name, len(keys)) for name, keys in context.asked] == [("doubles", 8), ("twins", 4)]
