"""How errors leave the API: with a code, or masked and logged under a trace id."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError

from haulout.errors import HauloutError
from haulout.observability.logs import get_logger

log = get_logger("graphql")


def label_error(error: GraphQLError, trace_id: str) -> None:
    """Give an error its code, or mask it; in place, since every path of Strawberry hands out the same objects."""
    extensions: dict[str, Any] = dict(error.extensions or {})
    cause = _cause_of(error)
    if isinstance(cause, HauloutError) and cause.kind != "INTERNAL":
        error.message = str(cause)
        extensions.update(code=cause.code if cause.code != "MALFORMED_REQUEST" else "INVALID_ARGUMENT")
    elif "code" in extensions:
        pass  # one of ours already
    elif isinstance(cause, MissingQueryError | CannotGetOperationTypeError):
        error.message = "the request names no operation of its document"
        extensions.update(code="INVALID_ARGUMENT")
    elif cause is not None:
        error.message = "Internal error."
        extensions.update(code="INTERNAL", traceId=trace_id)
        log.error("a resolver failed", trace_id=trace_id, path=error.path, exc_info=cause)
    elif error.message.endswith("tokens. Parsing aborted."):
        extensions.update(code="QUERY_TOO_COMPLEX")
    elif error.message.startswith("Syntax Error"):
        extensions.update(code="GRAPHQL_PARSE_FAILED")
    else:
        extensions.update(code="GRAPHQL_VALIDATION_FAILED")
    error.extensions = extensions


def _cause_of(error: GraphQLError) -> BaseException | None:
    """What a resolver raised, below the errors that graphql-core wraps it in."""
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause
