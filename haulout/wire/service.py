"""A server of ours with what every one has beside its own services: gRPC health and reflection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from haulout.observability.health_server import Reasons
from haulout.ports import Clock, Rng
from haulout.wire.reflection import REFLECTION, LazyReflection
from haulout.wire.serving import Guard, Limits, build_server, serving

HEALTH_INTERVAL_MS = 500
Status = health_pb2.HealthCheckResponse


@contextlib.asynccontextmanager
async def serve_services(
    add_to: Callable[[grpc.aio.Server], None],
    names: Sequence[str],
    address: str,
    *,
    ready: Reasons,
    limits: Limits,
    clock: Clock,
    rng: Rng,
    registry: CollectorRegistry,
    allow_plaintext: bool,
) -> AsyncIterator[str]:
    """Serve services with health and reflection until the block ends, then drain; yields the bound address.

    Args:
        add_to: adds the servicers, as a generated `add_…_to_server` does.
        names: full names of the services, for health and reflection.
        address: `host:port`; port 0 asks for a free one.
        ready: why the process is not ready, asked now and then; what gRPC health says of each service follows it.
        limits: how many calls of a method at once, and for how long.
        clock, rng, registry: for durations, trace ids and metrics.
        allow_plaintext: also on addresses that are not on this machine.

    Raises:
        PlaintextRefused, InvalidField, Unreachable: the address cannot be used.
    """
    guard = Guard(clock=clock, rng=rng, limits=limits, registry=registry)
    server = build_server(guard)
    add_to(server)
    states = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    server.add_generic_rpc_handlers([LazyReflection([*names, health.SERVICE_NAME, REFLECTION])])

    async def set_state(reasons: Sequence[str]) -> None:
        state = Status.NOT_SERVING if reasons else Status.SERVING
        for service in ("", *names):
            await states.set(service, state)

    async def follow_ready() -> None:
        while True:
            await set_state(ready())
            await clock.sleep_ms(HEALTH_INTERVAL_MS)

    await set_state(["STARTING"])
    async with serving(server, address, allow_plaintext=allow_plaintext) as bound:
        following = asyncio.create_task(follow_ready())
        try:
            yield bound
        finally:
            following.cancel()
            await asyncio.wait([following])
            await states.enter_graceful_shutdown()
