"""The audit trail: one row per mutation, begun before it does anything and ended with what became of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from graphql_api.read_model.paging import Order
from graphql_api.records.schema import audit

ORDER = Order((audit.c.number,), descending=True)


def begin(
    connection: Connection, *, time_ms: int, token_number: int | None, mutation: str, digest: bytes, trace_id: str
) -> int:
    """Write down that a mutation begins; returns the row's number."""
    row = {
        "time_ms": time_ms,
        "token_number": token_number,
        "mutation": mutation,
        "input_digest": digest,
        "trace_id": trace_id,
    }
    return int(connection.execute(insert(audit).returning(audit.c.number), row).scalar_one())


def end(connection: Connection, number: int, *, code: str, time_ms: int) -> None:
    """Write down what became of it: `OK`, or the code of what kept it from happening."""
    connection.execute(update(audit).where(audit.c.number == number).values(code=code, ended_ms=time_ms))


def statement() -> Select[Any]:
    """All rows, without order."""
    return select(audit)
