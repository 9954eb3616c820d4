"""`python -m graphql_api`: the process. Builds every object once, runs until it is told to stop.

Every flag has an environment variable of the same name: `--gateway-url` is `HAULOUT_GATEWAY_URL`; only `--dir` is
`HAULOUT_DATA`, since `HAULOUT_DIR` is the folder of a whole network on the command line of a person.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from graphql_api.access import parse_scopes
from graphql_api.limits import DEFAULT_BOUNDS, Bounds
from graphql_api.rates import POINTS_PER_HOUR
from graphql_api.read_model.database import Database
from graphql_api.records.database import Records
from graphql_api.service import run_service
from graphql_api.websocket import MESSAGE_BYTES_MAX
from haulout.account.wallet import read_secret
from haulout.crypto.bls import Bls12381
from haulout.errors import HauloutError, InvalidField
from haulout.observability.health_server import serve_health
from haulout.observability.http_server import serve_http
from haulout.observability.lifecycle import DRAIN_S, stop_on_signals
from haulout.observability.logs import LEVELS, configure_logs, get_logger
from haulout.observability.metrics import build_registry, count_disk_errors
from haulout.observability.tracing import tracing
from haulout.wire.control import GrpcControl
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.clock import SystemClock
from haulout.world.genesis_file import read_genesis
from haulout.world.rng import SystemRng
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers

READ_THREADS = 4
WRITE_THREADS = 2

# Of each option the limit that it sets, and what it says of itself.
BOUND_OPTIONS: Mapping[str, tuple[str, str]] = {
    "max-cost": ("cost", "what one document may cost"),
    "max-cost-with-token": ("cost_with_token", "what one document may cost with a token; never less than without"),
    "max-depth": ("depth", "how many levels one document may have"),
    "max-aliases": ("aliases", "how many aliases and repeated fields one document may have"),
    "max-subscriptions": ("subscriptions", "how many subscriptions one connection may have at a time"),
    "query-timeout-ms": ("timeout_ms", "how long a query may take"),
    "mutation-timeout-ms": ("mutation_timeout_ms", "how long a mutation may take"),
}

log = get_logger("graphql")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, with the environment under it."""
    parser = argparse.ArgumentParser(prog="python -m graphql_api", description="GraphQL API over the network's ledger.")

    def option(flag: str, text: str, *, default: str | None = None, choices: Sequence[str] | None = None) -> None:
        name = "DATA" if flag == "--dir" else flag.removeprefix("--").replace("-", "_").upper()
        known = os.environ.get(f"HAULOUT_{name}", default)
        parser.add_argument(flag, help=text, default=known, required=known is None, choices=choices)

    option("--dir", "folder for the replica and the read model")
    option("--genesis", "genesis file of the network")
    option("--ledger", "address of the ledger, host:port")
    option("--listen", "address to serve GraphQL on", default="127.0.0.1:31416")
    option("--metrics", "address to serve /metrics, /healthz and /readyz on", default="127.0.0.1:31516")
    option("--gateway-url", "where the gateway is asked", default="http://127.0.0.1:31415")
    option("--public-gateway-url", "where people reach it, as links say; --gateway-url by default", default="")
    option("--database", "URL of the read model's database: postgresql://…; SQLite in --dir by default", default="")
    option("--records", "URL of the database of tokens and operations; SQLite in --dir by default", default="")
    option("--anonymous", "scopes of callers without a token, separated by commas, or none", default="READ")
    option("--wallet", "key of the account that pays for mutations; none: callers sign for themselves", default="")
    option("--control", "who runs the processes, host:port: the supervisor or the operator; none if empty", default="")
    option("--control-token-file", "file with the token that it asks for; none if empty", default="")
    option("--cors-origins", "origins that browsers may ask from, separated by commas", default="*")
    option("--points-per-hour", "what one client may ask for, in cost; 0: everything", default=str(POINTS_PER_HOUR))
    for name, (bound, text) in BOUND_OPTIONS.items():
        option(f"--{name}", text, default=str(getattr(DEFAULT_BOUNDS, bound)))
    option("--log-format", "for people or for machines", default="auto", choices=("auto", "human", "json"))
    option("--log-level", "least important level that is logged", default="info", choices=LEVELS)
    known = os.environ.get("HAULOUT_ALLOW_PLAINTEXT", "").lower() in ("1", "true", "yes")
    text = "speak gRPC without TLS beyond this machine, where the network is trusted"
    parser.add_argument("--allow-plaintext", action="store_true", default=known, help=text)
    parser.add_argument("--rebuild", action="store_true", help="empty the read model and fill it again from genesis")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Run the process until SIGTERM or SIGINT."""
    folder = Path(options.dir)
    folder.mkdir(parents=True, exist_ok=True)
    genesis = read_genesis(Path(options.genesis))
    registry = build_registry("graphql")
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        readers, writers = ThreadWorkers(READ_THREADS), ThreadWorkers(WRITE_THREADS)
        stack.callback(readers.close)
        stack.callback(writers.close)
        ledger = GrpcLedger(options.ledger, allow_plaintext=options.allow_plaintext)
        stack.push_async_callback(ledger.close)
        control = open_control(options)
        if control is not None:
            stack.push_async_callback(control.close)
        transport = GrpcNodeTransport(allow_plaintext=options.allow_plaintext)
        stack.push_async_callback(transport.close)
        database = Database(options.database or f"sqlite:///{folder.absolute() / 'read_model.sqlite'}")
        stack.callback(database.close)
        records = Records(records_url(options), readers)
        stack.callback(records.close)
        service = await stack.enter_async_context(
            run_service(
                genesis=genesis,
                scheme=Bls12381(),
                ledger=ledger,
                transport=transport,
                store=SqliteStore(folder / "replica.sqlite", on_error=count_disk_errors(registry)),
                database=database,
                clock=SystemClock(),
                rng=SystemRng(),
                readers=readers,
                writers=writers,
                registry=registry,
                gateway_url=options.gateway_url,
                public_gateway_url=options.public_gateway_url,
                records=records,
                wallet_secret=read_secret(Path(options.wallet)) if options.wallet else None,
                control=control,
                anonymous=()
                if options.anonymous == "none"
                else parse_scopes(options.anonymous.split(","), field="anonymous"),
                origins=[origin.strip() for origin in options.cors_origins.split(",") if origin.strip()],
                points_per_hour=parse_count(options.points_per_hour, field="points_per_hour", least=0),
                bounds=read_bounds(options),
                rebuild=options.rebuild,
            )
        )
        await stack.enter_async_context(serve_health(options.metrics, registry, ready=service.why_not_ready))
        # Compressing would be done again for every subscriber, and keep a window of memory for each.
        sockets = {"ws_max_size": MESSAGE_BYTES_MAX, "ws_per_message_deflate": False}
        address = await stack.enter_async_context(serve_http(service.app, options.listen, drain_s=DRAIN_S, **sockets))
        log.info("serving GraphQL", url=f"http://{address}/graphql", height=service.follower.progress.height)
        await _until(stop, service.tasks)
        log.info("stopping")
        service.end_streams()


def open_control(options: argparse.Namespace) -> GrpcControl | None:
    """Who runs the network's processes, if that is said.

    Raises:
        InvalidField: the token cannot be read.
    """
    if not options.control:
        return None
    token = ""
    if options.control_token_file:
        try:
            token = Path(options.control_token_file).read_text().strip()
        except OSError as e:
            raise InvalidField(field="control_token_file", problem=f"cannot be read: {e.strerror}") from e
    return GrpcControl(options.control, token=token, allow_plaintext=options.allow_plaintext)


def parse_count(text: str, *, field: str, least: int) -> int:
    """A whole number.

    Raises:
        InvalidField: none, or less than `least`.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 15 or int(text) < least:
        raise InvalidField(field=field, problem=f"{text[:40]!r} is no whole number of at least {least}")
    return int(text)


def read_bounds(options: argparse.Namespace) -> Bounds:
    """What one document may ask for.

    Raises:
        InvalidField: an option that is no number above 0.
    """
    fields = {bound: name.replace("-", "_") for name, (bound, _) in BOUND_OPTIONS.items()}
    given = {bound: parse_count(getattr(options, field), field=field, least=1) for bound, field in fields.items()}
    return replace(DEFAULT_BOUNDS, **given)


def records_url(options: argparse.Namespace) -> str:
    """Where the records are kept.

    Raises:
        InvalidField: in the read model, which a rebuild empties.
    """
    url = options.records or f"sqlite:///{Path(options.dir).absolute() / 'records.sqlite'}"
    if url == options.database:
        raise InvalidField(
            field="records", problem="is the read model's database, which --rebuild empties; name another"
        )
    return str(url)


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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop where the platform has it: what a message to a subscriber costs is mostly its loop's."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 after a signal, 1 when something that it needs is wrong; the error says what to do."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    process = os.environ.get("HAULOUT_PROCESS", "graphql")
    configure_logs(log_format=options.log_format, level=options.log_level, process=process)
    try:
        with tracing("graphql"), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(options))
    except HauloutError as e:
        log.error("cannot go on", code=e.code, problem=str(e))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
