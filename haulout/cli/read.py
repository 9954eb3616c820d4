"""`haulout read`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import bytes_text, print_json
from haulout.errors import InvalidField

if TYPE_CHECKING:
    from haulout.cli.session import Session

# Blob ids may begin with a dash.
ID_FIRST = {"ignore_unknown_options": True}
CHUNK_BYTES = 8 << 20
EXIT_PIPE = 141  # as a shell reports a process that SIGPIPE ended


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("read", context_settings=ID_FIRST)(read)


def read(
    blob_id: str = typer.Argument(..., metavar="ID", help="The blob's id."),
    out: Path | None = typer.Option(None, help="File to write; standard output when left out."),
    strict: bool = typer.Option(
        False, "--strict-consistency-check", help="Encode the blob again and compare its id: the strongest check."
    ),
    skip: bool = typer.Option(False, "--skip-consistency-check", help="Check each sliver, but not the decoded whole."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Read a blob from the storage nodes, verified here."""
    if strict and skip:
        raise InvalidField(field="skip-consistency-check", problem="cannot be had with --strict-consistency-check")
    from haulout.cli.session import run_session
    from haulout.primitives import blob_id_text, parse_blob_id

    wanted = parse_blob_id(blob_id)

    async def work(session: Session) -> None:
        from haulout.client.read import read_blob
        from haulout.codec import ConsistencyCheck

        check = ConsistencyCheck.STRICT if strict else ConsistencyCheck.SKIP if skip else ConsistencyCheck.DEFAULT
        with await read_blob(session.network, wanted, check=check) as blob:
            _deliver(blob_id_text(wanted), blob.data, out, as_json=as_json)

    run_session(directory, work)


def _deliver(blob_id: str, data: memoryview, out: Path | None, *, as_json: bool) -> None:
    if out is not None:
        from haulout.cli.files import write_file

        write_file(out, data)
        if as_json:
            print_json({"out": str(out), "blobId": blob_id})
        else:
            sys.stderr.write(f"haulout: {bytes_text(len(data))} written to {out}\n")
    elif as_json:
        import base64

        print_json({"blobId": blob_id, "blob": base64.b64encode(data).decode()})
    else:
        _write_out(data)


def _write_out(data: memoryview) -> None:
    try:
        for start in range(0, len(data), CHUNK_BYTES):
            sys.stdout.buffer.write(data[start : start + CHUNK_BYTES])
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Nobody reads on; what is left in the buffer must not fail a second time at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_PIPE) from None
