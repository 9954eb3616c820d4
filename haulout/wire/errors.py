"""What goes wrong between processes, beyond what the other side reports itself."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Corrupt, Forbidden, Unavailable, Unreachable


@dataclass(eq=False)
class MalformedAnswer(Corrupt):
    """A peer answered with something that cannot be read as what was asked for; ask another."""

    code = "MALFORMED_ANSWER"
    template = "{peer} answered {operation} with something unreadable: {problem}"
    peer: str
    operation: str
    problem: str


@dataclass(eq=False)
class UnknownCall(Unreachable):
    """Something answers at an address that does not know the call: an earlier release, or another service."""

    code = "UNKNOWN_CALL"
    hint = "look who listens there, and upgrade it if it is ours"


@dataclass(eq=False)
class TooManyCalls(Unavailable):
    """A server carries out as many calls of a kind as it may."""

    code = "RESOURCE_EXHAUSTED"
    template = "{what}: at most {limit} at once"
    hint = "wait a moment and ask again, or ask another"
    what: str
    limit: int


@dataclass(eq=False)
class PlaintextRefused(Forbidden):
    """An address that is not on this machine would be used without encryption."""

    code = "PLAINTEXT_REFUSED"
    template = "{address} is not on this machine and the connection would not be encrypted"
    hint = "use a loopback address, or --allow-plaintext where the network itself is trusted"
    address: str
