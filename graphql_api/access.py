"""Who calls, and what they may do: bearer tokens with scopes, what a caller without one may, where browsers come from.

`@requires(scope:)` stands in the schema at every field that more than reading is needed for, and is the check itself.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import strawberry
from strawberry.schema_directive import Location

from graphql_api.cluster_tokens import ClusterTokens, has_shape
from graphql_api.records.database import Records
from graphql_api.records.tokens import PREFIX, Token, digest_of, find_token
from haulout.errors import Forbidden, InvalidField
from haulout.ports import Clock

SECRET_MAX = 128


@strawberry.enum(description="What a token allows. Every valid token may read.")
class Scope(enum.Enum):
    READ = strawberry.enum_value("READ", description="Everything that is public on the ledger and about the nodes.")
    WRITE_BLOB = strawberry.enum_value(
        "WRITE_BLOB", description="Store, extend and delete blobs, paid by the server's account."
    )
    STAKE = strawberry.enum_value("STAKE", description="Stake, unstake and pay with the server's tokens.")
    OPERATE = strawberry.enum_value("OPERATE", description="Run the network: epochs, nodes.")
    ADMIN = strawberry.enum_value("ADMIN", description="Everything, tokens and the audit trail included.")


ALL_SCOPES = frozenset(Scope)


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION, Location.OBJECT],
    name="requires",
    description="Only callers with this scope, or with ADMIN, are answered.",
)
class Requires:
    scope: Scope = strawberry.directive_field(name="scope")


@dataclass(eq=False)
class Unauthenticated(Forbidden):
    """No token where one is needed, or one that is not (any more) valid."""

    code = "UNAUTHENTICATED"
    template = "{problem}"
    hint = "send `Authorization: Bearer …` with a token that `haulout token create` or `createToken` has made"
    problem: str


@dataclass(eq=False)
class MissingScope(Forbidden):
    """The token is valid and not for this."""

    code = "PERMISSION_DENIED"
    template = "this needs the scope {scope}; the caller has {held}"
    hint = "use a token that has it"
    scope: str
    held: str


@dataclass(eq=False)
class ForeignOrigin(Forbidden):
    """A page of another site tries to change something without a token of its own."""

    code = "FORBIDDEN_ORIGIN"
    template = "pages of {origin} may not change anything here without a token"
    hint = "send a token, or name the origin in --cors-origins"
    origin: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from.

    Attributes:
        client: whose points a request takes: the token, or the address that it came from.
        foreign_origin: the site of a browser's page, when it is not one that may act without a token.
    """

    token: Token | None
    scopes: frozenset[Scope]
    foreign_origin: str | None = None
    client: str = ""

    def check(self, scope: Scope) -> None:
        """Refuse a caller without this scope.

        Raises:
            Unauthenticated: there was no token at all.
            MissingScope: there was one, without the scope.
        """
        if scope in self.scopes or Scope.ADMIN in self.scopes:
            return
        if self.token is None:
            raise Unauthenticated(problem=f"this needs a token with the scope {scope.name}")
        raise MissingScope(scope=scope.name, held=", ".join(sorted(s.name for s in self.scopes)))

    def check_origin(self) -> None:
        """Refuse what a page of another site has a browser send. A token is never sent by itself: with one it is meant.

        Raises:
            ForeignOrigin: without a token, from another site.
        """
        if self.token is None and self.foreign_origin is not None:
            raise ForeignOrigin(origin=self.foreign_origin[:100])


class Access:
    """Tells callers apart."""

    def __init__(
        self,
        records: Records,
        clock: Clock,
        *,
        anonymous: Iterable[Scope],
        origins: Iterable[str] = (),
        cluster: ClusterTokens | None = None,
    ) -> None:
        """`anonymous` are the scopes of a caller without a token; `*` in `origins` stands for reading alone; without
        `cluster` its service accounts are strangers."""
        self._records = records
        self._cluster = cluster
        self._clock = clock
        self._anonymous = frozenset(anonymous)
        self._origins = frozenset(origins) - {"*"}

    async def caller_of(self, authorization: str, *, origin: str | None, host: str | None, client: str = "") -> Caller:
        """The caller behind the headers of a request; `client` names one without a token.

        Raises:
            Unauthenticated: a token was sent that is not valid.
            TokenReviewUnavailable: it is of the cluster, which cannot be asked at present.
        """
        foreign = None if origin is None or self._is_ours(origin, host) else origin
        if not authorization:
            return Caller(None, self._anonymous, foreign, client)
        scheme, _, secret = authorization.partition(" ")
        token = await self._token_of(scheme, secret)
        if not token.is_valid(self._clock.now_ms()):
            raise Unauthenticated(problem="the token has been revoked" if token.revoked_ms else "the token has expired")
        scopes = frozenset({Scope.READ, *(Scope[name] for name in token.scopes)})
        return Caller(token, scopes, foreign, f"token {token.number}")

    async def _token_of(self, scheme: str, secret: str) -> Token:
        if scheme.lower() == "bearer" and self._cluster is not None and has_shape(secret):
            token = await self._cluster.token_of(secret)
            if token is None:
                raise Unauthenticated(problem="the cluster does not take the token for one of this network")
            return token
        if scheme.lower() != "bearer" or not secret.startswith(PREFIX) or len(secret) > SECRET_MAX:
            raise Unauthenticated(problem="the authorization is not a bearer token of this API")
        token = await self._records.read(find_token, digest_of(secret))
        if token is None:
            raise Unauthenticated(problem="the token is unknown")
        return token

    def _is_ours(self, origin: str, host: str | None) -> bool:
        if origin in self._origins:
            return True
        try:
            return host is not None and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:  # it is no address at all
            return False


def parse_scopes(names: Iterable[str], *, field: str = "scopes") -> frozenset[Scope]:
    """Scopes by their names.

    Raises:
        InvalidField: a name that is none.
    """
    wanted = [name.strip() for name in names if name.strip()]
    unknown = [name for name in wanted if name not in Scope.__members__]
    if unknown:
        known = ", ".join(Scope.__members__)
        raise InvalidField(field=field, problem=f"{unknown[0][:40]!r} is no scope; there are {known}")
    return frozenset(Scope[name] for name in wanted)
