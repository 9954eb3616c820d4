"""The one table from error classes to HTTP, and the body that every error has.

The shape and the reasons are Walrus's, the domain is ours. What nobody foresaw becomes a
500 with a trace id; the log has the rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from haulout.errors import DOMAIN, Corrupt, Forbidden, HauloutError, InvalidInput, NotFound, Rejected, Unavailable
from haulout.observability import tracing
from haulout.observability.logs import get_logger

log = get_logger("gateway")

# Codes whose status is not their class's.
STATUS_OF_CODE = {
    "BLOB_TOO_LARGE": ("SIZE_EXCEEDED", 413),
    "INSUFFICIENT_CONFIRMATIONS": ("DEADLINE_EXCEEDED", 504),
    "DEADLINE_EXCEEDED": ("DEADLINE_EXCEEDED", 504),
    "INSUFFICIENT_FUNDS": ("FAILED_PRECONDITION", 402),
    "INVALID_BYTE_RANGE": ("RANGE_NOT_SATISFIABLE", 416),
    "TOO_MANY_REQUESTS": ("RESOURCE_EXHAUSTED", 429),
    "BLOB_INCONSISTENT": ("INTERNAL", 500),
    "BODY_TIMEOUT": ("DEADLINE_EXCEEDED", 408),
    "METHOD_NOT_ALLOWED": ("INVALID_ARGUMENT", 405),
    "DISK_FULL": ("UNAVAILABLE", 503),
}
STATUS_OF_CLASS: tuple[tuple[type[HauloutError], tuple[str, int]], ...] = (
    (InvalidInput, ("INVALID_ARGUMENT", 400)),
    (Rejected, ("FAILED_PRECONDITION", 400)),
    (NotFound, ("NOT_FOUND", 404)),
    (Forbidden, ("PERMISSION_DENIED", 403)),
    (Unavailable, ("UNAVAILABLE", 503)),
    (Corrupt, ("INTERNAL", 500)),
)
RETRY_AFTER_S = 1


@dataclass(eq=False)
class MalformedRequest(InvalidInput):
    """A query, header or path that does not read."""

    code = "MALFORMED_REQUEST"
    template = "{problem}"
    problem: str


@dataclass(eq=False)
class InvalidPersistence(InvalidInput):
    """Both deletable and permanent were asked for."""

    code = "INVALID_BLOB_PERSISTENCE"
    template = "a blob is either deletable or permanent"


@dataclass(eq=False)
class InvalidConsistencyCheck(InvalidInput):
    """Both a strict and no consistency check were asked for."""

    code = "INVALID_CONSISTENCY_CHECK"
    template = "a read is either strict or skips the check"


@dataclass(eq=False)
class NotKnownYet(Unavailable):
    """What is asked for is not in the view of the ledger, which has not caught up since this gateway started."""

    code = "NOT_READY"
    template = "this gateway cannot tell yet whether that exists: {reason}"
    hint = "try again in a moment; `/ready` says when it can"
    reason: str


@dataclass(eq=False)
class TooManyRequests(Unavailable):
    """More requests than are served and queued."""

    code = "TOO_MANY_REQUESTS"
    template = "the {role} is receiving too many requests; please try again later"
    role: str


@dataclass(eq=False)
class BodyTimeout(Unavailable):
    """A client holds one of the few places for stores and sends nothing."""

    code = "BODY_TIMEOUT"
    template = "no byte of the body came for {timeout_s} s"
    hint = "send it again; nothing was stored"
    timeout_s: int


@dataclass(eq=False)
class BodySizeDiffers(InvalidInput):
    """A body that is not the announced one."""

    code = "UPLOAD_SIZE_DIFFERS"
    template = "the upload was announced with {announced_bytes} bytes, {got_bytes} came"
    hint = "announce it again with the size it has; nothing was stored"
    announced_bytes: int
    got_bytes: int


@dataclass(eq=False)
class RouteNotFound(NotFound):
    """No such path."""

    code = "ROUTE_NOT_FOUND"
    template = "there is nothing at {path}"
    path: str


@dataclass(eq=False)
class MethodNotAllowed(InvalidInput):
    """The path is there, but not for this method."""

    code = "METHOD_NOT_ALLOWED"
    template = "{method} is not possible at {path}; use {allowed}"
    method: str
    path: str
    allowed: str


def status_of(error: HauloutError) -> tuple[str, int]:
    """Status word and HTTP code of an error."""
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    return next((status for cls, status in STATUS_OF_CLASS if isinstance(error, cls)), ("INTERNAL", 500))


def error_response(
    error: HauloutError, *, headers: dict[str, str] | None = None, extra: Mapping[str, str] | None = None
) -> Response:
    """The answer for an error raised on purpose; `extra` joins the error's fields in the metadata."""
    status, code = status_of(error)
    metadata = {**{name: str(value) for name, value in error.details().items()}, **(extra or {})}
    details: list[dict[str, Any]] = [
        {"@type": "ErrorInfo", "reason": error.code, "domain": DOMAIN, "metadata": metadata}
    ]
    return _respond(status, code, str(error), details, headers)


def internal_error_response(request: Request, error: Exception) -> Response:
    """The answer for our own mistake: nothing leaks but a trace id, under which the log has it."""
    trace_id = tracing.trace_id(request.headers.get("traceparent", "")) or secrets.token_hex(16)
    log.error("request failed", trace_id=trace_id, path=request.url.path, exc_info=error)
    details: list[dict[str, Any]] = [
        {"@type": "ErrorInfo", "reason": "INTERNAL_ERROR", "domain": "global", "metadata": {}},
        {"@type": "DebugInfo", "stackEntries": [], "detail": f"TraceID: {trace_id}"},
    ]
    return _respond("INTERNAL", 500, "an internal error has occurred, please report it", details, None)


def _respond(
    status: str, code: int, message: str, details: list[dict[str, Any]], headers: dict[str, str] | None
) -> Response:
    all_headers = {"cache-control": "no-store", **(headers or {})}
    if code in (429, 503):
        all_headers["retry-after"] = str(RETRY_AFTER_S)
    body = {"error": {"status": status, "code": code, "message": message, "details": details}}
    return JSONResponse(body, code, all_headers)
