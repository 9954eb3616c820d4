"""Global ids: opaque to clients, `Type:key` to us."""

from __future__ import annotations

import base64
import binascii

import strawberry

from haulout.errors import InvalidField

KEY_BYTES_MAX = 64


@strawberry.interface(description="Something with an id that is unique over all types; `node(id:)` finds it again.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque id, the same for the same thing for ever.")


def global_id(type_name: str, key: bytes | int) -> strawberry.ID:
    """The id of a thing of a type, from its natural key."""
    text = str(key) if isinstance(key, int) else key.hex()
    return strawberry.ID(base64.urlsafe_b64encode(f"{type_name}:{text}".encode()).rstrip(b"=").decode())


def read_global_id(text: str) -> tuple[str, str]:
    """Type name and key of an id.

    Raises:
        InvalidField: not an id that this API hands out.
    """
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as e:
        raise InvalidField(field="id", problem="is not an id of this API") from e
    type_name, colon, key = decoded.partition(":")
    if not colon or len(key) > 2 * KEY_BYTES_MAX:
        raise InvalidField(field="id", problem="is not an id of this API")
    return type_name, key


def bytes_key(key: str) -> bytes:
    """The key of a thing that is named by bytes.

    Raises:
        InvalidField: not hex.
    """
    try:
        return bytes.fromhex(key)
    except ValueError as e:
        raise InvalidField(field="id", problem="is not an id of this API") from e


def int_key(key: str) -> int:
    """The key of a thing that is named by a number.

    Raises:
        InvalidField: not a number.
    """
    if not key.isascii() or not key.isdigit() or len(key) > 18:
        raise InvalidField(field="id", problem="is not an id of this API")
    return int(key)
