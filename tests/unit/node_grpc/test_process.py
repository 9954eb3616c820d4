"""What the processes of this package do beside serving."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from haulout.sim.clock import VirtualClock
from haulout.sim.loop import run
from node_grpc.process import LOOK_INTERVAL_MS, log_troubles


def test_a_trouble_is_logged_as_it_begins_and_as_it_ends() -> None:
    troubles = ["BEHIND: by 3 blocks"]

    async def story() -> None:
        clock = VirtualClock()
        looking = asyncio.create_task(log_troubles(lambda: troubles, clock))
        await clock.sleep_ms(LOOK_INTERVAL_MS // 2)
        troubles[:] = ["BEHIND: by 2 blocks", "DISK_FULL: no space"]  # other words are no news
        await clock.sleep_ms(3 * LOOK_INTERVAL_MS)
        troubles.clear()
        await clock.sleep_ms(LOOK_INTERVAL_MS)
        looking.cancel()

    with capture_logs() as logged:
        run(story())
    told = [(line["log_level"], line["event"], line["code"], line.get("problem")) for line in logged]
    assert told[:2] == [
        ("warning", "trouble", "BEHIND", "BEHIND: by 3 blocks"),
        ("warning", "trouble", "DISK_FULL", "DISK_FULL: no space"),
    ]
    assert sorted(told[2:]) == [
        ("info", "trouble is over", "BEHIND", None),
        ("info", "trouble is over", "DISK_FULL", None),
    ]
