"""What mutations answer: a payload of their own, with what was refused in `userErrors`."""

from __future__ import annotations

import strawberry

from graphql_api.retries import RetryHint, retry_of
from haulout.errors import HauloutError, InvalidField

# The same member of every mutation's input.
CLIENT_ID = strawberry.field(default=None, description="Comes back as it is.")


@strawberry.type(description="Why a mutation did not do what was asked.")
class UserError:
    code: str = strawberry.field(description="Stable code: the ledger's own where a rule of it said no.")
    message: str = strawberry.field(description="What was wrong and what to do, for people.")
    path: list[str] = strawberry.field(description="The part of the input that it is about; empty for the whole.")
    retry: RetryHint = strawberry.field(description="Whether trying again may help.")


@strawberry.interface(description="What every mutation answers.")
class Payload:
    client_mutation_id: str | None = strawberry.field(default=None, description="As it was sent.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was done; empty when it was."
    )


def user_error_of(error: HauloutError) -> UserError:
    """How a refusal is shown to who asked."""
    path = ["input", *error.field.split(".")] if isinstance(error, InvalidField) else []
    code = "INVALID_ARGUMENT" if error.code == "MALFORMED_REQUEST" else error.code
    return UserError(code=code, message=str(error), path=path, retry=retry_of(error))
