"""`haulout share`, `fund-shared-blob`: blobs that belong to nobody; `extend --shared` keeps them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import print_json
from haulout.errors import InvalidField

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.primitives import ObjectId

AMOUNT_HELP = "2WAL, or FROST as a bare integer."


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("share")(share)
    app.command("fund-shared-blob")(fund_shared_blob)


def share(
    positional: str | None = typer.Argument(None, metavar="[OBJECT]", help="The blob object's id, 0x…"),
    blob_obj_id: str | None = typer.Option(None, help="The same, as an option; `haulout list-blobs` shows yours."),
    amount: str = typer.Option("0", help=f"What to put in for extensions: {AMOUNT_HELP}"),
    yes: bool = typer.Option(False, "--yes", help="Do not ask; --json never asks."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Give a permanent blob of yours up to everybody: anyone funds it and extends it, nobody owns it, for good."""
    from haulout.cli.session import run_session
    from haulout.primitives import hex_id_text, parse_frost

    object_id, amount_frost = _the_one(positional, blob_obj_id, "blob_obj_id"), parse_frost(amount)
    if not (yes or as_json) and not typer.confirm("Share it? There is no way back.", err=True):
        sys.stdout.write("left as it is\n")
        return

    async def work(session: Session) -> None:
        from haulout.client.shared import share_blob

        await share_blob(session.network, session.wallet, object_id, amount_frost)

    run_session(directory, work)
    if as_json:
        print_json({"sharedBlobObjectId": hex_id_text(object_id), "amount": amount_frost})
    else:
        sys.stdout.write(f"shared: {hex_id_text(object_id)}\n")


def fund_shared_blob(
    positional: str | None = typer.Argument(None, metavar="[OBJECT]", help="The shared blob's object id, 0x…"),
    shared_blob_obj_id: str | None = typer.Option(
        None, help="The same, as an option; `haulout list-blobs --shared` shows all."
    ),
    amount: str = typer.Option(..., help=f"What to put in: {AMOUNT_HELP}"),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Put money into a shared blob, with which anyone may extend it; nobody gets it back."""
    from haulout.cli.session import run_session
    from haulout.primitives import frost_text, parse_frost

    object_id, amount_frost = _the_one(positional, shared_blob_obj_id, "shared_blob_obj_id"), parse_frost(amount)

    async def work(session: Session) -> int:
        from haulout.client.shared import fund_shared_blob

        await fund_shared_blob(session.network, session.wallet, object_id, amount_frost)
        return (await session.network.view.shared_funds([object_id]))[object_id]

    funds = run_session(directory, work)
    if as_json:
        print_json({"amount": amount_frost})
    else:
        sys.stdout.write(f"it has {frost_text(funds)} for extensions\n")


def _the_one(positional: str | None, option: str | None, field: str) -> ObjectId:
    from haulout.primitives import parse_object_id

    if positional is not None and option is not None:
        raise InvalidField(field=field, problem="give the id once, as an argument or as an option")
    text = positional if option is None else option
    if text is None:
        raise InvalidField(field=field, problem="say which object")
    return parse_object_id(text, field=field)
