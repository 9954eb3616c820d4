"""What time it is, and how long a wait is."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for how long things take."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC; may jump."""

    def monotonic_us(self) -> int:
        """Microseconds since some start; never goes back."""

    async def sleep_ms(self, duration_ms: int) -> None:
        """Let `duration_ms` pass."""
