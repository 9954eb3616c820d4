"""Query parameters that say yes or no."""

from __future__ import annotations

from collections.abc import Mapping

from haulout.gateway.errors import MalformedRequest


def parse_flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a flag is set: `name`, `name=` and `name=true` set it.

    Raises:
        MalformedRequest: it is neither true nor false.
    """
    text = query.get(name)
    if text is None:
        return False
    if text.lower() not in ("", "true", "false"):
        raise MalformedRequest(problem=f"{name}: {text[:40]!r} is neither true nor false")
    return text.lower() != "false"
