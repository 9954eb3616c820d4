"""Where a process listens: `host:port`, and a socket bound to it."""

from __future__ import annotations

import socket

from haulout.errors import InvalidField, Unreachable


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        InvalidField: not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidField(field="address", problem=f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


def bind_address(address: str) -> socket.socket:
    """A socket at an address of our own, which nobody else listens at; port 0 asks for a free one.

    Raises:
        InvalidField: not an address.
        Unreachable: it cannot be bound.
    """
    host, port = split_address(address)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as e:
        listener.close()
        problem = f"the port cannot be bound ({e.strerror or e}); another process may hold it"
        raise Unreachable(peer=f"{host}:{port}", problem=problem) from e
    return listener


def bound_address(address: str, listener: socket.socket) -> str:
    """`address` with the port that is really bound."""
    return f"{split_address(address)[0]}:{listener.getsockname()[1]}"
