"""A service gets its native kernels while it already serves, and shows which ones compute."""

from __future__ import annotations

import functools

from prometheus_client import CollectorRegistry, Gauge

from haulout.codec.kernels import choice
from haulout.codec.kernels.choice import Kernels
from haulout.errors import Corrupt
from haulout.observability.logs import get_logger
from haulout.ports import Workers
from haulout.world.kernels import KernelSettings, compile_kernels, load_kernels

log = get_logger("kernels")


def show_kernels(registry: CollectorRegistry) -> None:
    """Add the metric that says what computes."""
    text = "1 for the kernels that encode, decode and hash now, 0 for the others."
    gauge = Gauge("haulout_codec_kernels", text, ["kernels"], registry=registry)
    for kernels in Kernels:
        gauge.labels(kernels=kernels.value).set_function(functools.partial(_is_in_use, kernels))


def _is_in_use(kernels: Kernels) -> float:
    return float(choice.describe().kernels is kernels)


async def warm_up_kernels(settings: KernelSettings, workers: Workers) -> None:
    """Compile in another process if need be, load in a worker thread; the service computes with numpy meanwhile."""
    await compile_kernels(settings)
    try:
        status = await workers.run(load_kernels, settings)
    except Corrupt as e:
        log.error("native kernels are not used", code=e.code, problem=str(e))
        return
    log.info("codec kernels", kernels=status.kernels.value, detail=status.detail)
