"""`haulout ledger` and `haulout gateway`: the services, the same on a laptop and in a Pod."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import typer

DATA_OPTION = typer.Option(..., "--dir", envvar="HAULOUT_DATA", help="Folder for this process's data.")
GENESIS_OPTION = typer.Option(..., envvar="HAULOUT_GENESIS", help="The network's genesis file.")
LISTEN_OPTION = typer.Option(..., envvar="HAULOUT_LISTEN", help="HOST:PORT to serve on.")
METRICS_OPTION = typer.Option(..., envvar="HAULOUT_METRICS", help="HOST:PORT for /metrics, /healthz and /readyz.")
LEDGER_OPTION = typer.Option(..., envvar="HAULOUT_LEDGER", help="HOST:PORT of the ledger.")
LOG_FORMAT_OPTION = typer.Option("auto", envvar="HAULOUT_LOG_FORMAT", help="auto, human or json.")
PLAINTEXT_OPTION = typer.Option(
    False,
    "--allow-plaintext",
    envvar="HAULOUT_ALLOW_PLAINTEXT",
    help="Speak gRPC without TLS beyond this machine, where the network is trusted.",
)
LOG_LEVEL_OPTION = typer.Option("info", envvar="HAULOUT_LOG_LEVEL", help="debug, info, warning or error.")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("ledger")(ledger)
    app.command("gateway")(gateway)


def ledger(
    data: Path = DATA_OPTION,
    genesis: Path = GENESIS_OPTION,
    listen: str = LISTEN_OPTION,
    metrics: str = METRICS_OPTION,
    engine: str = typer.Option("sqlite", envvar="HAULOUT_ENGINE", help="sqlite or memory."),
    allow_plaintext: bool = PLAINTEXT_OPTION,
    log_format: str = LOG_FORMAT_OPTION,
    log_level: str = LOG_LEVEL_OPTION,
) -> None:
    """Run the ledger: order transactions into blocks until told to stop."""
    from node_grpc.ledger_main import LedgerSettings, run_ledger

    settings = LedgerSettings(data, genesis, listen, metrics, engine, allow_plaintext)
    _serve("ledger", run_ledger(settings), log_format, log_level)


def gateway(
    data: Path = DATA_OPTION,
    genesis: Path = GENESIS_OPTION,
    ledger: str = LEDGER_OPTION,
    listen: str = LISTEN_OPTION,
    metrics: str = METRICS_OPTION,
    wallet: Path = typer.Option(..., envvar="HAULOUT_WALLET", help="Wallet file of the account that pays."),
    cache: int = typer.Option(64 << 20, envvar="HAULOUT_CACHE", help="Bytes of blobs to keep in memory; 0 for none."),
    allow_plaintext: bool = PLAINTEXT_OPTION,
    log_format: str = LOG_FORMAT_OPTION,
    log_level: str = LOG_LEVEL_OPTION,
) -> None:
    """Run the gateway: blobs in and out over HTTP until told to stop."""
    from haulout.gateway.service import GatewaySettings, run_gateway
    from haulout.world.kernels import KernelSettings

    kernels = KernelSettings.of(os.environ)
    settings = GatewaySettings(data, genesis, ledger, listen, metrics, wallet, kernels, cache, allow_plaintext)
    _serve("gateway", run_gateway(settings), log_format, log_level)


def _serve(role: str, service: Coroutine[Any, Any, None], log_format: str, log_level: str) -> None:
    import asyncio

    from haulout.errors import HauloutError, InvalidField
    from haulout.observability.logs import LEVELS, configure_logs, get_logger

    if log_format not in ("auto", "human", "json") or log_level not in LEVELS:
        service.close()
        raise InvalidField(field="log", problem=f"{log_format!r} and {log_level!r} are not a format and a level")
    process = os.environ.get("HAULOUT_PROCESS", role)
    configure_logs(log_format=log_format, level=log_level, process=process)  # type: ignore[arg-type]
    try:
        asyncio.run(service)
    except HauloutError as e:
        get_logger(role).error("cannot go on", code=e.code, problem=str(e))
        raise
