"""How errors leave the API: with a code, or masked and logged under a trace id.

Each says the same of itself: `code`, `http` (the status that it would have alone), `retry` (as in `UserError.retry`)
and `traceId`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError

from graphql_api.retries import RetryHint, retry_of
from haulout.errors import HauloutError
from haulout.observability.logs import get_logger

log = get_logger("graphql")

# Status and retry of codes that are no error class's; of those that are, the class says it.
KNOWN: Mapping[str, tuple[int, RetryHint]] = {
    "INTERNAL": (500, RetryHint.NEVER),
    "METHOD_NOT_ALLOWED": (405, RetryHint.NEVER),
    "NOT_FOUND": (404, RetryHint.NEVER),
    "PERMISSION_DENIED": (403, RetryHint.NEVER),
    "RATE_LIMITED": (429, RetryHint.AFTER_DELAY),
    "REQUEST_TOO_LARGE": (413, RetryHint.NEVER),
    "SLOW_CONSUMER": (429, RetryHint.SAME_REQUEST),
    "TIMEOUT": (504, RetryHint.AFTER_DELAY),
    "TOO_MANY_SUBSCRIPTIONS": (503, RetryHint.AFTER_DELAY),
    "UNAUTHENTICATED": (401, RetryHint.NEVER),
}
HTTP_OF_KIND = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "DATA_LOSS": 500,
    "UNAVAILABLE": 503,
}


def extensions_of(
    code: str, trace_id: str = "", *, cause: HauloutError | None = None, **details: Any
) -> dict[str, Any]:
    """What an error says of itself beside its message."""
    http, retry = KNOWN.get(code, (400, RetryHint.NEVER))
    if cause is not None and code not in KNOWN:
        http, retry = HTTP_OF_KIND.get(cause.kind, 500), retry_of(cause)
    traced = {"traceId": trace_id} if trace_id else {}
    return {"code": code, "http": http, "retry": retry.name, **traced, **details}


def label_error(error: GraphQLError, trace_id: str) -> None:
    """Give an error its code, or mask it; in place, since every path of Strawberry hands out the same objects."""
    given: dict[str, Any] = dict(error.extensions or {})
    cause, known = _cause_of(error), None
    if isinstance(cause, HauloutError) and cause.kind != "INTERNAL":
        error.message, known = str(cause), cause
        code = cause.code if cause.code != "MALFORMED_REQUEST" else "INVALID_ARGUMENT"
    elif "code" in given:
        code = given["code"]  # one of ours already
    elif isinstance(cause, MissingQueryError | CannotGetOperationTypeError):
        error.message, code = "the request names no operation of its document", "INVALID_ARGUMENT"
    elif cause is not None:
        error.message, code = "Internal error.", "INTERNAL"
        log.error("a resolver failed", trace_id=trace_id, path=error.path, exc_info=cause)
    elif error.message.endswith("tokens. Parsing aborted."):
        code = "QUERY_TOO_COMPLEX"
    elif error.message.startswith("Syntax Error"):
        code = "GRAPHQL_PARSE_FAILED"
    else:
        code = "GRAPHQL_VALIDATION_FAILED"
    error.extensions = {**extensions_of(code, trace_id, cause=known), **given, "code": code}


def _cause_of(error: GraphQLError) -> BaseException | None:
    """What a resolver raised, below the errors that graphql-core wraps it in."""
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause
