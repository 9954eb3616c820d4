"""How connections are secured: the one place where channel and server credentials are chosen.

Plaintext is for this machine. An address elsewhere is refused until TLS bound to a node's registered network key
exists, unless whoever builds the process says that the network between the processes is trusted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import grpc

from haulout.errors import InvalidField, Unreachable
from haulout.wire.errors import PlaintextRefused

Options = Sequence[tuple[str, str | int]]


def is_loopback(address: str) -> bool:
    """Whether `host:port` (or `unix:path`) can only be this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_channel(address: str, options: Options, *, allow_plaintext: bool) -> grpc.aio.Channel:
    """A channel to an address; connects with its first call.

    Raises:
        PlaintextRefused: the address is not on this machine and plaintext was not allowed.
        InvalidField: not an address.
    """
    _check_address(address)
    if not allow_plaintext and not is_loopback(address):
        raise PlaintextRefused(address=address)
    return grpc.aio.insecure_channel(address, options=list(options))


def bind_port(server: grpc.aio.Server, address: str, *, allow_plaintext: bool) -> str:
    """Make a server listen on an address; returns the one that is really bound (port 0 asks for a free one).

    Raises:
        PlaintextRefused: the address is not on this machine and plaintext was not allowed.
        InvalidField: not an address.
        Unreachable: it cannot be bound.
    """
    _check_address(address)
    if not allow_plaintext and not is_loopback(address):
        raise PlaintextRefused(address=address)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as e:
        raise Unreachable(peer=address, problem="the port cannot be bound; another process may hold it") from e
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"


def _check_address(address: str) -> None:
    if address.startswith("unix:"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise InvalidField(field="address", problem=f"{address[:80]!r} is not host:port")
