"""The process of the ledger, as `haulout ledger` runs it: the sequencer over its store, behind gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path

from haulout.crypto.bls import Bls12381
from haulout.errors import InvalidField
from haulout.observability.health_server import serve_health
from haulout.observability.lifecycle import stop_on_signals
from haulout.observability.logs import get_logger
from haulout.observability.metrics import build_registry, count_disk_errors, show_disk
from haulout.ports import Clock, Store
from haulout.replica.pruning import Pruner
from haulout.sequencer.errors import LedgerStopping
from haulout.sequencer.sequencer import Sequencer
from haulout.wire.service import serve_services
from haulout.wire.serving import Limits
from haulout.wire.v1.ledger_pb2 import DESCRIPTOR
from haulout.wire.v1.ledger_pb2_grpc import add_LedgerServicer_to_server
from haulout.world.clock import SystemClock
from haulout.world.genesis_file import read_genesis
from haulout.world.memory_store import MemoryStore
from haulout.world.rng import SystemRng
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers
from node_grpc.ledger_metrics import LedgerMetrics
from node_grpc.ledger_servicer import PER_METHOD, LedgerServicer
from node_grpc.process import cancel_all, run_until

SERVICE = DESCRIPTOR.services_by_name["Ledger"].full_name
ENGINES = ("sqlite", "memory")
STATUS_INTERVAL_MS = 500

log = get_logger("ledger")


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """What the process is started with."""

    folder: Path
    genesis: Path
    listen: str
    metrics: str
    engine: str = "sqlite"
    allow_plaintext: bool = False
    keep_epochs: int = 0  # whose blocks are kept; 0 for all, so that read models can be filled again from genesis


async def run_ledger(settings: LedgerSettings) -> None:
    """Run the process until SIGTERM or SIGINT.

    Raises:
        HauloutError: it cannot start, or its storage failed.
    """
    if settings.engine not in ENGINES:
        raise InvalidField(field="engine", problem=f"{settings.engine!r} is not one of {', '.join(ENGINES)}")
    genesis = read_genesis(settings.genesis)
    clock, rng = SystemClock(), SystemRng()
    registry = build_registry("ledger")
    metrics = LedgerMetrics(registry)
    show_disk(registry, settings.folder)
    reasons = ["STARTING: the ledger is being opened"]
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        await stack.enter_async_context(serve_health(settings.metrics, registry, ready=lambda: reasons))
        workers = ThreadWorkers(2)
        stack.callback(workers.close)
        store: Store = MemoryStore()
        if settings.engine == "sqlite":
            store = SqliteStore(settings.folder / "ledger.sqlite", on_error=count_disk_errors(registry))
        sequencer = await Sequencer.open(
            store=store, genesis=genesis, scheme=Bls12381(), clock=clock, workers=workers, engine=settings.engine
        )
        stack.push_async_callback(sequencer.close)
        making = asyncio.create_task(sequencer.run())
        counting = asyncio.create_task(_follow_status(sequencer, metrics, clock))
        pruner = Pruner(sequencer.store, clock, keep_epochs=settings.keep_epochs)
        pruning = asyncio.create_task(pruner.run())
        stack.push_async_callback(cancel_all, [making, counting, pruning])
        async with serve_services(
            functools.partial(add_LedgerServicer_to_server, LedgerServicer(sequencer)),
            [SERVICE],
            settings.listen,
            ready=lambda: reasons,
            limits=Limits(per_method=PER_METHOD),
            clock=clock,
            rng=rng,
            registry=registry,
            allow_plaintext=settings.allow_plaintext,
        ) as address:
            reasons.clear()
            log.info("serving", address=address, engine=settings.engine, height=sequencer.head.height)
            try:
                await run_until(stop, [making, counting, pruning])
            finally:
                reasons.append("SHUTTING_DOWN: the process was told to stop")
                log.info("stopping")
                sequencer.stop()  # what waits gets its block and its answer
                sequencer.store.end_following(LedgerStopping())  # streams end, so that the server can
        await asyncio.wait([making])
    log.info("stopped")


async def _follow_status(sequencer: Sequencer, metrics: LedgerMetrics, clock: Clock) -> None:
    while True:
        metrics.note(await sequencer.status(), clock.now_ms())
        await clock.sleep_ms(STATUS_INTERVAL_MS)
