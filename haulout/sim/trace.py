"""What happened, in order, as one hash: two runs are the same run when their traces are equal."""

from __future__ import annotations

import hashlib

KEPT_LINES = 20_000


class Trace:
    """Events with the turn and the time at which they happened; the hash covers all, `lines` keeps the last ones."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.n_events = 0
        self.lines: list[str] = []

    def note(self, *, turn: int, time_us: int, text: str) -> None:
        """Append an event."""
        line = f"{time_us:>12} us  turn {turn:>7}  {text}"
        self._hash.update(line.encode() + b"\n")
        self.n_events += 1
        self.lines.append(line)
        if len(self.lines) > 2 * KEPT_LINES:
            del self.lines[:KEPT_LINES]

    def digest(self) -> str:
        """The hash of everything so far, in hex."""
        return self._hash.hexdigest()
