"""Time set by hand."""

from __future__ import annotations

import asyncio

START_MS = 1_800_000_000_000


class HandClock:
    """Time that passes when somebody sleeps, and not otherwise."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self.time_ms = start_ms

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_us(self) -> int:
        return self.time_ms * 1000

    async def sleep_ms(self, duration_ms: int) -> None:
        self.time_ms += max(0, duration_ms)
        await asyncio.sleep(0)
