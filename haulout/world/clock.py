"""The clock of this machine."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall time by the operating system; monotonic time that no clock adjustment moves."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC; jumps when the machine's clock is set."""
        return time.time_ns() // 1_000_000

    def monotonic_us(self) -> int:
        """Microseconds since some start; never goes back."""
        return time.monotonic_ns() // 1_000

    async def sleep_ms(self, duration_ms: int) -> None:
        """Let `duration_ms` pass; nothing or less only yields to the loop."""
        await asyncio.sleep(max(0, duration_ms) / 1000)
