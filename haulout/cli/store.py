"""`haulout store`: files into the network."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import print_json
from haulout.errors import InvalidField
from haulout.primitives import EncodingType, blob_id_text, frost_text, hex_id_text

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.client.store import Progress, StoreRequest, StoreResult


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("store")(store)


def store(
    files: list[Path] = typer.Argument(..., help="Files to store, each as a blob."),
    epochs: str = typer.Option(..., "--epochs", help="How many epochs to keep it, or `max`."),
    permanent: bool = typer.Option(False, "--permanent", help="Not to be deleted before it expires."),
    deletable: bool = typer.Option(False, "--deletable", hidden=True),
    force: bool = typer.Option(False, "--force", help="Register anew even when it is stored already."),
    ignore_resources: bool = typer.Option(False, "--ignore-resources", help="Do not use storage already owned."),
    encoding: str = typer.Option("RS2", "--encoding", "--encoding-type", help="RS2."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what it would cost."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Store files; returns when the ledger has certified that they are kept."""
    if permanent and deletable:
        raise InvalidField(field="permanent", problem="a blob is either deletable or permanent")
    options = {"permanent": permanent, "force": force, "reuse": not ignore_resources}
    kind = EncodingType.parse(encoding)
    task = (
        _dry_run(files, epochs, kind, directory)
        if dry_run
        else _store_all(files, epochs, kind, options, directory, as_json)
    )
    answers = asyncio.run(task)
    if as_json:
        print_json(answers)


async def _store_all(
    files: list[Path],
    epochs: str,
    encoding: EncodingType,
    options: dict[str, bool],
    directory: Path | None,
    quiet: bool,
) -> list[dict[str, Any]]:
    from haulout.cli.files import map_file
    from haulout.cli.session import open_session
    from haulout.client.documents import store_result
    from haulout.client.store import StoreRequest, store_blob

    answers = []
    async with open_session(directory) as session:
        request = StoreRequest(
            n_epochs=await parse_epochs(session, epochs),
            deletable=not options["permanent"],
            force=options["force"],
            reuse_storage=options["reuse"],
            encoding=encoding,
        )
        for path in files:
            with map_file(path) as data, _progress(path.name, quiet) as on_progress:
                result = await store_blob(session.network, session.wallet, data, request, on_progress=on_progress)
                size = len(data)
            answers.append({"blobStoreResult": store_result(result), "path": str(path)})
            if not quiet:
                typer.echo(_summary(path, size, result, request, session))
    return answers


def _summary(path: Path, size: int, result: StoreResult, request: StoreRequest, session: Session) -> str:
    from haulout.client.store import NewlyCreated

    text = blob_id_text(result.blob_id)
    lines = [f"{path}: {size:,} bytes", f"  blob id  {text}"]
    if isinstance(result, NewlyCreated):
        lines.append(f"  object   {hex_id_text(result.object_id)}")
        lines.append(f"  encoded  {result.encoded_bytes:,} bytes over all shards")
        lines.append(f"  cost     {frost_text(result.cost_frost)} for {request.n_epochs} epochs")
        lines.append(f"  kept     until epoch {result.blob.end_epoch} begins")
    else:
        lines.append(f"  kept     already, until epoch {result.end_epoch} begins; nothing was paid")
    lines.append(f"  read     {session.client.gateway}/v1/blobs/{text}")
    return "\n".join(lines)


async def parse_epochs(session: Session, text: str) -> int:
    """A number of epochs, or `max` for as many as can be bought."""
    if text == "max":
        return (await session.network.view.params()).max_epochs_ahead
    if not text.isdigit() or len(text) > 9:
        raise InvalidField(field="epochs", problem=f"{text!r} is neither a number nor `max`")
    return int(text)


async def _dry_run(
    files: list[Path], epochs: str, encoding: EncodingType, directory: Path | None
) -> list[dict[str, Any]]:
    from haulout import codec
    from haulout.cli.files import map_file
    from haulout.cli.session import open_session
    from haulout.codec import sizes
    from haulout.primitives import storage_units

    answers = []
    async with open_session(directory) as session:
        n_epochs = await parse_epochs(session, epochs)
        params, system = await session.network.view.params(), await session.network.view.system()
        for path in files:
            with map_file(path) as data:
                size = len(data)
                encoded = sizes.encoded_length(size, params.n_shards, encoding)
                blob_id, _ = await session.network.workers.run(codec.compute_blob_id, data, params.n_shards)
            units = storage_units(encoded)
            cost = units * (system.storage_price_frost * n_epochs + system.write_price_frost)
            answers.append(
                {
                    "path": str(path),
                    "blobId": blob_id_text(blob_id),
                    "unencodedSize": size,
                    "encodedSize": encoded,
                    "storageCost": cost,
                    "encodingType": encoding.name,
                }
            )
            sys.stderr.write(f"{path}: {size:,} bytes would cost {frost_text(cost)} for {n_epochs} epochs\n")
    return answers


@contextlib.contextmanager
def _progress(name: str, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error with phase, bytes, rate and time left; nothing where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        phase = ""

        def show(progress: Progress) -> None:
            nonlocal phase
            if progress.phase != phase:
                phase = progress.phase
                bar.reset(task, total=progress.total_bytes or None, description=f"{name} {phase}")
            bar.update(task, completed=progress.done_bytes, total=progress.total_bytes or None)

        yield show
