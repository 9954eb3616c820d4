"""Everything this software raises on purpose.

A class answers *who must act*, a `code` answers *what exactly*, typed fields carry the numbers::

    HauloutError
    ├── InvalidInput   malformed before any rule was asked      the caller fixes it
    ├── Rejected       a rule said no                           the caller decides
    ├── NotFound       it is not there                          the caller
    ├── Forbidden      policy or credential                     the caller
    ├── Corrupt        bytes are not what they claim            repaired; never retried at that source
    └── Unavailable    a machine may try again                  retried, here or elsewhere

    AssertionError     we are wrong                             crash and fix

A leaf class is a dataclass whose fields fill its `template` and its `hint`, which says what to do next; nobody parses
the message. Leaves with a meaning for one package live in that package; those that several packages raise or that
cross a wire under one code live here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

DOMAIN = "haulout.dev"


class HauloutError(Exception):
    """Root of all errors raised on purpose; `code` is stable, the message is made from fields."""

    kind: ClassVar[str] = "INTERNAL"
    code: str = "INTERNAL_ERROR"
    template: ClassVar[str] = ""
    hint: ClassVar[str] = ""

    def __str__(self) -> str:
        details = self.details()
        text = self.template.format(**details) if self.template else self.code
        return f"{text}; {self.hint.format(**details)}" if self.hint else text

    def details(self) -> dict[str, object]:
        """The typed fields by name: what an edge puts into its error metadata."""
        try:
            return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        except TypeError:  # not a dataclass: a bare class of the tree above
            return {}


class InvalidInput(HauloutError):
    """Malformed before any rule was asked: the caller fixes it."""

    kind = "INVALID_ARGUMENT"
    code = "INVALID_ARGUMENT"


class Rejected(HauloutError):
    """A rule said no: the caller decides what to do."""

    kind = "FAILED_PRECONDITION"
    code = "REJECTED"


class NotFound(HauloutError):
    """What was asked for is not there."""

    kind = "NOT_FOUND"
    code = "NOT_FOUND"


class Forbidden(HauloutError):
    """A policy or a credential forbids it."""

    kind = "PERMISSION_DENIED"
    code = "PERMISSION_DENIED"


class Corrupt(HauloutError):
    """Bytes are not what they claim to be; names its source and is never retried there."""

    kind = "DATA_LOSS"
    code = "CORRUPT"


class Unavailable(HauloutError):
    """Not now: a machine may try again, here or elsewhere."""

    kind = "UNAVAILABLE"
    code = "UNAVAILABLE"


KINDS: Mapping[str, type[HauloutError]] = {
    cls.kind: cls for cls in (InvalidInput, Rejected, NotFound, Forbidden, Corrupt, Unavailable)
}


@dataclass(eq=False)
class InvalidField(InvalidInput):
    """One argument or field is malformed."""

    code = "MALFORMED_REQUEST"
    template = "{field}: {problem}"
    field: str
    problem: str


@dataclass(eq=False)
class UndecodableBytes(InvalidInput):
    """Bytes that are not the canonical encoding of the type they are read as."""

    code = "UNDECODABLE_BYTES"
    template = "not a canonical {type_name}: {problem}"
    type_name: str
    problem: str


@dataclass(eq=False)
class BlobTooLarge(InvalidInput):
    """The blob exceeds what the encoding can hold with this number of shards."""

    code = "BLOB_TOO_LARGE"
    template = "the blob has {size_bytes} bytes, the largest this network of {n_shards} shards stores is {limit_bytes}"
    hint = "split it, or use a network with more shards"
    size_bytes: int
    limit_bytes: int
    n_shards: int


@dataclass(eq=False)
class BlobTooLargeForEncoding(BlobTooLarge):
    """The encoding that was asked for cannot hold the blob; another one could."""

    template = (
        "the blob has {size_bytes} bytes, the largest of encoding {encoding} on {n_shards} shards is {limit_bytes}"
    )
    hint = "name no encoding, so that one is chosen that fits, or split it"
    encoding: str


@dataclass(eq=False)
class WrongEpoch(Rejected):
    """The request names an epoch that is not the responder's."""

    code = "WRONG_EPOCH"
    template = "the request is for epoch {request_epoch}, the node is in epoch {server_epoch}"
    hint = "refresh the committee and ask again"
    request_epoch: int
    server_epoch: int


@dataclass(eq=False)
class ProtocolVersionUnknown(Rejected):
    """A vote for rules that this build does not know: its process would stop as soon as they are in force."""

    code = "PROTOCOL_VERSION_UNKNOWN"
    template = "{process} knows protocol versions up to {newest}, not {protocol_version}"
    hint = "install a release that knows it there first"
    process: str
    protocol_version: int
    newest: int


@dataclass(eq=False)
class TooFewNodes(Rejected):
    """So few nodes could not hold all shards: none may hold more than can be lost."""

    code = "BELOW_MIN_NODES"
    template = "{n_nodes} nodes × at most {cap} shards < {n_shards}. Smallest safe size is {smallest}"
    n_nodes: int
    cap: int
    n_shards: int
    smallest: int


@dataclass(eq=False)
class DiskFull(Unavailable):
    """No space is left on the volume; nothing was confirmed and nothing was lost."""

    code = "DISK_FULL"
    template = "no space left under {path}"
    hint = "free or add space and try again; nothing was lost"
    path: str


@dataclass(eq=False)
class DeadlineExceeded(Unavailable):
    """An answer did not come in time."""

    code = "DEADLINE_EXCEEDED"
    template = "{operation} did not finish within {timeout_ms} ms"
    operation: str
    timeout_ms: int


@dataclass(eq=False)
class Unreachable(Unavailable):
    """A peer could not be reached."""

    code = "UNREACHABLE"
    template = "{peer} cannot be reached: {problem}"
    hint = "try again in a moment, and see whether it runs if that goes on"
    peer: str
    problem: str


@dataclass(eq=False)
class RemoteError(HauloutError):
    """An error that another process reported: its kind decides the class, its code and message travel as they are.

    Made only by `from_wire`; carries the fields as text in `metadata`.
    """

    template = "{message}"
    message: str
    metadata: Mapping[str, str]


def from_wire(kind: str, code: str, message: str, metadata: Mapping[str, str]) -> HauloutError:
    """Rebuild an error that crossed a wire, so that `except NotFound` works on both sides.

    A known leaf comes back as its own class with its typed fields; any other as a `RemoteError` that is also an
    instance of the class its kind names.
    """
    for leaf in _leaves_of(kind, code):
        rebuilt = _rebuild(leaf, metadata)
        if rebuilt is not None:
            return rebuilt
    base = KINDS.get(kind, HauloutError)
    cls = _remote_class(base)
    error = cls(message=message, metadata=dict(metadata))
    error.code = code
    return error


def _leaves_of(kind: str, code: str) -> list[type[HauloutError]]:
    """Leaves with this code: several packages may share one, each with its own fields."""
    found: list[type[HauloutError]] = []
    queue: list[type[HauloutError]] = [KINDS[kind]] if kind in KINDS else []
    while queue:
        cls = queue.pop()
        queue.extend(cls.__subclasses__())
        if cls.__dict__.get("code") == code and cls not in KINDS.values() and not issubclass(cls, RemoteError):
            found.append(cls)
    return found


def _rebuild(leaf: type[HauloutError], metadata: Mapping[str, str]) -> HauloutError | None:
    arguments: dict[str, object] = {}
    try:
        if {field.name for field in fields(leaf)} != set(metadata):  # type: ignore[arg-type]
            return None
        for field in fields(leaf):  # type: ignore[arg-type]
            text = metadata[field.name]
            if field.type in ("int", int):
                arguments[field.name] = int(text)
            elif field.type in ("str", str):
                arguments[field.name] = text
            else:
                return None
        return leaf(**arguments)
    except (KeyError, TypeError, ValueError):
        return None  # an older or newer peer with other fields: the RemoteError keeps what it said


_REMOTE: dict[type[HauloutError], type[RemoteError]] = {}


def _remote_class(base: type[HauloutError]) -> type[RemoteError]:
    if base not in _REMOTE:
        _REMOTE[base] = type(f"Remote{base.__name__}", (RemoteError, base), {"kind": base.kind})
    return _REMOTE[base]
