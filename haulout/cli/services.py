"""`haulout ledger` and `haulout gateway`: the services, the same on a laptop and in a Pod."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import print_json

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
    ledger_app = typer.Typer(invoke_without_command=True, help="The ledger: run it, or put a lost one together.")
    ledger_app.callback()(ledger)
    ledger_app.command("restore")(restore)
    app.add_typer(ledger_app, name="ledger")
    app.command("gateway")(gateway)


def ledger(
    context: typer.Context,
    data: Path | None = typer.Option(None, "--dir", envvar="HAULOUT_DATA", help="Folder for the ledger's data."),
    genesis: Path | None = typer.Option(None, envvar="HAULOUT_GENESIS", help="The network's genesis file."),
    listen: str | None = typer.Option(None, envvar="HAULOUT_LISTEN", help="HOST:PORT to serve on."),
    metrics: str | None = typer.Option(
        None, envvar="HAULOUT_METRICS", help="HOST:PORT for /metrics, /healthz and /readyz."
    ),
    engine: str = typer.Option("sqlite", envvar="HAULOUT_ENGINE", help="sqlite or memory."),
    keep_epochs: int = typer.Option(
        0,
        min=0,
        envvar="HAULOUT_LEDGER_KEEP_EPOCHS",
        help="Epochs whose blocks are kept. 0 keeps all: read models can be filled again from genesis.",
    ),
    allow_plaintext: bool = PLAINTEXT_OPTION,
    log_format: str = LOG_FORMAT_OPTION,
    log_level: str = LOG_LEVEL_OPTION,
) -> None:
    """Run the ledger: order transactions into blocks until told to stop."""
    if context.invoked_subcommand is not None:
        return
    if data is None or genesis is None or listen is None or metrics is None:
        raise typer.BadParameter("--dir, --genesis, --listen and --metrics are needed to run the ledger")
    from node_grpc.ledger_main import LedgerSettings, run_ledger

    settings = LedgerSettings(data, genesis, listen, metrics, engine, allow_plaintext, keep_epochs)
    _serve("ledger", run_ledger(settings), log_format, log_level)


def restore(
    from_nodes: bool = typer.Option(False, "--from-nodes", help="From what the storage nodes have kept."),
    node: list[str] = typer.Option([], help="HOST:PORT of a storage node; repeatable. Else those of the folder."),
    listed: Path | None = typer.Option(
        None, help="File of nodes, one a line, for a supervisor: without it nothing is lost; restores a folder once."
    ),
    allow_plaintext: bool = PLAINTEXT_OPTION,
    data: Path | None = typer.Option(None, "--data", help="Folder of the lost ledger. Else that of the network."),
    genesis: Path | None = typer.Option(None, help="The network's genesis file. Else the folder's."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Put a ledger whose disk is lost together again; it must not be running, and the nodes must."""
    import asyncio

    if not from_nodes:
        raise typer.BadParameter("--from-nodes is the only source there is; name it, so that you mean it")
    if listed is not None and not listed.exists():
        return
    from haulout.cli.restore import RestoreOptions, restore_from_nodes, was_restored

    if listed is not None and was_restored(data):
        return
    nodes = node if listed is None else [*node, *listed.read_text().split()]
    options = RestoreOptions(tuple(nodes), data, genesis, directory, allow_plaintext)
    restored = asyncio.run(restore_from_nodes(options))
    if as_json:
        print_json(
            {
                "height": restored.height,
                "attestedHeight": restored.attested_height,
                "weight": restored.weight,
                "nShards": restored.n_shards,
                "notBelieved": dict(restored.not_believed),
            }
        )
    else:
        for name, problem in restored.not_believed.items():
            sys.stderr.write(f"haulout: {name} was not believed: {problem}\n")
        sys.stderr.write(
            f"haulout: the ledger is there again up to block {restored.height}; nodes with {restored.weight} of "
            f"{restored.n_shards} shards stand on it, and {restored.attested_height} is attested\n"
        )


def gateway(
    data: Path = DATA_OPTION,
    genesis: Path = GENESIS_OPTION,
    ledger: str = LEDGER_OPTION,
    listen: str = LISTEN_OPTION,
    metrics: str = METRICS_OPTION,
    wallet: Path = typer.Option(..., envvar="HAULOUT_WALLET", help="Wallet file of the account that pays."),
    cache: int = typer.Option(0, envvar="HAULOUT_CACHE", help="Bytes of blobs to keep in memory."),
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
    from haulout.observability.tracing import tracing

    if log_format not in ("auto", "human", "json") or log_level not in LEVELS:
        service.close()
        raise InvalidField(field="log", problem=f"{log_format!r} and {log_level!r} are not a format and a level")
    process = os.environ.get("HAULOUT_PROCESS", role)
    configure_logs(log_format=log_format, level=log_level, process=process)  # type: ignore[arg-type]
    try:
        with tracing(role):
            asyncio.run(service)
    except HauloutError as e:
        service.close()  # it may not have begun
        get_logger(role).error("cannot go on", code=e.code, problem=str(e))
        raise
