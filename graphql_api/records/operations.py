"""Operations: what was begun, and where it stood when it was looked at last; one that has ended stays as it is."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, delete, insert, or_, select, update

from graphql_api.engine import take_turn
from graphql_api.read_model.paging import Order
from graphql_api.records.schema import operations
from haulout.errors import Rejected

KEPT_MAX = 10_000
LOCK = 0x4F7065726174696F  # "Operatio", as the number of an advisory lock
ORDER = Order((operations.c.started_ms, operations.c.operation_id), descending=True)


@dataclass(eq=False)
class NameUsed(Rejected):
    """The same name for something else."""

    code = "IDEMPOTENCY_KEY_REUSED"
    template = "the key was used for another input, which began operation {operation_id}"
    hint = "use a new key for what is new"
    operation_id: str


@dataclass(frozen=True, slots=True)
class Part:
    """A storage node's part in an operation.

    Attributes:
        weight: shards that it is about.
        is_done: whether the node has done what the operation asks of it.
        problem: what is in its way, as far as it was told.
    """

    node_id: bytes
    weight: int
    is_done: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an operation stands.

    Attributes:
        phase: a name of `operations.OperationPhase`.
        done, total: of the phase, in its own unit; 0 and 0 when it has none.
        error: code and text of why it failed, or of what is in its way right now.
        blob_id: what an upload has stored.
    """

    phase: str
    done: int = 0
    total: int = 0
    parts: tuple[Part, ...] = ()
    error: tuple[str, str] | None = None
    blob_id: bytes | None = None

    def as_json(self) -> str:
        """As it is kept."""
        return json.dumps(
            {
                "phase": self.phase,
                "done": self.done,
                "total": self.total,
                "parts": [[part.node_id.hex(), part.weight, part.is_done, part.problem] for part in self.parts],
                "error": self.error,
                "blobId": None if self.blob_id is None else self.blob_id.hex(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Standing:
        kept = json.loads(text)
        return cls(
            phase=kept["phase"],
            done=kept["done"],
            total=kept["total"],
            parts=tuple(Part(bytes.fromhex(node_id), *rest) for node_id, *rest in kept["parts"]),
            error=None if kept["error"] is None else (kept["error"][0], kept["error"][1]),
            blob_id=None if kept["blobId"] is None else bytes.fromhex(kept["blobId"]),
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as it is kept.

    Attributes:
        kind: a name of `operations.OperationKind`.
        target: what it is about; its keys depend on the kind.
        steps: the phases that were seen, in order, each with the time at which it was.
        ended_ms: None while it goes on.
    """

    operation_id: str
    kind: str
    target: Mapping[str, Any]
    started_ms: int
    standing: Standing
    steps: tuple[tuple[str, int], ...] = ()
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Name:
    """What a caller calls an operation, so that asking twice begins it once: digests of the name and of the input."""

    key_digest: str
    input_digest: str


def begin(connection: Connection, operation: Operation, name: Name | None = None) -> Operation:
    """Keep a new one, unless there is one of this name: returns the one that is kept.

    The oldest that have ended go when there are more than `KEPT_MAX`.

    Raises:
        NameUsed: the name is that of another input.
    """
    if name is not None:
        take_turn(connection, LOCK)
        if (known := find_named(connection, name)) is not None:
            return known
    row = {
        "operation_id": operation.operation_id,
        "kind": operation.kind,
        "target": json.dumps(operation.target),
        "started_ms": operation.started_ms,
        "standing": operation.standing.as_json(),
        "steps": json.dumps([(operation.standing.phase, operation.started_ms)]),
        "key_digest": None if name is None else name.key_digest,
        "input_digest": None if name is None else name.input_digest,
    }
    connection.execute(insert(operations), row)
    c = operations.c
    oldest = select(c.started_ms).order_by(c.started_ms.desc()).offset(KEPT_MAX).limit(1)
    limit_ms = connection.execute(oldest).scalar()
    if limit_ms is not None:
        connection.execute(delete(operations).where(c.started_ms <= limit_ms, c.ended_ms.is_not(None)))
    return operation


def find_named(connection: Connection, name: Name) -> Operation | None:
    """The operation that was begun under a name.

    Raises:
        NameUsed: for another input.
    """
    rows = connection.execute(statement().where(operations.c.key_digest == name.key_digest)).mappings().all()
    if not rows:
        return None
    if rows[0]["input_digest"] != name.input_digest:
        raise NameUsed(operation_id=rows[0]["operation_id"])
    return operation_of(rows[0])


def advance(
    connection: Connection, operation_id: str, standing: Standing, now_ms: int, *, ended: bool
) -> Operation | None:
    """Write down where one stands now; one that has ended stays as it is. Returns it as it is kept then."""
    kept = find(connection, operation_id)
    if kept is None or kept.ended_ms is not None:
        return kept
    steps = kept.steps
    if standing.phase != steps[-1][0]:
        steps = (*steps, (standing.phase, now_ms))
    ended_ms = now_ms if ended else None
    values = {
        "standing": standing.as_json(),
        "steps": json.dumps(steps),
        "ended_ms": ended_ms,
        "outcome": standing.phase if ended else None,
    }
    connection.execute(update(operations).where(operations.c.operation_id == operation_id).values(values))
    return replace(kept, standing=standing, steps=steps, ended_ms=ended_ms)


def find(connection: Connection, operation_id: str) -> Operation | None:
    """The operation with this id."""
    rows = connection.execute(statement().where(operations.c.operation_id == operation_id)).mappings().all()
    return operation_of(rows[0]) if rows else None


def unfinished(connection: Connection) -> list[Operation]:
    """Those that go on, oldest first."""
    rows = connection.execute(statement().where(operations.c.ended_ms.is_(None)).order_by(operations.c.started_ms))
    return [operation_of(row) for row in rows.mappings()]


def statement(
    kinds: Collection[str] = (), outcomes: Collection[str | None] = (), *, ended: bool | None = None
) -> Select[Any]:
    """Operations of some kinds and outcomes (of all when none is named), without order.

    Args:
        outcomes: phases they may have ended in; None for those that go on.
    """
    chosen = select(operations)
    if outcomes:
        c, names = operations.c.outcome, sorted(name for name in outcomes if name is not None)
        chosen = chosen.where(or_(c.in_(names), c.is_(None)) if None in outcomes else c.in_(names))
    if kinds:
        chosen = chosen.where(operations.c.kind.in_(sorted(kinds)))
    if ended is not None:
        chosen = chosen.where(operations.c.ended_ms.is_not(None) if ended else operations.c.ended_ms.is_(None))
    return chosen


def operation_of(row: RowMapping | Mapping[str, Any]) -> Operation:
    """An operation from its row."""
    return Operation(
        operation_id=row["operation_id"],
        kind=row["kind"],
        target=json.loads(row["target"]),
        started_ms=row["started_ms"],
        standing=Standing.from_json(row["standing"]),
        steps=tuple((phase, at_ms) for phase, at_ms in json.loads(row["steps"])),
        ended_ms=row["ended_ms"],
    )
