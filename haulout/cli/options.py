"""Options that several commands share."""

from __future__ import annotations

import typer

DIR_OPTION = typer.Option(None, "--dir", help="The network's folder; else $HAULOUT_DIR, else ./.haulout.")
JSON_OPTION = typer.Option(False, "--json", help="Answer in JSON.")
