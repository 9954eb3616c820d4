"""A node and a ledger of the tests' own behind real servers on loopback, and raw channels to them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from haulout.wire.serving import Guard, Limits, build_server, serving
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng
from tests.town import ledger as ledger
from tests.town import town as town

Serve = Callable[..., AbstractAsyncContextManager[tuple[grpc.aio.Channel, CollectorRegistry]]]


@pytest.fixture
def serve() -> Serve:
    """Serve a servicer; gives a plain channel to it and the server's metrics."""

    @asynccontextmanager
    async def served(
        add: Any, servicer: Any, limits: Limits | None = None
    ) -> AsyncIterator[tuple[grpc.aio.Channel, CollectorRegistry]]:
        registry = CollectorRegistry()
        server = build_server(Guard(clock=SystemClock(), rng=SystemRng(), limits=limits or Limits(), registry=registry))
        functools.partial(add, servicer)(server)
        async with (
            serving(server, "127.0.0.1:0", drain_s=0.2) as address,
            grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel,
        ):
            yield channel, registry

    return served
