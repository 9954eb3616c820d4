"""A view with changes laid over another view, which they reach only when they are committed.

Drafts nest: a block has one over the stored state, each of its transactions one over the block's. A refused
transaction's draft is dropped, and nothing has happened.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from haulout.ledger.state import View

_ABSENT: Final = b"\x00absent"  # compared by identity; stands for "not in the cache"


class EmptyView:
    """A state in which there is nothing: what genesis starts from."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


class Draft:
    """Writes over a view. `writes` maps keys to new values, None where the row is gone."""

    __slots__ = ("_base", "_is_sorted", "_sorted", "writes")

    def __init__(self, base: View) -> None:
        self._base = base
        self.writes: dict[bytes, bytes | None] = {}
        self._sorted: list[bytes] = []
        self._is_sorted = True

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        value = self.writes.get(key, _ABSENT)
        return self._base.get(key) if value is _ABSENT else value

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a row; None removes it."""
        if key not in self.writes:
            self._sorted.append(key)
            self._is_sorted = False
        self.writes[key] = value

    def absorb(self, writes: Mapping[bytes, bytes | None]) -> None:
        """Take over the writes of a draft that was laid over this one."""
        fresh = [key for key in writes if key not in self.writes]
        if fresh:
            self._sorted.extend(fresh)
            self._is_sorted = False
        self.writes.update(writes)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the end with `reverse`, as of the call."""
        own = self._own_keys(start, end)
        if not own:
            return self._base.scan(start, end, reverse=reverse, limit=limit)
        if reverse:
            own.reverse()
        changed = {key: self.writes[key] for key in own}
        # Each own key hides at most one row of the base, so the base needs to give no more than this.
        base = self._base.scan(start, end, reverse=reverse, limit=None if limit is None else limit + len(own))
        return islice(_merge_sorted(own, changed, base, reverse), limit)

    def _own_keys(self, start: bytes, end: bytes) -> list[bytes]:
        if not self._is_sorted:
            self._sorted.sort()
            self._is_sorted = True
        return self._sorted[bisect_left(self._sorted, start) : bisect_left(self._sorted, end)]


class CachedView:
    """A view that remembers what was read from it, for the length of one block over a state that does not change."""

    __slots__ = ("_base", "_rows")

    def __init__(self, base: View) -> None:
        self._base = base
        self._rows: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        value = self._rows.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._rows[key] = self._base.get(key)
        return value

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows of the view itself."""
        return self._base.scan(start, end, reverse=reverse, limit=limit)


def _merge_sorted(
    own: list[bytes], changed: Mapping[bytes, bytes | None], base: Iterator[tuple[bytes, bytes]], reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Both in one order; an own row hides the base's of the same key."""
    at = 0
    for key, value in base:
        while at < len(own) and (own[at] > key if reverse else own[at] < key):
            mine = changed[own[at]]
            if mine is not None:
                yield own[at], mine
            at += 1
        if key not in changed:
            yield key, value
    for key in own[at:]:
        mine = changed[key]
        if mine is not None:
            yield key, mine
