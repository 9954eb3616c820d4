"""Chance from one seed: a stream of hashes, the same on every machine and in every version of Python."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class SeededRng:
    """Implements `ports.Rng`. Two of the same seed and name agree; those of different names have nothing in common."""

    def __init__(self, seed: int, name: str = "") -> None:
        self._seed = seed
        self._name = name
        self._key = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=32, person=b"haulout sim").digest()
        self._n_blocks = 0
        self._drawn = b""
        self._at = 0  # what comes before it was given out

    def fork(self, name: str) -> SeededRng:
        """An own stream for a part: what one part draws does not move what another gets."""
        return SeededRng(self._seed, f"{self._name}/{name}")

    def random_bytes(self, n: int) -> bytes:
        """The next `n` bytes of the stream."""
        end = self._at + n
        if end > len(self._drawn):
            parts = [self._drawn[self._at :]]
            size_bytes = len(parts[0])
            while size_bytes < n:
                block = hashlib.blake2b(self._n_blocks.to_bytes(8, "big"), key=self._key).digest()
                self._n_blocks += 1
                parts.append(block)
                size_bytes += len(block)
            self._drawn, self._at, end = b"".join(parts), 0, n
        given = self._drawn[self._at : end]
        self._at = end
        return given

    def below(self, limit: int) -> int:
        """A number in [0, limit), evenly; `limit` is at least 1."""
        if limit < 1:
            raise ValueError("the limit is at least 1")
        n_bits = (limit - 1).bit_length()
        n_bytes = (n_bits + 7) // 8
        while True:
            number = int.from_bytes(self.random_bytes(n_bytes), "big") >> (8 * n_bytes - n_bits)
            if number < limit:
                return number

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in random order, as a new list."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def happens(self, per_million: int) -> bool:
        """Whether something of this probability happens now."""
        return per_million > 0 and self.below(1_000_000) < per_million
