"""`haulout blob-status`, `list-blobs`, `extend`, `delete`: what becomes of blobs after they are stored."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import bytes_text, exit_code_of, print_error, print_json
from haulout.cli.read import ID_FIRST
from haulout.errors import HauloutError, InvalidField

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.ledger.state import Blob
    from haulout.primitives import BlobId, ObjectId

DELETES_AT_ONCE = 16


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("blob-status", context_settings=ID_FIRST)(blob_status)
    app.command("list-blobs")(list_blobs)
    app.command("extend")(extend)
    app.command("delete", context_settings=ID_FIRST)(delete)


# --- status -------------------------------------------------------------------------------------------------


def blob_status(
    positional: str | None = typer.Argument(None, metavar="[ID]", help="The blob's id."),
    blob_id: str | None = typer.Option(None, help="The blob's id, as an option."),
    file: Path | None = typer.Option(None, help="A file whose blob is meant; it is encoded here."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Tell whether a blob is stored, for how long, and whether it can be deleted."""
    from haulout.cli.session import run_session
    from haulout.primitives import blob_id_text, frost_text, parse_blob_id

    if sum(option is not None for option in (positional, blob_id, file)) != 1:
        raise InvalidField(field="blob_id", problem="give an id, --blob-id or --file, and one of them only")
    text = positional or blob_id
    known = parse_blob_id(text) if text is not None else None

    async def work(session: Session) -> dict[str, Any]:
        wanted = known or await _blob_id_of(session, file)
        document: dict[str, Any] = {"blobId": blob_id_text(wanted)}
        if file is not None:
            document["file"] = str(file)
        document["status"] = await _status(session, wanted)
        if shared := await _shared_objects(session, wanted):
            document["sharedBlobs"] = shared
        return document

    document = run_session(directory, work)
    if as_json:
        print_json(document)
        return
    sys.stdout.write(f"{document['blobId']}\n  {_status_text(document['status'])}\n")
    for shared in document.get("sharedBlobs", ()):
        end, funds = shared["storage"]["endEpoch"], frost_text(shared["shared"]["funds"])
        sys.stdout.write(f"  shared until the start of epoch {end}, with {funds} to extend it: {shared['id']}\n")


async def _blob_id_of(session: Session, file: Path | None) -> BlobId:
    from haulout.cli.files import open_blob
    from haulout.cli.session import load_kernels
    from haulout.client.store import identify

    if file is None:
        raise AssertionError("checked with the options")
    n_shards = (await session.network.view.params()).n_shards
    with open_blob(file) as data:
        await load_kernels(session, data.size_bytes)
        blob_id, _ = await identify(session.network, data, n_shards)
    return blob_id


async def _status(session: Session, blob_id: BlobId) -> str | dict[str, Any]:
    from haulout.client import documents

    view = session.network.view
    record, system = await view.blob_record(blob_id), await view.system()
    return documents.blob_status(record, epoch=system.epoch, is_invalid=await view.is_invalid(blob_id))


async def _shared_objects(session: Session, blob_id: BlobId) -> list[dict[str, Any]]:
    """Live objects of a blob that belong to nobody."""
    from haulout.client import documents
    from haulout.ledger.state import NOBODY

    view = session.network.view
    objects, epoch = await view.registrations(blob_id, NOBODY), (await view.system()).epoch
    funds = await view.shared_funds([object_id for object_id, _ in objects])
    return [
        documents.shared_blob(object_id, blob, funds[object_id])
        for object_id, blob in objects
        if object_id in funds and blob.end_epoch > epoch
    ]


def _status_text(status: str | dict[str, Any]) -> str:
    if isinstance(status, str):
        return "does not exist: never stored, deleted or expired"
    if "invalid" in status:
        return "invalid: proven to be encoded inconsistently; nobody can read it"
    if "permanent" in status:
        permanent = status["permanent"]
        state = "stored" if permanent["isCertified"] else "registered, not yet stored"
        return f"{state}, permanent until the start of epoch {permanent['endEpoch']}"
    counts = status["deletable"]["deletableCounts"]
    certified, total = counts["count_deletable_certified"], counts["count_deletable_total"]
    state = "stored" if certified else "registered, not yet stored"
    return f"{state}, deletable ({certified} of {total} objects certified)"


# --- list and extend ----------------------------------------------------------------------------------------


def list_blobs(
    include_expired: bool = typer.Option(False, "--include-expired", help="Also those whose time is over."),
    shared: bool = typer.Option(False, "--shared", help="The shared blobs of the network instead, with their funds."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """List the blobs of your account, or those that belong to nobody."""
    from haulout.cli.session import run_session
    from haulout.client import documents
    from haulout.ledger.state import NOBODY
    from haulout.primitives import frost_text

    async def work(session: Session) -> tuple[list[tuple[ObjectId, Blob]], dict[ObjectId, int]]:
        view = session.network.view
        epoch = (await view.system()).epoch
        owned = await view.owned_blobs(NOBODY if shared else session.wallet.address)
        found = [(object_id, blob) for object_id, blob in owned if include_expired or blob.end_epoch > epoch]
        if not shared:
            return found, {}
        funds = await view.shared_funds([object_id for object_id, _ in found])
        return [(object_id, blob) for object_id, blob in found if object_id in funds], funds

    found, funds = run_session(directory, work)
    if as_json:
        print_json(
            [
                documents.shared_blob(object_id, blob, funds[object_id])
                if shared
                else documents.blob_object(object_id, blob)
                for object_id, blob in found
            ]
        )
        return
    if not found:
        sys.stderr.write("haulout: no blobs\n")
    for object_id, blob in sorted(found, key=lambda item: (item[1].end_epoch, item[0])):
        held = f"  {frost_text(funds[object_id])} to extend it" if shared else ""
        sys.stdout.write(f"{_blob_line(object_id, blob)}{held}\n")


def _blob_line(object_id: ObjectId, blob: Blob) -> str:
    from haulout.primitives import blob_id_text, hex_id_text

    kind = "deletable" if blob.deletable else "permanent"
    state = "certified" if blob.certified_epoch is not None else "uncertified"
    return (
        f"{blob_id_text(blob.blob_id)}  {bytes_text(blob.size_bytes):>10}  {state:<11}  {kind}  "
        f"until epoch {blob.end_epoch}  {hex_id_text(object_id)}"
    )


def extend(
    blob_obj_id: str = typer.Option(..., help="The blob object's id, 0x…; `haulout list-blobs` shows yours."),
    epochs_extended: int = typer.Option(..., min=1, help="For how many more epochs."),
    shared: bool = typer.Option(False, "--shared", help="It is a shared blob, anybody's: it pays from its own funds."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Keep a blob longer, at today's price."""
    from haulout.cli.session import run_session
    from haulout.primitives import parse_object_id

    object_id = parse_object_id(blob_obj_id)

    async def work(session: Session) -> Blob:
        from haulout.client.shared import extend_shared_blob
        from haulout.client.store import extend_blob

        if shared:
            return await extend_shared_blob(session.network, session.wallet, object_id, epochs_extended)
        return await extend_blob(session.network, session.wallet, object_id, epochs_extended)

    blob = run_session(directory, work)
    if as_json:
        print_json({"epochsExtended": epochs_extended})
    else:
        sys.stdout.write(f"kept until the start of epoch {blob.end_epoch}\n")


# --- delete -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """What a person named to be deleted: exactly one of the ids."""

    blob_id: BlobId | None = None
    object_id: ObjectId | None = None
    file: Path | None = None

    def document(self) -> dict[str, str | None]:
        """As JSON."""
        from haulout.primitives import blob_id_text, hex_id_text

        return {
            "blobId": None if self.blob_id is None else blob_id_text(self.blob_id),
            "objectId": None if self.object_id is None else hex_id_text(self.object_id),
            "file": None if self.file is None else str(self.file),
        }

    def text(self) -> str:
        """As one word."""
        document = self.document()
        return document["file"] or document["objectId"] or document["blobId"] or ""


def delete(
    positional: list[str] | None = typer.Argument(None, metavar="[ID]...", help="Blob ids, or object ids (0x…)."),
    blob_ids: list[str] | None = typer.Option(None, help="A blob id; may be repeated."),
    object_ids: list[str] | None = typer.Option(None, help="A blob object's id; may be repeated."),
    files: list[Path] | None = typer.Option(None, help="A file whose blob is meant; may be repeated."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask; --json never asks."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Delete your deletable objects of blobs; a blob stays while others, or a permanent object, keep it."""
    from haulout.cli.session import run_session

    identities = _parse_identities(positional or [], blob_ids or [], object_ids or [], files or [])

    async def work(session: Session) -> int:
        exit_code = 0
        documents: list[dict[str, Any]] = []
        for identity in identities:
            document, error = await _delete_one(session, identity, ask=not (yes or as_json))
            documents.append(document)
            if error is not None and len(identities) == 1:
                raise error
            if error is not None:
                exit_code = exit_code or exit_code_of(error)
            if not as_json:
                _print_deleted(identity, document, error)
        if as_json:
            print_json(documents)
        return exit_code

    exit_code = run_session(directory, work)
    if exit_code:
        raise typer.Exit(exit_code)


def _parse_identities(
    positional: list[str], blob_ids: list[str], object_ids: list[str], files: list[Path]
) -> list[Identity]:
    from haulout.primitives import parse_blob_id, parse_object_id

    object_ids = [text for text in positional if text.startswith("0x")] + object_ids
    blob_ids = [text for text in positional if not text.startswith("0x")] + blob_ids
    identities = [Identity(blob_id=parse_blob_id(text)) for text in blob_ids]
    identities += [Identity(object_id=parse_object_id(text)) for text in object_ids]
    identities += [Identity(file=path) for path in files]
    if not identities:
        raise InvalidField(field="blob_ids", problem="name at least one blob, object or file")
    return list(dict.fromkeys(identities))


async def _delete_one(session: Session, identity: Identity, *, ask: bool) -> tuple[dict[str, Any], HauloutError | None]:
    """Delete what one identity means; the document, and the error that stopped it if any."""
    from haulout.client import documents
    from haulout.client.errors import ObjectNotFound
    from haulout.ledger.commands import DeleteBlob, Existing
    from haulout.primitives import hex_id_text

    document: dict[str, Any] = {
        "blobIdentity": identity.document(),
        "deletedBlobs": [],
        "postDeletionStatus": None,
        "noBlobFound": False,
        "error": None,
        "aborted": False,
    }
    try:
        blob_id, found = await _find_deletable(session, identity)
        if not found:
            document["noBlobFound"] = True
            if identity.object_id is not None:
                raise ObjectNotFound(object_id=hex_id_text(identity.object_id))
            document["postDeletionStatus"] = await _status(session, blob_id)
            return document, None
        if ask and not _confirm(found):
            return {**document, "aborted": True}, None
        for start in range(0, len(found), DELETES_AT_ONCE):
            batch = found[start : start + DELETES_AT_ONCE]
            result = await session.wallet.execute([DeleteBlob(Existing(object_id)) for object_id, _ in batch])
            await session.network.view.reach(result.height)
            document["deletedBlobs"] += [documents.blob_object(object_id, blob) for object_id, blob in batch]
        document["postDeletionStatus"] = await _status(session, blob_id)
    except HauloutError as e:
        return {**document, "error": str(e)}, e
    return document, None


async def _find_deletable(session: Session, identity: Identity) -> tuple[BlobId, list[tuple[ObjectId, Blob]]]:
    """The account's objects that are meant. One named by its own id is tried even when the ledger will refuse it."""
    from haulout.primitives import BlobId

    view = session.network.view
    if identity.object_id is not None:
        blob = await view.blob(identity.object_id)
        if blob is None:
            return BlobId(bytes(32)), []
        return BlobId(blob.blob_id), [(identity.object_id, blob)]
    blob_id = identity.blob_id or await _blob_id_of(session, identity.file)
    owned = await view.registrations(blob_id, session.wallet.address)
    epoch = (await view.system()).epoch
    return blob_id, [(object_id, blob) for object_id, blob in owned if blob.deletable and blob.end_epoch > epoch]


def _confirm(found: list[tuple[ObjectId, Blob]]) -> bool:
    for object_id, blob in found:
        sys.stderr.write(_blob_line(object_id, blob) + "\n")
    return typer.confirm(f"Delete {'it' if len(found) == 1 else f'these {len(found)} objects'}?", err=True)


def _print_deleted(identity: Identity, document: dict[str, Any], error: HauloutError | None) -> None:
    if error is not None:
        sys.stderr.write(f"{identity.text()}: ")
        print_error(error, as_json=False)
    elif document["aborted"]:
        sys.stdout.write(f"{identity.text()}: left as it is\n")
    elif document["noBlobFound"]:
        sys.stdout.write(f"{identity.text()}: you have no deletable object of it\n")
    else:
        count = len(document["deletedBlobs"])
        status = _status_text(document["postDeletionStatus"])
        sys.stdout.write(f"{identity.text()}: {count} deleted; now it {_now_text(status)}\n")


def _now_text(status: str) -> str:
    return status if status.startswith("does") else f"is {status}"
