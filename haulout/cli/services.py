"""`haulout ledger` and `haulout gateway`: the services, the same on a laptop and in a Pod."""

from __future__ import annotations

import typer

DATA_OPTION = typer.Option(..., "--dir", envvar="HAULOUT_DATA", help="Folder for this process's data.")
GENESIS_OPTION = typer.Option(..., envvar="HAULOUT_GENESIS", help="The network's genesis file.")
LISTEN_OPTION = typer.Option(..., envvar="HAULOUT_LISTEN", help="HOST:PORT to serve on.")
METRICS_OPTION = typer.Option(..., envvar="HAULOUT_METRICS", help="HOST:PORT for /metrics, /healthz and /readyz.")
LEDGER_OPTION = typer.Option(..., envvar="HAULOUT_LEDGER", help="HOST:PORT of the ledger.")
LOG_FORMAT_OPTION = typer.Option("auto", envvar="HAULOUT_LOG_FORMAT", help="auto, human or json.")
LOG_LEVEL_OPTION = typer.Option("info", envvar="HAULOUT_LOG_LEVEL", help="debug, info, warning or error.")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("ledger")(ledger)
    app.command("gateway")(gateway)
