"""What mutations answer: a payload of their own, with what was refused in `userErrors`."""

from __future__ import annotations

import enum

import strawberry

from haulout.errors import HauloutError, InvalidField, Unavailable


@strawberry.enum(description="Whether, and when, trying again may help.")
class RetryHint(enum.Enum):
    NEVER = strawberry.enum_value("NEVER", description="Only another request will do.")
    SAME_REQUEST = strawberry.enum_value("SAME_REQUEST", description="At once: nothing has happened.")
    AFTER_DELAY = strawberry.enum_value(
        "AFTER_DELAY", description="In a moment; look first whether it has taken effect meanwhile."
    )
    AFTER_EPOCH_CHANGE = strawberry.enum_value("AFTER_EPOCH_CHANGE", description="When the next epoch has begun.")


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


RETRY_OF_CODE = {
    "COMMITTEE_SELECTED": RetryHint.AFTER_EPOCH_CHANGE,
    "INCORRECT_EPOCH": RetryHint.AFTER_DELAY,
    "NOT_DUE_YET": RetryHint.AFTER_DELAY,
    "STORAGE_EXCEEDED": RetryHint.AFTER_EPOCH_CHANGE,
    "TRANSACTION_UNSETTLED": RetryHint.AFTER_DELAY,
    "UNEXPECTED_EPOCH": RetryHint.SAME_REQUEST,
    "WITHDRAW_EPOCH_NOT_REACHED": RetryHint.AFTER_EPOCH_CHANGE,
    "WRONG_EPOCH": RetryHint.SAME_REQUEST,
    "WRONG_EPOCH_STATE": RetryHint.AFTER_DELAY,
}


def user_error_of(error: HauloutError) -> UserError:
    """How a refusal is shown to who asked."""
    default = RetryHint.AFTER_DELAY if isinstance(error, Unavailable) else RetryHint.NEVER
    path = ["input", *error.field.split(".")] if isinstance(error, InvalidField) else []
    code = "INVALID_ARGUMENT" if error.code == "MALFORMED_REQUEST" else error.code
    return UserError(code=code, message=str(error), path=path, retry=RETRY_OF_CODE.get(error.code, default))
