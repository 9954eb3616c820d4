"""`haulout operator`: the Kubernetes operator, as its Pod runs it."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command; its options and subcommands are the operator's own."""
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command("operator", context_settings=settings)(operator)


def operator(context: typer.Context) -> None:
    """Run the Kubernetes operator; `haulout operator --help` lists what else it can do."""
    from haulout_operator.main import main

    main(context.args)
