"""The operator's processes: kopf watches and the reconciler works, or epochs alone; health and metrics over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kopf
from prometheus_client import CollectorRegistry

from haulout.crypto.bls import Bls12381
from haulout.observability.health_server import serve_health
from haulout.observability.lifecycle import stop_on_signals
from haulout.observability.logs import get_logger
from haulout.observability.metrics import build_registry
from haulout.ports import Clock, Rng
from haulout.wire.control import serve_control
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng
from haulout.world.workers import ThreadWorkers
from haulout_operator import handlers
from haulout_operator.bootstrap import install_until_done, read_manifests
from haulout_operator.control import Gatekeeper, NetworkControl
from haulout_operator.epochs import EpochController, EpochWatch
from haulout_operator.execute import Executor
from haulout_operator.failpoints import EXIT_CODE, Armed, Failpoint, Failpoints
from haulout_operator.kube import Kube
from haulout_operator.ledger import LedgerDesk
from haulout_operator.names import FIELD_MANAGER
from haulout_operator.observe import Observer
from haulout_operator.reconcile import Reconciler
from haulout_operator.token_review import TokenReviewer

log = get_logger("operator")


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What the process is started with."""

    namespace: str
    default_image: str
    metrics: str
    scratch: Path
    install: Path | None = None  # folder of manifests that a chart brings
    control: str = ""  # host:port to serve `ClusterControl` on; nowhere when empty
    control_address: str = ""  # where others reach it
    armed: Armed | None = None  # where the process ends, for tests
    drives_epochs: bool = True  # or another process does
    reviews_tokens: bool = False  # of service accounts, for GraphQL


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every process of the operator is made of."""

    registry: CollectorRegistry
    clock: Clock
    rng: Rng
    kube: Kube
    observer: Observer
    executor: Executor
    epochs: EpochController


def _open_parts(stack: contextlib.AsyncExitStack, settings: OperatorSettings) -> _Parts:
    registry = build_registry("operator")
    clock, rng, scheme = SystemClock(), SystemRng(), Bls12381()
    failpoints = Failpoints(settings.armed, _end_here)
    kube = Kube.of_cluster(settings.scratch, registry)
    transport = GrpcNodeTransport(allow_plaintext=True)
    stack.push_async_callback(transport.close)

    def connect(address: str) -> GrpcLedger:
        ledger = GrpcLedger(address, allow_plaintext=True)
        stack.push_async_callback(ledger.close)
        return ledger

    workers = ThreadWorkers(1)
    stack.callback(workers.close)
    desk = LedgerDesk(connect=connect, transport=transport, scheme=scheme, clock=clock, rng=rng, workers=workers)
    observer = Observer(
        kube,
        desk,
        clock,
        namespace=settings.namespace,
        default_image=settings.default_image,
        control_address=settings.control_address if settings.control else "",
    )
    executor = Executor(kube, desk, scheme=scheme, clock=clock, rng=rng, failpoints=failpoints)
    epochs = EpochController(clock=clock, rng=rng, registry=registry, failpoints=failpoints)
    return _Parts(registry, clock, rng, kube, observer, executor, epochs)


async def run_epochs(settings: OperatorSettings) -> None:
    """The epoch controller alone, until SIGTERM or SIGINT.

    Raises:
        HauloutError: it cannot start.
    """
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        parts = _open_parts(stack, settings)
        stack.push_async_callback(parts.epochs.close)
        await stack.enter_async_context(serve_health(settings.metrics, parts.registry, ready=tuple))
        watch = EpochWatch(
            parts.kube,
            parts.observer,
            parts.executor,
            parts.epochs,
            namespace=settings.namespace,
            clock=parts.clock,
        )
        stack.push_async_callback(_end, asyncio.create_task(watch.run()))
        log.info("driving epochs", namespace=settings.namespace)
        await stop.wait()
        log.info("stopping")


async def run_operator(settings: OperatorSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        HauloutError: it cannot start.
    """
    manifests = [] if settings.install is None else read_manifests(settings.install)
    waiting = {body["metadata"]["name"] for body in manifests if body["kind"] == "StorageNetwork"}
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        parts = _open_parts(stack, settings)
        registry, clock, rng, kube = parts.registry, parts.clock, parts.rng, parts.kube
        reconciler = Reconciler(
            kube,
            parts.observer,
            parts.executor,
            parts.epochs if settings.drives_epochs else None,
            namespace=settings.namespace,
            clock=clock,
            rng=rng,
            registry=registry,
        )
        stack.push_async_callback(reconciler.close)

        def why_not_ready() -> Sequence[str]:
            """Ready once every network that came with the chart served: `helm install --wait` waits for it."""
            waiting.difference_update(reconciler.installed)
            return [f"INSTALLING: snet/{name} was not Available yet with every service" for name in sorted(waiting)]

        await stack.enter_async_context(serve_health(settings.metrics, registry, ready=why_not_ready))
        if settings.control:

            def control_of(network: str) -> NetworkControl:
                look = functools.partial(reconciler.seen.get, network)
                where = {"network": network, "namespace": settings.namespace}
                reviewer = TokenReviewer(kube, **where) if settings.reviews_tokens else None
                return NetworkControl(kube, look, clock, **where, reviewer=reviewer)

            gate = Gatekeeper(kube, lambda: list(reconciler.seen), control_of, namespace=settings.namespace)
            await stack.enter_async_context(
                serve_control(
                    gate.admit, settings.control, clock=clock, rng=rng, registry=registry, allow_plaintext=True
                )
            )
        watching = asyncio.create_task(
            kopf.operator(
                registry=handlers.build_registry(reconciler.wake),
                settings=handlers.build_settings(),
                namespaces=[settings.namespace],
                standalone=True,
                identity=FIELD_MANAGER,  # type: ignore[arg-type] # else the name of our user, who has none in a Pod
                stop_flag=stop,
            )
        )
        stack.push_async_callback(_end, watching)
        log.info("watching", namespace=settings.namespace)
        await install_until_done(kube, manifests, settings.namespace, clock=clock, is_stopped=stop.is_set)
        await watching
        log.info("stopping")


def _end_here(point: Failpoint) -> None:
    os._exit(EXIT_CODE)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
