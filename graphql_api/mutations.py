"""What can be changed: the root of all mutations, put together from their domains."""

from __future__ import annotations

from typing import Annotated

import strawberry

from graphql_api.access import Scope
from graphql_api.context import Info
from graphql_api.guard import mutation
from graphql_api.tokens import CreateTokenInput, RevokeTokenInput, TokenPayload, create_token, revoke

INPUT = strawberry.argument(description="What is to be done.")


@strawberry.type(
    description="Everything that can be changed. What is refused is in `userErrors`, and has changed nothing."
)
class Mutation:
    @mutation(Scope.ADMIN, "Make a bearer token.")
    async def create_token(self, info: Info, input: Annotated[CreateTokenInput, INPUT]) -> TokenPayload:
        return await create_token(info, input)

    @mutation(Scope.ADMIN, "End a bearer token, at once and for good.")
    async def revoke_token(self, info: Info, input: Annotated[RevokeTokenInput, INPUT]) -> TokenPayload:
        return await revoke(info, input)
