"""Tokens and the audit trail in the schema, and who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import strawberry

from graphql_api.access import Scope
from graphql_api.accounts import Account, load_account
from graphql_api.connections import Connection, Paging
from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.ids import global_id, int_key, read_global_id
from graphql_api.payloads import CLIENT_ID, Payload
from graphql_api.records import audit
from graphql_api.records.tokens import (
    SECRET_BYTES,
    Token,
    check_token,
    digest_of,
    list_tokens,
    make_token,
    revoke_token,
    secret_text,
)
from graphql_api.scalars import Base64, at
from haulout.errors import InvalidField


@strawberry.type(description="A bearer token, without its secret: that is shown once, when it is made.")
class AccessToken:
    id: strawberry.ID = strawberry.field(description="Opaque id.")
    name: str = strawberry.field(description="What it is for, in its maker's words.")
    scopes: list[Scope] = strawberry.field(description="What it allows beside reading.")
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime | None = strawberry.field(description="When it ends by itself; null for never.")
    revoked_at: datetime | None = strawberry.field(description="When it was ended; null while it was not.")

    @classmethod
    def of(cls, token: Token) -> AccessToken:
        return cls(
            id=global_id("AccessToken", token.number),
            name=token.name,
            scopes=[Scope[name] for name in token.scopes],
            created_at=at(token.created_ms),
            expires_at=None if token.expires_ms is None else at(token.expires_ms),
            revoked_at=None if token.revoked_ms is None else at(token.revoked_ms),
        )


@strawberry.type(description="Who is asking.")
class Viewer:
    scopes: list[Scope] = strawberry.field(description="What the caller may do.")
    token: AccessToken | None = strawberry.field(description="The caller's token; null without one.")

    @resolved("The account that signs and pays for callers with the scope for it; null while the server holds no key.")
    async def account(self, info: Info) -> Account | None:
        wallet = info.context.services.wallet
        return None if wallet is None else await load_account(info, wallet.address)

    @classmethod
    def of(cls, info: Info) -> Viewer:
        caller = info.context.caller
        return cls(
            scopes=sorted(caller.scopes, key=lambda scope: scope.name),
            token=None if caller.token is None else AccessToken.of(caller.token),
        )


@strawberry.type(
    description="A mutation that was called by a caller with the scope for it, or an extension by a retention policy."
)
class AuditEvent:
    id: strawberry.ID = strawberry.field(description="Opaque id.")
    time: datetime = strawberry.field(description="When it began.")
    ended_at: datetime | None = strawberry.field(description="When it ended; null if the service ended before it.")
    mutation: str = strawberry.field(description="Its name; `renewBlob` where a retention policy had a blob extended.")
    code: str | None = strawberry.field(description="`OK`, or the code of what kept it from happening.")
    input_digest: Base64 = strawberry.field(description="SHA-256 of its input: equal for equal inputs.")
    trace_id: str = strawberry.field(description="What to look for in the log.")
    token_id: strawberry.ID | None = strawberry.field(description="The caller's token; null without one.")

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> AuditEvent:
        number = row["token_number"]
        return cls(
            id=global_id("AuditEvent", row["number"]),
            time=at(row["time_ms"]),
            ended_at=None if row["ended_ms"] is None else at(row["ended_ms"]),
            mutation=row["mutation"],
            code=row["code"],
            input_digest=Base64(row["input_digest"]),
            trace_id=row["trace_id"],
            token_id=None if number is None else global_id("AccessToken", number),
        )


@strawberry.input(description="A token to make.")
class CreateTokenInput:
    name: str = strawberry.field(description="What it is for, 1 to 128 characters.")
    scopes: list[Scope] = strawberry.field(description="What it is to allow beside reading.")
    expires_in_seconds: int | None = strawberry.field(
        default=None, description="How long it is valid, at most ten years; for ever if left out."
    )
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A token to end.")
class RevokeTokenInput:
    id: strawberry.ID = strawberry.field(description="Its id.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.type(description="A token, and its secret if it is new.")
class TokenPayload(Payload):
    token: AccessToken | None = strawberry.field(default=None, description="The token; null when there is none.")
    secret: str | None = strawberry.field(
        default=None, description="What its owner sends after `Authorization: Bearer`. It is not shown again."
    )


async def load_tokens(info: Info) -> list[AccessToken]:
    """All tokens, oldest first."""
    return [AccessToken.of(token) for token in await info.context.services.records.read(list_tokens)]


async def audit_connection(
    info: Info, *, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[AuditEvent]:
    """The audit trail, newest first."""
    paging = Paging(info, "auditEvents", audit.ORDER, "NUMBER", first=first, after=after, last=last, before=before)
    return await paging.fetch(audit.statement(), AuditEvent.of, read=info.context.services.records.read)


async def create_token(info: Info, input: CreateTokenInput) -> TokenPayload:
    """Make a token.

    Raises:
        InvalidField: its name or its life.
    """
    services = info.context.services
    seconds, now_ms = input.expires_in_seconds, services.clock.now_ms()
    check_token(input.name, seconds)
    secret = secret_text(services.rng.random_bytes(SECRET_BYTES))
    names = [scope.name for scope in set(input.scopes)]
    expires_ms = None if seconds is None else now_ms + seconds * 1000
    token = await services.records.write(make_token, digest_of(secret), input.name, names, now_ms, expires_ms)
    return TokenPayload(token=AccessToken.of(token), secret=secret)


async def revoke(info: Info, input: RevokeTokenInput) -> TokenPayload:
    """End a token.

    Raises:
        InvalidField: there is no such token.
    """
    type_name, key = read_global_id(input.id)
    services = info.context.services
    token = None
    if type_name == "AccessToken":
        token = await services.records.write(revoke_token, int_key(key), services.clock.now_ms())
    if token is None:
        raise InvalidField(field="id", problem="there is no such token")
    return TokenPayload(token=AccessToken.of(token))
