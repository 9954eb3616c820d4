"""What the trees ask of the place where their rows live, and how they say that it is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from haulout.errors import Corrupt


class Rows(Protocol):
    """Read access to rows by key. Every view of the ledger is one."""

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""


@dataclass(eq=False)
class TreeCorrupt(Corrupt):
    """A stored row of a tree is missing or is not one."""

    code = "TREE_CORRUPT"
    template = "the {tree} tree lacks a row or holds a damaged one: {key}"
    hint = "the store is damaged; restore it from a snapshot"
    tree: str
    key: str
