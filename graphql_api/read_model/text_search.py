"""Texts that hold another one. Names are kept as bytes (`schema.Utf8`), and LIKE is not for these everywhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Holds(FunctionElement[bool]):
    """Whether the bytes of the first column hold those of the second, byte for byte."""

    name = "holds"
    type = Boolean()
    inherit_cache = True


@compiles(Holds)
def _in_standard_sql(element: Holds, compiler: SQLCompiler, **options: Any) -> str:
    text, part = (compiler.process(clause, **options) for clause in element.clauses)
    return f"position({part} IN {text}) > 0"


@compiles(Holds, "sqlite")
def _in_sqlite(element: Holds, compiler: SQLCompiler, **options: Any) -> str:
    text, part = (compiler.process(clause, **options) for clause in element.clauses)
    return f"instr({text}, {part}) > 0"


def holds(column: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Rows whose text holds this part; no index helps, so it is for short tables."""
    return Holds(column, literal(part, column.type))
