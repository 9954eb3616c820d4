"""What a cache may do with the answer to a GET: hand it out for seconds, or an hour where it never changes; then ask
whether it is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from graphql import FieldNode, OperationDefinitionNode, parse
from starlette.responses import Response

CHANGING_S = 5
CERTIFIED_S = 3_600

# Root fields whose answer is fixed once it is there, and what of it is.
FACTS: Mapping[str, frozenset[str]] = {
    "certificate": frozenset(
        ("epoch", "id", "message", "persistence", "quorumThreshold", "signature", "signers", "verified", "weight")
    )
}


def max_age_s(query: str, data: Mapping[str, Any] | None) -> int:
    """For an answer without errors to a document that was executed; what is null may come to be."""
    if not data or None in data.values() or not any(name in query for name in FACTS):
        return CHANGING_S
    return CERTIFIED_S if all(_is_fact(definition) for definition in parse(query).definitions) else CHANGING_S


def _is_fact(definition: Any) -> bool:
    """Whether a definition is an operation that asks for facts alone, without fragments."""
    if not isinstance(definition, OperationDefinitionNode):
        return False
    for root in definition.selection_set.selections:
        if not isinstance(root, FieldNode) or root.selection_set is None:
            return False
        leaves = root.selection_set.selections
        known = FACTS.get(root.name.value, frozenset())
        if not all(isinstance(leaf, FieldNode) and leaf.name.value in known for leaf in leaves):
            return False
    return True


def tagged(response: Response, if_none_match: str) -> Response:
    """An answer with its `ETag`, or 304 for who has it already, as `If-None-Match` says."""
    content_type = response.headers["content-type"].encode()
    tag = f'"{hashlib.blake2b(content_type + bytes(response.body), digest_size=16).hexdigest()}"'
    response.headers["etag"] = tag
    known = {name.strip().removeprefix("W/") for name in if_none_match.split(",")}
    if known.isdisjoint({tag, "*"}):
        return response
    kept = {name: response.headers[name] for name in ("cache-control", "etag", "vary") if name in response.headers}
    return Response(status_code=304, headers=kept)
