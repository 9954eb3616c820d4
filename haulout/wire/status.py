"""The one table between our errors and gRPC statuses, read in both directions.

An error crosses as a gRPC status with a `google.rpc.ErrorInfo`: reason = the error's code, domain = haulout.dev,
metadata = its fields as text. The status says who must act, so it decides the class on the other side; the code and
the fields rebuild the leaf where the receiver knows it. A status without our ErrorInfo comes from gRPC itself and
means that the call did not get through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from haulout.errors import (
    DOMAIN,
    Corrupt,
    DeadlineExceeded,
    Forbidden,
    HauloutError,
    InvalidInput,
    NotFound,
    Rejected,
    RemoteError,
    Unavailable,
    Unreachable,
    from_wire,
)
from haulout.wire.errors import MalformedAnswer, TooManyCalls, UnknownCall

DETAILS_KEY = "grpc-status-details-bin"
# A status travels in headers, of which gRPC takes 8 KiB: the message three times as long when it must be escaped, and
# all of it once more, with the fields, as base64.
MAX_MESSAGE_BYTES = 768
MAX_VALUE_BYTES = 256
MAX_METADATA_BYTES = 2048

Code = grpc.StatusCode

# The first class that an error is an instance of decides.
TABLE: tuple[tuple[type[HauloutError], grpc.StatusCode], ...] = (
    (DeadlineExceeded, Code.DEADLINE_EXCEEDED),
    (TooManyCalls, Code.RESOURCE_EXHAUSTED),
    (InvalidInput, Code.INVALID_ARGUMENT),
    (Rejected, Code.FAILED_PRECONDITION),
    (NotFound, Code.NOT_FOUND),
    (Forbidden, Code.PERMISSION_DENIED),
    (Corrupt, Code.DATA_LOSS),
    (Unavailable, Code.UNAVAILABLE),
    (HauloutError, Code.INTERNAL),
)
KIND_OF: Mapping[grpc.StatusCode, str] = {code: error.kind for error, code in TABLE}


def code_of(error: HauloutError) -> grpc.StatusCode:
    """The gRPC status under which an error travels."""
    return next(code for cls, code in TABLE if isinstance(error, cls))


def to_status(error: HauloutError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Status code, message and trailing metadata of an error; bounded, whatever is in it."""
    code = code_of(error)
    message = _text(str(error), MAX_MESSAGE_BYTES)
    fields = error.metadata if isinstance(error, RemoteError) else error.details()
    info = ErrorInfo(reason=_text(error.code, MAX_VALUE_BYTES), domain=DOMAIN)
    room = MAX_METADATA_BYTES
    for name, value in fields.items():
        text = _text(_value_text(value), MAX_VALUE_BYTES)
        room -= len(name.encode()) + len(text.encode())
        if room < 0:
            break
        info.metadata[name] = text
    number: int = code.value[0]
    status = Status(code=number, message=message)
    status.details.add().Pack(info)
    return code, message, ((DETAILS_KEY, status.SerializeToString()),)


def from_status(
    code: grpc.StatusCode,
    message: str,
    trailing_metadata: Iterable[tuple[str, str | bytes]],
    *,
    peer: str,
    operation: str,
    timeout_ms: int,
) -> HauloutError:
    """The error that a call ended with, as the same class the other side raised.

    Args:
        code: the call's status.
        message: the status's text.
        trailing_metadata: where the ErrorInfo travels.
        peer: address of the other side, for errors of gRPC itself.
        operation: name of the call, for a deadline.
        timeout_ms: the deadline the call had.
    """
    info = _find_error_info(trailing_metadata)
    if info is not None:
        return from_wire(KIND_OF.get(code, HauloutError.kind), info.reason, message, dict(info.metadata))
    if code is Code.DEADLINE_EXCEEDED:
        return DeadlineExceeded(operation=f"{operation} at {peer}", timeout_ms=timeout_ms)
    if code is Code.RESOURCE_EXHAUSTED:  # gRPC's own: a message beyond the limit, which our servers never send
        return MalformedAnswer(peer=peer, operation=operation, problem=_text(message, MAX_VALUE_BYTES))
    unreachable = UnknownCall if code is Code.UNIMPLEMENTED else Unreachable
    return unreachable(peer=peer, problem=f"{code.name}: {_text(message, MAX_VALUE_BYTES)}")


def _find_error_info(trailing_metadata: Iterable[tuple[str, str | bytes]]) -> ErrorInfo | None:
    for key, value in trailing_metadata:
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = Status.FromString(value)
            for detail in status.details:
                info = ErrorInfo()
                if detail.Unpack(info) and info.domain == DOMAIN:
                    return info
        except DecodeError:  # a peer that is not ours: its plain status counts
            return None
    return None


def _value_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return ",".join(_value_text(item) for item in value)
    return str(value)


def _text(text: str, max_bytes: int) -> str:
    raw = text.encode("utf-8", "replace")
    return raw.decode() if len(raw) <= max_bytes else raw[: max_bytes - 3].decode("utf-8", "ignore") + "…"
