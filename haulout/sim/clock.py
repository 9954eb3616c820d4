"""A clock that shows the loop's time."""

from __future__ import annotations

import asyncio

WALL_START_MS = 1_800_000_000_000


class VirtualClock:
    """Implements `ports.Clock`. Wall time begins at `wall_start_ms` when the loop begins; `skew_ms` makes it wrong."""

    def __init__(self, *, wall_start_ms: int = WALL_START_MS, skew_ms: int = 0) -> None:
        self._wall_start_ms = wall_start_ms
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970, as this machine believes."""
        return self._wall_start_ms + self.skew_ms + self.monotonic_us() // 1000

    def monotonic_us(self) -> int:
        """Microseconds since the loop began."""
        return round(asyncio.get_running_loop().time() * 1_000_000)

    async def sleep_ms(self, duration_ms: int) -> None:
        """Let `duration_ms` pass; nothing or less only yields to the loop."""
        await asyncio.sleep(max(0, duration_ms) / 1000)
