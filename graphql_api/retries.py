"""Whether trying again may help: of a mutation that was refused, and of any other error."""

from __future__ import annotations

import enum

import strawberry

from haulout.errors import HauloutError, Unavailable


@strawberry.enum(description="Whether, and when, trying again may help.")
class RetryHint(enum.Enum):
    NEVER = strawberry.enum_value("NEVER", description="Only another request will do.")
    SAME_REQUEST = strawberry.enum_value("SAME_REQUEST", description="At once: nothing has happened.")
    AFTER_DELAY = strawberry.enum_value(
        "AFTER_DELAY", description="In a moment; look first whether it has taken effect meanwhile."
    )
    AFTER_EPOCH_CHANGE = strawberry.enum_value("AFTER_EPOCH_CHANGE", description="When the next epoch has begun.")


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


def retry_of(error: HauloutError) -> RetryHint:
    """Whether the same request may succeed after this error."""
    default = RetryHint.AFTER_DELAY if isinstance(error, Unavailable) else RetryHint.NEVER
    return RETRY_OF_CODE.get(error.code, default)
