"""How long a cache may hand out the answer to a GET: seconds, or an hour where it never changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import FieldNode, OperationDefinitionNode, parse

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
