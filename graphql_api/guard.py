"""What stands around a mutation: the check of its scope, the audit trail, refusals as `userErrors`."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from graphql_api.access import Requires, Scope
from graphql_api.context import Info
from graphql_api.payloads import Payload, user_error_of
from graphql_api.records import audit
from haulout.errors import HauloutError
from haulout.observability import tracing

F = TypeVar("F", bound=Callable[..., Any])
Resolve = Callable[..., Awaitable[Any]]

OK = "OK"
INTERNAL = "INTERNAL"
TIMEOUT = "TIMEOUT"


class Checked(FieldExtension):
    """Refuses callers without a scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def resolve_async(self, next_: Resolve, source: Any, info: Info, **arguments: Any) -> Any:
        info.context.caller.check(self.scope)
        return await next_(source, info, **arguments)


class Audited(FieldExtension):
    """Runs a mutation: nothing is done for who may not, all else is written down before and after."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._payload: type[Payload]

    def apply(self, field: StrawberryField) -> None:
        self._payload = cast(type[Payload], field.type)

    async def resolve_async(self, next_: Resolve, source: Any, info: Info, **arguments: Any) -> Any:
        context, clock = info.context, info.context.services.clock
        context.caller.check(self.scope)
        context.caller.check_origin()
        context.allow_ms(context.services.bounds.mutation_timeout_ms)
        records, token = context.services.records, context.caller.token
        number = await records.write(
            lambda connection: audit.begin(
                connection,
                time_ms=clock.now_ms(),
                token_number=None if token is None else token.number,
                mutation=info.field_name,
                digest=digest_of_input(arguments.get("input")),
                trace_id=context.trace_id,
            )
        )
        code = INTERNAL
        try:
            with tracing.span(f"mutation {info.field_name}"):
                payload = await next_(source, info, **arguments)
            code = OK
        except HauloutError as e:
            if e.kind == INTERNAL:
                raise
            code = e.code
            payload = self._payload(user_errors=[user_error_of(e)])
        except asyncio.CancelledError:
            code = TIMEOUT
            raise
        finally:
            await records.write(lambda connection: audit.end(connection, number, code=code, time_ms=clock.now_ms()))
        payload.client_mutation_id = getattr(arguments.get("input"), "client_mutation_id", None)
        return payload


def digest_of_input(value: Any) -> bytes:
    """SHA-256 of an input: tells whether two were alike, and nothing of what was in them."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return hashlib.sha256(json.dumps(plain, default=_plain, sort_keys=True).encode()).digest()


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, enum.Enum):
        return value.name
    raise AssertionError(f"no input holds {value!r}")


def mutation(scope: Scope, description: str) -> Callable[[F], F]:
    """Make a method a mutation that needs a scope; it takes `info` and `input` and returns a `Payload`."""
    field = strawberry.mutation(
        description=description, directives=[Requires(scope=scope)], extensions=[Audited(scope)]
    )
    return cast(Callable[[F], F], field)


def requires(scope: Scope, description: str) -> Callable[[F], F]:
    """Make a method the resolver of a field that needs a scope."""
    field = strawberry.field(description=description, directives=[Requires(scope=scope)], extensions=[Checked(scope)])
    return cast(Callable[[F], F], field)
