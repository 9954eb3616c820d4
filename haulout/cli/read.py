"""`haulout read`."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from collections.abc import AsyncIterator
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
    from haulout.cli.session import load_kernels, run_session
    from haulout.primitives import blob_id_text, parse_blob_id

    wanted = parse_blob_id(blob_id)

    async def work(session: Session) -> None:
        from haulout.client.read import read_metadata, stream_blob
        from haulout.codec import ConsistencyCheck

        check = ConsistencyCheck.STRICT if strict else ConsistencyCheck.SKIP if skip else ConsistencyCheck.DEFAULT
        metadata = await read_metadata(session.network, wanted)
        await load_kernels(session, metadata.unencoded_length)
        stream = stream_blob(session.network, wanted, metadata, check=check)
        async with contextlib.aclosing(stream) as chunks:
            if out is not None:
                await _write_file(blob_id_text(wanted), chunks, metadata.unencoded_length, out, as_json=as_json)
            elif as_json:
                data = b"".join([chunk async for chunk in chunks])
                print_json({"blobId": blob_id_text(wanted), "blob": base64.b64encode(data).decode()})
            else:
                async for chunk in chunks:
                    _write_out(chunk)

    run_session(directory, work)


async def _write_file(blob_id: str, chunks: AsyncIterator[bytes], size_bytes: int, out: Path, *, as_json: bool) -> None:
    from haulout.cli.files import write_draft
    from haulout.cli.progress import byte_bar

    done = 0
    with write_draft(out) as write, byte_bar(out.name, size_bytes) as on_progress:
        async for chunk in chunks:
            write(chunk)
            done += len(chunk)
            on_progress(done)
    if as_json:
        print_json({"out": str(out), "blobId": blob_id})
    else:
        sys.stderr.write(f"haulout: {bytes_text(size_bytes)} written to {out}\n")


def _write_out(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Nobody reads on; what is left in the buffer must not fail a second time at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_PIPE) from None
