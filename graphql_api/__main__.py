"""`python -m graphql_api`: the process. Builds every object once, runs until it is told to stop.

Every flag has an environment variable of the same name: `--gateway-url` is `HAULOUT_GATEWAY_URL`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport

import haulout
from graphql_api.app import build_app, why_not_ready
from graphql_api.context import Services
from graphql_api.health import HealthBoard
from graphql_api.limits import DEFAULT_BOUNDS
from graphql_api.read_model.database import CURSOR_KEY_BYTES, Database
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.project import Projector
from graphql_api.read_model.reading import ReadModel
from haulout.crypto.bls import Bls12381
from haulout.errors import HauloutError, InvalidField
from haulout.ledger import queries as ledger_queries
from haulout.ledger.genesis import Genesis
from haulout.observability.health_server import serve_health, serve_http
from haulout.observability.lifecycle import DRAIN_S, stop_on_signals
from haulout.observability.logs import LEVELS, configure_logs, get_logger
from haulout.observability.metrics import build_registry
from haulout.replica.replica import Replica
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers

READ_THREADS = 4
WRITE_THREADS = 2

log = get_logger("graphql")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, with the environment under it."""
    parser = argparse.ArgumentParser(prog="python -m graphql_api", description="GraphQL API over the network's ledger.")

    def option(flag: str, text: str, *, default: str | None = None, choices: Sequence[str] | None = None) -> None:
        known = os.environ.get("HAULOUT_" + flag.removeprefix("--").replace("-", "_").upper(), default)
        parser.add_argument(flag, help=text, default=known, required=known is None, choices=choices)

    option("--dir", "folder for the replica and the read model")
    option("--genesis", "genesis file of the network")
    option("--ledger", "address of the ledger, host:port")
    option("--listen", "address to serve GraphQL on", default="127.0.0.1:31416")
    option("--metrics", "address to serve /metrics, /healthz and /readyz on", default="127.0.0.1:31516")
    option("--gateway-url", "where blobs can be read by HTTP", default="http://127.0.0.1:31415")
    option("--database", "URL of the read model's database; SQLite in --dir by default", default="")
    option("--cors-origins", "origins that browsers may ask from, separated by commas", default="*")
    option("--log-format", "for people or for machines", default="auto", choices=("auto", "human", "json"))
    option("--log-level", "least important level that is logged", default="info", choices=LEVELS)
    parser.add_argument("--rebuild", action="store_true", help="empty the read model and fill it again from genesis")
    return parser.parse_args(arguments)


def read_genesis(path: Path) -> Genesis:
    """The genesis document of a file.

    Raises:
        InvalidField: no such file, or not a genesis document.
    """
    try:
        return Genesis.from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidField(field="genesis", problem=f"{path} cannot be read: {e}") from e


async def serve(options: argparse.Namespace) -> None:
    """Run the process until SIGTERM or SIGINT."""
    folder = Path(options.dir)
    folder.mkdir(parents=True, exist_ok=True)
    clock, rng, scheme = SystemClock(), SystemRng(), Bls12381()
    registry = build_registry("graphql")
    genesis = read_genesis(Path(options.genesis))
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        readers, writers = ThreadWorkers(READ_THREADS), ThreadWorkers(WRITE_THREADS)
        stack.callback(readers.close)
        stack.callback(writers.close)
        ledger = GrpcLedger(options.ledger)
        stack.push_async_callback(ledger.close)
        transport = GrpcNodeTransport()
        stack.push_async_callback(transport.close)
        store = SqliteStore(folder / "replica.sqlite")
        replica = await Replica.open(
            store=store, ledger=ledger, genesis=genesis, scheme=scheme, clock=clock, workers=writers
        )
        stack.push_async_callback(replica.close)
        params = ledger_queries.params(replica.view)
        database = Database(options.database or f"sqlite:///{folder.absolute() / 'read_model.sqlite'}")
        stack.callback(database.close)
        progress = database.open(
            chain_id=params.chain_id, fresh_key=rng.random_bytes(CURSOR_KEY_BYTES), rebuild=options.rebuild
        )
        follower = Follower(
            database,
            progress,
            Projector(params.n_shards, scheme),
            replica.store,
            clock=clock,
            workers=writers,
            registry=registry,
        )
        board = HealthBoard(transport, clock)
        stack.push_async_callback(board.close)
        services = Services(
            params=params,
            cursor_key=database.cursor_key,
            gateway_url=options.gateway_url.rstrip("/"),
            health=board,
            bounds=DEFAULT_BOUNDS,
            version=haulout.__version__,
        )
        read_model = ReadModel(database, readers)
        origins = [origin.strip() for origin in options.cors_origins.split(",") if origin.strip()]
        app = build_app(services, read_model, follower, clock=clock, rng=rng, registry=registry, origins=origins)
        tasks = [
            asyncio.create_task(replica.run(), name="replica"),
            asyncio.create_task(follower.run(), name="follower"),
        ]
        stack.push_async_callback(_end, tasks)
        await stack.enter_async_context(serve_health(options.metrics, registry, ready=lambda: why_not_ready(follower)))
        address = await stack.enter_async_context(serve_http(app, options.listen, drain_s=DRAIN_S))
        log.info("serving GraphQL", url=f"http://{address}/graphql", height=progress.height)
        await _until(stop, tasks)
        log.info("stopping")


async def _until(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the signal, or for a task to fail; one that returned has its reason shown by `/readyz`."""
    stopping = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Task[object]] = {stopping, *tasks}
    try:
        while not stopping.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        stopping.cancel()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 after a signal, 1 when something that it needs is wrong; the error says what to do."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    process = os.environ.get("HAULOUT_PROCESS", "graphql")
    configure_logs(log_format=options.log_format, level=options.log_level, process=process)
    try:
        asyncio.run(serve(options))
    except HauloutError as e:
        log.error("cannot go on", code=e.code, problem=str(e))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
