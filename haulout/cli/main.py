"""The `haulout` command.

Start-up counts: this module and the `register` functions it calls import nothing heavy.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

import haulout
from haulout.cli import (
    blobs,
    cluster,
    epoch,
    info,
    network,
    nodes,
    offline,
    protocol,
    read,
    services,
    shared,
    stake,
    store,
    token,
)
from haulout.cli.output import EXIT_CANCELLED, exit_code_of, print_error
from haulout.errors import HauloutError

app = typer.Typer(
    name="haulout",
    help="Decentralised, erasure-coded, provable blob storage as a network you own.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"haulout {haulout.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Exit codes: 0 done, 1 bug, 2 wrong usage, 3 refused or not found, 4 unavailable, 5 corrupt, 130 cancelled."""


for room in (
    network,
    nodes,
    epoch,
    protocol,
    stake,
    store,
    read,
    blobs,
    shared,
    info,
    offline,
    services,
    token,
    cluster,
):
    room.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors raised on purpose become a message, an exit code and nothing else."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result: Any = app(arguments, standalone_mode=False)
    except HauloutError as error:
        print_error(error, as_json="--json" in arguments)
        sys.exit(exit_code_of(error))
    except KeyboardInterrupt:
        sys.stderr.write("haulout: cancelled\n")
        sys.exit(EXIT_CANCELLED)
    except typer.Abort:
        sys.exit(EXIT_CANCELLED)
    except Exception as error:
        show = getattr(error, "show", None)  # click's usage errors know how to print themselves
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(result if isinstance(result, int) else 0)
