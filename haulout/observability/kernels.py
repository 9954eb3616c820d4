"""A service gets its native kernels while it already serves, and shows which ones compute."""

from __future__ import annotations

import functools

from prometheus_client import CollectorRegistry, Gauge

from haulout.codec.kernels import choice
from haulout.codec.kernels.choice import Kernels
from haulout.errors import Corrupt
from haulout.observability.health_server import Reasons
from haulout.observability.logs import get_logger
from haulout.ports import Clock, Workers
from haulout.world.kernels import KernelSettings, compile_kernels, load_kernels, turn_to_load

READY_INTERVAL_MS = 200
SETTLE_MS = 2_000
TURN_INTERVAL_MS = 250
TURN_PATIENCE_S = 30

log = get_logger("kernels")


def show_kernels(registry: CollectorRegistry) -> None:
    """Add the metric that says what computes."""
    text = "1 for the kernels that encode, decode and hash now, 0 for the others."
    gauge = Gauge("haulout_codec_kernels", text, ["kernels"], registry=registry)
    for kernels in Kernels:
        gauge.labels(kernels=kernels.value).set_function(functools.partial(_is_in_use, kernels))


def _is_in_use(kernels: Kernels) -> float:
    return float(choice.describe().kernels is kernels)


async def warm_up_kernels(settings: KernelSettings, workers: Workers, clock: Clock, ready: Reasons) -> None:
    """Compile in another process if need be, load in a worker thread; the service computes with numpy meanwhile.

    Begins a moment after the service is ready, since until then every CPU second belongs to what makes it and its
    neighbours so, and waits a while for other processes of this machine that load theirs.
    """
    while ready():
        await clock.sleep_ms(READY_INTERVAL_MS)
    await clock.sleep_ms(SETTLE_MS)
    await compile_kernels(settings)
    deadline_us = clock.monotonic_us() + TURN_PATIENCE_S * 1_000_000
    while True:
        with turn_to_load(settings) as is_ours:
            if is_ours or clock.monotonic_us() > deadline_us:
                try:
                    status = await workers.run(load_kernels, settings)
                except Corrupt as e:
                    log.error("native kernels are not used", code=e.code, problem=str(e))
                    return
                break
        await clock.sleep_ms(TURN_INTERVAL_MS)
    log.info("codec kernels", kernels=status.kernels.value, detail=status.detail)
