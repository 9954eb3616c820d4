"""Chance from the operating system."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class SystemRng:
    """Unpredictable: fit for secrets and nonces."""

    def __init__(self) -> None:
        self._random = secrets.SystemRandom()

    def random_bytes(self, n: int) -> bytes:
        """`n` bytes nobody can predict."""
        return secrets.token_bytes(n)

    def below(self, limit: int) -> int:
        """A number in [0, limit), evenly; `limit` is at least 1."""
        return secrets.randbelow(limit)

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in random order, as a new list."""
        order = list(items)
        self._random.shuffle(order)
        return order
