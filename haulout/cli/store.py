"""`haulout store`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import bytes_text, exit_code_of, print_error, print_json
from haulout.errors import HauloutError, InvalidField

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.client.store import OnProgress, Progress, StoreRequest, StoreResult


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("store")(store)


def store(
    files: list[Path] = typer.Argument(..., help="Files to store, each as one blob."),
    epochs: str = typer.Option(..., help="For how many epochs, the current one counted; or max."),
    permanent: bool = typer.Option(False, "--permanent", help="Nobody can delete it before it expires."),
    share: bool = typer.Option(
        False, "--share", help="Give it up to everybody, see `haulout share`; needs --permanent."
    ),
    force: bool = typer.Option(False, "--force", help="Register anew even when it is stored already."),
    ignore_resources: bool = typer.Option(
        False, "--ignore-resources", help="Buy everything: extend nothing, leave storage that you own alone."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Tell id, sizes and cost; store and pay nothing."),
    encoding: str | None = typer.Option(
        None, help="RS2 or RS8; when left out, RS2 for what fits into it and RS8 beyond.", show_default=False
    ),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Store files as blobs. Stopped or failed, the same command goes on where it was and pays nothing twice."""
    from haulout.cli.session import run_session

    n_epochs = _parse_epochs(epochs)
    encoding_number = None if encoding is None else _parse_encoding(encoding)

    async def work(session: Session) -> int:
        from haulout.client.store import StoreRequest
        from haulout.primitives import EncodingType

        chosen = n_epochs or (await session.network.view.params()).max_epochs_ahead
        request = StoreRequest(
            chosen,
            deletable=not permanent,
            share=share,
            force=force,
            reuse_resources=not ignore_resources,
            encoding=None if encoding_number is None else EncodingType(encoding_number),
        )
        return await _store_files(session, files, request, dry_run=dry_run, as_json=as_json)

    exit_code = run_session(directory, work)
    if exit_code:
        raise typer.Exit(exit_code)


def _parse_epochs(text: str) -> int | None:
    """A number of epochs; None for as many as can be bought."""
    if text == "max":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise InvalidField(field="epochs", problem=f"{text!r} is neither a number from 1 on nor max")
    return int(text)


def _parse_encoding(text: str) -> int:
    from haulout.primitives import EncodingType

    if text.upper() not in EncodingType.__members__:
        known = ", ".join(EncodingType.__members__)
        raise InvalidField(field="encoding", problem=f"{text!r} is not one of {known}")
    return EncodingType[text.upper()]


async def _store_files(
    session: Session, files: list[Path], request: StoreRequest, *, dry_run: bool, as_json: bool
) -> int:
    """Store one after the other; the exit code. Of several files, one that fails does not stop the rest."""
    documents: list[dict[str, Any]] = []
    exit_code = 0
    for path in files:
        try:
            if dry_run:
                documents.append(await _quote_file(session, path, request, as_json=as_json))
            else:
                documents.append(await _store_file(session, path, request, as_json=as_json))
        except HauloutError as e:
            if len(files) == 1:
                raise
            exit_code = exit_code or exit_code_of(e)
            documents.append({"blobStoreResult": {"error": {"errorMsg": str(e), "code": e.code}}, "path": str(path)})
            if not as_json:
                sys.stderr.write(f"{path}: ")
                print_error(e, as_json=False)
    if as_json:
        print_json(documents)
    return exit_code


async def _store_file(session: Session, path: Path, request: StoreRequest, *, as_json: bool) -> dict[str, Any]:
    from haulout.cli.files import open_blob
    from haulout.cli.session import load_kernels
    from haulout.client import documents
    from haulout.client.store import store_blob

    with open_blob(path) as data, _progress_bar(path.name) as on_progress:
        await load_kernels(session, data.size_bytes)
        result = await store_blob(session.network, session.wallet, data, request, on_progress=on_progress)
        size_bytes = len(data)
    if not as_json:
        _print_stored(session, path, size_bytes, result)
    return {"blobStoreResult": documents.store_result(result), "path": str(path)}


def _print_stored(session: Session, path: Path, size_bytes: int, result: StoreResult) -> None:
    from haulout.client.store import NewlyCreated
    from haulout.primitives import blob_id_text, frost_text, hex_id_text

    blob_id = blob_id_text(result.blob_id)
    lines = [f"{path}: stored" if isinstance(result, NewlyCreated) else f"{path}: stored already, nothing was paid"]
    lines.append(f"  blob id    {blob_id}")
    if result.object_id is not None:
        lines.append(f"  object     {hex_id_text(result.object_id)}")
    if isinstance(result, NewlyCreated):
        lines.append(f"  size       {bytes_text(size_bytes)}, encoded {bytes_text(result.encoded_bytes)}")
        lines.append(f"  cost       {frost_text(result.cost_frost)} ({_operation_text(result.operation)})")
        shared = ", shared" if result.is_shared else ""
        lines.append(f"  until      the start of epoch {result.blob.end_epoch}{shared}")
    else:
        lines.append(f"  size       {bytes_text(size_bytes)}")
        lines.append(f"  until      the start of epoch {result.end_epoch}")
    lines.append(f"  read it    {session.client.gateway.rstrip('/')}/v1/blobs/{blob_id}")
    sys.stdout.write("\n".join(lines) + "\n")


def _operation_text(operation: str) -> str:
    return {
        "registerFromScratch": "new storage",
        "reuseStorage": "storage you had",
        "reuseRegistration": "an earlier try had paid",
        "reuseAndExtend": "extended",
        "reuseAndExtendNonCertified": "an earlier try extended",
    }.get(operation, operation)


async def _quote_file(session: Session, path: Path, request: StoreRequest, *, as_json: bool) -> dict[str, Any]:
    """What storing a file would give and cost; upstream's `storageCost` is the whole cost, and so is ours."""
    from haulout.cli.files import open_blob
    from haulout.cli.session import load_kernels
    from haulout.client.registration import propose
    from haulout.client.store import check_request, identify
    from haulout.codec import sizes
    from haulout.primitives import blob_id_text, frost_text

    view = session.network.view
    params = await view.params()
    check_request(request, params)
    with open_blob(path) as data:
        size_bytes = data.size_bytes
        await load_kernels(session, size_bytes)
        blob_id, encoding = await identify(session.network, data, params.n_shards, request.encoding)
    encoded_bytes = sizes.encoded_length(size_bytes, params.n_shards, encoding)
    plan = await propose(view, session.wallet.address, blob_id, encoded_bytes, request)
    if not as_json:
        sys.stdout.write(
            f"{path}: would be stored\n"
            f"  blob id    {blob_id_text(blob_id)}\n"
            f"  size       {bytes_text(size_bytes)}, encoded {bytes_text(encoded_bytes)}\n"
            f"  cost       {frost_text(plan.cost_frost)} ({_operation_text(plan.operation)})\n"
        )
    return {
        "path": str(path),
        "blobId": blob_id_text(blob_id),
        "unencodedSize": size_bytes,
        "encodedSize": encoded_bytes,
        "storageCost": plan.cost_frost,
        "encodingType": encoding.name,
    }


@contextlib.contextmanager
def _progress_bar(name: str) -> Iterator[OnProgress]:
    """A bar on standard error that shows phase, bytes, rate and time left; nothing where nobody watches."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(name), total=None)
        shown_phase = ""

        def show(progress: Progress) -> None:
            nonlocal shown_phase
            if progress.phase != shown_phase:
                shown_phase = progress.phase
                bar.reset(task, total=progress.total_bytes, description=f"{escape(name)} · {progress.phase}")
            bar.update(task, completed=progress.done_bytes)

        yield show
