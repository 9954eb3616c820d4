"""What nobody can predict; in a simulation, what follows from the seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Rng(Protocol):
    """Chance. Real: the operating system's; simulated: one seed."""

    def random_bytes(self, n: int) -> bytes:
        """`n` bytes nobody can predict."""

    def below(self, limit: int) -> int:
        """A number in [0, limit), evenly."""

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in random order."""
